package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Random commands on one small account, so that they often meet: none may break
// the tree, the allocation or the trail, and a rejected one may change nothing.
func TestNoCommandBreaksTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(t)
		defer func() { d.close() }()
		d.must(PutEntityTypes{Items: []EntityType{{ID: "t0"}, {ID: "t1", Parents: []string{TypeAccount, "t0", "t1"}}}})
		d.must(PutAccount{ID: "acme"})
		for i := range 8 {
			parent := "acme"
			if p := rapid.IntRange(0, i).Draw(t, "parent"); p < i {
				parent = fmt.Sprintf("e%d", p)
			}
			d.must(put(ok2(fmt.Sprintf("e%d", i), "t0", parent)))
		}
		d.must(assign("acme", "tokens", 100))
		d.must(assign("e0", "tokens", 50))
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			body := drawCommand(t, d)
			before := d.dump()
			if err := d.do(body); err != nil {
				d.unchanged(before, fmt.Sprintf("%+v, rejected with %v,", body, err))
			}
			d.checkTree()
			d.checkCarved()
		}
		if n, broken, err := d.m.VerifyAudit(); err != nil || broken != 0 || n != d.m.s.auditSeq {
			t.Fatalf("audit: %d, %d, %v", n, broken, err)
		}
		d.checkReopened()
	})
}

// ids are few, so that commands name what exists.
func drawID(t *rapid.T, label string) string {
	return fmt.Sprintf("e%d", rapid.IntRange(0, 9).Draw(t, label))
}

func drawCommand(t *rapid.T, d *desk) Body {
	switch rapid.SampledFrom([]string{"put", "put", "move", "move", "archive", "unarchive", "assign", "assign", "assign", "unassign", "type"}).Draw(t, "command") {
	case "put":
		var items []Entity
		for range rapid.IntRange(1, 2).Draw(t, "items") {
			items = append(items, Entity{
				ID:     drawID(t, "id"),
				Type:   rapid.SampledFrom([]string{"t0", "t0", "t1"}).Draw(t, "type"),
				Parent: rapid.SampledFrom([]string{"", drawID(t, "parent")}).Draw(t, "under"),
				Name:   rapid.SampledFrom([]string{"", "n"}).Draw(t, "name"),
			})
		}
		return put(items...)
	case "move":
		return move(drawID(t, "id"), rapid.SampledFrom([]string{"", drawID(t, "parent")}).Draw(t, "under"))
	case "archive":
		return archive(drawID(t, "id"))
	case "unarchive":
		return unarchive(drawID(t, "id"))
	case "unassign":
		return DeleteAssignment{Account: "acme", ID: "asg_" + rapid.SampledFrom(sortedKeys(d.assignmentIDs())).Draw(t, "assignment")}
	case "type":
		return PutEntityTypes{Items: []EntityType{{ID: "t1", Parents: rapid.SampledFrom([][]string{nil, {"t0"}, {TypeAccount, "t0", "t1"}}).Draw(t, "parents")}}}
	}
	var all PutAssignments
	for range rapid.IntRange(1, 3).Draw(t, "items") {
		entity := rapid.SampledFrom([]string{"acme", drawID(t, "entity")}).Draw(t, "to")
		one := assign(entity, "tokens", rapid.Int64Range(0, 60).Draw(t, "limit"), func(a *AssignmentPut) {
			a.Assignment.ID = fmt.Sprintf("asg_%d_%d", d.index, len(all.Items))
			a.Assignment.Mode = rapid.SampledFrom([]Mode{Cap, Allocated, Allocated}).Draw(t, "mode")
			a.Assignment.Unlimited = rapid.IntRange(0, 9).Draw(t, "unlimited") == 1
			a.Assignment.Enforcement = rapid.SampledFrom([]Enforcement{Hard, Soft}).Draw(t, "enforcement")
		})
		all.Account = "acme"
		all.Items = append(all.Items, one.Items...)
	}
	return all
}

// assignmentIDs returns the ids without "asg_", and one that does not exist.
func (d *desk) assignmentIDs() map[string]bool {
	out := map[string]bool{"none": true}
	for _, a := range d.m.s.list() {
		out[strings.TrimPrefix(a.ID, "asg_")] = true
	}
	return out
}

// checkTree checks the shape of acme's tree and of its archive.
func (d *desk) checkTree() {
	d.t.Helper()
	tn := d.m.s.accounts["acme"]
	children := map[string][]string{}
	for _, id := range sortedKeys(tn.entities) {
		e := tn.entities[id]
		if id == "acme" {
			if e.Parent != "" || e.Archived {
				d.t.Fatalf("root %+v", e)
			}
			continue
		}
		children[e.Parent] = append(children[e.Parent], id)
		parent := tn.entities[e.Parent]
		typ := d.m.s.types[e.Type]
		switch {
		case parent == nil:
			d.t.Fatalf("%q hangs under %q, which does not exist", id, e.Parent)
		case !typ.allowsParent(parent.Type):
			d.t.Fatalf("%q, a %s, hangs under a %s", id, e.Type, parent.Type)
		case e.Archived != (e.ArchivedBy != ""), parent.Archived && !e.Archived:
			d.t.Fatalf("%+v hangs under %+v", e, parent)
		}
		level, taker := 1, false
		for up := e; up.ID != "acme"; up = tn.entities[up.Parent] {
			taker = taker || up.ID == e.ArchivedBy && up.ArchivedBy == up.ID
			if level++; level > MaxDepth {
				d.t.Fatalf("%q is below level %d, or in a cycle", id, MaxDepth)
			}
		}
		if e.Archived && !taker {
			d.t.Fatalf("%+v was taken by an entity that is not above it or is back", e)
		}
	}
	if diff := cmp.Diff(children, d.m.s.plain()["acme"].Children); diff != "" {
		d.t.Fatalf("children (-by parents +indexed):\n%s", diff)
	}
}

// checkCarved checks, in the plainest way, that no parent has given out more than it has.
func (d *desk) checkCarved() {
	d.t.Helper()
	tn := d.m.s.accounts["acme"]
	given := map[uint64]int64{}
	indexed := 0
	for _, a := range d.m.s.list() {
		if a.Mode != Allocated {
			continue
		}
		if !cmp.Equal(tn.carved[a.meter()][a.Num], a) {
			d.t.Fatalf("%+v is not in the index", a)
		}
		indexed++
		if tn.entities[a.Entity].Archived {
			continue
		}
		var parent *Assignment
		for id := tn.entities[a.Entity].Parent; id != "" && parent == nil; id = tn.entities[id].Parent {
			above := d.m.s.assignmentsOf(tn.entities[id])
			if i := slices.IndexFunc(above, a.measuresSame); i >= 0 {
				parent = above[i]
			}
		}
		if parent == nil || parent.Unlimited {
			d.t.Fatalf("%+v is carved out of %+v", a, parent)
		}
		if given[parent.Num] += a.Limit; given[parent.Num] > parent.Limit {
			d.t.Fatalf("%+v has given out %d", parent, given[parent.Num])
		}
	}
	for _, m := range tn.carved {
		indexed -= len(m)
	}
	for m, g := range tn.given { // what is kept is what there is, and all of it
		all := map[uint64]int64{}
		for num, n := range given {
			if n != 0 && d.m.s.records.get(num).terms.meter() == m {
				all[num] = n
			}
		}
		kept := maps.Clone(g.sums)
		maps.DeleteFunc(kept, func(_ uint64, n int64) bool { return n == 0 })
		if !maps.Equal(all, kept) {
			d.t.Fatalf("%+v: kept %v, there is %v", m, kept, all)
		}
		above := map[string]bool{}
		for _, a := range tn.carved[m] {
			if tn.entities[a.Entity].Archived {
				continue
			}
			for id := tn.entities[a.Entity].Parent; id != ""; id = tn.entities[id].Parent {
				above[id] = true
			}
		}
		if !maps.Equal(above, g.above) {
			d.t.Fatalf("%+v: %v are kept as above what is carved, %v are", m, g.above, above)
		}
	}
	if indexed != 0 {
		d.t.Fatalf("the index has %d more than there are", -indexed)
	}
}

// checkReopened closes and opens the machine and compares what it remembers.
func (d *desk) checkReopened() {
	d.t.Helper()
	before := d.m.s
	d.close()
	d.open()
	after := d.m.s
	unexported := cmp.AllowUnexported(meter{})
	for what, pair := range map[string][2]any{
		"accounts":    {before.plain(), after.plain()},
		"types":       {before.types, after.types},
		"assignments": {before.list(), after.list()},
		"audit":       {before.auditHash, after.auditHash},
		"numbers":     {before.nextAssignment, after.nextAssignment},
	} {
		if diff := cmp.Diff(pair[0], pair[1], unexported); diff != "" {
			d.t.Fatalf("%s (-before +reopened):\n%s", what, diff)
		}
	}
}

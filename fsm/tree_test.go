package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func put(items ...Entity) PutEntities { return PutEntities{Account: "acme", Items: items} }
func archive(id string) ArchiveEntity {
	return ArchiveEntity{Account: "acme", ID: id, Archived: true}
}
func unarchive(id string) ArchiveEntity { return ArchiveEntity{Account: "acme", ID: id} }
func move(id, parent string) MoveEntity { return MoveEntity{Account: "acme", ID: id, Parent: parent} }

// archivedOf returns who is archived by whom, as "alice<a".
func (d *desk) archivedOf() string {
	var out []string
	d.m.View(func(v *View) {
		for id, e := range v.s.accounts["acme"].entities {
			if e.Archived != (e.ArchivedBy != "") {
				d.t.Fatalf("%q: archived %t, by %q", id, e.Archived, e.ArchivedBy)
			}
			if e.Archived {
				out = append(out, id+"<"+e.ArchivedBy)
			}
		}
	})
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestAnAccountHasARootEntityThatBearsItsName(t *testing.T) {
	d := newAcme(t)
	d.idle(PutAccount{ID: "acme", Name: "Acme"})
	d.must(PutAccount{ID: "acme", Name: "Acme Inc"})
	root := d.entity("acme")
	if root.Type != TypeAccount || root.Parent != "" || root.Name != "Acme Inc" {
		t.Errorf("root %+v", root)
	}
	d.idle(put(Entity{ID: "acme", Type: TypeAccount, Name: "Acme Inc"}))
	d.must(put(Entity{ID: "acme", Type: TypeAccount, Name: "Acme Inc", Metadata: map[string]string{"crm": "1"}}))
	d.refuse(CodeConflict, put(Entity{ID: "acme", Type: TypeAccount, Name: "Other"}))
	d.refuse(CodeConflict, put(Entity{ID: "acme", Type: "org", Name: "Acme Inc"}))
	d.refuse(CodeConflict, put(Entity{ID: "acme", Type: TypeAccount, Parent: "a", Name: "Acme Inc"}))
	d.refuse(CodeConflict, archive("acme"))
	d.refuse(CodeConflict, move("acme", "a"))
}

func TestFreezingAnAccount(t *testing.T) {
	d := newAcme(t)
	d.idle(FreezeAccount{ID: "acme"})
	d.must(FreezeAccount{ID: "acme", Frozen: true})
	if got := d.seen.Config; !slices.Equal(got, []string{"acme"}) {
		t.Errorf("changed accounts %v", got)
	}
	d.idle(FreezeAccount{ID: "acme", Frozen: true})
	d.must(FreezeAccount{ID: "acme"})
}

func TestAPutOfAnEntityThatExistsChangesNameAndMetadataOnly(t *testing.T) {
	d := newAcme(t)
	d.idle(put(ok2("alice", "user", "a"), ok2("o", "org", "acme"), ok2("p", "project", "")))
	d.must(put(Entity{ID: "alice", Type: "user", Name: "Alice", Metadata: map[string]string{"k": "v"}}))
	if e := d.entity("alice"); e.Name != "Alice" || e.Metadata["k"] != "v" || e.Parent != "a" || e.UpdatedAt != d.now || e.CreatedAt >= d.now {
		t.Errorf("%+v", e)
	}
	for _, body := range []Body{
		put(ok2("alice", "user", "b")),
		put(ok2("alice", "team", "a")),
		put(ok2("bob", "user", "a"), ok2("alice", "user", "acme")),
	} {
		err := d.refuse(CodeConflict, body)
		if !strings.Contains(err.Message, "move") && !strings.Contains(err.Message, "archive") {
			t.Errorf("the conflict does not say what to do: %s", err.Message)
		}
	}
}

func TestArchivingTakesTheSubtreeAndUnarchivingBringsBackWhatItTook(t *testing.T) {
	d := newAcme(t)
	d.must(put(ok2("bob", "user", "a")))
	for _, step := range []struct {
		do   Body
		want string
		code Code
	}{
		{archive("bob"), "bob<bob", ""},
		{archive("a"), "a<a alice<a bob<bob", ""},
		{archive("p"), "a<a alice<a b<p bob<bob p<p", ""},
		{unarchive("bob"), "a<a alice<a b<p bob<bob p<p", CodeConflict}, // its parent is archived
		{unarchive("b"), "a<a alice<a b<p bob<bob p<p", CodeConflict},   // p took it
		{unarchive("p"), "a<a alice<a bob<bob", ""},
		{unarchive("a"), "bob<bob", ""},
		{unarchive("bob"), "", ""},
		{archive("p"), "a<p alice<p b<p bob<p p<p", ""},
		{archive("a"), "a<a alice<a b<p bob<a p<p", ""}, // now its own
		{unarchive("p"), "a<a alice<a bob<a", ""},
		{unarchive("a"), "", ""},
	} {
		if step.code != "" {
			d.refuse(step.code, step.do)
		} else {
			d.must(step.do)
		}
		if got := d.archivedOf(); got != step.want {
			t.Fatalf("after %+v: %s, want %s", step.do, got, step.want)
		}
	}
	d.idle(unarchive("a"))
	d.must(archive("a"))
	d.idle(archive("a"))
}

func TestAnArchivedEntityTakesNoChildrenAndNoAssignments(t *testing.T) {
	d := newAcme(t)
	d.must(assign("alice", "tokens", 10))
	d.must(archive("a"))
	for _, body := range []Body{
		put(ok2("bob", "user", "a")),
		put(ok2("bob", "user", "carl"), ok2("carl", "user", "alice")),
		move("b", "a"),
		assign("a", "tokens", 10),
		assign("alice", "requests", 10),
	} {
		if err := d.refuse(CodeConflict, body); !strings.Contains(err.Message, "unarchive \"a\"") {
			t.Errorf("the conflict does not say what to do: %s", err.Message)
		}
	}
	d.must(assign("alice", "tokens", 20)) // one that exists may change
	d.must(put(Entity{ID: "alice", Type: "user", Name: "Alice"}))
	if e := d.entity("alice"); !e.Archived || e.ArchivedBy != "a" {
		t.Errorf("a PUT unarchived it: %+v", e)
	}
}

func TestMoveTakesTheSubtreeAlong(t *testing.T) {
	d := newAcme(t)
	d.must(move("a", "b"))
	var parents []string
	d.m.View(func(v *View) {
		parents = []string{v.Entity("acme", "alice").Parent, v.Entity("acme", "a").Parent}
		if got := v.s.plain()["acme"].Children; !slices.Equal(got["p"], []string{"b"}) || !slices.Equal(got["b"], []string{"a"}) {
			t.Errorf("children %v", got)
		}
	})
	if !slices.Equal(parents, []string{"a", "b"}) {
		t.Errorf("parents %v", parents)
	}
	d.idle(move("a", "b"))
	d.must(move("alice", "")) // to the root
	if e := d.entity("alice"); e.Parent != "acme" {
		t.Errorf("%+v", e)
	}
	for name, body := range map[string]MoveEntity{
		"under itself":              move("b", "b"),
		"below itself":              move("b", "a"),
		"under a type not allowed":  move("b", "o"),
		"the root":                  move("acme", "b"),
		"out of an archived parent": move("a", "p"),
	} {
		if name == "out of an archived parent" {
			d.must(archive("b"))
		}
		t.Run(name, func(t *testing.T) { d.refuse(CodeConflict, body) })
	}
}

func TestMoveKeepsTheTreeWithinItsDepth(t *testing.T) {
	d := newAcme(t)
	chain := func(name string, n int) (items []Entity) {
		parent := "acme"
		for i := range n {
			id := fmt.Sprintf("%s%d", name, i+1)
			items = append(items, ok2(id, "user", parent))
			parent = id
		}
		return items
	}
	d.must(put(chain("x", MaxDepth-1)...)) // x31 is on level 32
	d.must(put(chain("y", 3)...))
	d.refuse(CodeInvalid, put(ok2("z", "user", "x31")))
	d.must(move("y1", "x28")) // y3 on level 32
	d.must(move("y1", "acme"))
	err := d.refuse(CodeConflict, move("y1", "x29"))
	wantNumbers(t, err, map[string]int64{"limit": 32, "requested": 33})
}

func TestNarrowingATypeMustNotBreakWhatIsPlaced(t *testing.T) {
	d := newAcme(t)
	d.must(PutAccount{ID: "beta", Name: "Beta"})
	d.must(PutEntities{Account: "beta", Items: []Entity{{ID: "zed", Type: "user"}}})
	types := func(id string, parents ...string) Body {
		return PutEntityTypes{Items: []EntityType{{ID: id, Parents: parents}}}
	}
	err := d.refuse(CodeConflict, types("user", "project"))
	wantNumbers(t, err, map[string]int64{"misplaced": 2})
	if !strings.Contains(err.Message, `"alice" of account "acme"`) {
		t.Errorf("it does not name one: %s", err.Message)
	}
	d.must(types("user", "team", TypeAccount))
	d.idle(types("user", "team", TypeAccount))
	d.must(archive("alice")) // counts all the same: it may come back
	d.refuse(CodeConflict, types("user", TypeAccount))
	d.must(types("user"))
	if !d.seen.Global {
		t.Error("the observer was not told")
	}
}

func TestWhatACapabilityMeansDoesNotChange(t *testing.T) {
	d := newAcme(t)
	caps := func(items ...Capability) Body { return PutCapabilities{Items: items} }
	d.must(caps(Capability{ID: "images", Unit: "image"}, Capability{ID: "eur", Unit: "EUR", Decimals: 18}))
	d.idle(caps(Capability{ID: "images", Unit: "image"}, Capability{ID: CapUSD, Unit: "USD", Decimals: 9}))
	d.refuse(CodeConflict, caps(Capability{ID: "images", Unit: "picture"}))
	d.refuse(CodeConflict, caps(Capability{ID: "new", Unit: "x"}, Capability{ID: "images", Unit: "image", Decimals: 1}))
	d.refuse(CodeConflict, caps(Capability{ID: CapTokens, Unit: "token", Decimals: 1}))
}

func TestTypesAndCapabilitiesHaveALimitOfTheirNumber(t *testing.T) {
	d := newDesk(t)
	for i := range 3 {
		var types []EntityType
		var caps []Capability
		for j := range 400 {
			types = append(types, EntityType{ID: fmt.Sprintf("t%d-%d", i, j)})
			caps = append(caps, Capability{ID: fmt.Sprintf("c%d-%d", i, j), Unit: "x"})
		}
		if i < 2 {
			d.must(PutEntityTypes{Items: types})
			d.must(PutCapabilities{Items: caps})
			continue
		}
		err := d.refuse(CodeConflict, PutEntityTypes{Items: types})
		wantNumbers(t, err, map[string]int64{"limit": MaxEntityTypes, "have": 800, "requested": 400})
		d.refuse(CodeConflict, PutCapabilities{Items: caps})
	}
}

func TestRowsWalkTheTreeParentsFirst(t *testing.T) {
	d := newAcme(t)
	d.must(put(ok2("c", "team", "a"), ok2("bob", "user", "b")))
	for _, e := range []string{"alice", "c", "b", "a", "o", "acme", "bob"} {
		d.must(assign(e, "tokens", 10))
	}
	d.must(assign("a", "requests", 5, every(EveryNever)))
	rows := func(root string, depth int) (out []string) {
		d.rows(RowQuery{Account: "acme", Root: root, Depth: depth, Now: d.now}, func() { out = nil }, func(r TreeRow) {
			out = append(out, fmt.Sprintf("%s/%d/%s", r.Entity.ID, r.Depth, r.Assignment.Capability))
			if r.Start > d.now || r.End <= d.now || r.Budget.Limit != r.Assignment.Limit || r.Budget.Key.Start != r.Start {
				t.Errorf("row %+v", r)
			}
		})
		return out
	}
	all := []string{"acme/1/tokens", "o/2/tokens", "a/4/tokens", "a/4/requests", "alice/5/tokens", "c/5/tokens", "b/4/tokens", "bob/5/tokens"}
	for _, c := range []struct {
		root  string
		depth int
		want  []string
	}{
		{"", 0, all},
		{"", 100, all},
		{"", 1, all[:1]},
		{"", 4, []string{"acme/1/tokens", "o/2/tokens", "a/4/tokens", "a/4/requests", "b/4/tokens"}},
		{"a", 0, all[2:6]},
		{"a", 1, all[2:4]},
		{"nobody", 0, nil},
	} {
		if diff := cmp.Diff(c.want, rows(c.root, c.depth)); diff != "" {
			t.Errorf("rows of %q, depth %d (-want +got):\n%s", c.root, c.depth, diff)
		}
	}
	d.must(archive("a"))
	if diff := cmp.Diff(slices.Concat(all[:2], all[6:]), rows("", 0)); diff != "" {
		t.Errorf("rows without what is archived (-want +got):\n%s", diff)
	}
}

package admin

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bursar-dev/bursar/fsm"
)

// drawRows makes rows with many ties, so that orders have to break them.
func drawRows(t *rapid.T) []fsm.TreeRow {
	n := rapid.IntRange(0, 40).Draw(t, "rows")
	rows := make([]fsm.TreeRow, n)
	for i := range rows {
		e := rapid.IntRange(0, 9).Draw(t, "entity")
		r := &rows[i]
		r.Entity = fsm.Entity{
			ID: fmt.Sprintf("Ent-%d", e), Name: fmt.Sprintf("Näme %d", e%3),
			Type: []string{"team", "user", "agent"}[e%3], CreatedAt: int64(1000 + e/4),
		}
		r.Assignment = fsm.Assignment{ID: fmt.Sprintf("asg_%03d", i), Capability: rapid.SampledFrom([]string{"tokens", "usd"}).Draw(t, "capability")}
		if rapid.Bool().Draw(t, "scoped") {
			r.Assignment.Scope = []string{"eu"}
		}
		r.Budget = fsm.Budget{
			Used:      rapid.SampledFrom([]int64{0, 1, 8, 79, 80, 81, 999999999999999999}).Draw(t, "used"),
			Limit:     rapid.SampledFrom([]int64{0, 1, 10, 100, 1000000000000000000}).Draw(t, "limit"),
			Unlimited: rapid.IntRange(0, 4).Draw(t, "unlimited") == 0,
		}
	}
	return rows
}

// drawInput makes parameters as a caller would send them.
func drawInput(t *rapid.T) *getTreeInput {
	in := &getTreeInput{
		Search:         rapid.SampledFrom([]string{"", "ent-", "NT-1", "näme 2", "zzz"}).Draw(t, "search"),
		MinUtilization: rapid.SampledFrom([]string{"", "0", "0.8", "1", "0.999999999"}).Draw(t, "min"),
		Scope:          rapid.SampledFrom([]string{"all", "scoped", "unscoped"}).Draw(t, "scope"),
		SortBy:         rapid.SampledFrom([]string{"utilization", "used", "limit", "id", "created_at"}).Draw(t, "sort"),
		Order:          rapid.SampledFrom([]string{"asc", "desc"}).Draw(t, "order"),
		Limit:          rapid.IntRange(1, 12).Draw(t, "limit"),
	}
	if rapid.Bool().Draw(t, "some types") {
		in.EntityTypes = []string{"team", "agent"}
	}
	if rapid.Bool().Draw(t, "some capabilities") {
		in.Capabilities = []string{"usd"}
	}
	return in
}

// naiveTree is the specification: filter everything, sort everything, exact rationals.
func naiveTree(in *getTreeInput, rows []fsm.TreeRow) []string {
	value := func(r *fsm.TreeRow) *big.Rat {
		switch in.SortBy {
		case "used":
			return big.NewRat(r.Budget.Used, 1)
		case "created_at":
			return big.NewRat(r.Entity.CreatedAt, 1)
		case "limit":
			if !r.Budget.Unlimited {
				return big.NewRat(r.Budget.Limit, 1)
			}
		case "utilization":
			if !r.Budget.Unlimited {
				return big.NewRat(r.Budget.Used, max(1, r.Budget.Limit))
			}
		}
		return nil
	}
	var kept []*fsm.TreeRow
	for i := range rows {
		r := &rows[i]
		least, _ := new(big.Rat).SetString("0" + in.MinUtilization)
		switch {
		case in.EntityTypes != nil && !slices.Contains(in.EntityTypes, r.Entity.Type),
			in.Capabilities != nil && !slices.Contains(in.Capabilities, r.Assignment.Capability),
			in.Scope == "scoped" && r.Assignment.Scope == nil,
			in.Scope == "unscoped" && r.Assignment.Scope != nil,
			!strings.Contains(strings.ToLower(r.Entity.ID+"\n"+r.Entity.Name), strings.ToLower(in.Search)),
			least.Sign() > 0 && (r.Budget.Unlimited || big.NewRat(r.Budget.Used, max(1, r.Budget.Limit)).Cmp(least) < 0):
			continue
		}
		kept = append(kept, r)
	}
	slices.SortFunc(kept, func(a, b *fsm.TreeRow) int {
		va, vb := value(a), value(b)
		c := 0
		switch {
		case in.SortBy == "id":
			c = strings.Compare(a.Entity.ID, b.Entity.ID)
		case va == nil && vb == nil:
		case va == nil:
			return 1
		case vb == nil:
			return -1
		default:
			c = va.Cmp(vb)
		}
		if in.Order == "desc" {
			c = -c
		}
		return cmp.Or(c, strings.Compare(a.Entity.ID, b.Entity.ID), strings.Compare(a.Assignment.ID, b.Assignment.ID))
	})
	ids := make([]string, len(kept))
	for i, r := range kept {
		ids[i] = r.Assignment.ID
	}
	return ids
}

func TestTreePagesAreTheNaiveAnswerCutInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, in := drawRows(t), drawInput(t)
		want := naiveTree(in, rows)
		var got []string
		for pages := 0; ; pages++ {
			q, err := in.parse()
			if err != nil {
				t.Fatal(err)
			}
			page := treePage{query: q, size: in.Limit + 1}
			for i := range rows {
				page.offer(&rows[i])
			}
			taken, next := page.take()
			for _, r := range taken {
				got = append(got, r.Assignment.ID)
			}
			if next == "" {
				break
			}
			if len(taken) != in.Limit || pages > len(rows) {
				t.Fatalf("page %d has %d rows of %d and a next", pages, len(taken), in.Limit)
			}
			in.After = next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v\n got %v\nwant %v", *in, got, want)
		}
	})
}

func TestTreeRefusesForeignCursors(t *testing.T) {
	in := getTreeInput{SortBy: "used", Order: "asc"}
	q, err := in.parse()
	if err != nil {
		t.Fatal(err)
	}
	in.After = q.cursor(treePosition{Used: 5, Entity: "e", Assignment: "a"})
	if _, err := in.parse(); err != nil {
		t.Errorf("own cursor: %v", err)
	}
	in.Order = "desc"
	for _, after := range []string{in.After, "x", "e30", "bm90IGpzb24"} {
		in.After = after
		_, err := in.parse()
		if p := problemOf(err); p.Status != 400 || p.Errors[0].Field != "after" {
			t.Errorf("cursor %q: %+v, want 400 naming after", after, p)
		}
	}
}

package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// byIDs returns the rows that RowsByID shows, as "entity/number@depth", until stop entities have been.
func (d *desk) byIDs(q RowQuery, from string, reverse bool, stop int) (out []string) {
	d.t.Helper()
	err := d.m.RowsByID(q, from, reverse, func(*View) error { return nil }, func(rows []TreeRow) bool {
		for _, r := range rows {
			if r.Entity.ID != rows[0].Entity.ID || r.Assignment.Entity != r.Entity.ID {
				d.t.Fatalf("rows of %q and %q together", rows[0].Entity.ID, r.Entity.ID)
			}
			out = append(out, rowName(&r))
		}
		stop--
		return stop != 0
	})
	if err != nil {
		d.t.Fatalf("%v", err)
	}
	return out
}

func rowName(r *TreeRow) string {
	return fmt.Sprintf("%s/%d@%d", r.Entity.ID, r.Assignment.Num, r.Depth)
}

func TestRowsByIDAreTheRowsInTheOrderOfIDs(t *testing.T) {
	d := newAcme(t)
	const users = 3*rowsPerLock + 7
	for at := 0; at < users; at += MaxBulk {
		all, to := put(), PutAssignments{Account: "acme"}
		for i := at; i < min(at+MaxBulk, users); i++ {
			id := fmt.Sprintf("u%08x", uint32(i)*2654435761)
			all.Items = append(all.Items, ok2(id, "user", []string{"a", "b"}[i%2]))
			if i%5 == 0 {
				continue // without any
			}
			to.Items = append(to.Items, assign(id, "tokens", 1).Items...)
			if i%3 == 0 && len(to.Items) < MaxBulk {
				to.Items = append(to.Items, assign(id, "usd", 1).Items...)
			}
		}
		d.must(all)
		if extra := max(0, len(to.Items)-MaxBulk); extra > 0 {
			to.Items = to.Items[:MaxBulk]
		}
		d.must(to)
	}
	d.must(archive("b"))
	d.must(assign("a", "tokens", 100))
	for _, q := range []RowQuery{
		{Account: "acme"}, {Account: "acme", Root: "a"}, {Account: "acme", Root: "a", Depth: 1}, {Account: "acme", Depth: 2},
		{Account: "acme", Entity: func(e *Entity) bool { return e.ID[len(e.ID)-1] == '1' }}, {Account: "acme", Root: "alice"},
	} {
		var rows []TreeRow
		if err := d.m.Rows(q, func(*View) error { return nil }, func(r TreeRow) { rows = append(rows, r) }); err != nil {
			t.Fatal(err)
		}
		for _, reverse := range []bool{false, true} {
			slices.SortStableFunc(rows, func(a, b TreeRow) int {
				c := cmp.Compare(a.Entity.ID, b.Entity.ID)
				if reverse {
					c = -c
				}
				return cmp.Or(c, cmp.Compare(a.Assignment.Num, b.Assignment.Num))
			})
			var want []string
			for i := range rows {
				want = append(want, rowName(&rows[i]))
			}
			if got := d.byIDs(q, "", reverse, 0); !slices.Equal(got, want) {
				t.Fatalf("%+v, reverse %t: %d rows, want %d", q, reverse, len(got), len(want))
			}
			if len(rows) == 0 {
				continue
			}
			middle := rows[len(rows)/2].Entity.ID
			i := slices.IndexFunc(rows, func(r TreeRow) bool { return r.Entity.ID == middle })
			if got := d.byIDs(q, middle, reverse, 0); !slices.Equal(got, want[i:]) {
				t.Errorf("%+v from %s, reverse %t: %d rows, want %d", q, middle, reverse, len(got), len(want)-i)
			}
			if got := d.byIDs(q, middle, reverse, 1); !slices.Equal(got, want[i:i+len(got)]) || len(got) > 2 {
				t.Errorf("%+v from %s, reverse %t: %v", q, middle, reverse, got)
			}
		}
	}
}

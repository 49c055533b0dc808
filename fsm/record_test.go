package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// list returns every assignment, ascending by number.
func (s *state) list() (out []*Assignment) {
	for r := range s.records.all() {
		out = append(out, s.assignment(r))
	}
	return out
}

// plain is what memory holds of an account, in plain types.
type plain struct {
	Account     Account
	Entities    map[string]Entity
	Order       []string
	Children    map[string][]string
	Assignments map[string][]*Assignment
	Carved      map[meter]map[uint64]*Assignment
	LedgerSeq   uint64
}

func (s *state) plain() map[string]plain {
	out := map[string]plain{}
	for id, tn := range s.accounts {
		p := plain{tn.Account, map[string]Entity{}, nil, map[string][]string{}, map[string][]*Assignment{}, tn.carved, tn.ledgerSeq}
		for m := range tn.order.from("") {
			p.Order = append(p.Order, m.ID)
		}
		for id, m := range tn.entities {
			p.Entities[id] = m.Entity
			for c := range m.children.from("") {
				p.Children[id] = append(p.Children[id], c.ID)
			}
			if list := s.assignmentsOf(m); list != nil {
				p.Assignments[id] = list
			}
		}
		out[id] = p
	}
	return out
}

func TestARecordIsTheAssignment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newState()
		tn := newTenant(Account{ID: "acme"})
		s.accounts["acme"] = tn
		for _, id := range []string{"acme", "a", "b"} {
			tn.addEntity(&Entity{Account: "acme", ID: id, Parent: "acme"})
		}
		want := map[uint64]*Assignment{}
		for range rapid.IntRange(1, 30).Draw(t, "writes") {
			a := &Assignment{
				ID:  rapid.SampledFrom([]string{"asg_01KAZ3V2G8QJ5W0000000000AA", "asg_01kaz3v2g8qj5w0000000000aa", "01KAZ3V2G8QJ5W0000000000AA", "asg_x", "x"}).Draw(t, "id"),
				Num: rapid.Uint64Range(1, 5000).Draw(t, "num"), Account: "acme", Entity: "a",
				Capability: rapid.SampledFrom([]string{CapUSD, "other"}).Draw(t, "capability"),
				Scope:      rapid.SampledFrom([][]string{nil, {"b"}, {"b", "c"}}).Draw(t, "scope"),
				Cadence:    Cadence{Every: rapid.SampledFrom([]Every{EveryDay, EveryNever}).Draw(t, "every"), Timezone: "UTC"},
				Limit:      rapid.Int64Range(0, 9).Draw(t, "limit"), Unlimited: rapid.Bool().Draw(t, "unlimited"),
				Enforcement: rapid.SampledFrom([]Enforcement{Hard, Soft}).Draw(t, "enforcement"),
				Mode:        rapid.SampledFrom([]Mode{Cap, Allocated}).Draw(t, "mode"),
				Thresholds:  rapid.SampledFrom([][]int{nil, {50}, {50, 300}}).Draw(t, "thresholds"), Backfill: rapid.Bool().Draw(t, "backfill"),
				BirthFrom: rapid.Int64Range(1, 2).Draw(t, "born"), CreatedAt: 1, UpdatedAt: rapid.Int64Range(1, 2).Draw(t, "updated"),
			}
			if old := want[a.Num]; old != nil {
				if rapid.Bool().Draw(t, "remove") {
					s.removeAssignment(s.records.get(a.Num))
					delete(want, a.Num)
					continue
				}
				a.Entity = old.Entity
			}
			s.addAssignment(a)
			want[a.Num] = a
		}
		var last uint64
		if s.records.count != len(want) || len(s.assignmentsOf(tn.entities["a"])) != len(want) {
			t.Fatalf("%d records, %d of the entity, want %d", s.records.count, len(s.assignmentsOf(tn.entities["a"])), len(want))
		}
		for _, a := range s.assignmentsOf(tn.entities["a"]) {
			if a.Num <= last {
				t.Fatalf("%d after %d", a.Num, last)
			}
			last = a.Num
			if diff := cmp.Diff(want[a.Num], a); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

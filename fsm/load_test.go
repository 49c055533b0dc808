package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"
)

// scattered makes assignments whose numbers lie in several parts of the table, of every kind that loading tells apart.
func scattered(t *testing.T) *rig {
	r := newRig(t)
	r.must(PutEntities{Account: "acme", Items: []Entity{
		{ID: "team", Type: "user"}, {ID: "a-child", Type: "user", Parent: "team", Metadata: map[string]string{"k": "v"}}, {ID: "bob", Type: "user", Parent: "a-child"},
	}})
	n := 0
	for _, at := range []uint64{1, 1000, partNumbers - 2, 3 * partNumbers, 3*partNumbers + 7} {
		r.m.s.nextAssignment = max(r.m.s.nextAssignment, at)
		put := PutAssignments{Account: "acme"}
		add := func(entity, id string, a Assignment) {
			a.ID, a.Entity = id, entity
			put.Items = append(put.Items, AssignmentPut{Assignment: a})
		}
		for _, entity := range []string{"alice", "team", "bob", "a-child"} {
			n++
			cadence := Cadence{Every: EveryDay, Anchored: true, Anchor: int64(n) * 60_000}
			add(entity, fmt.Sprintf("asg_01KAZ3V2G8QJ5W0000000000%02d", n), Assignment{Capability: CapUSD, Limit: 10_000, Cadence: cadence, Thresholds: []int{50, 300}})
			add(entity, fmt.Sprintf("odd-%d", n), Assignment{Capability: CapTokens, Limit: 1 << 20, Cadence: Cadence{Every: EveryMonth}, Scope: []string{fmt.Sprint("s", n)}, Enforcement: Soft})
			add(entity, fmt.Sprintf("asg_01KAZ3V2G8QJ5W00000000A0%02d", n), Assignment{Capability: CapRequests, Unlimited: true, Cadence: cadence})
		}
		r.must(put)
	}
	first := r.m.s.records.get(1)
	r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{
		{Assignment: Assignment{ID: "carved", Entity: "bob", Capability: CapUSD, Limit: 10, Mode: Allocated, Cadence: Cadence{Every: EveryYear}}},
		{Assignment: Assignment{ID: "whole", Entity: "acme", Capability: CapUSD, Limit: 100, Cadence: Cadence{Every: EveryYear}}},
	}})
	start, _ := first.terms.Cadence.Period(r.now)
	r.must(Reconcile{Parts: []Part{{Node: 1, Boot: 1, Asks: []Ask{{Budget: BudgetKey{1, start}, NeedMin: 4000, NeedSum: 4000, Want: 4000}}}}})
	return r
}

// hot is what memory holds of assignments and budgets, in plain types.
func (s *state) hot() map[string]any {
	budgets := map[BudgetKey]Budget{}
	seeds, forgotten := 0, map[BudgetKey]bool{}
	for r := range s.records.all() {
		for b := r.budgets; b != nil; b = b.next {
			budgets[b.Key] = b.Budget
		}
		if r.seed != nil {
			seeds++
			k := BudgetKey{r.num, r.seed.start}
			budgets[k], _ = s.peek(k)
		}
	}
	for _, b := range s.expiry {
		forgotten[b.Key] = true
	}
	return map[string]any{
		"assignments": s.list(), "count": s.records.count, "next": s.nextAssignment, "odd": s.oddIDs,
		"budgets": budgets, "seeds": seeds, "held": s.held, "terms": len(s.terms), "to forget": forgotten,
	}
}

func TestAStoreIsLoadedInPartsAsItWas(t *testing.T) {
	r := scattered(t)
	before, tree := r.m.s.hot(), r.m.s.plain()
	r.reopen()
	if diff := cmp.Diff(before, r.m.s.hot()); diff != "" {
		t.Errorf("(-before +loaded):\n%s", diff)
	}
	if diff := cmp.Diff(tree, r.m.s.plain()); diff != "" {
		t.Errorf("(-before +loaded):\n%s", diff)
	}
	for _, num := range []uint64{2, partNumbers - 1, 3*partNumbers + 1} { // what was loaded can be changed and removed
		a := r.m.s.assignment(r.m.s.records.get(num))
		r.must(DeleteAssignment{Account: "acme", ID: a.ID})
		if r.m.s.records.get(num) != nil {
			t.Errorf("%d is still there", num)
		}
	}
}

func TestALossInTheStoreIsFoundWhenItIsLoaded(t *testing.T) {
	num := uint64(3*partNumbers + 3)
	for name, tc := range map[string]struct {
		key  func(r *rig) []byte
		want string
	}{
		"account":    {func(*rig) []byte { return accountKey("acme") }, `the account "acme" of entity`},
		"parent":     {func(*rig) []byte { return entityKey("acme", "team") }, `is missing`},
		"entity":     {func(*rig) []byte { return entityKey("acme", "bob") }, `its entity "bob" is missing`},
		"assignment": {func(*rig) []byte { return assignmentKey(num) }, "its assignment is missing"},
		"number":     {func(r *rig) []byte { return nil }, "it has the number 1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := scattered(t)
			db := committed(t, r.m)
			if key := tc.key(r); key != nil {
				if err := db.Delete(key, pebble.Sync); err != nil {
					t.Fatal(err)
				}
			} else {
				value, closer, err := db.Get(assignmentKey(1))
				if err != nil {
					t.Fatal(err)
				}
				if err := db.Set(assignmentKey(num), value, pebble.Sync); err != nil {
					t.Fatal(err)
				}
				_ = closer.Close()
			}
			_, err := loadState(r.m.store)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

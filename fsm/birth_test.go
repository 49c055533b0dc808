package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// next returns the budget key of a's next period.
func (r *rig) next(a *Assignment) BudgetKey {
	_, end := a.Cadence.Period(r.now)
	return BudgetKey{a.Num, end}
}

func TestBirth(t *testing.T) {
	for _, tc := range []struct{ limit, shares, want int64 }{
		{1000, 5, 100}, {9, 5, 0}, {10, 5, 1}, {19, 5, 1}, {0, 5, 0}, {-5, 5, 0}, {1000, 0, 0}, {MaxAmount, 5, MaxAmount / 10},
	} {
		if got := Birth(tc.limit, tc.shares); got != tc.want {
			t.Errorf("Birth(%d, %d) = %d, want %d", tc.limit, tc.shares, got, tc.want)
		}
	}
}

// LEASES.md, trap 3: a period begins with a slice on every node, without a message
// or a log entry, the same whenever and wherever one looks.
func TestPeriodsAreBornWithSlices(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	k := r.next(a)
	early := r.budget(k)
	if leases(early) != "1:100 2:100 3:100" {
		t.Fatalf("leases %s, want 1:100 2:100 3:100", leases(early))
	}
	r.now = k.Start + 5
	// None of this may change what the period was born with: nodes are acting on it.
	r.must(AdmitNode{Name: "n4", Addr: "x"})
	r.must(DeadNode{Node: 2})
	r.must(RemoveNode{Name: "n3"})
	if diff := cmp.Diff(early, r.budget(k)); diff != "" {
		t.Errorf("looked at later (-early +late):\n%s", diff)
	}
	r.must(ask(1, Ask{Budget: k})) // the first touch
	r.reopen()
	b := r.budget(k)
	if got, want := leases(b), "1:112 2:100 3:100"; got != want {
		t.Errorf("materialized with leases %s, want %s", got, want)
	}
	if got, want := leases(r.budget(r.next(a))), "1:100 2:100 4:100"; got != want {
		t.Errorf("the period after it is born with %s, want %s", got, want)
	}
}

func TestRemovedNodeKeepsBirthsWithinTheStalenessBound(t *testing.T) {
	for _, tc := range []struct {
		before int64 // milliseconds from the removal to the period's start
		want   string
	}{
		{DefaultMaxStaleness.Milliseconds(), "1:100 2:100 3:100"},
		{DefaultMaxStaleness.Milliseconds() + 1, "1:100 2:100"},
	} {
		r := newRig(t)
		a := r.assign(1000, per(EveryHour))
		k := r.next(a)
		r.now = k.Start - tc.before
		r.must(RemoveNode{Name: "n3"})
		r.now = k.Start + 1
		if got := leases(r.budget(k)); got != tc.want {
			t.Errorf("removed %d ms before the period: leases %s, want %s", tc.before, got, tc.want)
		}
	}
}

func TestNodeAdmittedInAPeriodIsBornWithTheNext(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	k := r.next(a)
	r.now = k.Start
	r.must(AdmitNode{Name: "n4", Addr: "x"})
	if got := leases(r.budget(k)); got != "1:100 2:100 3:100" {
		t.Errorf("admitted at its very start: leases %s", got)
	}
	if got := leases(r.budget(r.next(a))); got != "1:100 2:100 3:100 4:100" {
		t.Errorf("the next period: leases %s", got)
	}
}

// A node that has not seen a new limit yet gives out what the old one gives it, at
// most until the staleness bound. The log must have that on record.
func TestLimitChangeMaterializesWhatNodesMayAlreadyGiveOut(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	r.now += 90_000
	r.now = r.next(a).Start - 5_000 // the next period begins within the staleness bound
	now, next := r.period(a), r.next(a)
	seen := [2]string{leases(r.budget(now)), leases(r.budget(next))}
	cut := *a
	cut.Limit = 200
	r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: cut}}})
	got := [2]string{leases(r.budget(now)), leases(r.budget(next))}
	if got[0] != "1:100 2:100 3:100" || seen[0] != got[0] || seen[1] != got[1] {
		t.Errorf("before %v, after %v", seen, got)
	}
	for _, k := range []BudgetKey{now, next} {
		if b := r.budget(k); b.Limit != 200 || b.Excess() != 100 || b.Holder != 1 {
			t.Errorf("limit %d, excess %d, holder %d; want 200, 100, 1", b.Limit, b.Excess(), b.Holder)
		}
	}
	later := r.next(a)
	_, later.Start = a.Cadence.Period(later.Start)
	if got := leases(r.budget(later)); got != "1:20 2:20 3:20" {
		t.Errorf("beyond the bound: leases %s, want 1:20 2:20 3:20", got)
	}
}

func TestSlicesNeverExceedTheLimit(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	admitted := 3
	for ; admitted < 20; admitted++ {
		if o := r.apply(AdmitNode{Name: string(rune('a' + admitted)), Addr: "x"})[0]; o.Err != nil {
			if o.Err.Code != CodeConflict || o.Err.Numbers["limit"] != 2*DefaultShares {
				t.Errorf("%+v", o.Err)
			}
			break
		}
	}
	if admitted != 2*DefaultShares {
		t.Errorf("%d nodes were admitted, want %d", admitted, 2*DefaultShares)
	}
	// A removed node is still born for a while: its place is taken only after that.
	r.must(RemoveNode{Name: "n1"})
	r.refused(CodeConflict, AdmitNode{Name: "late", Addr: "x"})
	r.now += DefaultMaxStaleness.Milliseconds() + 1
	r.must(AdmitNode{Name: "late", Addr: "x"})
	b := r.budget(r.next(a))
	if b.LeaseSum() > b.Limit {
		t.Errorf("slices of %d together exceed the limit of %d: %s", b.LeaseSum(), b.Limit, leases(b))
	}
}

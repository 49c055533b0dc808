package fsm

import "testing"

// A budget that is again as it was born has no memory of its own, and no place in the queue either.
func TestExpiryQueueHasOnlyBudgetsInMemory(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	for i := range uint64(50) {
		o := r.must(ask(1, Ask{Budget: k, NeedMin: 10, NeedSum: 10}))
		given := o.Grants[0][0].Amount
		r.must(release(1, Release{Seq: i + 1, Budget: k, Amount: given}))
	}
	for boot := range uint64(5) {
		for n := NodeNum(1); n <= 3; n++ {
			r.must(DrainNode{Node: n, Boot: boot + 1})
			r.must(BootNode{Node: n, Boot: boot + 2})
		}
	}
	budgets := 0
	for rec := range r.m.s.records.all() {
		for b := rec.budgets; b != nil; b = b.next {
			budgets++
		}
	}
	if got := len(r.m.s.expiry); got > budgets {
		t.Errorf("%d are in the queue, %d budgets in memory", got, budgets)
	}
	for i, b := range r.m.s.expiry {
		if b.place != i+1 {
			t.Errorf("the budget at %d says it is at %d", i+1, b.place)
		}
	}
}

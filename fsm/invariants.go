package fsm

import (
	"github.com/bursar-dev/bursar/internal/invariants"
)

// This file asserts, with the build tag "invariants", the rules that the
// promises rest on, for every budget after every entry:
//
//	INV1  used' + Σlease' ≤ max(limit', used + Σlease) + Σ(amount − drawn from a lease)
//	R2    used' = used + Σ amount (+ what was forfeited and charged)
//	R4    lease'[n] ≥ lease[n] − what n's lines drew, n gave back, or was forfeited
//
// R1 and R3 follow: leases grow only within INV1 and shrink only within R4.

// obligation is what a budget was before an entry, and what the entry did to it.
type obligation struct {
	used, committed int64             // committed = used + Σlease
	leases          map[NodeNum]int64 // before
	gone            map[NodeNum]int64 // rightly taken out of leases
	charged         int64             // added to used
	overdrawn       int64             // charged without coming out of a lease
}

// note records what b is before this entry changes it.
func (t *txn) note(b *cachedBudget) {
	if !invariants.Enabled || t.before[b.Key] != nil {
		return
	}
	if t.before == nil {
		t.before = map[BudgetKey]*obligation{}
	}
	o := &obligation{
		used:      b.Used,
		committed: satAdd(b.Used, b.LeaseSum()),
		leases:    map[NodeNum]int64{},
		gone:      map[NodeNum]int64{},
	}
	for _, l := range b.Leases {
		o.leases[l.Node] = l.Amount
	}
	t.before[b.Key] = o
}

// noteDrawn records that a line of amount took drawn out of n's lease.
func (t *txn) noteDrawn(b *cachedBudget, n NodeNum, amount, drawn int64) {
	if invariants.Enabled {
		o := t.before[b.Key]
		o.gone[n] += drawn
		o.charged = satAdd(o.charged, amount)
		o.overdrawn = satAdd(o.overdrawn, amount-drawn)
	}
}

// noteGiven records that n gave amount of its lease back.
func (t *txn) noteGiven(b *cachedBudget, n NodeNum, amount int64) {
	if invariants.Enabled {
		t.before[b.Key].gone[n] += amount
	}
}

// noteForfeit records that n's lease was given up for it.
func (t *txn) noteForfeit(b *cachedBudget, n NodeNum, amount int64, charge bool) {
	if invariants.Enabled {
		t.before[b.Key].gone[n] += amount
		if charge {
			t.before[b.Key].charged += amount
		}
	}
}

// checkInvariants asserts the rules for every budget that the entry looked at.
func (t *txn) checkInvariants() {
	if !invariants.Enabled {
		return
	}
	for k, o := range t.before {
		b := t.s.cached(k)
		if b == nil || !b.Leased {
			continue
		}
		bound := satAdd(max(b.Limit, o.committed), o.overdrawn)
		committed := satAdd(b.Used, b.LeaseSum())
		invariants.Check(committed <= bound, "INV1: entry %d, budget %+v: used+leases %d > %d (limit %d, before %d, overdrawn %d)",
			t.index, k, committed, bound, b.Limit, o.committed, o.overdrawn)
		invariants.Check(b.Used >= satAdd(o.used, o.charged), "R2: entry %d, budget %+v: used %d, was %d, charged %d",
			t.index, k, b.Used, o.used, o.charged)
		for n, was := range o.leases {
			invariants.Check(b.LeaseOf(n) >= was-o.gone[n], "R4: entry %d, budget %+v, node %d: lease %d, was %d, of which %d rightly gone",
				t.index, k, n, b.LeaseOf(n), was, o.gone[n])
		}
		for _, l := range b.Leases {
			invariants.Check(l.Amount > 0, "entry %d, budget %+v: node %d has a lease of %d", t.index, k, l.Node, l.Amount)
		}
		invariants.Check((b.Holder != 0) || len(b.Acks) == 0, "entry %d, budget %+v: acknowledgements without a holder", t.index, k)
	}
}

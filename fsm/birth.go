package fsm

import (
	"slices"
)

// This file decides what a budget is before an entry has touched it, and makes
// that durable at the first touch. Derived and stored value agree on every
// replica, however late it looks, because every input is logged and whatever
// changes an input materializes first what it would disturb.

// derive returns the budget of r's period that starts at start as the first touch
// would make it: a birth slice for every node born with it, if the period starts
// after r was born from.
func (s *state) derive(r *record, start int64) *cachedBudget {
	_, end := r.terms.Cadence.Period(start)
	b := &cachedBudget{end: end, Budget: Budget{
		Key:       BudgetKey{Assignment: r.num, Start: start},
		Limit:     r.limit,
		Unlimited: r.terms.Unlimited,
		Leased:    r.leased(),
	}}
	if !b.Leased || start <= r.birthFrom() || s.settings == nil {
		return b
	}
	slice := Birth(b.Limit, s.settings.Shares)
	for _, n := range s.nodes {
		if n.BornWith(start, s.settings.MaxStalenessMS) {
			b.addLease(n.Num, slice)
		}
	}
	return b
}

// materialize returns the budget of r's period that starts at start: the stored
// one, or the derived one, made durable. start must be the start of a period.
func (t *txn) materialize(r *record, start int64) *Budget {
	return &t.materialized(r, start).Budget
}

func (t *txn) materialized(r *record, start int64) *cachedBudget {
	k := BudgetKey{Assignment: r.num, Start: start}
	b := t.s.cached(k)
	if b == nil {
		if b = t.load(r, k); b == nil {
			b = t.s.derive(r, start)
			r.cache(b)
			t.touched = append(t.touched, touched{b: b})
			b.touched = t.index
		}
	}
	t.note(b)
	return b
}

// load reads a budget that is not in memory, or returns nil if it is not stored.
func (t *txn) load(r *record, k BudgetKey) *cachedBudget {
	_, end := r.terms.Cadence.Period(k.Start)
	if t.s.recent(end) {
		return nil // it would be in memory
	}
	b := &cachedBudget{end: end}
	if ok, _ := t.get(budgetKey(k), &b.Budget); !ok {
		return nil
	}
	r.cache(b)
	t.s.enqueue(b)
	return b
}

// materializeNew makes the budget of a just created assignment's present period
// durable, with a birth slice for every live node. A period that had begun before
// the assignment existed cannot be derived with births.
func (t *txn) materializeNew(r *record) *Budget {
	start, _ := r.terms.Cadence.Period(t.s.now)
	b := t.materialize(r, start)
	if b.Leased && t.s.settings != nil {
		slice := Birth(b.Limit, t.s.settings.Shares)
		for _, n := range t.roster.Live {
			b.addLease(n, slice)
		}
		t.touch(b)
	}
	return b
}

// clockSlack is how far, in milliseconds, the clocks of two nodes may differ for all
// that is said of periods to hold: a period that has ended by the leader's clock may
// be another node's present for that long. It is part of the replicated behaviour.
const clockSlack = 5_000

// slackFrom is the first version of an encoded command that reckons with clockSlack, and with
// leases of a period that ended before its assignment ceased to be leased.
const slackFrom = 2

// slack is the clockSlack by which the entry is applied.
func (t *txn) slack() int64 {
	if t.version < slackFrom {
		return 0
	}
	return clockSlack
}

// materializeAhead makes durable the budgets of every period that contains a
// time from clockSlack ago to the staleness bound from now. Until then a node may act on
// what it derives from the present assignment, so a change of it must find that on record.
func (t *txn) materializeAhead(r *record) {
	horizon := satAdd(t.s.now, t.s.maxStaleness())
	for at := max(0, t.s.now-t.slack()); at <= horizon; {
		start, end := r.terms.Cadence.Period(at)
		t.materialize(r, start)
		if end == Forever {
			return
		}
		at = end
	}
}

// touch records that b has changed: it is written at the end of the entry, as it is then, and told to the observer.
func (t *txn) touch(b *Budget) {
	t.touchCached(t.s.cached(b.Key))
}

func (t *txn) touchCached(c *cachedBudget) {
	if c.touched != t.index {
		c.touched = t.index
		t.touched = append(t.touched, touched{b: c})
	}
}

// budgetsOf returns the stored budgets of an assignment whose period has not
// ended on every node's clock, ascending by start.
func (t *txn) budgetsOf(r *record) []*Budget {
	var out []*Budget
	t.s.sprout(r)
	for b := r.budgets; b != nil; b = b.next {
		if b.end > t.s.now-t.slack() {
			t.note(b)
			out = append(out, &b.Budget)
		}
	}
	return out
}

// deleteBudgets deletes every budget of an assignment and tells the observer that the assignment is gone.
func (t *txn) deleteBudgets(r *record) {
	num := r.num
	for b := r.budgets; b != nil; b = b.next {
		delete(t.s.held, b.Key)
		delete(t.before, b.Key)
		t.s.dequeue(b)
	}
	r.budgets, r.seed = nil, nil
	t.touched = slices.DeleteFunc(t.touched, func(c touched) bool { return c.assignment() == num })
	t.changes.deleted(num)
	t.tail.deleted(num)
	t.delRange(prefixRange(budgetPrefix(num)))
}

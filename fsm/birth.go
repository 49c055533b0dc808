package fsm

import (
	"cmp"
	"container/heap"
	"slices"
)

// This file decides what a budget is before an entry has touched it, and makes
// that durable at the first touch. Derived and stored value agree on every
// replica, however late it looks, because every input is logged and whatever
// changes an input materializes first what it would disturb.

// budgetKeep is how long after its period's end a budget stays in memory, in
// milliseconds. It also bounds what node commands look at, so it is part of the
// replicated behaviour: within it a budget's leases still matter to somebody.
const budgetKeep = int64(60 * 60 * 1000)

// derive returns the budget of a's period that starts at start as the first touch
// would make it: a birth slice for every node born with it, if the period starts
// after a.BirthFrom.
func (s *state) derive(a *Assignment, start int64) *Budget {
	b := &Budget{
		Key:       BudgetKey{Assignment: a.Num, Start: start},
		Limit:     a.Limit,
		Unlimited: a.Unlimited,
		Leased:    a.Leased(),
	}
	if !b.Leased || start <= a.BirthFrom || s.settings == nil {
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

// recent reports whether the budget's period ended less than budgetKeep ago or
// has not ended. All stored recent budgets are in memory.
func (s *state) recent(a *Assignment, start int64) bool {
	if start > s.now-budgetKeep {
		return true
	}
	_, end := a.Cadence.Period(start)
	return end > s.now-budgetKeep
}

// cached returns the budget if it is in memory, or nil.
func (s *state) cached(k BudgetKey) *Budget {
	list := s.budgets[k.Assignment]
	if i, found := slices.BinarySearchFunc(list, k.Start, compareStart); found {
		return list[i]
	}
	return nil
}

func compareStart(b *Budget, start int64) int { return cmp.Compare(b.Key.Start, start) }

// cache files b in memory, to be forgotten budgetKeep after end.
func (s *state) cache(b *Budget, end int64) {
	list := s.budgets[b.Key.Assignment]
	i, found := slices.BinarySearchFunc(list, b.Key.Start, compareStart)
	if found {
		list[i] = b
		return
	}
	s.budgets[b.Key.Assignment] = slices.Insert(list, i, b)
	if b.Holder != 0 {
		s.held[b.Key] = struct{}{}
	}
	if end != Forever {
		heap.Push(&s.expiry, expiring{end: end, key: b.Key})
	}
}

// materialize returns the budget of a's period that starts at start: the stored
// one, or the derived one, made durable.
func (t *txn) materialize(a *Assignment, start int64) *Budget {
	b := t.s.cached(BudgetKey{Assignment: a.Num, Start: start})
	if b != nil {
		t.remember(b)
		return b
	}
	_, end := a.Cadence.Period(start)
	if end <= t.s.now-budgetKeep {
		b = new(Budget)
		if ok, _ := t.get(budgetKey(BudgetKey{Assignment: a.Num, Start: start}), b); ok {
			t.s.cache(b, end)
			t.remember(b)
			return b
		}
	}
	b = t.s.derive(a, start)
	t.s.cache(b, end)
	t.remember(b)
	t.touch(b)
	return b
}

// materializeNew makes the budget of a just created assignment's present period
// durable, with a birth slice for every live node. A period that had begun before
// the assignment existed cannot be derived with births.
func (t *txn) materializeNew(a *Assignment) *Budget {
	start, _ := a.Cadence.Period(t.s.now)
	b := t.materialize(a, start)
	if b.Leased && t.s.settings != nil {
		slice := Birth(b.Limit, t.s.settings.Shares)
		for _, n := range t.roster.Live {
			b.addLease(n, slice)
		}
		t.touch(b)
	}
	return b
}

// materializeAhead makes durable the budgets of every period that contains a
// time from now to the staleness bound from now. Until then a node may act on
// what it derives from the present assignment, so a change of it must find that on record.
func (t *txn) materializeAhead(a *Assignment) {
	horizon := satAdd(t.s.now, t.s.maxStaleness())
	for at := t.s.now; at <= horizon; {
		start, end := a.Cadence.Period(at)
		t.materialize(a, start)
		if end == Forever {
			return
		}
		at = end
	}
}

// touch records that b has changed: it is written at the end of the entry, as it is then, and told to the observer.
func (t *txn) touch(b *Budget) {
	if !slices.Contains(t.touched, b) {
		t.touched = append(t.touched, b)
	}
}

// budgetsOf returns the stored budgets of an assignment whose period has not
// ended, ascending by start.
func (t *txn) budgetsOf(num uint64) []*Budget {
	a := t.s.assignments[num]
	if a == nil {
		return nil
	}
	var out []*Budget
	for _, b := range t.s.budgets[num] {
		if _, end := a.Cadence.Period(b.Key.Start); end > t.s.now {
			t.remember(b)
			out = append(out, b)
		}
	}
	return out
}

// deleteBudgets deletes every budget of an assignment and tells the observer that the assignment is gone.
func (t *txn) deleteBudgets(num uint64) {
	for _, b := range t.s.budgets[num] {
		delete(t.s.held, b.Key)
	}
	delete(t.s.budgets, num)
	t.touched = slices.DeleteFunc(t.touched, func(b *Budget) bool { return b.Key.Assignment == num })
	t.changes.deleted(num)
	lower, upper := prefixRange(budgetPrefix(num))
	t.delRange(lower, upper)
}

// remember notes what b is before this entry changes it, for the check of INV1.
func (t *txn) remember(b *Budget) {}

// expiring says when a budget's period ends.
type expiring struct {
	end int64
	key BudgetKey
}

// expiryQueue is a heap of budgets in memory, earliest end first.
type expiryQueue []expiring

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].end < q[j].end }
func (q expiryQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push and Pop implement heap.Interface.
func (q *expiryQueue) Push(x any) { *q = append(*q, x.(expiring)) }

// Pop implements heap.Interface.
func (q *expiryQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

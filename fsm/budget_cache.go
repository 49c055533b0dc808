package fsm

import (
	"cmp"
	"container/heap"
	"slices"
)

const (
	// budgetKeep is how long after its period's end a budget counts as recent,
	// in milliseconds. All stored recent budgets are in memory. Within it a lease
	// still matters to somebody, so it also bounds what the node commands change:
	// it is part of the replicated behaviour.
	budgetKeep = int64(60 * 60 * 1000)
	// evictPerEntry bounds how many budgets one entry drops from memory.
	evictPerEntry = 256
)

// cachedBudget is a stored budget in memory.
type cachedBudget struct {
	Budget
	end     int64  // of its period
	touched uint64 // index of the last entry that changed it
	place   int    // in the expiry queue, from 1; 0: it is not in it
	// unwritten: the store has an older one, until the tail is committed.
	unwritten bool
	batched   bool // while unwritten: the tail's batch has it as it is
	// ownLeases is the Apply call in which Leases became this budget's alone; see txn.settleLine.
	ownLeases uint64
	next      *cachedBudget
}

// recent reports whether a period that ends at end ended less than budgetKeep ago.
func (s *state) recent(end int64) bool { return end > s.now-budgetKeep }

// find returns the budget of r that starts at start, if it is in memory by itself.
func (r *record) find(start int64) *cachedBudget {
	for b := r.budgets; b != nil && b.Key.Start <= start; b = b.next {
		if b.Key.Start == start {
			return b
		}
	}
	return nil
}

// has reports whether the budget is in memory.
func (r *record) has(start int64) bool {
	return r.find(start) != nil || r.seed != nil && r.seed.start == start
}

// cached returns the budget if it is in memory, or nil. One that was as it was born has memory of its own from then on.
func (s *state) cached(k BudgetKey) *cachedBudget {
	r := s.records.get(k.Assignment)
	if r == nil {
		return nil
	}
	if r.seed != nil && r.seed.start == k.Start {
		b := r.born()
		r.seed = nil
		r.cache(b)
		s.enqueue(b)
		return b
	}
	return r.find(k.Start)
}

// peek returns a copy of the budget if it is in memory. It changes nothing.
func (s *state) peek(k BudgetKey) (b Budget, ok bool) {
	r := s.records.get(k.Assignment)
	if r == nil {
		return b, false
	}
	if c := r.find(k.Start); c != nil {
		return c.Budget, true
	}
	if r.seed != nil && r.seed.start == k.Start {
		return r.born().Budget, true
	}
	return b, false
}

// cache files a budget that is not in memory yet.
func (r *record) cache(b *cachedBudget) {
	at := &r.budgets
	for *at != nil && (*at).Key.Start < b.Key.Start {
		at = &(*at).next
	}
	b.next, *at = *at, b
}

// drop takes a budget out of memory.
func (r *record) drop(b *cachedBudget) {
	for at := &r.budgets; *at != nil; at = &(*at).next {
		if *at == b {
			*at, b.next = b.next, nil
			return
		}
	}
}

// hold is for a budget that an entry has changed: it keeps account of those that have a holder.
func (s *state) hold(b *cachedBudget) {
	if s.records.get(b.Key.Assignment) != nil && b.Holder != 0 {
		s.held[b.Key] = struct{}{}
	} else {
		delete(s.held, b.Key)
	}
}

// rest is for a budget that the store has as it is in memory, which may forget it from now on.
func (s *state) rest(b *cachedBudget) {
	r := s.records.get(b.Key.Assignment)
	if r == nil || r.find(b.Key.Start) != b {
		return // its assignment was deleted since
	}
	if r.seed == nil {
		if r.seed = s.seedOf(r, &b.Budget); r.seed != nil {
			r.drop(b)
			s.dequeue(b)
			return
		}
	}
	s.enqueue(b)
}

// enqueue has a budget forgotten when its period is no longer recent.
func (s *state) enqueue(b *cachedBudget) {
	if b.end != Forever && b.place == 0 {
		heap.Push(&s.expiry, b)
	}
}

// dequeue is for a budget that is out of memory before its time.
func (s *state) dequeue(b *cachedBudget) {
	if b.place != 0 {
		heap.Remove(&s.expiry, b.place-1)
	}
}

// evict drops budgets that are no longer recent, at most evictPerEntry of them.
// Nothing replicated depends on how many it has got to. A seed costs nothing and stays.
func (s *state) evict() {
	for range evictPerEntry {
		if len(s.expiry) == 0 || s.recent(s.expiry[0].end) || s.expiry[0].unwritten {
			return
		}
		b := heap.Pop(&s.expiry).(*cachedBudget)
		if r := s.records.get(b.Key.Assignment); r != nil && r.find(b.Key.Start) == b {
			delete(s.held, b.Key)
			r.drop(b)
		}
	}
}

// recentBudgets returns the stored recent budgets that match, ascending by key.
func (t *txn) recentBudgets(match func(b *cachedBudget) bool) []*cachedBudget {
	var out []*cachedBudget
	for r := range t.s.records.all() {
		if r.seed != nil {
			if b := r.born(); t.s.recent(b.end) && match(b) {
				t.s.cached(b.Key)
			}
		}
		for b := r.budgets; b != nil; b = b.next {
			if t.s.recent(b.end) && match(b) {
				t.note(b)
				out = append(out, b)
			}
		}
	}
	return out
}

// heldBudgets returns the stored recent budgets that have a holder, ascending by key.
func (t *txn) heldBudgets() []*cachedBudget {
	keys := make([]BudgetKey, 0, len(t.s.held))
	for k := range t.s.held {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	var out []*cachedBudget
	for _, k := range keys {
		if b := t.s.cached(k); t.s.recent(b.end) {
			t.note(b)
			out = append(out, b)
		}
	}
	return out
}

func compareKeys(a, b BudgetKey) int {
	return cmp.Or(cmp.Compare(a.Assignment, b.Assignment), cmp.Compare(a.Start, b.Start))
}

// expiryQueue is a heap of the budgets in memory that have an end, earliest first.
type expiryQueue []*cachedBudget

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].end < q[j].end }

// Swap implements heap.Interface.
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (q *expiryQueue) Push(x any) {
	b := x.(*cachedBudget)
	*q = append(*q, b)
	b.place = len(*q)
}

// Pop implements heap.Interface.
func (q *expiryQueue) Pop() any {
	n := len(*q) - 1
	last := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	last.place = 0
	return last
}

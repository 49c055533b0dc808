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
}

// recent reports whether a period that ends at end ended less than budgetKeep ago.
func (s *state) recent(end int64) bool { return end > s.now-budgetKeep }

// cached returns the budget if it is in memory, or nil.
func (s *state) cached(k BudgetKey) *cachedBudget {
	list := s.budgets[k.Assignment]
	if i, found := slices.BinarySearchFunc(list, k.Start, compareStart); found {
		return list[i]
	}
	return nil
}

func compareStart(b *cachedBudget, start int64) int { return cmp.Compare(b.Key.Start, start) }

// cache files a budget that is not in memory yet.
func (s *state) cache(b *cachedBudget) {
	list := s.budgets[b.Key.Assignment]
	i, _ := slices.BinarySearchFunc(list, b.Key.Start, compareStart)
	s.budgets[b.Key.Assignment] = slices.Insert(list, i, b)
	if b.Holder != 0 {
		s.held[b.Key] = struct{}{}
	}
	if b.end != Forever {
		heap.Push(&s.expiry, b)
	}
}

// evict drops budgets that are no longer recent, at most evictPerEntry of them.
// Nothing replicated depends on how many it has got to.
func (s *state) evict() {
	for range evictPerEntry {
		if len(s.expiry) == 0 || s.recent(s.expiry[0].end) {
			return
		}
		b := heap.Pop(&s.expiry).(*cachedBudget)
		if s.cached(b.Key) != b {
			continue // its assignment was deleted
		}
		delete(s.held, b.Key)
		list := s.budgets[b.Key.Assignment]
		list = slices.DeleteFunc(list, func(x *cachedBudget) bool { return x == b })
		if len(list) == 0 {
			delete(s.budgets, b.Key.Assignment)
			continue
		}
		s.budgets[b.Key.Assignment] = list
	}
}

// recentBudgets returns the stored recent budgets that match, ascending by key.
func (t *txn) recentBudgets(match func(b *cachedBudget) bool) []*cachedBudget {
	var out []*cachedBudget
	for _, list := range t.s.budgets {
		for _, b := range list {
			if t.s.recent(b.end) && match(b) {
				out = append(out, b)
			}
		}
	}
	slices.SortFunc(out, func(a, b *cachedBudget) int { return compareKeys(a.Key, b.Key) })
	for _, b := range out {
		t.note(b)
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

// expiryQueue is a heap of the budgets in memory, earliest end first. Budgets of deleted
// assignments stay until their time.
type expiryQueue []*cachedBudget

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].end < q[j].end }
func (q expiryQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *expiryQueue) Push(x any) { *q = append(*q, x.(*cachedBudget)) }

// Pop implements heap.Interface.
func (q *expiryQueue) Pop() any {
	n := len(*q) - 1
	last := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	return last
}

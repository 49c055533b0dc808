package enforcer

import (
	"context"
	"math"
	"slices"
	"time"
)

// A check that finds no room where room may still come waits in the queue of
// the budget that is short. It holds nothing while it waits: it is told that
// something changed and decides anew. It keeps its place until it leaves.
//
// A check that needs several budgets stands in one queue at a time, and goes from
// one to the next as room comes. What it needs is known to all of them meanwhile,
// and none gives that much back (N9, N11): else a check could find the
// first budget trimmed each time the second has room, and go round until its time is up.

// waiter is one waiting check, of this node or drawn by another.
type waiter struct {
	need    int64
	reserve bool
	arrived uint64
	woken   chan struct{} // buffered 1
	counted []counted
}

// counted is a need that a slot knows of.
type counted struct {
	s    *slot
	need int64
}

// waitQueue is ordered by arrival. It is guarded by its slot's mu.
type waitQueue struct {
	waiters []*waiter
	sum     int64 // of needs
}

const (
	// maxWaitersPerBudget bounds the checks that wait for one budget.
	maxWaitersPerBudget = 4_096
	// maxWaiters bounds the checks that wait on this node.
	maxWaiters = 65_536
)

func (q *waitQueue) len() int { return len(q.waiters) }

// join inserts w by its arrival.
func (q *waitQueue) join(w *waiter) bool {
	if len(q.waiters) >= maxWaitersPerBudget {
		return false
	}
	i := len(q.waiters)
	for i > 0 && q.waiters[i-1].arrived > w.arrived {
		i--
	}
	q.waiters = slices.Insert(q.waiters, i, w)
	q.sum = satAdd(q.sum, w.need)
	return true
}

func (q *waitQueue) leave(w *waiter) {
	i := slices.Index(q.waiters, w)
	if i < 0 {
		return
	}
	q.waiters = slices.Delete(q.waiters, i, i+1)
	q.sum = 0
	for _, w := range q.waiters {
		q.sum = satAdd(q.sum, w.need)
	}
}

// least is the smallest need, 0 if nobody waits.
func (q *waitQueue) least() int64 {
	var least int64
	for i, w := range q.waiters {
		if i == 0 || w.need < least {
			least = w.need
		}
	}
	return least
}

// wakeReady tells the oldest waiters that fit into what is there, together, and
// every one whose verdict has changed, to decide anew. mu is held.
func (s *slot) wakeReady() {
	avail := s.avail.Load()
	room := avail
	for _, w := range s.queue.waiters {
		switch v, _ := s.judge(w.need, w.reserve); {
		case v == short:
		case v == fits && w.need <= avail:
			if w.need <= room {
				room -= w.need
				w.wake()
			}
		default:
			w.wake()
		}
	}
}

func (w *waiter) wake() { kickOn(w.woken) }

// newWaiter makes a place in the order of arrival. It fails when too many wait.
func (e *Enforcer) newWaiter() (*waiter, error) {
	if e.waiting.Add(1) > maxWaiters {
		e.waiting.Add(-1)
		return nil, ErrOverloaded
	}
	return &waiter{arrived: e.arrivals.Add(1), woken: make(chan struct{}, 1)}, nil
}

// count makes a need known to a slot, once, until doneWaiting.
func (w *waiter) count(s *slot, need int64) {
	if need <= 0 || slices.ContainsFunc(w.counted, func(c counted) bool { return c.s == s }) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needed > math.MaxInt64-need {
		return // what the others need is more than there can be
	}
	s.needed += need
	w.counted = append(w.counted, counted{s, need})
}

// doneWaiting ends what newWaiter has begun. What was kept for the check may be given back.
func (e *Enforcer) doneWaiting(w *waiter) {
	for _, c := range w.counted {
		c.s.mu.Lock()
		c.s.needed -= c.need
		work := e.agent.hasWork(c.s, time.Now())
		c.s.mu.Unlock()
		if work {
			e.agent.attend(c.s)
		}
	}
	e.waiting.Add(-1)
}

// await waits in s's queue until s may say something else to need than that it
// is short, or until. The slot is judged again once w stands in the queue, under
// its lock, so that no change falls between deciding and waiting.
func (e *Enforcer) await(ctx context.Context, s *slot, w *waiter, need int64, reserve bool, until time.Time) error {
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return nil
	}
	w.need, w.reserve = need, reserve
	if !s.queue.join(w) {
		s.mu.Unlock()
		return ErrOverloaded
	}
	s.watched.Store(true)
	v, _ := s.judge(need, reserve)
	s.mu.Unlock()

	var err error
	if v == short {
		e.agent.attend(s)
		err = w.wait(ctx, until)
	}
	s.mu.Lock()
	s.queue.leave(w)
	s.publish()
	s.mu.Unlock()
	return err
}

func (w *waiter) wait(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-w.woken:
		return nil
	case <-timer.C:
		return ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
}

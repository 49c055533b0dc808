package fsm

import (
	"slices"
	"sync"
)

// waiters are the callers of WaitApplied.
type waiters struct {
	mu   sync.Mutex
	list []*waiter
}

type waiter struct {
	index uint64
	done  chan error // buffered for one: whoever takes the waiter off the list sends once
}

// add returns a channel that is sent to when index is applied, and what takes the waiter away.
func (w *waiters) add(index uint64) (<-chan error, func()) {
	x := &waiter{index: index, done: make(chan error, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, x)
	return x.done, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(w.list, func(y *waiter) bool { return x == y })
	}
}

// wake ends the waits for index and below.
func (w *waiters) wake(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(x *waiter) bool {
		if x.index > index {
			return false
		}
		x.done <- nil
		return true
	})
}

// release ends every wait with err.
func (w *waiters) release(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.list {
		x.done <- err
	}
	w.list = nil
}

package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// verifier proves that this node still leads its term, by a round of heartbeats
// to a majority. Rounds are shared: whoever asks while one is under way is
// answered by the next, which begins after the question.
type verifier struct {
	verify  func() error
	current func() bool // the term has not changed

	mu      sync.Mutex
	running bool
	next    *round
	proven  time.Time // beginning of the last successful round
}

type round struct {
	done chan struct{}
	err  error
}

func newVerifier(verify func() error, current func() bool) *verifier {
	return &verifier{verify: verify, current: current}
}

// now returns nil if this node led the term at some moment after the call.
func (v *verifier) now(ctx context.Context) error {
	v.mu.Lock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	r := v.next
	if !v.running {
		v.running = true
		go v.run()
	}
	v.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// within returns nil if this node led the term at some moment not longer ago than d.
func (v *verifier) within(ctx context.Context, d time.Duration) error {
	v.mu.Lock()
	recent := time.Since(v.proven) <= d
	v.mu.Unlock()
	if recent {
		return nil
	}
	return v.now(ctx)
}

// run performs rounds while somebody asks for them.
func (v *verifier) run() {
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		if r == nil {
			v.running = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		began := time.Now()
		err := v.verify()
		switch {
		case err != nil:
			r.err = fmt.Errorf("%w: %w", ErrNotLeader, err)
		case !v.current():
			r.err = ErrNotLeader
		default:
			v.mu.Lock()
			v.proven = began
			v.mu.Unlock()
		}
		close(r.done)
	}
}

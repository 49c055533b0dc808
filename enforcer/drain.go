package enforcer

import (
	"context"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

// Drain stops admitting, ships the outbox and gives the leases back, within ctx.
// Run must still be running. What live reservations hold is kept.
//
// The last step says how much is kept of each lease. It must be the last thing
// said about leases: a release that arrived after it would take from what is
// kept, so it is not taken before all releases are seen applied.
func (e *Enforcer) Drain(ctx context.Context) error {
	e.draining.Store(true)
	if err := e.ship.drained(ctx); err != nil {
		return fmt.Errorf("drain: ship the outbox: %w", err)
	}
	// Whoever passed the gate before it closed is out after this pause.
	e.closed.Store(true)
	if !pause.For(ctx, e.c.AskWait+tick) {
		return fmt.Errorf("drain: %w", ctx.Err())
	}
	if err := e.ship.drained(ctx); err != nil {
		return fmt.Errorf("drain: ship the outbox: %w", err)
	}
	e.agent.stop()
	for {
		releases, parts := e.agent.inFlight()
		if releases == 0 && parts == 0 {
			break
		}
		e.agent.kick()
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: %d releases are not settled: %w", releases, ctx.Err())
		case <-time.After(drainPoll):
		}
	}
	propose := e.propose.Load()
	if propose == nil || !e.begun.Load() {
		return nil // nothing was ever given out
	}
	err := (*propose)(ctx, fsm.DrainNode{Node: e.c.Node, Boot: e.boot.Load(), Keep: e.keep()})
	if err != nil {
		return fmt.Errorf("drain: give the leases back: %w", err)
	}
	return nil
}

// keep takes the room out of every slot and returns what is still set aside.
func (e *Enforcer) keep() []fsm.Keep {
	var keep []fsm.Keep
	e.book.each(func(s *slot) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gone || !s.b.Leased {
			return
		}
		got := s.takeUpTo(max(0, s.avail.Load()))
		s.releasing += got
		s.drained += got
		s.floor -= got
		if held := max(0, s.heldNow()+s.pending); held > 0 {
			keep = append(keep, fsm.Keep{Budget: s.key, Amount: held})
		}
	})
	return keep
}

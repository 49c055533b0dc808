package enforcer

import (
	"slices"

	"github.com/bursar-dev/bursar/fsm"
)

// A node that has restarted and hears no leader takes events: it acknowledges them
// as being on its disk. But its session has not begun, and until then it does not
// know what its leases are: its replica may have lost an unsynced tail, with a
// release or a settlement of the session before that makes a lease smaller. An
// event that drew on such a lease could be the second to draw on the same room.
//
// So an early event draws on nothing. It is durable as undrawn, counts as an
// overdraft, and the reservation that it settles keeps all its holds and no longer expires.
// Once the session has begun, and before the event is sent for the first time, it
// is drawn as if it came then (accept.go), and written to the outbox like that: what is
// in the log and what a further restart finds in the outbox never differ.
//
//	undrawn ──session begins──▶ drawn ──durable──▶ queued
//	   └──settled by another copy──▶ done ◀──────────┘
//
// A crash in between leaves it undrawn, with the draws forgotten like the slots they
// were made in. What was sent was durable with its draws before.

// acceptEarly counts an event that is taken before the session has begun, and
// claims the reservation it settles, which keeps all it holds. With restored it was
// accepted in time by an earlier process.
func (e *Enforcer) acceptEarly(ev *fsm.Event, restored bool) (left surplus) {
	e.pend(ev)
	id, ok := parseResID([]byte(ev.Reservation))
	if !ok || id.node != e.c.Node {
		return left
	}
	e.table.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		if r != nil && r.event == "" && r.account == ev.Account && (restored || r.expires > e.now()) {
			r.event = ev.ID
			sh.expiry.remove(r)
			left.id, left.before = id, slices.Clone(r.holds)
		}
	})
	return left
}

// drawEarly draws the undrawn events, makes that durable, and queues them. What
// could not be written is tried again; it is drawn only once.
func (s *shipper) drawEarly() error {
	for {
		s.mu.Lock()
		n := min(len(s.undrawn), maxPartEvents)
		batch := s.undrawn[:n:n]
		var entries []*outboxEntry
		for _, sh := range batch {
			if sh.done {
				continue
			}
			if !sh.drawn {
				// With s.mu held: the apply goroutine reads the lines of what it has seen settled.
				sh.drawn, sh.left = true, s.draw(sh.ev)
			}
			entries = append(entries, &sh.outboxEntry)
		}
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		if err := s.outbox.redraw(entries); err != nil {
			return err
		}
		for _, sh := range batch {
			s.setFreed(sh, s.giveBack(sh.left))
			sh.left = surplus{}
		}
		s.mu.Lock()
		for _, sh := range batch {
			if sh.undrawn = false; sh.done {
				s.garbage = append(s.garbage, sh.outboxEntry)
			} else {
				s.queue = append(s.queue, sh)
			}
		}
		s.undrawn = dropFront(s.undrawn, n)
		s.mu.Unlock()
	}
}

// setFreed notes what a shipment has set free, once it is durable with its draws.
func (s *shipper) setFreed(sh *shipment, freed transit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.freed = freed
}

// freedBy returns what a shipment has set free of the reservation it settles.
func (s *shipper) freedBy(sh *shipment) transit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sh.freed
}

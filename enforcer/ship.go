package enforcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/fsm"
)

// shipper carries accepted events from this node's disk into the log. An event
// passes these states:
//
//	claimed   its id is taken; it is being resolved and written to the outbox
//	undrawn   durable here, waiting for the session to begin; see early.go
//	queued    durable here, not sent or not delivered
//	sent      handed to a leader; the outcome is unknown until it is seen applied
//	done      seen applied here; gone from the outbox soon after
//
// An error of Peers never means that an event was not settled: only ErrNoLeader
// puts it back in the queue at once, anything else leaves it sent until resendAfter
// has passed. Sending twice is harmless, the state machine settles an id once.
type shipper struct {
	log      *slog.Logger
	peers    Peers
	node     fsm.NodeNum
	session  func() *fsm.Part // an empty part of the present session
	index    func() uint64    // log index that the replica stands at
	begun    func() bool      // the session has begun: events may be sent
	draw     func(*fsm.Event) surplus
	giveBack func(surplus) transit
	refused  func([]*shipment)
	outbox   *outbox
	fs       vfs.FS
	dir      string

	mu       sync.Mutex
	events   map[eventKey]*shipment // claimed, queued and sent ones
	oldest   *shipment              // of events; they are linked in the order in which they were taken
	newest   *shipment
	bytes    int64         // of the durable ones
	entering int           // admitted and not claimed
	intake   intake        // how many may wait
	undrawn  []*shipment   // to be drawn and then queued, oldest first
	queue    []*shipment   // to send, oldest first
	flight   []sending     // by time
	settled  []*shipment   // seen applied, not yet announced; see complete
	garbage  []outboxEntry // to remove from the outbox
	idle     chan struct{} // closed while there are no events

	wake    chan struct{} // holds one: something is queued
	slots   chan struct{} // one per part in flight
	backoff shipBackoff
	diskErr atomic.Pointer[error]

	refusedBacklog atomic.Uint64 // requests: more waited than is settled in good time
	refusedFull    atomic.Uint64 // the outbox was full
}

// eventKey is what makes an event exactly-once.
type eventKey struct{ account, id string }

// shipment is one event on its way.
type shipment struct {
	outboxEntry
	key    eventKey
	batch  *shipBatch
	taken  time.Time // it waits since then
	older  *shipment // the one taken before it, and the one after, of those that wait
	newer  *shipment
	stored bool    // durable here
	drawn  bool    // undrawn on disk, but its lines are drawn
	left   surplus // of that, until it is on disk
	freed  transit // of the reservation it settles

	sends     int
	sentAt    time.Time // zero: not since it was queued
	committed uint64    // log index a leader says it has; 0: unknown
	restored  bool      // from before this process
	done      bool
	announced bool // done, and the slots show it
	// acknowledged: an answer said that this node has it, before the ledger did
	acknowledged bool
	outcome      fsm.EventOutcome
	waiters      []*ackWaiter
}

// sending is one time that an event was sent. It is out of date once the event
// is done or has been sent again.
type sending struct {
	sh *shipment
	at time.Time
}

func (f sending) stale() bool { return f.sh.done || !f.sh.sentAt.Equal(f.at) }

// shipBatch is what was claimed together and becomes durable together.
type shipBatch struct {
	stored    chan struct{} // closed when the outbox has answered
	err       error         // set before
	admission *admission    // of its events
}

// ackWaiter waits until a number of events are seen applied.
type ackWaiter struct {
	left int // guarded by shipper.mu
	done chan struct{}
}

const (
	maxPartEvents   = 256       // events of one part
	maxPartBytes    = 128 << 10 // encoded bytes of one part's events; one event may be larger
	maxPartsSent    = 8         // parts in flight
	shipGather      = 1 * time.Millisecond
	resendAfter     = 500 * time.Millisecond
	shipTick        = 100 * time.Millisecond // resends, outbox removal
	partTimeout     = 2 * time.Second
	minShipBackoff  = 20 * time.Millisecond // after ErrNoLeader, doubling
	maxShipBackoff  = 500 * time.Millisecond
	minFreeDisk     = 96 << 20 // bytes; with less free the node takes no events
	diskCheckPeriod = time.Second
)

// errDiskFull takes a node out before its stores fail.
var errDiskFull = fmt.Errorf("%w: the disk is nearly full", ErrUnavailable)

// shipConfig is what a shipper is made of.
type shipConfig struct {
	log      *slog.Logger
	fs       vfs.FS
	dir      string
	node     fsm.NodeNum
	peers    Peers
	session  func() *fsm.Part
	index    func() uint64
	begun    func() bool
	draw     func(*fsm.Event) surplus               // draws an undrawn event, once the session has begun
	giveBack func(surplus) transit                  // what that left of a reservation, once the event is durable with its draws
	known    func(account, id string) (bool, error) // whether the replica has the event
	refused  func([]*shipment)                      // acknowledged events that are not in the ledger after all; nil: nobody cares
}

// openShipper opens the outbox and takes up what stands in it, dropping what the
// replica has already. Nothing is sent before run.
func openShipper(c shipConfig) (*shipper, error) {
	box, entries, err := openOutbox(c.fs, c.dir, c.log)
	if err != nil {
		return nil, err
	}
	s := &shipper{
		log: c.log, peers: c.peers, node: c.node, session: c.session, index: c.index, begun: c.begun, draw: c.draw, giveBack: c.giveBack, refused: c.refused, outbox: box, fs: c.fs, dir: c.dir,
		events: make(map[eventKey]*shipment), idle: make(chan struct{}),
		wake: make(chan struct{}, 1), slots: make(chan struct{}, maxPartsSent),
	}
	now := time.Now()
	for _, e := range entries {
		key := eventKey{e.ev.Account, e.ev.ID}
		known, err := c.known(key.account, key.id)
		if err != nil {
			return nil, errors.Join(err, box.close())
		}
		if known || s.events[key] != nil {
			s.garbage = append(s.garbage, e)
			continue
		}
		sh := &shipment{outboxEntry: e, key: key, taken: now, stored: true, restored: true}
		s.link(sh)
		s.bytes += int64(e.size)
		if sh.undrawn {
			s.undrawn = append(s.undrawn, sh)
		} else {
			s.queue = append(s.queue, sh)
		}
	}
	if len(s.events) == 0 {
		close(s.idle)
	}
	if len(entries) > 0 {
		s.log.Info("outbox restored", "events", len(s.events), "settled", len(s.garbage))
	}
	s.kick()
	return s, nil
}

// claim takes the id of an event that was admitted with b. If it is taken already, it returns who has it instead.
func (s *shipper) claim(ev *fsm.Event, b *shipBatch) (mine, other *shipment) {
	key := eventKey{ev.Account, ev.ID}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.admission.left--
	s.entering--
	if other = s.events[key]; other != nil {
		return nil, other // it counts already
	}
	if len(s.events) == 0 {
		s.idle = make(chan struct{})
	}
	mine = &shipment{outboxEntry: outboxEntry{ev: ev}, key: key, batch: b, taken: b.admission.at}
	s.link(mine)
	return mine, nil
}

// unclaim gives ids back that were not stored, saying what became of them:
// outcome 0 is an error, and whoever waits for the batch finds it there.
func (s *shipper) unclaim(sh *shipment, outcome fsm.EventOutcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish(sh, outcome)
	s.announce(sh)
}

// store makes claimed events durable, all or none, and queues them.
func (s *shipper) store(shipments []*shipment, undrawn bool) error {
	entries := make([]*outboxEntry, len(shipments))
	for i, sh := range shipments {
		sh.undrawn = undrawn
		entries[i] = &sh.outboxEntry
	}
	if err := s.outbox.add(entries); err != nil {
		return fmt.Errorf("%w: write the outbox: %w", ErrUnavailable, err)
	}
	s.mu.Lock()
	for _, sh := range shipments {
		sh.stored = true
		s.bytes += int64(sh.size)
	}
	if undrawn {
		s.undrawn = append(s.undrawn, shipments...)
	} else {
		s.queue = append(s.queue, shipments...)
	}
	s.mu.Unlock()
	s.kick()
	return nil
}

// watch returns a channel that is closed once all shipments are done.
func (s *shipper) watch(shipments []*shipment) <-chan struct{} {
	w := &ackWaiter{done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range shipments {
		if !sh.announced {
			w.left++
			sh.waiters = append(sh.waiters, w)
		}
	}
	if w.left == 0 {
		close(w.done)
	}
	return w.done
}

// has reports whether an event of this id is on its way from here.
func (s *shipper) has(ev *fsm.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[eventKey{ev.Account, ev.ID}] != nil
}

// result returns what became of a shipment so far, for an answer; 0: it is not seen applied yet, and is acknowledged by this node alone.
func (s *shipper) result(sh *shipment) fsm.EventOutcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.acknowledged = sh.acknowledged || sh.outcome == 0
	return sh.outcome
}

// applied takes note of an event of the log. If it is one of this node's outbox,
// it returns that event, whose amounts are then no longer pending. The apply
// goroutine calls it, and complete after it has changed the slots.
func (s *shipper) applied(ev *fsm.EventApplied) (own *fsm.Event, ok bool) {
	if ev.Node != s.node {
		return nil, false // another node's copy; ours will be seen as its duplicate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.events[eventKey{ev.Account, ev.ID}]
	if sh == nil || !sh.stored {
		return nil, false
	}
	outcome := ev.Outcome
	if outcome == fsm.Duplicate && (sh.sends > 1 || sh.restored) {
		outcome = fsm.Settled // of an earlier copy of itself
	}
	s.finish(sh, outcome)
	s.settled = append(s.settled, sh)
	return sh.ev, true
}

// complete answers those who wait for the events seen since the last call.
func (s *shipper) complete() {
	if unheard := s.announceSettled(time.Now()); len(unheard) > 0 {
		s.refused(unheard)
	}
}

// announceSettled returns those that were refused after they had been acknowledged: no answer tells.
func (s *shipper) announceSettled(now time.Time) (unheard []*shipment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.settled {
		if s.refused != nil && (sh.acknowledged || sh.restored) && sh.outcome != fsm.Settled && sh.outcome != fsm.Duplicate {
			unheard = append(unheard, sh)
		}
		s.intake.waited(now, sh.taken)
		s.announce(sh)
	}
	s.intake.done(now, len(s.settled))
	clear(s.settled)
	s.settled = s.settled[:0]
	return unheard
}

// finish takes an event out. s.mu is held.
func (s *shipper) finish(sh *shipment, outcome fsm.EventOutcome) {
	s.unlink(sh)
	if sh.stored {
		s.bytes -= int64(sh.size)
		s.garbage = append(s.garbage, sh.outboxEntry)
	}
	sh.done, sh.outcome = true, outcome
	if len(s.events) == 0 {
		close(s.idle)
	}
}

// announce wakes who waits for a done event. s.mu is held.
func (s *shipper) announce(sh *shipment) {
	sh.announced = true
	for _, w := range sh.waiters {
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	sh.waiters = nil
}

// pending calls f for every durable event that is not seen applied, in no order.
func (s *shipper) pending(f func(ev *fsm.Event)) {
	s.each(func(sh *shipment) { f(sh.ev) })
}

func (s *shipper) each(f func(*shipment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.events {
		if sh.stored {
			f(sh)
		}
	}
}

// drained waits until every event is seen applied.
func (s *shipper) drained(ctx context.Context) error {
	for {
		s.mu.Lock()
		idle, n := s.idle, len(s.events)
		s.mu.Unlock()
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%d events are not settled yet: %w", n, ctx.Err())
		}
	}
}

// health returns why no event can be taken now, or nil.
func (s *shipper) health() error {
	if err := s.diskErr.Load(); err != nil {
		return *err
	}
	return nil
}

// close closes the outbox. Call it after run has returned and nothing is stored any more.
func (s *shipper) close() error {
	return errors.Join(s.sweep(), s.outbox.close())
}

func (s *shipper) kick() { kickOn(s.wake) }

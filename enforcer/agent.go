package enforcer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// agent runs the node's half of the lease protocol: it sends what want.go
// decides. On each tick it looks at every slot in use, and at once at slots it is
// told to attend to. All that one look decides goes into one part.
type agent struct {
	e *Enforcer

	mu        sync.Mutex
	urgent    []*slot // to look at now
	live      []*slot // to look at on each tick
	flight    map[uint64]*returning
	seq       uint64 // last release sequence
	floor     uint64 // every sequence below is seen applied
	leader    fsm.NodeNum
	newLeader bool // the leader is a new one: unseen releases go out with the next part
	stopped   bool // nothing more is asked for or given back

	wake   chan struct{}
	review chan struct{}
	sends  chan struct{} // one per part in flight
}

// returning is a release on its way. It is subtracted from the slot before it is
// sent and until it is seen applied, whatever the answer says (rule N12).
type returning struct {
	release fsm.Release
	sentAt  time.Time
}

const (
	maxPartAsks    = 4_096 // asks of one part, and releases
	maxReturning   = 1 << 17
	maxSendsUrgent = 24 // parts in flight beyond which only ticks send
	maxSends       = 32
	reconcileWait  = 500 * time.Millisecond
	askSoon        = 10 * time.Millisecond // after a part that no leader got
	quietTicks     = 50                    // after which a slot that nothing moves in is left alone
	sweepEvery     = 10 * time.Second
	keepEnded      = time.Minute     // a slot after its period
	keepIdle       = 5 * time.Minute // a slot that nothing moves in
)

func newAgent(e *Enforcer) *agent {
	return &agent{
		e: e, flight: make(map[uint64]*returning), floor: 1,
		wake: make(chan struct{}, 1), review: make(chan struct{}, 1), sends: make(chan struct{}, maxSends),
	}
}

// attend has a slot looked at now.
func (a *agent) attend(s *slot) {
	if !s.urgent.CompareAndSwap(false, true) {
		return
	}
	a.mu.Lock()
	a.urgent = append(a.urgent, s)
	a.mu.Unlock()
	a.kick()
}

func (a *agent) kick() { kickOn(a.wake) }

// activate has a slot looked at on each tick until nothing moves in it.
func (a *agent) activate(s *slot) {
	if !s.active.CompareAndSwap(false, true) {
		return
	}
	a.mu.Lock()
	a.live = append(a.live, s)
	a.mu.Unlock()
}

// run looks until ctx ends and returns when nothing is in flight.
func (a *agent) run(ctx context.Context) {
	var sends sync.WaitGroup
	defer sends.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.step(ctx, &sends, true)
		case <-a.wake:
			a.step(ctx, &sends, false)
		}
	}
}

// step looks at the slots that are due and sends what comes of it. On a tick it
// sends even an empty part: that is the node's heartbeat.
func (a *agent) step(ctx context.Context, sends *sync.WaitGroup, onTick bool) {
	if !onTick && len(a.sends) >= maxSendsUrgent {
		return // a part that comes back kicks
	}
	select {
	case a.sends <- struct{}{}:
	default:
		return
	}
	now := time.Now()
	part := a.e.part()
	if onTick {
		a.lookAtLive(part, now)
	}
	a.resend(part, now, onTick)
	a.lookAtUrgent(part, now)
	if !onTick && len(part.Asks)+len(part.Releases)+len(part.Exits) == 0 {
		<-a.sends
		return
	}
	sends.Go(func() {
		a.send(ctx, part)
		<-a.sends
		a.kickIfUrgent()
	})
}

func (a *agent) kickIfUrgent() {
	a.mu.Lock()
	more := len(a.urgent) > 0
	a.mu.Unlock()
	if more {
		a.kick()
	}
}

// lookAtUrgent looks at what attend has collected, as far as it fits into the part.
func (a *agent) lookAtUrgent(part *fsm.Part, now time.Time) {
	a.mu.Lock()
	slots := a.urgent
	rest := slots[min(len(slots), maxPartAsks):]
	slots = slots[:len(slots)-len(rest)]
	if a.urgent = rest; len(rest) == 0 {
		a.urgent = nil
	}
	a.mu.Unlock()
	for _, s := range slots {
		s.urgent.Store(false)
		s.mu.Lock()
		a.look(s, part, now, true)
		s.mu.Unlock()
	}
	clear(slots) // rest lies behind them, and they may go
	if len(rest) > 0 {
		a.kick()
	}
}

// lookAtLive takes the rates and looks at every slot in use.
func (a *agent) lookAtLive(part *fsm.Part, now time.Time) {
	a.mu.Lock()
	slots := a.live
	a.live = nil
	a.mu.Unlock()
	kept := slots[:0]
	for _, s := range slots {
		s.mu.Lock()
		s.measure(now)
		if s.quiet(now) {
			s.active.Store(false)
		} else {
			kept = append(kept, s)
			a.look(s, part, now, false)
		}
		s.mu.Unlock()
	}
	clear(slots[len(kept):])
	a.mu.Lock()
	a.live = append(kept, a.live...)
	a.mu.Unlock()
}

// measure folds what was admitted since the last tick into the rate. mu is held.
func (s *slot) measure(now time.Time) {
	taken := s.taken.Load()
	s.rate = smooth(s.rate, taken-s.lastTaken)
	if taken != s.lastTaken {
		s.lastTaken, s.lastMoved = taken, now.UnixMilli()
	}
	if s.b.Leased && s.b.Holder == s.me {
		if s.heldSince.IsZero() {
			s.heldSince = now
		}
	}
}

// quiet reports whether a slot needs no look on each tick. mu is held.
func (s *slot) quiet(now time.Time) bool {
	if s.gone {
		return true
	}
	return now.UnixMilli()-s.lastMoved > quietTicks*tick.Milliseconds() && s.rate == 0 &&
		s.queue.len() == 0 && !(s.b.Leased && s.b.Holder == s.me)
}

// numbers gathers what want.go decides on; wall is the node's clock at now. mu is held.
func (s *slot) numbers(r *roster, now time.Time, wall int64, urgent bool) numbers {
	n := numbers{
		shares: r.Shares, left: s.b.Left(), free: s.b.Free(), avg: s.b.Avg, threshold: s.b.Threshold(r.Shares),
		lease: s.b.LeaseOf(s.me), avail: s.avail.Load(), excess: s.excess(), rate: s.rate, releasing: s.releasing,
		holder: s.b.Holder == s.me, other: s.elsewhere(), allAck: s.allAck,
		acked:    s.finalSent || s.b.Acked(s.me),
		heldLong: !s.heldSince.IsZero() && now.Sub(s.heldSince) >= holderRest,
		waiting:  s.queue.len(), needed: s.needed, urgent: urgent, ended: wall >= s.end,
		inFlight: len(s.credits) >= maxCredits || (s.asking && now.Sub(s.askedAt) < askAgain),
	}
	if n.waiting > 0 {
		n.waitMin, n.waitSum = s.queue.least(), s.queue.sum
	}
	return n
}

// hasWork reports whether a look now would send something. s.mu is held.
func (a *agent) hasWork(s *slot, now time.Time) bool {
	if !s.b.Leased || s.gone {
		return false
	}
	n := s.numbers(a.e.roster.Load(), now, a.e.c.Wall(now), true)
	if _, _, _, ask := n.ask(); ask {
		return true
	}
	_, _, give := n.release()
	return give
}

// look sends what the rules say about one slot. s.mu is held.
func (a *agent) look(s *slot, part *fsm.Part, now time.Time, urgent bool) {
	if s.gone || !s.b.Leased || !a.e.begun.Load() {
		return
	}
	n := s.numbers(a.e.roster.Load(), now, a.e.c.Wall(now), urgent)
	a.mu.Lock()
	stopped, full := a.stopped, len(a.flight) >= maxReturning
	a.mu.Unlock()
	if stopped {
		return
	}
	if needMin, needSum, want, ok := n.ask(); ok && len(part.Asks) < maxPartAsks {
		part.Asks = append(part.Asks, fsm.Ask{Budget: s.key, NeedMin: needMin, NeedSum: needSum, Want: want})
		s.asking, s.askedAt = true, now
		a.e.counters.Asks.Add(1)
	}
	s.low.Store(n.target() / 2)
	if s.asking {
		s.low.Store(0)
	}
	// After a crash of the machine what is free to see may have been given out.
	if full || len(part.Releases) >= maxPartAsks || !a.e.mayGive(a.e.c.Wall(now)) {
		return
	}
	if amount, ok := n.exit(); ok {
		part.Exits = append(part.Exits, fsm.Exit{Budget: s.key, Gen: s.b.Gen})
		s.heldSince = now // once more only after another rest
		a.giveBack(s, part, now, amount, false)
		return
	}
	if amount, final, ok := n.release(); ok {
		a.giveBack(s, part, now, amount, final)
	}
}

// giveBack takes an amount out of a slot and puts its release into the part. s.mu is held.
func (a *agent) giveBack(s *slot, part *fsm.Part, now time.Time, amount int64, final bool) {
	got := s.giveUp(amount)
	if got == 0 && !final {
		return
	}
	s.releasing += got
	s.given += got
	s.floor -= got // avail has it already
	s.publish()
	s.finalSent = s.finalSent || final
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	r := fsm.Release{Seq: a.seq, Budget: s.key, Amount: got, Final: final, Gen: s.b.Gen}
	a.flight[a.seq] = &returning{release: r, sentAt: now}
	part.Releases = append(part.Releases, r)
	a.e.counters.Releases.Add(1)
}

// resend puts releases into the part that have not been seen for too long.
func (a *agent) resend(part *fsm.Part, now time.Time, onTick bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !onTick && !a.newLeader {
		return
	}
	a.newLeader = false
	for _, r := range a.flight {
		if len(part.Releases) >= maxPartAsks {
			return
		}
		if now.Sub(r.sentAt) >= releaseWait {
			r.sentAt = now
			part.Releases = append(part.Releases, r.release)
		}
	}
}

// seen notes a release as applied and returns it, the first time.
func (a *agent) seen(seq uint64) (release fsm.Release, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.flight[seq]
	if r == nil {
		return release, false
	}
	delete(a.flight, seq)
	for a.floor <= a.seq && a.flight[a.floor] == nil {
		a.floor++
	}
	return r.release, true
}

// send hands a part to the leader and counts the grants it answers with.
func (a *agent) send(ctx context.Context, part *fsm.Part) {
	ctx, cancel := context.WithTimeout(ctx, reconcileWait)
	defer cancel()
	again := time.AfterFunc(askAgain, func() { a.attendAsked(part) }) // does nothing for a part without asks
	reply, err := a.e.peers.Reconcile(ctx, part)
	if err != nil {
		if errors.Is(err, ErrNoLeader) && again.Stop() {
			time.AfterFunc(askSoon, func() { a.attendAsked(part) })
		}
		return
	}
	again.Stop()
	a.heard(reply.Leader)
	for i, g := range reply.Grants {
		if i < len(part.Asks) && g.Budget == part.Asks[i].Budget {
			a.granted(g, reply.Index)
		}
	}
}

// granted counts a grant until the replica shows it.
func (a *agent) granted(g fsm.Grant, index uint64) {
	s := a.e.book.find(g.Budget)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.asking = false
	s.addCredit(g.Amount, index)
	a.e.changed(s)
}

// attendAsked looks again at slots whose ask has not been answered and that checks wait for.
func (a *agent) attendAsked(part *fsm.Part) {
	for i := range part.Asks {
		s := a.e.book.find(part.Asks[i].Budget)
		if s == nil {
			continue
		}
		s.mu.Lock()
		waited := s.queue.len() > 0
		if waited {
			s.asking = false
		}
		s.mu.Unlock()
		if waited {
			a.attend(s)
		}
	}
}

// heard has unseen releases sent again at once when the leader is a new one.
func (a *agent) heard(leader fsm.NodeNum) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leader == a.leader {
		return
	}
	a.leader, a.newLeader = leader, len(a.flight) > 0
	a.kick()
	for _, r := range a.flight {
		r.sentAt = time.Time{}
	}
}

// part returns a part without content of this node's present session.
func (e *Enforcer) part() *fsm.Part {
	e.agent.mu.Lock()
	defer e.agent.mu.Unlock()
	return &fsm.Part{Node: e.c.Node, Boot: e.boot.Load(), ReleaseFloor: e.agent.floor}
}

// reviewSoon has live reservations and draws compared with the replica: a
// snapshot does not tell what was settled on the way to it.
func (a *agent) reviewSoon() { kickOn(a.review) }

// stop ends asking and giving back. inFlight tells how many releases are unseen.
func (a *agent) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
}

func (a *agent) inFlight() (releases, parts int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.flight), len(a.sends)
}

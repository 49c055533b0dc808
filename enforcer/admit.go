package enforcer

import (
	"fmt"
	"time"
)

// Causes of ErrOverloaded at ingest.
var (
	errBacklog    = fmt.Errorf("%w: as many events wait as can be settled in good time", ErrOverloaded)
	errOutboxFull = fmt.Errorf("%w: the outbox is full", ErrOverloaded)
)

// admission is the right of one request to bring a number of events. Those that it has
// not brought yet count as waiting: requests that come at once see each other.
type admission struct {
	at   time.Time // its events wait since then
	left int       // events it may still bring; guarded by shipper.mu
}

// admit lets a request in that brings a number of events, or says that there are too many waiting for its
// share of them (see sharePlain). Nothing has been kept of a request that is not admitted. The caller says leave at its end.
// Errors: ErrOverloaded.
func (s *shipper) admit(events int, share float64) (*admission, error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.overloaded(now, share); err != nil {
		return nil, err
	}
	s.entering += events
	return &admission{at: now, left: events}, nil
}

// keep gives back the places of an admission beyond a number of events: it will bring no more than that.
func (s *shipper) keep(a *admission, events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	surplus := max(0, a.left-events)
	s.entering -= surplus
	a.left -= surplus
}

// leave ends an admission. What it did not bring, it will not.
func (s *shipper) leave(a *admission) { s.keep(a, 0) }

// full reports why no request at all would be admitted now, or nil.
func (s *shipper) full() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overloaded(time.Now(), shareSettling)
}

// overloaded reports why a request of this share is not admitted, or nil, and counts refusals. s.mu is held.
func (s *shipper) overloaded(now time.Time, share float64) error {
	s.observe(now)
	waiting := len(s.events) + s.entering
	switch {
	case waiting >= maxOutboxEvents || s.bytes >= maxOutboxBytes:
		s.refusedFull.Add(1)
		return errOutboxFull
	case !s.intake.allowed(now, waiting, share):
		s.refusedBacklog.Add(1)
		return errBacklog
	}
	return nil
}

// observe shows the intake how things stand. s.mu is held.
func (s *shipper) observe(now time.Time) {
	oldest := now
	if s.oldest != nil {
		oldest = s.oldest.taken
	}
	s.intake.observe(now, s.leaderAtHand(now), len(s.events)+s.entering, oldest)
}

// leaderAtHand reports whether what waits here can be settled: the session has begun and a leader is heard.
func (s *shipper) leaderAtHand(now time.Time) bool {
	silence := now.Sub(s.peers.HeardLeader())
	return s.begun() && silence <= noLeaderAfter && (silence <= noLeaderSoon || !s.backoff.failing())
}

// backlog is what waits on this node for being settled.
type backlog struct {
	events    int
	bytes     int64         // of those that are durable
	age       time.Duration // of the oldest
	allowance int           // how many may wait
}

// depth returns the backlog.
func (s *shipper) depth() (b backlog) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(now)
	b = backlog{events: len(s.events), bytes: s.bytes, allowance: s.intake.allowance(now)}
	if s.oldest != nil {
		b.age = now.Sub(s.oldest.taken)
	}
	return b
}

// link puts a shipment behind all others of the backlog. s.mu is held.
func (s *shipper) link(sh *shipment) {
	s.events[sh.key] = sh
	if sh.older = s.newest; sh.older != nil {
		sh.older.newer = sh
	} else {
		s.oldest = sh
	}
	s.newest = sh
}

// unlink takes a shipment out of the backlog. s.mu is held.
func (s *shipper) unlink(sh *shipment) {
	delete(s.events, sh.key)
	if sh.older != nil {
		sh.older.newer = sh.newer
	} else {
		s.oldest = sh.newer
	}
	if sh.newer != nil {
		sh.newer.older = sh.older
	} else {
		s.newest = sh.older
	}
	sh.older, sh.newer = nil, nil
}

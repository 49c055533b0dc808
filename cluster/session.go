package cluster

import (
	"math"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// sessions is what a leader knows of the members' liveness in its term. It is
// nobody else's memory: a new leader begins with an empty one, and counts a
// member's silence from its own election.
type sessions struct {
	since time.Time // the election, or a little later

	mu sync.Mutex
	m  map[fsm.NodeNum]*session
}

type session struct {
	heard   time.Time // when the last reconcile arrived; zero: never in this term
	applied uint64    // as the member last said
	run     string    // the member's process; empty: not known
	reads   uint8     // log entries up to this version, as that process said
}

func newSessions(since time.Time) *sessions {
	return &sessions{since: since, m: make(map[fsm.NodeNum]*session)}
}

func (s *sessions) get(num fsm.NodeNum) *session {
	x := s.m[num]
	if x == nil {
		x = &session{}
		s.m[num] = x
	}
	return x
}

// touch records that a member's process was heard. It reports false if another
// process is the one of that name.
func (s *sessions) touch(num fsm.NodeNum, from caller, applied uint64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.get(num)
	if x.run != "" && x.run != from.run {
		return false
	}
	x.run, x.reads, x.heard, x.applied = from.run, from.reads, now, max(x.applied, applied)
	return true
}

// begin makes run the process of that name.
func (s *sessions) begin(num fsm.NodeNum, run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.get(num); x.run != run {
		x.run, x.applied, x.reads = run, 0, 0
	}
}

// reads is the version up to which the member reads log entries, 0 if it has not been heard in this term.
func (s *sessions) reads(num fsm.NodeNum) uint8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[num]; x != nil {
		return x.reads
	}
	return 0
}

// silence is how long the member has not been heard, by this leader's count.
func (s *sessions) silence(num fsm.NodeNum, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[num]; x != nil && x.heard.After(s.since) {
		return now.Sub(x.heard)
	}
	return now.Sub(s.since)
}

// applied is the index that the member is known to have applied.
func (s *sessions) applied(num fsm.NodeNum) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.m[num]; x != nil {
		return x.applied
	}
	return 0
}

// reached records what the member said of its applied index when asked.
func (s *sessions) reached(num fsm.NodeNum, applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.get(num)
	x.applied = max(x.applied, applied)
}

// end records that the node will decide nothing any more: no write waits for it.
func (s *sessions) end(num fsm.NodeNum) { s.reached(num, math.MaxUint64) }

// heardOf is what a leader tells of a member's session.
type heardOf struct {
	Node      fsm.NodeNum `msgpack:"n"`
	Applied   uint64      `msgpack:"a"`
	SilenceMS int64       `msgpack:"s"` // -1: never heard
	at        time.Time   // on the receiving side: when it was said
}

func (s *sessions) all(now time.Time) []heardOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []heardOf
	for num, x := range s.m {
		h := heardOf{Node: num, Applied: x.applied, SilenceMS: -1}
		if !x.heard.IsZero() {
			h.SilenceMS = now.Sub(x.heard).Milliseconds()
		}
		all = append(all, h)
	}
	return all
}

// watchSessions declares members dead that have been silent for DeadAfter. The
// leader itself needs no session to be alive.
func (l *leadership) watchSessions() {
	tick := time.NewTicker(leaderTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		t := l.n.members.Load()
		for _, m := range t.nodes {
			if m.RemovedAt != 0 || m.Dead || m.Name == l.n.cfg.Name {
				continue
			}
			silence := l.sessions.silence(m.Num, time.Now())
			if silence < l.n.cfg.DeadAfter {
				continue
			}
			_, err := l.commit(l.ctx, &fsm.Command{ID: newCommandID(), Actor: l.n.actor(), Body: fsm.DeadNode{Node: m.Num}})
			if l.ctx.Err() != nil {
				return
			}
			l.n.log.Warn("a node is silent: declared dead", "peer", m.Name, "silence", silence, "error", err)
		}
	}
}

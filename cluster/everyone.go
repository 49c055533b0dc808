package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

const (
	// askApplied bounds one request to a member to say when it has applied an index.
	askApplied = time.Second
	// askAppliedAgain is the pause between such requests.
	askAppliedAgain = 20 * time.Millisecond
	// removedSlack is added when the time of a removal, written by a past leader's
	// clock, is compared with this leader's.
	removedSlack = 5 * time.Second
)

// awaitEveryone returns when no node decides by a state older than index. For each
// member that is: it has applied index; or it has no session to decide in
// (drained, or never begun), and would apply index before it begins one; or this leader
// has not received a request from it for longer than the staleness bound.
//
// Why the last is enough. A node counts as fresh from the moment it *sent* the last
// reconcile that a leader answered, so this leader, which counts from the arrival,
// never thinks a node stale too soon. A leader answers only when it was proven to
// lead within the leader lease, so a predecessor's last answer was at most a
// lease after this one's election, from which unheard members are counted.
// And at the end this node proves that it still leads: no successor has refreshed anybody.
func (l *leadership) awaitEveryone(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()

	var wg sync.WaitGroup
	var skipped, unfinished atomic.Bool
	t := l.n.members.Load()
	for _, m := range t.nodes {
		if m.Name == l.n.cfg.Name && m.RemovedAt == 0 || l.forgotten(&m, t) {
			continue
		}
		wg.Go(func() {
			applied, err := l.awaitMember(ctx, &m, index)
			if err != nil {
				unfinished.Store(true)
			} else if !applied {
				skipped.Store(true)
			}
		})
	}
	wg.Wait()
	if unfinished.Load() {
		err := context.Cause(ctx)
		if l.ctx.Err() != nil {
			err = ErrNotLeader
		}
		return fmt.Errorf("%w: committed at %d, not applied everywhere: %w", enforcer.ErrUnknownOutcome, index, err)
	}
	if !skipped.Load() {
		return nil
	}
	if err := l.verifier.now(ctx); err != nil {
		return fmt.Errorf("%w: committed at %d, leadership lost before it was known to be applied everywhere: %w", enforcer.ErrUnknownOutcome, index, err)
	}
	return nil
}

// awaitMember waits for one member. applied is false if it was left behind for its silence.
func (l *leadership) awaitMember(ctx context.Context, m *fsm.Node, index uint64) (applied bool, err error) {
	bound := l.staleAfter()
	for {
		if l.sessions.applied(m.Num) >= index {
			return true, nil
		}
		if l.askMember(ctx, m, index, bound) {
			return true, nil
		}
		if l.idle(m.Num) {
			return true, nil
		}
		if silence := l.sessions.silence(m.Num, time.Now()); silence > bound {
			l.n.log.Warn("a write does not wait for a node past its staleness bound", "peer", m.Name, "silence", silence, "index", index)
			return false, nil
		}
		select {
		case <-time.After(askAppliedAgain):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// askMember asks once, for no longer than the member can matter.
func (l *leadership) askMember(ctx context.Context, m *fsm.Node, index uint64, bound time.Duration) bool {
	left := bound - l.sessions.silence(m.Num, time.Now())
	ctx, cancel := context.WithTimeout(ctx, max(askAppliedAgain, min(askApplied, left)))
	defer cancel()
	var a indexAnswer
	err := l.n.rpc.call(ctx, l.n.target(m.Name), methodWaitApplied, indexRequest{index}, &a)
	if saidByPeer(err, errRemoved) || saidByPeer(err, ErrStopped) {
		return true // it has failed, or knows that it is no member: it decides no more
	}
	if err == nil {
		l.sessions.reached(m.Num, a.Index)
	}
	return err == nil && a.Index >= index
}

// awaitIndex answers askMember once the index is applied here. A node that learns in
// this way of its own removal says so, and decides nothing from then on.
func (n *Node) awaitIndex(ctx context.Context, index uint64) (*indexAnswer, error) {
	if err := n.machine.WaitApplied(ctx, index); err != nil {
		return nil, err
	}
	if readMembers(n.machine).wasRemoved(n.cfg.Name) {
		n.fail(errRemoved)
		return nil, errRemoved
	}
	applied, _ := n.machine.Applied()
	return &indexAnswer{applied}, nil
}

// idle reports whether a member has no session: before it decides anything it
// applies a BootNode that stands behind everything committed by now.
func (l *leadership) idle(num fsm.NodeNum) bool {
	m := l.n.members.Load().node(num)
	return m != nil && (m.Drained || m.Boot == 0)
}

// forgotten reports whether a former member's staleness bound passed long ago,
// so that it decides no more whatever it knows.
func (l *leadership) forgotten(m *fsm.Node, t *memberTable) bool {
	if m.RemovedAt == 0 {
		return false
	}
	ago := time.Duration(l.n.cfg.Wall(time.Now())-m.RemovedAt) * time.Millisecond
	return ago > l.staleAfter()+removedSlack || t.member(m.Name) != nil && l.sessions.applied(t.num(m.Name)) > 0
}

// staleAfter is the silence after which a member is known not to decide.
func (l *leadership) staleAfter() time.Duration {
	t := l.n.members.Load()
	bound := fsm.DefaultMaxStaleness
	if t.configured {
		bound = time.Duration(t.settings.MaxStalenessMS) * time.Millisecond
	}
	return bound + l.n.cfg.leaderLease()
}

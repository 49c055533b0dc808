package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/fsm"
)

// leadership is this node's work during one term as leader. It keeps nothing that
// the next leader would miss: sessions start anew, everything else is in the log.
type leadership struct {
	n        *Node
	term     uint64
	ctx      context.Context // ends with the term
	cancel   context.CancelFunc
	ready    chan struct{} // closed when the term's first entries are applied here
	sessions *sessions
	batch    *batcher
	verifier *verifier
	joins    chan struct{} // capacity 1: one membership change at a time
}

const (
	// leaderTick is how often a leader looks after sessions and membership.
	leaderTick = 100 * time.Millisecond
	// leaderRetry is the pause after a failed step of taking over.
	leaderRetry = 50 * time.Millisecond
)

// watchLeadership follows raft's notifications, which come in order, until the node stops.
func (n *Node) watchLeadership() {
	var l *leadership
	end := func() {
		if l != nil {
			n.lead.Store(nil)
			l.end()
			l = nil
		}
	}
	defer end()
	for {
		select {
		case <-n.ctx.Done():
			return
		case leads := <-n.raft.notify:
			end()
			if leads {
				l = n.beginTerm()
				n.lead.Store(l)
				n.log.Info("this node leads", "term", l.term)
			}
		}
	}
}

func (n *Node) beginTerm() *leadership {
	l := &leadership{
		n: n, term: n.raft.CurrentTerm(),
		ready: make(chan struct{}), joins: make(chan struct{}, 1),
		sessions: newSessions(time.Now()),
	}
	l.ctx, l.cancel = context.WithCancel(n.ctx)
	l.batch = newBatcher(l.ctx, l.commitParts)
	l.verifier = newVerifier(func() error { return n.await(n.raft.VerifyLeader) }, func() bool { return n.raft.CurrentTerm() == l.term })
	n.wg.Go(l.run)
	return l
}

// end releases everybody who waits for the term's leader.
func (l *leadership) end() {
	l.cancel()
	l.batch.close()
	l.n.log.Info("this node leads no more", "term", l.term)
}

// wait waits until the leader may serve.
func (l *leadership) wait(ctx context.Context) error {
	select {
	case <-l.ready:
		if l.ctx.Err() != nil {
			return ErrNotLeader
		}
		return nil
	case <-l.ctx.Done():
		return ErrNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run takes over and then looks after the cluster until the term ends.
func (l *leadership) run() {
	for _, step := range []func() error{l.firstEntry, l.initialize, l.admitConfigured} {
		for {
			err := step()
			if err == nil {
				break
			}
			if l.ctx.Err() != nil || errors.Is(err, ErrStopped) {
				return
			}
			l.n.log.Warn("taking over as leader goes on", "error", err)
			select {
			case <-time.After(leaderRetry):
			case <-l.ctx.Done():
				return
			}
		}
	}
	close(l.ready)
	l.n.wg.Go(l.watchSessions)
	l.n.wg.Go(l.watchMembership)
	l.n.wg.Go(l.watchDoubt)
	l.n.wg.Go(l.watchRetention)
	l.n.wg.Go(l.watchChecksums)
}

// firstEntry commits an entry of this term. "A leader must have the latest
// information on which entries are committed": only an entry of its own term tells
// it (Raft thesis, 6.4). raft's own no-op does not reach the state machine, so
// its index could not be waited for; an empty command does.
func (l *leadership) firstEntry() error {
	_, _, err := l.n.apply(l.ctx, nil)
	return err
}

// initialize makes the cluster's settings if there are none.
func (l *leadership) initialize() error {
	if l.n.members.Load().configured {
		return nil
	}
	id, err := newClusterID()
	if err != nil {
		return err
	}
	_, err = l.commit(l.ctx, &fsm.Command{
		ID: newCommandID(), Actor: l.n.actor(),
		Body: fsm.Init{ClusterID: id, Shares: fsm.DefaultShares, MaxStalenessMS: fsm.DefaultMaxStaleness.Milliseconds()},
	})
	return err
}

// admitConfigured makes every server of raft's configuration a member, with its
// present address, the leader's own included.
func (l *leadership) admitConfigured() error {
	for _, s := range l.n.configuration().Servers {
		name, addr := string(s.ID), string(s.Address)
		if name == l.n.cfg.Name && addr != l.n.transport.advertise {
			addr = l.n.transport.advertise
			if err := l.n.change(func() raft.IndexFuture {
				return l.n.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, enqueueTimeout)
			}); err != nil {
				return err
			}
		}
		t := l.n.members.Load()
		if m := t.member(name); t.wasRemoved(name) || m != nil && m.Addr == addr {
			continue
		}
		if err := l.admit(l.ctx, name, addr); err != nil {
			return err
		}
	}
	return nil
}

func (l *leadership) admit(ctx context.Context, name, addr string) error {
	_, err := l.commit(ctx, &fsm.Command{ID: newCommandID(), Actor: l.n.actor(), Body: fsm.AdmitNode{Name: name, Addr: addr}})
	return err
}

// actor is who the cluster's own acts are attributed to.
func (n *Node) actor() fsm.Actor { return fsm.Actor{Type: "node", ID: n.cfg.Name, Name: n.cfg.Name} }

func newCommandID() string { return ulid.Make().String() }

package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// reconcileRequest is a node's part with what only its session is about.
type reconcileRequest struct {
	Part    fsm.Part `msgpack:"p"`
	Applied uint64   `msgpack:"a"` // by the sender's replica
}

type reconcileAnswer struct {
	Reply enforcer.ReconcileReply `msgpack:"r"`
	Heard []heardOf               `msgpack:"h,omitempty"` // with the answer to a heartbeat
}

// Reconcile implements enforcer.Peers. An answered one is also the node's
// heartbeat, and the proof of its freshness.
func (n *Node) Reconcile(ctx context.Context, part *fsm.Part) (*enforcer.ReconcileReply, error) {
	if err := n.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", enforcer.ErrNoLeader, err)
	}
	applied, _ := n.machine.Applied()
	req := &reconcileRequest{Part: *part, Applied: applied}
	sent := time.Now()
	a, err := n.reconcile(ctx, req)
	if err != nil {
		return nil, n.reconcileError(err)
	}
	n.answered(sent)
	if len(a.Heard) > 0 {
		now := time.Now()
		for i := range a.Heard {
			a.Heard[i].at = now
		}
		n.roll.Store(&a.Heard)
	}
	return &a.Reply, nil
}

func (n *Node) reconcile(ctx context.Context, req *reconcileRequest) (*reconcileAnswer, error) {
	if l := n.lead.Load(); l != nil {
		num, self := n.members.Load().num(n.cfg.Name), caller{name: n.cfg.Name, run: n.run, reads: n.cfg.Tuning.LogVersion}
		if l.logVersion() < fsm.LogVersion {
			return l.reconcile(ctx, num, self, req.Applied, sentPart{part: &req.Part}, partBytes(&req.Part))
		}
		packed := req.Part.Pack()
		return l.reconcile(ctx, num, self, req.Applied, sentPart{packed: packed}, len(packed))
	}
	name := n.leader()
	if name == "" || name == n.cfg.Name {
		return nil, enforcer.ErrNoLeader
	}
	a := new(reconcileAnswer)
	to := n.target(name)
	if peer, err := n.rpc.peer(ctx, to, methodReconcilePacked); err != nil {
		return nil, err
	} else if peer.Reads < fsm.LogVersion {
		return a, n.rpc.call(ctx, to, methodReconcile, req, a)
	}
	body := append(binary.AppendUvarint(nil, req.Applied), req.Part.Pack()...)
	answer, _, err := n.rpc.callRaw(ctx, to, methodReconcilePacked, body)
	if err == nil {
		err = decodeAnswer(answer, to, a)
	}
	return a, err
}

// reconcileError puts an error into the terms of enforcer.Peers, and acts on
// what the leader says of this node's membership.
func (n *Node) reconcileError(err error) error {
	switch {
	case errors.Is(err, errRejoin), errors.Is(err, errNotMember):
		n.join.again()
	case errors.Is(err, errRemoved):
		n.fail(errRemoved)
	}
	var rejection *fsm.Error
	switch {
	case errors.As(err, &rejection), errors.Is(err, enforcer.ErrNoLeader), errors.Is(err, enforcer.ErrUnknownOutcome):
		return err
	case notDone(err):
		return fmt.Errorf("%w: %w", enforcer.ErrNoLeader, err)
	default:
		return fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, err)
	}
}

// answered records that what was sent at a moment has been answered.
func (n *Node) answered(sent time.Time) {
	for {
		old := n.heard.Load()
		if old != nil && !sent.After(*old) || n.heard.CompareAndSwap(old, &sent) {
			return
		}
	}
}

// HeardLeader implements enforcer.Peers: when the last reconcile was sent that a
// leader answered. Zero if never, and for ever after the node has failed.
func (n *Node) HeardLeader() time.Time {
	if t := n.heard.Load(); t != nil && n.Err() == nil {
		return *t
	}
	return time.Time{}
}

// reconcile answers a member, which has applied so much. bytes is about the size of its part.
func (l *leadership) reconcile(ctx context.Context, num fsm.NodeNum, from caller, applied uint64, part sentPart, bytes int) (*reconcileAnswer, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	node, err := part.node()
	if err != nil {
		return nil, err
	}
	if num == 0 || node != num {
		return nil, fmt.Errorf("%w: a part of node %d from node %d", errNotMember, node, num)
	}
	if !l.sessions.touch(num, from, applied, time.Now()) {
		return nil, errRejoin
	}
	a := &reconcileAnswer{}
	if part.empty() {
		// An answer makes the node fresh. It is given only by a leader that was proven
		// to lead within the lease; see awaitEveryone.
		if err := l.verifier.within(ctx, l.n.cfg.leaderLease()); err != nil {
			return nil, err
		}
		a.Heard = l.sessions.all(time.Now())
	} else {
		index, grants, err := l.batch.add(ctx, part, bytes)
		if err != nil {
			return nil, err
		}
		a.Reply.Index, a.Reply.Grants = index, grants
	}
	a.Reply.Leader = l.n.members.Load().num(l.n.cfg.Name)
	a.Reply.Commit, _ = l.n.machine.Applied()
	return a, nil
}

// heartbeat reports whether a part has no content, so that there is nothing to log.
func heartbeat(p *fsm.Part) bool {
	return len(p.Events) == 0 && len(p.Releases) == 0 && len(p.Asks) == 0 && len(p.Exits) == 0
}

// commitParts commits one entry for the batcher.
func (l *leadership) commitParts(ctx context.Context, parts []sentPart) (uint64, fsm.Outcome, error) {
	data, err := encodeParts(l.n.actor(), l.n.members.Load().num(l.n.cfg.Name), l.logVersion(), parts)
	if err != nil {
		return 0, fsm.Outcome{}, err
	}
	return l.n.apply(ctx, data)
}

// Sizes for partBytes: encoded fields of a fixed size, names of fields included.
const (
	eventBytes = 256
	lineBytes  = 32
	askBytes   = 48
	pairBytes  = 8
)

// partBytes estimates a part's encoded size without encoding it.
func partBytes(p *fsm.Part) int {
	n := askBytes * (1 + len(p.Releases) + len(p.Asks) + len(p.Exits))
	for i := range p.Events {
		e := &p.Events[i]
		n += eventBytes + len(e.Account) + len(e.ID) + len(e.Model) + len(e.Reservation) + lineBytes*(len(e.Lines)+len(e.Usage))
		for _, s := range e.Chain {
			n += pairBytes + len(s)
		}
		for _, s := range e.Entities {
			n += pairBytes + len(s)
		}
		for k, v := range e.Metadata {
			n += pairBytes + len(k) + len(v)
		}
	}
	return n
}

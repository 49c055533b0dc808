package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

const (
	// retryAfter is the pause before a request to the leader is tried again.
	retryAfter = 20 * time.Millisecond
	// leaderPoll is how soon a caller that waits for a leader's answer notices another leader.
	leaderPoll = 50 * time.Millisecond
)

// Propose commits a command through the leader, wherever that is, and waits until
// every live node has applied it, or has been silent for longer than the
// staleness bound. ID, At and Leader are filled in. A rejection by the state
// machine is returned as *fsm.Error. When ctx ends first the error wraps
// enforcer.ErrUnknownOutcome, or enforcer.ErrNoLeader if nothing was done for sure.
func (n *Node) Propose(ctx context.Context, actor fsm.Actor, body fsm.Body) (index uint64, err error) {
	return n.propose(ctx, actor, body, true)
}

// ProposeQuick is Propose without waiting for the other nodes to apply. This one has.
func (n *Node) ProposeQuick(ctx context.Context, actor fsm.Actor, body fsm.Body) (index uint64, err error) {
	return n.propose(ctx, actor, body, false)
}

// propose retries under one command id until the outcome is known or ctx ends.
func (n *Node) propose(ctx context.Context, actor fsm.Actor, body fsm.Body, everyone bool) (uint64, error) {
	// The leader encodes it for the log; whatever its release, it reads this if it knows the body.
	encoded, err := fsm.EncodeVersion(&fsm.Command{ID: newCommandID(), Actor: actor, Body: body}, fsm.Since(body))
	if err != nil {
		return 0, err
	}
	m := methodProposeQuick
	if everyone {
		m = methodPropose
	}
	var index uint64
	err = n.untilKnown(ctx, func(ctx context.Context) (err error) {
		index, err = n.viaLeader(ctx, m, &proposeRequest{Command: encoded},
			func(l *leadership) (uint64, error) { return l.propose(ctx, encoded, everyone) })
		if fsm.Since(body) > fsm.FirstLogVersion && errors.Is(err, fsm.ErrCorrupt) {
			return fsm.ErrReleases // it is the leader that cannot read it
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := n.machine.WaitApplied(ctx, index); err != nil {
		return index, fmt.Errorf("committed at %d, but not applied here yet: %w", index, err)
	}
	return index, nil
}

// untilKnown repeats f, which must be safe to repeat, until it succeeds, is
// rejected, or ctx or the node ends.
func (n *Node) untilKnown(ctx context.Context, f func(context.Context) error) error {
	unknown := false
	for {
		err := f(ctx)
		var rejection *fsm.Error
		if err == nil || errors.As(err, &rejection) || errors.Is(err, errRefused) {
			return err
		}
		unknown = unknown || !notDone(err)
		select {
		case <-time.After(retryAfter):
			continue
		case <-ctx.Done():
			err = fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-n.ctx.Done():
			err = ErrStopped
		case <-n.failed:
			err = n.err
		}
		if unknown {
			return fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, err)
		}
		return fmt.Errorf("%w: %w", enforcer.ErrNoLeader, err)
	}
}

// viaLeader has the leader answer with an index: this node if it leads, or else
// by a request that is given up when another leader shows up.
func (n *Node) viaLeader(ctx context.Context, m method, req any, local func(*leadership) (uint64, error)) (uint64, error) {
	if l := n.lead.Load(); l != nil {
		return local(l)
	}
	name := n.leader()
	if name == "" || name == n.cfg.Name {
		return 0, enforcer.ErrNoLeader
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(leaderPoll)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if now := n.leader(); now != "" && now != name {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	var a indexAnswer
	err := n.rpc.call(ctx, n.target(name), m, req, &a)
	return a.Index, err
}

// propose commits an encoded command for whoever sent it.
func (l *leadership) propose(ctx context.Context, encoded []byte, everyone bool) (uint64, error) {
	if err := l.wait(ctx); err != nil {
		return 0, err
	}
	cmd, err := fsm.Decode(encoded)
	if err != nil {
		return 0, err
	}
	if _, ok := cmd.Body.(fsm.Reconcile); ok || cmd.ID == "" {
		return 0, &fsm.Error{Code: fsm.CodeInvalid, Message: "this command cannot be proposed: it has no id, or is a reconcile"}
	}
	index, err := l.commit(ctx, cmd)
	if err != nil || !everyone {
		return index, err
	}
	return index, l.awaitEveryone(ctx, index)
}

// commit stamps a command and commits it. The index is that of the entry which
// took effect: an earlier one if the command's id has been applied before.
func (l *leadership) commit(ctx context.Context, cmd *fsm.Command) (uint64, error) {
	index, outcome, err := l.commitOutcome(ctx, cmd)
	if err != nil {
		return 0, err
	}
	if outcome.Err != nil {
		return 0, outcome.Err
	}
	if outcome.Index != 0 {
		index = outcome.Index
	}
	return index, nil
}

func (l *leadership) commitOutcome(ctx context.Context, cmd *fsm.Command) (uint64, fsm.Outcome, error) {
	cmd.At = l.n.cfg.Wall(time.Now())
	cmd.Leader = l.n.members.Load().num(l.n.cfg.Name)
	data, err := fsm.EncodeVersion(cmd, l.logVersion())
	if err != nil {
		return 0, fsm.Outcome{}, err
	}
	return l.n.apply(ctx, data)
}

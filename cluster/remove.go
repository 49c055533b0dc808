package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// tellRemoved bounds the wait for a removed node to learn of it before raft stops talking to it.
const tellRemoved = time.Second

// Remove ends a node's membership; see fsm.RemoveNode. A leader that is asked to
// remove itself hands leadership over first. Removing a former member again is
// no error. What the state forbids, or would leave without a majority, is an *fsm.Error.
func (n *Node) Remove(ctx context.Context, actor fsm.Actor, name string) error {
	return n.untilKnown(ctx, func(ctx context.Context) error {
		_, err := n.viaLeader(ctx, methodRemove, &removeRequest{Actor: actor, Name: name},
			func(l *leadership) (uint64, error) { return 0, l.remove(ctx, actor, name) })
		return err
	})
}

// remove takes the node out of the replicated membership first, so that it reads
// of its removal in the log and stops by itself, and then out of raft's configuration.
func (l *leadership) remove(ctx context.Context, actor fsm.Actor, name string) error {
	if err := l.wait(ctx); err != nil {
		return err
	}
	t := l.n.members.Load()
	if t.member(name) == nil && t.wasRemoved(name) {
		return nil
	}
	if t.member(name) == nil {
		return &fsm.Error{Code: fsm.CodeNotFound, Message: fmt.Sprintf("there is no node %q", name)}
	}
	if err := l.removable(name); err != nil {
		return err
	}
	if name == l.n.cfg.Name {
		if err := l.n.handOver(ctx, ""); err != nil {
			return err
		}
		return ErrNotLeader
	}
	if err := l.lockMembership(ctx); err != nil {
		return err
	}
	defer l.unlockMembership()
	index, err := l.commit(ctx, &fsm.Command{ID: newCommandID(), Actor: actor, Body: fsm.RemoveNode{Name: name}})
	if err != nil {
		return err
	}
	l.tellRemoved(ctx, name, t.num(name), index)
	return l.n.change(func() raft.IndexFuture { return l.n.raft.RemoveServer(raft.ServerID(name), 0, enqueueTimeout) })
}

// tellRemoved lets a removed node read of its removal. Once it has, writes do not wait for it.
func (l *leadership) tellRemoved(ctx context.Context, name string, num fsm.NodeNum, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, tellRemoved)
	defer cancel()
	err := l.n.rpc.call(ctx, l.n.target(name), methodWaitApplied, indexRequest{index}, nil)
	if saidByPeer(err, errRemoved) {
		l.sessions.end(num)
		return
	}
	l.n.log.Warn("a removed node does not know it yet: writes wait for it until it is past its staleness bound", "peer", name, "error", err)
}

// removable refuses a removal after which the members that are there could not commit.
func (l *leadership) removable(name string) error {
	t := l.n.members.Load()
	voters, alive := 0, 0
	for _, s := range l.n.configuration().Servers {
		if string(s.ID) == name || s.Suffrage != raft.Voter {
			continue
		}
		voters++
		m := t.member(string(s.ID))
		if string(s.ID) == l.n.cfg.Name || m != nil && !m.Dead && l.sessions.silence(m.Num, time.Now()) < l.n.cfg.DeadAfter {
			alive++
		}
	}
	if alive > voters/2 {
		return nil
	}
	return &fsm.Error{
		Code:    fsm.CodeConflict,
		Message: fmt.Sprintf("without node %q, %d of %d voters are there: not a majority", name, alive, voters),
		Numbers: map[string]int64{"voters": int64(voters), "alive": int64(alive)},
	}
}

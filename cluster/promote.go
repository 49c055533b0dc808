package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// catchUpWithin is how soon a non-voter must have applied what is committed now
// to count as caught up.
const catchUpWithin = time.Second

// watchMembership brings raft's configuration in line with the replicated
// membership, step by step, so that what one leader began the next one finishes: servers
// that are members no more leave, and non-voters that have caught up get a vote.
func (l *leadership) watchMembership() {
	tick := time.NewTicker(leaderTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		for _, s := range l.n.configuration().Servers {
			l.tend(s)
		}
	}
}

// tend takes one step for one server, if one is due.
func (l *leadership) tend(s raft.Server) {
	name := string(s.ID)
	t := l.n.members.Load()
	switch {
	case t.wasRemoved(name) && name != l.n.cfg.Name:
		if l.lockMembership(l.ctx) != nil {
			return
		}
		defer l.unlockMembership()
		if !l.n.members.Load().wasRemoved(name) {
			return
		}
		err := l.n.change(func() raft.IndexFuture { return l.n.raft.RemoveServer(s.ID, 0, enqueueTimeout) })
		l.n.log.Info("a removed node left the configuration", "peer", name, "error", err)
	case t.member(name) != nil && s.Suffrage == raft.Nonvoter && l.caughtUp(name):
		if l.lockMembership(l.ctx) != nil {
			return
		}
		defer l.unlockMembership()
		if l.n.members.Load().member(name) == nil {
			return
		}
		err := l.n.change(func() raft.IndexFuture { return l.n.raft.AddVoter(s.ID, s.Address, 0, enqueueTimeout) })
		l.n.log.Info("a node caught up and got its vote", "peer", name, "error", err)
	}
}

// caughtUp reports whether the node applies what is committed now within catchUpWithin.
func (l *leadership) caughtUp(name string) bool {
	ctx, cancel := context.WithTimeout(l.ctx, catchUpWithin)
	defer cancel()
	index := l.n.raft.CommitIndex()
	var a indexAnswer
	err := l.n.rpc.call(ctx, l.n.target(name), methodWaitApplied, indexRequest{index}, &a)
	return err == nil && a.Index >= index
}

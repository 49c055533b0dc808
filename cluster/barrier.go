package cluster

import (
	"context"

	"github.com/bursar-dev/bursar/internal/invariants"
)

// Barrier makes reads linearizable: when it returns, the local replica holds every write
// acknowledged anywhere before the call. It returns the index read at. When ctx
// ends first the error wraps enforcer.ErrNoLeader or enforcer.ErrUnknownOutcome.
func (n *Node) Barrier(ctx context.Context) (index uint64, err error) {
	err = n.untilKnown(ctx, func(ctx context.Context) (err error) {
		index, err = n.viaLeader(ctx, methodReadIndex, nothing{}, func(l *leadership) (uint64, error) { return l.readIndex(ctx) })
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := n.machine.WaitApplied(ctx, index); err != nil {
		return 0, err
	}
	if invariants.Enabled {
		applied, _ := n.machine.Applied()
		invariants.Check(applied >= index, "a read at %d of a replica at %d", index, applied)
	}
	return index, nil
}

// readIndex returns an index that covers every write acknowledged before the
// call. The steps are those of the Raft thesis, 6.4:
func (l *leadership) readIndex(ctx context.Context) (uint64, error) {
	// "If the leader has not yet marked an entry from its current term committed, it
	// waits until it has done so." firstEntry was that entry.
	if err := l.wait(ctx); err != nil {
		return 0, err
	}
	// "The leader saves its current commit index in a local variable readIndex." All
	// entries after firstEntry reach the state machine (commands and configurations;
	// raft's no-ops begin other terms), so a replica can wait for exactly this one.
	index := l.n.raft.CommitIndex()
	// "The leader needs to make sure it has not been superseded by a newer leader of
	// which it is unaware." The round begins after the commit index was read.
	if err := l.verifier.now(ctx); err != nil {
		return 0, err
	}
	// "The leader waits for its state machine to advance at least as far as the
	// readIndex": the caller's own replica does, in Barrier.
	return index, nil
}

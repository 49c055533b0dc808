package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// TransferLeadership hands leadership to the named node, or to the most suitable if empty.
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	if to != "" && to == n.leader() {
		return nil
	}
	var outcome error
	err := n.untilKnown(ctx, func(ctx context.Context) error {
		_, err := n.viaLeader(ctx, methodTransfer, &transferRequest{To: to},
			func(l *leadership) (uint64, error) { return 0, l.transfer(ctx, to) })
		if err != nil && notDone(err) {
			return err
		}
		outcome = err // known, or not to be repeated: a second transfer would undo the first
		return nil
	})
	if err != nil {
		return err
	}
	return outcome
}

func (l *leadership) transfer(ctx context.Context, to string) error {
	if err := l.wait(ctx); err != nil {
		return err
	}
	if to == l.n.cfg.Name {
		return nil
	}
	return l.n.handOver(ctx, to)
}

// handOver gives leadership to a voter, the most suitable one if to is empty.
func (n *Node) handOver(ctx context.Context, to string) error {
	var f raft.Future
	if to == "" {
		f = n.raft.LeadershipTransfer()
	} else {
		for _, s := range n.configuration().Servers {
			if string(s.ID) == to && s.Suffrage == raft.Voter {
				f = n.raft.LeadershipTransferToServer(s.ID, s.Address)
			}
		}
	}
	if f == nil {
		return &fsm.Error{Code: fsm.CodeNotFound, Message: fmt.Sprintf("there is no voter %q to lead", to)}
	}
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		if err != nil {
			return &fsm.Error{Code: fsm.CodeConflict, Message: "leadership was not handed over: " + err.Error()}
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

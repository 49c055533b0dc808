package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// enqueueTimeout bounds the wait for a place in raft's queue. It says nothing about the commit.
const enqueueTimeout = time.Second

// apply commits one entry through the local raft, which must lead, and returns
// its index and outcome after the local replica applied it. ErrNotLeader and
// errOverloaded: it is not in the log. enforcer.ErrUnknownOutcome: it may or may not be.
func (n *Node) apply(ctx context.Context, data []byte) (uint64, fsm.Outcome, error) {
	if !n.applying.enter() {
		return 0, fsm.Outcome{}, ErrStopped
	}
	type result struct {
		index    uint64
		response any
		err      error
	}
	done := make(chan result, 1)
	go func() {
		defer n.applying.leave()
		f := n.raft.Apply(data, enqueueTimeout)
		if err := f.Error(); err != nil {
			done <- result{err: err}
			return
		}
		done <- result{index: f.Index(), response: f.Response()}
	}()
	select {
	case <-ctx.Done():
		return 0, fsm.Outcome{}, fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, ctx.Err())
	case r := <-done:
		if r.err != nil {
			return 0, fsm.Outcome{}, raftError(r.err)
		}
		switch v := r.response.(type) {
		case fsm.Outcome:
			return r.index, v, nil
		case notApplied:
			return 0, fsm.Outcome{}, fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, v.err)
		default:
			return 0, fsm.Outcome{}, fmt.Errorf("%w: raft answered %T", enforcer.ErrUnknownOutcome, v)
		}
	}
}

// await performs an operation of raft's and waits for its end. Close lets it end.
func (n *Node) await(operation func() raft.Future) error {
	if !n.applying.enter() {
		return ErrStopped
	}
	defer n.applying.leave()
	return operation().Error()
}

// change has the local raft, which must lead, change its configuration.
func (n *Node) change(operation func() raft.IndexFuture) error {
	err := n.await(func() raft.Future { return operation() })
	if err == nil || errors.Is(err, ErrStopped) {
		return err
	}
	return raftError(err)
}

// raftError says what an error of raft's means for the entry it is about.
func raftError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", errOverloaded, err)
	default: // leadership lost, shut down, a failed disk: the entry may have reached others
		return fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, err)
	}
}

// applyGate counts operations on their way through raft, so that Close can let them
// end: raft answers to nobody whose operation it still holds when it shuts down.
type applyGate struct {
	mu     sync.Mutex
	count  int
	closed bool
	empty  chan struct{} // closed when closed and count is 0
}

func (g *applyGate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.count++
	return true
}

func (g *applyGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.closed && g.count == 0 {
		close(g.empty)
	}
}

func (g *applyGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed, g.empty = true, make(chan struct{})
	if g.count == 0 {
		close(g.empty)
	}
}

// wait waits until nothing is on its way. The gate is closed.
func (g *applyGate) wait(ctx context.Context) {
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}

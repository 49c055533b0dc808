package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// The two ends of the circle that node describes: an observer that is there
// before the enforcer, and peers that are there before the cluster.

// lateObserver is the state machine's observer from the start, and passes what
// it hears on to one that appears later.
type lateObserver struct {
	mu sync.Mutex
	to fsm.Observer
}

// Applied implements fsm.Observer.
func (o *lateObserver) Applied(c *fsm.Changes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to != nil {
		o.to.Applied(c)
	}
}

// attach tells to about all that m applies from now on, after telling it to read
// everything: what it read before may be out of date. Nothing slips through in
// between, because both pass under one mutex and the state always moves before
// the observer is told. A change that m has applied and not announced yet is
// told twice, in the Full and by itself.
func (o *lateObserver) attach(to fsm.Observer, m *fsm.Machine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	index, _ := m.Applied()
	to.Applied(&fsm.Changes{Index: index, Full: true})
	o.to = to
}

// latePeers stands for the cluster before it is opened: no leader, nobody to be reached.
type latePeers struct{ node atomic.Pointer[cluster.Node] }

// Reconcile implements enforcer.Peers.
func (p *latePeers) Reconcile(ctx context.Context, part *fsm.Part) (*enforcer.ReconcileReply, error) {
	if n := p.node.Load(); n != nil {
		return n.Reconcile(ctx, part)
	}
	return nil, fmt.Errorf("%w: the node is starting", enforcer.ErrNoLeader)
}

// Call implements enforcer.Peers.
func (p *latePeers) Call(ctx context.Context, to fsm.NodeNum, method enforcer.Method, req, reply any) error {
	if n := p.node.Load(); n != nil {
		return n.Call(ctx, to, method, req, reply)
	}
	return fmt.Errorf("%w: the node is starting", enforcer.ErrUnreachable)
}

// HeardLeader implements enforcer.Peers.
func (p *latePeers) HeardLeader() time.Time {
	if n := p.node.Load(); n != nil {
		return n.HeardLeader()
	}
	return time.Time{}
}

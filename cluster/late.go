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

// The parts of a node depend on one another in a circle: the enforcer is opened
// before the cluster that serves it, and the state machine before the enforcer that
// observes it. Two stand-ins cut it.

// LateObserver is the state machine's observer from the start, and passes what
// it hears on to one that appears later.
type LateObserver struct {
	mu sync.Mutex
	to fsm.Observer
}

// Applied implements fsm.Observer.
func (o *LateObserver) Applied(c *fsm.Changes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to != nil {
		o.to.Applied(c)
	}
}

// Attach tells to about all that m applies from now on, after telling it to read
// everything: what it read before may be out of date. Nothing slips through in
// between, because both pass under one mutex and the state always moves before
// the observer is told. A change that m has applied and not announced yet is
// told twice, in the Full and by itself.
func (o *LateObserver) Attach(to fsm.Observer, m *fsm.Machine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	index, _ := m.Applied()
	to.Applied(&fsm.Changes{Index: index, Full: true})
	o.to = to
}

// LatePeers is an enforcer's Peers from the start. Until it is bound to a Node there is no
// leader and nobody to be reached.
type LatePeers struct{ node atomic.Pointer[Node] }

// Bind makes n answer from now on.
func (p *LatePeers) Bind(n *Node) { p.node.Store(n) }

// Reconcile implements enforcer.Peers.
func (p *LatePeers) Reconcile(ctx context.Context, part *fsm.Part) (*enforcer.ReconcileReply, error) {
	if n := p.node.Load(); n != nil {
		return n.Reconcile(ctx, part)
	}
	return nil, fmt.Errorf("%w: the node is starting", enforcer.ErrNoLeader)
}

// Call implements enforcer.Peers.
func (p *LatePeers) Call(ctx context.Context, to fsm.NodeNum, method enforcer.Method, req, reply any) error {
	if n := p.node.Load(); n != nil {
		return n.Call(ctx, to, method, req, reply)
	}
	return fmt.Errorf("%w: the node is starting", enforcer.ErrUnreachable)
}

// HeardLeader implements enforcer.Peers.
func (p *LatePeers) HeardLeader() time.Time {
	if n := p.node.Load(); n != nil {
		return n.HeardLeader()
	}
	return time.Time{}
}

package main

import (
	"sync"

	"github.com/bursar-dev/bursar/fsm"
)

// lateObserver is the state machine's observer from the start, and passes what
// it hears on to one that appears later.
//
// The enforcer cannot observe from the first entry: to open it takes the node's
// number, and a new node learns that by applying the log. So the machine applies
// unobserved for a while. When the enforcer attaches, it is told Full: whatever
// it read of the state while it opened may be out of date, read it again. From
// there it hears every change. Between that Full and the next change nothing can
// slip through, because both pass under one mutex and the state always moves
// before the observer is told.
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

// attach makes to the receiver of all that m applies from now on, after telling
// it to read everything. A change that m has applied but not announced yet may
// be told twice: in the Full and by itself.
func (o *lateObserver) attach(to fsm.Observer, m *fsm.Machine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	index, _ := m.Applied()
	to.Applied(&fsm.Changes{Index: index, Full: true})
	o.to = to
}

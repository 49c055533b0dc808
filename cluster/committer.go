package cluster

import (
	"errors"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// commitEvery bounds for how long applied entries are in raft's log and in memory only. It is what the applying of events is
// bunched over where nobody reads the store and few come; where many come, it is their size.
const commitEvery = time.Second

// watchFailure ends the node when the state's store fails. Who uses the store learns of it, too, but may hang in it first, with the
// state locked.
func (n *Node) watchFailure() {
	if err := n.machine.AwaitFailure(n.ctx); n.ctx.Err() == nil && !errors.Is(err, fsm.ErrClosed) {
		n.fail(err)
	}
}

// watchStore has the state's store given what was applied, now and then.
func (n *Node) watchStore() {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := n.machine.Commit(); err != nil {
				if !errors.Is(err, fsm.ErrClosed) {
					n.fail(err)
				}
				return
			}
		case <-n.ctx.Done():
			return
		}
	}
}

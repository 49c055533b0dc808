package cluster

import (
	"errors"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// commitEvery bounds for how long applied entries are in raft's log and in memory only. It is what the applying of events is
// bunched over where nobody reads the store and few come; where many come, it is their size.
const commitEvery = time.Second

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

package cluster

import (
	"slices"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

const (
	// retentionPoll is how often a leader looks whether lines may go: they live for a month at least.
	retentionPoll = time.Minute
	// retentionRest is how long it rests after each drop, which applying reads some thousand lines for.
	retentionRest = 100 * time.Millisecond
	// retentionCatchUp is how long a node that is back, or a leader that is new, is given before anything is dropped: time enough
	// to hand on what was recorded meanwhile.
	retentionCatchUp = 2 * retentionPoll
	// maxDropsAtOnce bounds the drops of one account before the next has its turn.
	maxDropsAtOnce = 64
)

// watchRetention drops ledger lines that need not be kept any longer.
//
// A node that is away may have recorded events and acknowledged them by itself. Once the lines of their time are dropped nobody can tell
// whether they were charged before, so they would be refused: nothing is dropped until the node is back and has handed them
// on, or is removed for good.
func (l *leadership) watchRetention() {
	tick := time.NewTicker(retentionPoll)
	defer tick.Stop()
	from := time.Now().Add(retentionCatchUp)
	for {
		select {
		case <-tick.C:
			if l.someoneAway() {
				from = time.Now().Add(retentionCatchUp)
			} else if !time.Now().Before(from) {
				l.dropDue()
			}
		case <-l.ctx.Done():
			return
		}
	}
}

// someoneAway reports whether a member does not answer.
func (l *leadership) someoneAway() (away bool) {
	l.n.machine.View(func(v *fsm.View) {
		away = slices.ContainsFunc(v.Nodes(), func(n *fsm.Node) bool { return n.Dead && n.RemovedAt == 0 })
	})
	return away
}

// dropDue proposes what retention is due for. Applying decides anew, so a leader that is not one any more, or
// whose clock is ahead, drops nothing that may not go by the log.
func (l *leadership) dropDue() {
	var accounts []string
	l.n.machine.View(func(v *fsm.View) { accounts = v.RetentionDue() })
	for _, account := range accounts {
		for range maxDropsAtOnce {
			due, err := l.n.machine.NextDrop(account, l.n.cfg.Wall(time.Now()))
			if err == nil && due == nil {
				break
			}
			if err == nil {
				_, err = l.commit(l.ctx, &fsm.Command{ID: newCommandID(), Actor: l.n.actor(), Body: *due})
			}
			if l.ctx.Err() != nil {
				return
			}
			if err != nil {
				l.n.log.Warn("ledger lines that are due to be dropped stay", "account", account, "error", err)
				break
			}
			l.n.log.Info("ledger lines dropped by retention", "account", account, "through", due.Through)
			select {
			case <-time.After(retentionRest):
			case <-l.ctx.Done():
				return
			}
		}
	}
}

package cluster

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Nobody asks for it: the leader finds what is due, and every node drops the same lines.
func TestLeaderDropsLinesThatAreDue(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		var ahead atomic.Int64 // of everybody's clock, in milliseconds
		for _, p := range r.peers {
			p.config.Wall = func(at time.Time) int64 { return at.UnixMilli() + ahead.Load() }
		}
		r.startAll()
		p := r.peers["n1"]
		propose := func(body fsm.Body) {
			t.Helper()
			if _, err := p.node.Propose(r.within(30*time.Second), tester, body); err != nil {
				t.Fatalf("%T: %v", body, err)
			}
		}
		propose(fsm.PutAccount{ID: "acme", Name: "Acme"})
		propose(fsm.SetRetention{Account: "acme", Retention: fsm.Retention{Days: fsm.MinRetentionDays}})
		var events []fsm.Event
		for i := range 100 {
			events = append(events, fsm.Event{Account: "acme", ID: fmt.Sprint("evt-", i), Node: 1, At: time.Now().UnixMilli(), Chain: []string{"acme"},
				Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 1}}})
		}
		r.eventually(10*time.Second, "the events are settled", func() bool {
			_, err := p.node.Reconcile(r.within(5*time.Second), &fsm.Part{Node: 1, Boot: 1, Events: events})
			return err == nil
		})

		const month = 31 * 24 * int64(time.Hour/time.Millisecond)
		ahead.Store(2 * month)
		time.Sleep(2 * retentionPoll)
		if s := p.retention(); s.Dropped != 0 {
			t.Fatalf("lines that no statement has are gone: %+v", s)
		}
		away := r.followers()[0]
		if away == p {
			away = r.followers()[1]
		}
		r.isolate(away)
		draft, err := p.machine.DraftStatement(t.Context(), "acme", fsm.StatementQuery{})
		if err != nil {
			t.Fatal(err)
		}
		propose(fsm.FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows})
		time.Sleep(5 * retentionPoll)
		if s := p.retention(); s.Dropped != 0 {
			t.Fatalf("lines are gone while a node is away: %+v", s)
		}
		r.net.HealAll()
		r.eventually(retentionCatchUp+3*retentionPoll, "the first 64 lines are gone on every node", func() bool {
			for _, p := range r.peers {
				if p.retention().Dropped != 64 {
					return false
				}
			}
			return true
		})
		r.sameState()
	})
}

func (p *peer) retention() (s fsm.RetentionState) {
	p.machine.View(func(v *fsm.View) { s, _ = v.Retention("acme") })
	return s
}

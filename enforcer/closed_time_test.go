package enforcer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// commitAt commits a command whose leader's clock was ahead of this node's by so much.
func (n *soloNode) commitAt(ahead time.Duration, body fsm.Body) {
	n.t.Helper()
	data, err := fsm.Encode(&fsm.Command{ID: fmt.Sprintf("ahead-%d", n.peers.index+1), At: time.Now().Add(ahead).UnixMilli(), Leader: 1, Body: body})
	mustDo(n.t, err)
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	n.peers.index++
	out, err := n.peers.m.Apply([]fsm.Entry{{Index: n.peers.index, Term: 1, Data: data}})
	mustDo(n.t, err)
	if out[0].Err != nil {
		n.t.Fatalf("%T: %v", body, out[0].Err)
	}
}

// An event whose line retention has dropped is not known any more, so no event of its time is accepted, with a leader or without.
func TestEventsOfAClosedTimeAreRejected(t *testing.T) {
	n := newSoloNode(t)
	const day = 24 * time.Hour
	old := time.Now().Add(-35 * day)
	var events []fsm.Event
	for i := range 65 {
		events = append(events, fsm.Event{Account: "acme", ID: fmt.Sprintf("old-%d", i), Node: 1, At: old.UnixMilli(), Chain: []string{"acme"},
			Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 1}}})
	}
	n.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Events: events}}})
	draft, err := n.m.DraftStatement(t.Context(), "acme", fsm.StatementQuery{})
	mustDo(t, err)
	n.commitAt(40*day, fsm.FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows})
	n.commitAt(40*day, fsm.SetRetention{Account: "acme", Retention: fsm.Retention{Days: fsm.MinRetentionDays}})
	n.commitAt(40*day, fsm.DropLines{Account: "acme", Through: 64})

	ingest := func(id string, at time.Time) (status int, code string) {
		a := n.post("/v1/ingest", fmt.Sprintf(`{"events":[{"id":%q,"account":"acme","entities":["alice"],"at":%q}]}`, id, at.UTC().Format(time.RFC3339Nano)))
		var got struct{ Rejected []struct{ Code string } }
		mustDo(t, json.Unmarshal([]byte(a.text), &got))
		if len(got.Rejected) > 0 {
			code = got.Rejected[0].Code
		}
		return a.status, code
	}
	for _, leader := range []bool{true, false} {
		n.peers.leader.Store(leader)
		for _, tc := range []struct {
			id   string
			at   time.Time
			code string
		}{
			{"old-5", old, RejectTime},
			{"new", old.Add(-day), RejectTime},
			{"old-64", old, RejectConflict}, // its line is there, with another body
			{fmt.Sprint("since-", leader), old.Add(day), ""},
		} {
			if status, code := ingest(tc.id, tc.at); code != tc.code {
				t.Errorf("leader %v, event %s: %d %q, want %q", leader, tc.id, status, code, tc.code)
			}
		}
	}
}

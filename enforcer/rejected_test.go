package enforcer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
)

// ids lists what a reply has, newest first.
func (r RejectedReply) ids() string {
	var all []string
	for _, x := range r.Events {
		all = append(all, x.ID+" "+x.Code)
	}
	return strings.Join(all, ", ")
}

func TestRejectedEventsAreKeptByAccount(t *testing.T) {
	n := newSoloNode(t)
	before := n.e.now()
	n.post("/v1/ingest", events(event("good", ""), event("negative", `,"usage":{"tokens":-1},"metadata":{"secret":"s3cret"}`), event("late", `,"at":"2001-01-01T00:00:00Z"`)))
	n.post("/v1/ingest", events(`{"id":"elsewhere","account":"nobody","entities":["x"]}`, `{"entities":["x"]}`, `{"id":"other-1","account":"other","entities":["x"],"model":1}`))
	acme := n.e.rejections.of("acme")
	if got, want := acme.ids(), "late invalid_time, negative invalid_amount"; got != want {
		t.Errorf("acme: %s, want %s", got, want)
	}
	if d := cmp.Diff(map[string]int64{"invalid_amount": 1, "invalid_time": 1}, acme.Codes); d != "" {
		t.Error(d)
	}
	x := acme.Events[1]
	if x.At < before || x.At > n.e.now() || x.Account != "acme" || x.Token == "" || !strings.HasPrefix(x.Detail, "usage.tokens ") {
		t.Errorf("%+v", x)
	}
	kept, _ := json.Marshal(acme)
	if strings.Contains(string(kept), "s3cret") {
		t.Errorf("what an event held is kept: %s", kept)
	}
	if got, want := n.e.rejections.of("other").ids(), "other-1 invalid_model"; got != want {
		t.Errorf("other: %s, want %s", got, want)
	}
	if got, want := n.e.rejections.of("").ids(), " invalid_id, elsewhere account_unknown"; got != want {
		t.Errorf("no account: %s, want %s", got, want)
	}
	if got := n.e.rejections.of("nobody"); got.Events != nil || got.Since == 0 {
		t.Errorf("an account that does not exist has a place of its own: %+v", got)
	}
	// What a token of one account sends without naming it is that account's.
	n.do("POST", "/v1/ingest", tokenAcme, `{"events":[{"id":"mine","entities":["alice"]}]}`, "Content-Type", typeJSON)
	if got := n.e.rejections.of("acme").ids(); !strings.HasPrefix(got, "mine invalid_account") {
		t.Errorf("acme: %s", got)
	}
}

// Whoever floods an account with rejected events hides no other account's.
func TestRejectedEventsAreBounded(t *testing.T) {
	var r rejections
	r.since = 5
	for i := range 3 * maxRejectedKept {
		r.add("loud", Rejected{At: int64(1000 + i), ID: fmt.Sprint(i), Code: RejectTime, Detail: strings.Repeat("ä", 1000)})
	}
	r.add("quiet", Rejected{At: 10, ID: "q", Code: RejectID})
	loud := r.of("loud")
	if len(loud.Events) != maxRejectedKept || loud.Events[0].ID != fmt.Sprint(3*maxRejectedKept-1) || loud.Events[maxRejectedKept-1].ID != fmt.Sprint(2*maxRejectedKept) ||
		loud.Codes[RejectTime] != 3*maxRejectedKept || len(loud.Events[0].Detail) != maxRejectedDetail {
		t.Errorf("%d kept, %s … %s, %v", len(loud.Events), loud.Events[0].ID, loud.Events[len(loud.Events)-1].ID, loud.Codes)
	}
	if got := r.of("quiet"); got.ids() != "q invalid_id" || got.Since != 5 {
		t.Errorf("quiet: %+v", got)
	}
	// With more accounts than are kept, the one that has been quiet for longest goes, and the answer says since when it holds.
	for i := range maxRejectedAccounts {
		r.add(fmt.Sprint("account-", i), Rejected{At: int64(2000 + i), Code: RejectID})
	}
	if len(r.accounts) > maxRejectedAccounts {
		t.Errorf("%d accounts are kept", len(r.accounts))
	}
	if got := r.of("quiet"); len(got.Events) != 0 || got.Since <= 10 {
		t.Errorf("quiet, forgotten: %+v", got)
	}
	if got := r.of("account-0"); got.Since != 5 {
		t.Errorf("account-0: %+v", got)
	}
}

func TestRejectedEventsOfAllNodes(t *testing.T) {
	n := newSoloNode(t)
	for i := range 2 {
		n.commit(fsm.AdmitNode{Name: fmt.Sprint("n", i+2), Addr: "y"})
		n.commit(fsm.BootNode{Node: fsm.NodeNum(i + 2), Boot: 1})
	}
	n.peers.call = func(node fsm.NodeNum, method Method, req, reply any) error {
		if method != MethodRejected || node == 3 {
			return ErrUnreachable
		}
		if got := req.(*RejectedRequest).Account; got != "acme" {
			return fmt.Errorf("asked for %q", got)
		}
		*reply.(*RejectedReply) = RejectedReply{Since: 7, Codes: map[string]int64{RejectTime: 2}}
		return nil
	}
	n.post("/v1/ingest", events(event("negative", `,"usage":{"tokens":-1}`)))
	got := n.e.ClusterRejected(t.Context(), "acme")
	if len(got) != 3 || got[0].ids() != "negative invalid_amount" || got[0].Silent || got[1].Silent || got[1].Codes[RejectTime] != 2 || !got[2].Silent {
		t.Errorf("%+v", got)
	}
	if r, err := n.e.handleRejected(&RejectedRequest{Account: strings.Repeat("x", 200)}); err == nil {
		t.Errorf("%+v", r)
	}
}

func TestUnattributedEventsAreCounted(t *testing.T) {
	n := newSoloNode(t)
	n.post("/v1/ingest", events(event("known", ""), `{"id":"ghost-1","account":"acme","entities":["ghost"]}`, `{"id":"ghost-1","account":"acme","entities":["ghost"]}`))
	if got := n.e.Stats().Unattributed.Load(); got != 1 {
		t.Errorf("%d unattributed, want 1", got)
	}
}

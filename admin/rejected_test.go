package admin

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

func TestRejectedEventsOfAllNodesAreMerged(t *testing.T) {
	p := newPlane(t)
	p.apply(fsm.PutAccount{ID: "other", Name: "Other"})
	first := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := func(seconds int) int64 { return first.Add(time.Duration(seconds) * time.Second).UnixMilli() }
	p.rejected = func(_ context.Context, account string) []enforcer.NodeRejected {
		switch account {
		case "acme":
			return []enforcer.NodeRejected{
				{Node: 1, RejectedReply: enforcer.RejectedReply{Since: at(0), Codes: map[string]int64{"invalid_time": 40, "id_conflict": 1}, Events: []enforcer.Rejected{
					{At: at(9), Account: "acme", ID: "e2", Code: "id_conflict", Detail: "id e2 was used before with another body", Token: "tok_1"},
					{At: at(3), Account: "acme", ID: "e1", Code: "invalid_time", Detail: "at must be a time", Token: "tok_1"},
				}}},
				{Node: 2, RejectedReply: enforcer.RejectedReply{Since: at(1), Codes: map[string]int64{"invalid_time": 1}, Events: []enforcer.Rejected{
					{At: at(5), ID: "e3", Code: "invalid_time", Detail: "at must be a time", Token: "tok_2"},
				}}},
			}
		case "":
			return []enforcer.NodeRejected{{Node: 1, Silent: true}}
		}
		return nil
	}
	a, err := client.NewAdmin([]string{p.server.URL}, p.root)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got, err := a.Rejected(t.Context(), "acme", client.RejectedFilter{})
	if err != nil {
		t.Fatal(err)
	}
	since := []time.Time{first, first.Add(time.Second)}
	want := client.RejectedEvents{
		Items: []client.RejectedEvent{
			{At: first.Add(9 * time.Second), Node: "n1", Account: "acme", EventID: "e2", Code: "id_conflict", Detail: "id e2 was used before with another body", Token: "tok_1"},
			{At: first.Add(5 * time.Second), Node: "n2", EventID: "e3", Code: "invalid_time", Detail: "at must be a time", Token: "tok_2"},
			{At: first.Add(3 * time.Second), Node: "n1", Account: "acme", EventID: "e1", Code: "invalid_time", Detail: "at must be a time", Token: "tok_1"},
		},
		Codes: map[string]int64{"invalid_time": 41, "id_conflict": 1},
		Nodes: []client.RejectingNode{{Node: "n1", Since: &since[0]}, {Node: "n2", Since: &since[1]}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err = a.Rejected(t.Context(), "acme", client.RejectedFilter{Code: "invalid_time", Limit: 1}); err != nil || len(got.Items) != 1 || got.Items[0].EventID != "e3" || len(got.Codes) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = a.Rejected(t.Context(), "", client.RejectedFilter{}); err != nil || len(got.Nodes) != 1 || got.Nodes[0].Since != nil {
		t.Errorf("a silent node: %+v, %v", got, err)
	}
	if r := p.call(p.root, http.MethodGet, "/v1/accounts/nobody/rejected", ""); r.status != http.StatusNotFound {
		t.Errorf("an account that is not there: %d %s", r.status, r.body)
	}
	// A tenant sees its own alone.
	auditor := p.token(fsm.RoleAuditor, "other")
	for path, want := range map[string]int{
		"/v1/accounts/acme/rejected": http.StatusNotFound, "/v1/accounts/other/rejected": http.StatusOK, "/v1/rejected": http.StatusForbidden,
	} {
		if r := p.call(auditor, http.MethodGet, path, ""); r.status != want {
			t.Errorf("%s for a token of another account: %d %s, want %d", path, r.status, r.body, want)
		}
	}
}

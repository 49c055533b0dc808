package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// unattributed settles n events that name entities which are not provisioned, and one line for each of the account's.
func (p *plane) unattributed(prefix string, n int, at time.Time, entities ...string) {
	p.t.Helper()
	var events []fsm.Event
	for i := range n {
		e := fsm.Event{
			Account: "acme", ID: fmt.Sprintf("%s-%d", prefix, i), Entities: entities, Chain: append(append([]string{}, entities...), "acme"), Unattributed: true,
			Usage: []fsm.Quantity{{Capability: "requests", Amount: 1}, {Capability: "tokens", Amount: int64(i)}}, At: at.UnixMilli(), ReceivedAt: at.UnixMilli(), Node: 1,
		}
		e.Hash = TokenDigest(e.ID)
		events = append(events, e)
	}
	p.apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Boot: 1, Events: events}}})
}

func TestUnattributedEventsAreAddedUp(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.settle("evt-1", p.assignment("team-a", "tokens"), 1000)
	now := time.Now()
	p.unattributed("both", 2, now, "ghost", "stray", "ghost") // in the sum of each, and in the total once
	p.unattributed("ghost", 4, now, "ghost")
	p.unattributed("none", 3, now)
	p.unattributed("old", 5, now.Add(-48*time.Hour), "ghost")
	a, err := client.NewAdmin([]string{p.server.URL}, p.root)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Adjust(t.Context(), "acme", client.Adjustment{EventID: "ghost-3", Kind: "void"}); err != nil {
		t.Fatal(err)
	}
	got, err := a.Unattributed(t.Context(), "acme", client.UnattributedFilter{From: now.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ghost, stray := "ghost", "stray"
	want := client.Unattributed{
		Items: []client.UnattributedSum{
			{Entity: &ghost, Events: 5, Usage: map[string]int64{"requests": 5, "tokens": 4}},
			{Events: 3, Usage: map[string]int64{"requests": 3, "tokens": 3}},
			{Entity: &stray, Events: 2, Usage: map[string]int64{"requests": 2, "tokens": 1}},
		},
		Events: 8, Usage: map[string]int64{"requests": 8, "tokens": 7},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err = a.Unattributed(t.Context(), "acme", client.UnattributedFilter{}); err != nil || got.Events != 13 {
		t.Errorf("of all times: %+v, %v", got, err)
	}
	p.apply(fsm.PutAccount{ID: "globex", Name: "Globex"})
	auditor := p.token(fsm.RoleAuditor, "globex")
	for _, c := range []struct {
		token, path string
		want        int
	}{
		{p.root, "/v1/accounts/nobody/unattributed", http.StatusNotFound},
		{p.root, "/v1/accounts/acme/unattributed?after=x", http.StatusBadRequest},
		{p.root, "/v1/accounts/acme/unattributed?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", http.StatusBadRequest},
		{auditor, "/v1/accounts/acme/unattributed", http.StatusNotFound},
	} {
		if r := p.call(c.token, http.MethodGet, c.path, ""); r.status != c.want {
			t.Errorf("%s: %d %s, want %d", c.path, r.status, r.body, c.want)
		}
	}
}

// Pages add up to what the ledger's lines do.
func TestPagesOfUnattributedEventsAddUp(t *testing.T) {
	p := newPlane(t)
	p.company()
	now := time.Now()
	const n = 2300 // more entities than a page has
	for i := 0; i < n; i += 100 {
		for j := i; j < i+100; j++ {
			p.unattributed(fmt.Sprint("e-", j), 1, now, fmt.Sprint("ghost-", j))
		}
		p.unattributed(fmt.Sprint("all-", i), 1, now, "everywhere")
	}
	pages := 0
	for next := ""; next != "" || pages == 0; pages++ {
		path := "/v1/accounts/acme/unattributed"
		if next != "" {
			path += "?after=" + next
		}
		var page client.Unattributed
		if err := json.Unmarshal([]byte(p.must("GET", path, "").body), &page); err != nil {
			t.Fatal(err)
		}
		if next = ""; page.Next != nil {
			next = *page.Next
		}
	}
	if pages < 2 {
		t.Errorf("%d pages", pages)
	}
	a, err := client.NewAdmin([]string{p.server.URL}, p.root)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got, err := a.Unattributed(t.Context(), "acme", client.UnattributedFilter{})
	if err != nil || got.Events != n+n/100 || len(got.Items) != n+1 || *got.Items[0].Entity != "everywhere" || got.Items[0].Events != n/100 {
		t.Errorf("%d events of %d entities, the first %+v: %v", got.Events, len(got.Items), got.Items[:1], err)
	}
}

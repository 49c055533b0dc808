package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
)

// priced records an event of alice with a model, as a node that priced it by a book would.
func (p *plane) priced(id, model string, input, usd int64, version uint64) {
	p.t.Helper()
	at := time.Now().UnixMilli()
	e := fsm.Event{
		Account: "acme", ID: id, Entities: []string{"alice"}, Chain: []string{"alice", "team-a", "acme"}, Model: model,
		Usage: []fsm.Quantity{{Capability: fsm.CapInputTokens, Amount: input}, {Capability: fsm.CapTokens, Amount: input}, {Capability: fsm.CapUSD, Amount: usd}},
		At:    at, ReceivedAt: at, Node: 1, Pricing: &fsm.Pricing{Version: version, Model: model},
	}
	copy(e.Hash[:], id)
	p.apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Events: []fsm.Event{e}}}})
}

func TestAnEventIsVoidedAdjustedAndPricedAnew(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.must("PUT", "/v1/prices", `{"gpt":{"input_cost_per_token":0.000003}}`)
	p.priced("evt-1", "gpt", 1000, 9_000_000, 1)
	const path = "/v1/accounts/acme/adjustments"

	dry := p.must("POST", path, `{"event_id":"evt-1","kind":"reprice","dry_run":true}`)
	if got := dry.json["counts_as"].(map[string]any)["usd"]; got != 3_000_000.0 || dry.json["seq"] != nil {
		t.Errorf("dry run: %s", dry.body)
	}
	if n := len(p.must("GET", "/v1/accounts/acme/ledger", "").items("seq")); n != 1 {
		t.Fatalf("a dry run left %d lines", n)
	}
	const adjust = `{"id":"adj-1","event_id":"evt-1","kind":"reprice","reason":"the map was wrong"}`
	first := p.must("POST", path, adjust)
	again := p.must("POST", path, adjust)
	for _, r := range []reply{first, again} {
		want := map[string]any{
			"id": "adj-1", "event_id": "evt-1", "kind": "reprice", "reason": "the map was wrong", "dry_run": false, "seq": 2.0,
			"counts_as": map[string]any{"input_tokens": 1000.0, "tokens": 1000.0, "usd": 3_000_000.0},
		}
		if diff := cmp.Diff(want, r.json); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	r := p.must("POST", path, `{"event_id":"evt-1","kind":"adjust","usage":{"usd":5}}`)
	if got := r.json["counts_as"].(map[string]any)["usd"]; got != 5.0 || r.json["id"] == "" {
		t.Errorf("adjusted: %s", r.body)
	}
	r = p.must("POST", path, `{"event_id":"evt-1","kind":"void"}`)
	if got := r.json["counts_as"].(map[string]any)["tokens"]; got != 0.0 {
		t.Errorf("voided: %s", r.body)
	}
	lines := p.must("GET", "/v1/accounts/acme/ledger?order=asc", "")
	if diff := cmp.Diff([]string{"usage", "reprice", "adjust", "void"}, lines.items("kind")); diff != "" {
		t.Error(diff)
	}
	correction := lines.json["items"].([]any)[1].(map[string]any)
	if correction["corrects"] != 1.0 || correction["correction"] != "adj-1" || correction["reason"] != "the map was wrong" ||
		correction["usage"].(map[string]any)["usd"] != -6_000_000.0 || correction["price_version"] != 1.0 {
		t.Errorf("line: %v", correction)
	}
	for body, want := range map[string]struct {
		status int
		field  string
	}{
		`{"event_id":"evt-1","kind":"void"}`:                      {409, ""},
		`{"event_id":"evt-9","kind":"void"}`:                      {404, ""},
		`{"id":"adj-1","event_id":"evt-1","kind":"void"}`:         {409, ""},
		`{"event_id":"evt-1","kind":"undo"}`:                      {400, "kind"},
		`{"event_id":"evt-1","kind":"adjust"}`:                    {400, "usage"},
		`{"event_id":"evt-1","kind":"adjust","usage":{"nope":1}}`: {400, "usage.nope"},
		`{"event_id":"evt-1","kind":"adjust","usage":{"usd":-1}}`: {400, "usage.usd"},
		`{"event_id":"evt-1","kind":"void","price_version":1}`:    {400, "price_version"},
		`{"event_id":"evt-1","kind":"reprice","usage":{"usd":1}}`: {400, "usage"},
		`{"kind":"void"}`: {400, "event_id"},
	} {
		if r := p.call(p.root, "POST", path, body); r.status != want.status || want.field != "" && r.field() != want.field {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}

func TestAModelIsPricedAnewPageByPage(t *testing.T) {
	p := newPlane(t)
	p.company()
	for i := range 5 {
		p.priced(fmt.Sprint("evt-", i), "gpt", int64(i), 0, 0)
	}
	p.priced("other", "claude", 1, 0, 0)
	p.must("PUT", "/v1/prices?effective_at=2026-01-01T00:00:00Z", `{"gpt":{"input_cost_per_token":0.000000002}}`)
	reprice := func(dry bool) (from, to, events int) {
		for after := ""; ; {
			r := p.must("POST", "/v1/accounts/acme/adjustments/reprice", fmt.Sprintf(`{"model":"gpt","limit":2,"dry_run":%t,"after":%q}`, dry, after))
			for _, x := range r.json["items"].([]any) {
				m := x.(map[string]any)
				from, to, events = from+int(m["from"].(float64)), to+int(m["to"].(float64)), events+1
			}
			next, ok := r.json["next"].(string)
			if !ok {
				return from, to, events
			}
			after = next
		}
	}
	for _, dry := range []bool{true, false} {
		if from, to, events := reprice(dry); from != 0 || to != 2*(1+2+3+4) || events != 4 {
			t.Errorf("dry %v: from %d to %d in %d events", dry, from, to, events)
		}
	}
	if _, _, events := reprice(false); events != 0 {
		t.Errorf("once more: %d events differ", events)
	}
	sum := p.must("GET", "/v1/accounts/acme/usage?bucket=month&group_by=model&model=gpt", "")
	if got := sum.json["items"].([]any)[0].(map[string]any); got["usage"].(map[string]any)["usd"] != 20.0 || got["events"] != 5.0 {
		t.Errorf("usage: %v", got)
	}
}

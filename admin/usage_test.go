package admin

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsageIsTheContractsShape(t *testing.T) {
	p := newPlane(t)
	p.company()
	for i, amount := range []int64{500, 700} {
		p.settle(fmt.Sprint("evt-", i), p.assignment("team-a", "tokens"), amount)
	}
	for query, want := range map[string]any{
		"?bucket=month": map[string]any{"group": map[string]any{}, "usage": map[string]any{"tokens": 1200.0}, "events": 2.0},
		"?bucket=month&group_by=model,capability": map[string]any{
			"group": map[string]any{"model": "gpt-4o", "capability": "tokens"}, "usage": map[string]any{"tokens": 1200.0}, "events": 2.0},
		"?bucket=month&group_by=entity_type&entity_type=team": map[string]any{
			"group": map[string]any{"entity_type": "team"}, "usage": map[string]any{"tokens": 1200.0}, "events": 2.0},
		"?bucket=month&group_by=entity&entity=team-a": map[string]any{
			"group": map[string]any{"entity": "team-a"}, "usage": map[string]any{"tokens": 1200.0}, "events": 2.0},
	} {
		items := p.must("GET", "/v1/accounts/acme/usage"+query, "").json["items"].([]any)
		if len(items) != 1 {
			t.Errorf("%s: %d items: %v", query, len(items), items)
			continue
		}
		got := items[0].(map[string]any)
		if _, ok := got["bucket"].(string); !ok {
			t.Errorf("%s: no bucket in %v", query, got)
		}
		delete(got, "bucket")
		if diff := cmp.Diff(want, any(got)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", query, diff)
		}
	}
}

func TestTheAccountsTimeZoneComesBack(t *testing.T) {
	p := newPlane(t)
	p.must("PUT", "/v1/accounts/berlin", `{"name":"B","timezone":"Europe/Berlin"}`)
	if got := p.must("PUT", "/v1/accounts/berlin", `{"name":"B GmbH"}`).json["timezone"]; got != "Europe/Berlin" {
		t.Errorf("after a rename the time zone is %v", got)
	}
	if got := p.must("PUT", "/v1/accounts/plain", `{"name":"P"}`).json["timezone"]; got != "UTC" {
		t.Errorf("without one the time zone is %v", got)
	}
}

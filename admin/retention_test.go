package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
)

func TestRetentionIsSetAndExportsAreAcknowledged(t *testing.T) {
	p := newPlane(t)
	p.company()
	for i := range 3 {
		p.settle(fmt.Sprint("evt-", i), p.assignment("team-a", "tokens"), 5)
	}
	const path = "/v1/accounts/acme/retention"
	read := func(r reply) (out client.Retention) {
		t.Helper()
		if err := json.Unmarshal(r.body, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if r := read(p.must("GET", path, "")); r.Days != nil || r.RequireExport || r.LastSeq != 3 || r.DroppedUntil != nil {
		t.Errorf("at first: %+v", r)
	}
	for body, status := range map[string]int{
		`{"days":29}`: 400, `{"days":0}`: 400, `{"days":36501}`: 400, `{"days":"x"}`: 400, `{"days":400,"dropped_through":3}`: 200, `{"weeks":3}`: 400,
		`{"days":null}`: 200, `{"days":30,"require_export":true}`: 200,
	} {
		if r := p.call(p.root, "PUT", path, body); r.status != status {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := read(p.must("PUT", path, `{"days":400,"require_export":true}`)); r.Days == nil || *r.Days != 400 || !r.RequireExport {
		t.Errorf("set: %+v", r)
	}
	hash := p.must("GET", "/v1/accounts/acme/ledger?order=asc&limit=2", "").items("hash")[1]
	for body, status := range map[string]int{
		`{"through_seq":2}`: 409, fmt.Sprintf(`{"through_seq":3,"hash":%q}`, hash): 409, `{"through_seq":2,"hash":"ab"}`: 400, `{"through_seq":0}`: 400,
		fmt.Sprintf(`{"through_seq":9,"hash":%q}`, hash): 409,
	} {
		if r := p.call(p.root, "POST", path+"/exported", body); r.status != status {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := read(p.must("POST", path+"/exported", fmt.Sprintf(`{"through_seq":2,"hash":%q}`, hash))); r.ExportedThrough != 2 {
		t.Errorf("acknowledged: %+v", r)
	}
	if actions := strings.Join(p.must("GET", "/v1/audit?action=ledger.", "").items("action"), " "); !strings.Contains(actions, "ledger.exported") || !strings.Contains(actions, "ledger.retention") {
		t.Errorf("the audit trail has %s", actions)
	}
}

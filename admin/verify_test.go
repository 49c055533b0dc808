package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
)

func TestVerifyLedgerRecomputesEverything(t *testing.T) {
	p := newPlane(t)
	p.company()
	for _, id := range []string{"evt-1", "evt-2", "evt-3"} {
		p.settle(id, p.assignment("team-a", "tokens"), 5)
	}
	const path = "/v1/accounts/acme/ledger/verify"
	var found client.LedgerVerification
	if err := json.Unmarshal(p.must("GET", path, "").body, &found); err != nil {
		t.Fatal(err)
	}
	if !found.Valid || found.Lines != 3 || found.LastSeq != 3 || found.Checked.Events != 3 || found.Checked.Budgets == 0 || found.Checked.Sums == 0 || len(found.Head) != 64 {
		t.Errorf("%+v", found)
	}
	r := p.callWith(p.root, "GET", path, "", map[string]string{"Accept": typeNDJSON})
	lines := strings.Split(strings.TrimSpace(string(r.body)), "\n")
	var last client.VerifyReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Result == nil || !last.Result.Valid {
		t.Errorf("%s, %v", r.body, err)
	}
	if r := p.call(p.root, "GET", "/v1/accounts/nobody/ledger/verify", ""); r.status != 404 {
		t.Errorf("of no account: %d", r.status)
	}
}

func TestOneVerificationAtATime(t *testing.T) {
	p := newPlane(t)
	p.company()
	a := &api{machine: p.machine, verifies: make(chan struct{}, maxVerifications)}
	if _, err := a.verifyLedger(&verifyInput{Account: "acme"}); err != nil {
		t.Fatal(err)
	}
	_, err := a.verifyLedger(&verifyInput{Account: "acme"}) // the first has not been read to its end
	if problem := problemOf(err); err == nil || problem.Status != http.StatusTooManyRequests {
		t.Errorf("a second one: %v", err)
	}
}

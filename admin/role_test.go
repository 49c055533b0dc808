package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/fsm"
)

// roleCase is one route with the status each kind of token is answered. The
// last two are bound to accounts: acme, which is in the path, and globex, which is not.
type roleCase struct {
	method, path, body                                                              string
	service, auditor, admin, root, acmeService, acmeAuditor, acmeAdmin, globexAdmin int
}

// roleMatrix has a row for every route that takes a token. {x} in a path is made anew for each cell.
var roleMatrix = []roleCase{
	{"PUT", "/v1/entity-types", `{"entity_types":[{"id":"team"}]}`, 403, 403, 200, 200, 403, 403, 403, 403},
	{"GET", "/v1/entity-types", "", 403, 200, 200, 200, 403, 200, 200, 200},
	{"PUT", "/v1/capabilities", `{"capabilities":[{"id":"images","unit":"image","decimals":0}]}`, 403, 403, 200, 200, 403, 403, 403, 403},
	{"GET", "/v1/capabilities", "", 403, 200, 200, 200, 403, 200, 200, 200},
	{"PUT", "/v1/prices", `{"gpt":{"input_cost_per_token":1}}`, 403, 403, 200, 200, 403, 403, 403, 403},
	{"GET", "/v1/prices", "", 403, 200, 200, 200, 403, 200, 200, 200},

	{"GET", "/v1/accounts", "", 403, 200, 200, 200, 403, 200, 200, 200},
	{"PUT", "/v1/accounts/acme", `{"name":"Acme"}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"GET", "/v1/accounts/acme", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"POST", "/v1/accounts/acme/freeze", "", 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/accounts/acme/unfreeze", "", 403, 403, 200, 200, 403, 403, 200, 404},

	{"PUT", "/v1/accounts/acme/entities", `{"entities":[{"id":"team-a","type":"team"}]}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"GET", "/v1/accounts/acme/entities", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/entities/alice", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"POST", "/v1/accounts/acme/entities/bob/archive", "", 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/accounts/acme/entities/bob/unarchive", "", 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/accounts/acme/entities/carol/move", `{"parent":"team-a"}`, 403, 403, 200, 200, 403, 403, 200, 404},

	{"PUT", "/v1/accounts/acme/assignments", `{"assignments":[{"entity":"alice","capability":"usd","limit":5,"cadence":"day"}]}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"GET", "/v1/accounts/acme/assignments", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/assignments/{assignment}", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"DELETE", "/v1/accounts/acme/assignments/{assignment}", "", 403, 403, 204, 204, 403, 403, 204, 404},

	{"GET", "/v1/accounts/acme/balances", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/tree", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/ledger", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/ledger/verify", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/retention", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"PUT", "/v1/accounts/acme/retention", `{"days":400}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/accounts/acme/retention/exported", `{"through_seq":9}`, 403, 403, 409, 409, 403, 403, 409, 404},
	{"GET", "/v1/accounts/acme/usage", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/rejected", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/unattributed", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/rejected", "", 403, 200, 200, 200, 403, 403, 403, 403},
	{"POST", "/v1/accounts/acme/adjustments", `{"event_id":"evt-1","kind":"adjust","usage":{"usd":1},"dry_run":true}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/accounts/acme/adjustments/reprice", `{"model":"gpt"}`, 403, 403, 200, 200, 403, 403, 200, 404},

	{"GET", "/v1/accounts/acme/invoice", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"PUT", "/v1/accounts/acme/invoice", `{"close_lag_hours":1}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"GET", "/v1/accounts/acme/statements", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"GET", "/v1/accounts/acme/statements/preview", "", 403, 200, 200, 200, 403, 200, 200, 404},
	{"POST", "/v1/accounts/acme/statements", `{"month":"2026-01"}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"GET", "/v1/accounts/acme/statements/2026-01", "", 403, 200, 200, 200, 403, 200, 200, 404},

	{"GET", "/v1/audit", "", 403, 200, 200, 200, 403, 200, 200, 200},
	{"GET", "/v1/audit/verify", "", 403, 200, 200, 200, 403, 403, 403, 403},

	{"GET", "/v1/tokens", "", 403, 200, 200, 200, 403, 200, 200, 200},
	{"POST", "/v1/tokens", `{"name":"x","role":"root"}`, 403, 403, 403, 200, 403, 403, 403, 403},
	{"POST", "/v1/tokens", `{"name":"x","role":"admin"}`, 403, 403, 200, 200, 403, 403, 403, 403},
	{"POST", "/v1/tokens", `{"name":"x","role":"service","account":"acme"}`, 403, 403, 200, 200, 403, 403, 200, 404},
	{"POST", "/v1/tokens", `{"name":"x","role":"root","account":"acme"}`, 403, 403, 403, 200, 403, 403, 403, 403},
	{"DELETE", "/v1/tokens/{root-token}", "", 403, 403, 403, 204, 403, 403, 404, 404},
	{"DELETE", "/v1/tokens/{admin-token}", "", 403, 403, 204, 204, 403, 403, 404, 404},
	{"DELETE", "/v1/tokens/{acme-token}", "", 403, 403, 204, 204, 403, 403, 204, 404},

	{"GET", "/v1/cluster", "", 403, 200, 200, 200, 403, 403, 403, 403},
	{"POST", "/v1/cluster/nodes/n2/remove", "", 403, 403, 200, 200, 403, 403, 403, 403},
	{"POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":true}`, 403, 403, 200, 200, 403, 403, 403, 403},
	{"POST", "/v1/cluster/backup", "", 403, 403, 403, 200, 403, 403, 403, 403},
	{"POST", "/v1/cluster/transfer-leadership", "", 403, 403, 200, 200, 403, 403, 403, 403},
}

// target replaces the {x} of a path by something made for this call.
func (p *plane) target(path string) string {
	token := func(role fsm.Role, account string) string {
		_, digest := NewToken()
		id := "tok_" + ulid.Make().String()
		p.apply(fsm.PutToken{Token: fsm.Token{ID: id, Name: "target", Role: role, Account: account, Digest: digest}})
		return id
	}
	switch {
	case strings.Contains(path, "{assignment}"):
		r := p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[{"entity":"carol","capability":"requests","limit":5,"cadence":"day"}]}`)
		id := r.json["assignments"].([]any)[0].(map[string]any)["id"].(string)
		return strings.ReplaceAll(path, "{assignment}", id)
	case strings.Contains(path, "{root-token}"):
		return strings.ReplaceAll(path, "{root-token}", token(fsm.RoleRoot, ""))
	case strings.Contains(path, "{admin-token}"):
		return strings.ReplaceAll(path, "{admin-token}", token(fsm.RoleAdmin, ""))
	case strings.Contains(path, "{acme-token}"):
		return strings.ReplaceAll(path, "{acme-token}", token(fsm.RoleService, "acme"))
	}
	return path
}

func TestRolesMayDoWhatTheMatrixSays(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.apply(fsm.PutAccount{ID: "globex"})
	p.apply(fsm.DeadNode{Node: 2}) // so that it can be forfeited
	p.settle("evt-1", p.assignment("bob", "usd"), 1)
	p.used("evt-2", "2026-01-15T00:00:00Z", "gpt", 1)
	secrets := []string{
		p.token(fsm.RoleService, ""), p.token(fsm.RoleAuditor, ""), p.token(fsm.RoleAdmin, ""), p.root,
		p.token(fsm.RoleService, "acme"), p.token(fsm.RoleAuditor, "acme"), p.token(fsm.RoleAdmin, "acme"), p.token(fsm.RoleAdmin, "globex"),
	}
	names := []string{"service", "auditor", "admin", "root", "acme's service", "acme's auditor", "acme's admin", "globex's admin"}
	codes := map[int]string{401: "unauthorized", 403: "forbidden", 404: "not_found"}
	covered := map[string]bool{}
	for _, c := range roleMatrix {
		covered[c.method+" "+c.path] = true
		want := []int{c.service, c.auditor, c.admin, c.root, c.acmeService, c.acmeAuditor, c.acmeAdmin, c.globexAdmin}
		for i, secret := range secrets {
			r := p.call(secret, c.method, p.target(c.path), c.body)
			if r.status != want[i] || codes[r.status] != "" && r.json["code"] != codes[r.status] {
				t.Errorf("%s %s %s as %s: %d %s, want %d", c.method, c.path, c.body, names[i], r.status, r.body, want[i])
			}
			if r.header.Get("Bursar-Index") == "" {
				t.Errorf("%s %s as %s: no Bursar-Index", c.method, c.path, names[i])
			}
		}
		for _, secret := range []string{"", "bt_unknown"} {
			r := p.call(secret, c.method, c.path, c.body)
			if r.status != 401 || r.json["code"] != "unauthorized" || r.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s with token %q: %d %s, want 401", c.method, c.path, secret, r.status, r.body)
			}
		}
	}
	if len(covered) < 31 {
		t.Errorf("the matrix covers %d routes", len(covered))
	}
}

// Every route that takes a token stands in the matrix.
func TestMatrixCoversTheContract(t *testing.T) {
	rows := map[string]bool{}
	for _, c := range roleMatrix {
		path := strings.NewReplacer(
			"accounts/acme", "accounts/{account}", "/entities/alice", "/entities/{id}", "/entities/bob", "/entities/{id}", "/entities/carol", "/entities/{id}",
			"{assignment}", "{id}", "nodes/n2", "nodes/{id}", "statements/2026-01", "statements/{id}", "{root-token}", "{id}", "{admin-token}", "{id}", "{acme-token}", "{id}").Replace(c.path)
		rows[c.method+" "+path] = true
	}
	for _, c := range contract {
		if strings.Contains(c, "/v1/") && !rows[c] {
			t.Errorf("no row for %s", c)
		}
	}
}

func TestAuthorizationHeaderIsReadStrictly(t *testing.T) {
	p := newPlane(t)
	for _, c := range []struct {
		header string
		want   int
	}{
		{"Bearer " + p.root, 200},
		{"bearer " + p.root, 200},
		{"", 401},
		{p.root, 401},
		{"Basic " + p.root, 401},
		{"Bearer", 401},
		{"Bearer ", 401},
		{"Bearer " + p.root + "x", 401},
		{"Bearer " + p.root[:len(p.root)-1], 401},
		{"Bearer " + strings.Repeat("x", 5000), 401},
	} {
		r := p.callWith("", "GET", "/v1/accounts", "", map[string]string{"Authorization": c.header})
		if r.status != c.want {
			t.Errorf("%q: %d, want %d", c.header, r.status, c.want)
		}
	}
}

func TestExpiredTokenIsRefused(t *testing.T) {
	p := newPlane(t)
	secret, digest := NewToken()
	soon := time.Now().Add(300 * time.Millisecond)
	p.apply(fsm.PutToken{Token: fsm.Token{ID: "tok_brief", Name: "brief", Role: fsm.RoleAdmin, Digest: digest, ExpiresAt: soon.UnixMilli()}})
	if r := p.call(secret, "GET", "/v1/accounts", ""); r.status != 200 {
		t.Fatalf("before it expires: %d %s", r.status, r.body)
	}
	time.Sleep(time.Until(soon) + time.Millisecond)
	if r := p.call(secret, "GET", "/v1/accounts", ""); r.status != 401 {
		t.Errorf("after it expired: %d, want 401", r.status)
	}
}

func TestRevokedTokenIsRefusedAtOnce(t *testing.T) {
	p := newPlane(t)
	made := p.must("POST", "/v1/tokens", `{"name":"ci","role":"auditor"}`)
	secret, id := made.json["token"].(string), made.json["id"].(string)
	if r := p.call(secret, "GET", "/v1/accounts", ""); r.status != 200 {
		t.Fatalf("new token: %d %s", r.status, r.body)
	}
	if r := p.must("DELETE", "/v1/tokens/"+id, ""); r.status != 204 || len(r.body) != 0 {
		t.Errorf("DELETE: %d %q, want 204 and no body", r.status, r.body)
	}
	if r := p.call(secret, "GET", "/v1/accounts", ""); r.status != 401 {
		t.Errorf("revoked token: %d, want 401", r.status)
	}
	if r := p.call(p.root, "DELETE", "/v1/tokens/"+id, ""); r.status != 404 {
		t.Errorf("deleting it again: %d, want 404", r.status)
	}
}

// A node that was cut off still has the token; what it learns at the barrier counts.
func TestTokenRevokedDuringTheBarrierIsRefused(t *testing.T) {
	p := newPlane(t)
	for _, method := range []string{"GET", "PUT"} {
		secret, digest := NewToken()
		p.apply(fsm.PutToken{Token: fsm.Token{ID: "tok_" + method, Name: "cut off", Role: fsm.RoleAdmin, Digest: digest}})
		arrived, revoked := make(chan struct{}), make(chan struct{})
		p.cluster.setBarrier(func() { close(arrived); <-revoked })
		status := make(chan int)
		go func() { status <- p.call(secret, method, "/v1/accounts/acme", `{"name":"Evil"}`).status }()
		<-arrived
		p.apply(fsm.DeleteToken{ID: "tok_" + method})
		p.cluster.setBarrier(nil)
		close(revoked)
		if got := <-status; got != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", method, got)
		}
	}
}

func TestSecretsLeaveNoTrace(t *testing.T) {
	p := newPlane(t)
	made := p.must("POST", "/v1/tokens", `{"name":"ci","role":"admin"}`)
	secret := made.json["token"].(string)
	p.call(secret, "GET", "/v1/accounts", "")
	p.call(secret, "GET", "/v1/nowhere", "")
	for name, r := range map[string]reply{"tokens": p.must("GET", "/v1/tokens", ""), "audit": p.must("GET", "/v1/audit", "")} {
		if strings.Contains(string(r.body), secret) || strings.Contains(string(r.body), fmt.Sprintf("%x", TokenDigest(secret))) {
			t.Errorf("the list of %s has the secret or its digest: %s", name, r.body)
		}
	}
	if logs := p.logs.String(); strings.Contains(logs, secret) || strings.Contains(logs, p.root) || !strings.Contains(logs, "/v1/nowhere") {
		t.Errorf("the log has a secret, or no access lines:\n%s", logs)
	}
}

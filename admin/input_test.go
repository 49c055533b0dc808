package admin

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

func TestBadInputIsRefusedByName(t *testing.T) {
	p := newPlane(t)
	p.company()
	const (
		entities    = "/v1/accounts/acme/entities"
		assignments = "/v1/accounts/acme/assignments"
		tree        = "/v1/accounts/acme/tree"
	)
	many := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	assignment := func(field string) string {
		return `{"assignments":[{"entity":"alice","capability":"tokens","limit":1,"cadence":"week"},{"entity":"alice","capability":"usd",` + field + `}]}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string // named first, if the status is 400
	}{
		// Bodies.
		{"PUT", "/v1/accounts/acme", `{"name":"Acme"`, 400, "body"},
		{"PUT", "/v1/accounts/acme", `name=Acme`, 400, "body"},
		{"PUT", "/v1/accounts/acme", ``, 400, "name"},
		{"PUT", "/v1/accounts/acme", `{"name":"\ud800"}`, 400, "body"},
		{"PUT", "/v1/accounts/acme", `{"name":"\udc00\ud83d"}`, 400, "body"},
		{"PUT", "/v1/accounts/acme", `{"name":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, 400, "body"},
		{"PUT", "/v1/accounts/acme", `{"name":5}`, 400, "name"},
		{"PUT", "/v1/accounts/acme", `{"name":""}`, 400, "name"},
		{"PUT", "/v1/accounts/acme", `{"name":null}`, 400, "name"},
		{"PUT", "/v1/accounts/acme", `{"name":"A","plan":"gold"}`, 400, "plan"},
		{"PUT", "/v1/accounts/acme", `{"name":"A","id":"other"}`, 400, "id"},
		{"PUT", "/v1/accounts/acme", `{"name":"A","name":"B"}`, 400, "name"},
		{"PUT", "/v1/accounts/acme", `{"name":"` + strings.Repeat("x", 300) + `"}`, 400, "name"},
		{"PUT", "/v1/accounts/a%2Fb", `{"name":"A"}`, 400, "account"},
		{"PUT", "/v1/accounts/" + strings.Repeat("x", 200), `{"name":"A"}`, 400, "account"},
		{"POST", "/v1/accounts/acme/freeze", `{"why":"because"}`, 400, "why"},
		{"POST", "/v1/accounts/acme/freeze", `[]`, 400, "body"},

		// Bulk.
		{"PUT", entities, `{"entities":[]}`, 400, "entities"},
		{"PUT", entities, `{"entities":[` + many(`{"id":"x","type":"team"}`, 1001) + `]}`, 400, "entities"},
		{"PUT", entities, `{"entities":[{"id":"x1","type":"team"},{"id":"x2","type":"team"},{"id":"x3","type":"team"},{"id":"x4","type":"team","parent":7}]}`, 400, "entities[3].parent"},
		{"PUT", entities, `{"entities":[{"id":"x1","type":"team"},{"id":"x2","type":"team","parent":"nobody"}]}`, 400, "entities[1].parent"},
		{"PUT", entities, `{"entities":[{"id":"x1","type":"squad"}]}`, 400, "entities[0].type"},
		{"PUT", entities, `{"entities":[{"id":"has space","type":"team"}]}`, 400, "entities[0].id"},
		{"PUT", entities, `{"entities":[{"type":"team"}]}`, 400, "entities[0].id"},
		{"PUT", entities, `{"entities":[{"id":"x","type":"team","metadata":{"a":1}}]}`, 400, "entities[0].metadata.a"},
		{"PUT", "/v1/entity-types", `{"entity_types":[{"id":"x","parents":"team"}]}`, 400, "entity_types[0].parents"},
		{"PUT", "/v1/capabilities", `{"capabilities":[{"id":"x"}]}`, 400, "capabilities[0].unit"},
		{"PUT", "/v1/capabilities", `{"capabilities":[{"id":"x","unit":""}]}`, 400, "capabilities[0].unit"},
		{"PUT", "/v1/capabilities", `{"capabilities":[{"id":"x","unit":"x","decimals":19}]}`, 400, "capabilities[0].decimals"},
		{"PUT", "/v1/capabilities", `{"capabilities":[{"id":"x","unit":"x","decimals":-1}]}`, 400, "capabilities[0].decimals"},

		// Amounts.
		{"PUT", assignments, assignment(`"limit":1.5,"cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"limit":1e6,"cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"limit":-1,"cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"limit":"5","cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"limit":1000000000000000001,"cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"cadence":"day"`), 400, "assignments[1].limit"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":"fortnight"`), 400, "assignments[1].cadence"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":null`), 400, "assignments[1].cadence"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":5`), 400, "assignments[1].cadence"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":["month"]`), 400, "assignments[1].cadence"},
		{"PUT", assignments, assignment(`"limit":1`), 400, "assignments[1].cadence"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":{"every":"day","timezone":"Mars/Olympus"}`), 400, "assignments[1].cadence.timezone"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":"day","enforcement":"firm"`), 400, "assignments[1].enforcement"},
		{"PUT", assignments, assignment(`"limit":1,"cadence":"day","alert_thresholds":[0.5]`), 400, "assignments[1].alert_thresholds[0]"},
		{"PUT", assignments, `{"assignments":[{"entity":"alice","capability":"dreams","limit":1,"cadence":"day"}]}`, 400, "assignments[0].capability"},
		{"PUT", assignments, `{"assignments":[{"entity":"nobody","capability":"usd","limit":1,"cadence":"day"}]}`, 400, "assignments[0].entity"},

		// Tokens.
		{"POST", "/v1/tokens", `{"name":"x","role":"god"}`, 400, "role"},
		{"POST", "/v1/tokens", `{"role":"admin"}`, 400, "name"},
		{"POST", "/v1/tokens", `{"name":"","role":"admin"}`, 400, "name"},
		{"POST", "/v1/tokens", `{"name":"x","role":"admin","expires_at":"2020-01-01T00:00:00Z"}`, 400, "expires_at"},
		{"POST", "/v1/tokens", `{"name":"x","role":"admin","expires_at":"tomorrow"}`, 400, "expires_at"},
		{"POST", "/v1/tokens", `{"name":"x","role":"admin","account":"nowhere"}`, 400, "account"},
		{"POST", "/v1/tokens", `{"name":"x","role":"admin","account":""}`, 400, "account"},

		// Cluster.
		{"POST", "/v1/cluster/nodes/n2/forfeit", ``, 400, "charge"},
		{"POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":"yes"}`, 400, "charge"},
		{"POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":null}`, 400, "charge"},
		{"POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":true,"free":false}`, 400, "free"},
		{"POST", "/v1/cluster/transfer-leadership", `{"to":"n9"}`, 400, "to"},

		// Queries.
		{"GET", "/v1/accounts?limit=0", "", 400, "limit"},
		{"GET", "/v1/accounts?limit=1001", "", 400, "limit"},
		{"GET", "/v1/accounts?limit=ten", "", 400, "limit"},
		{"GET", "/v1/accounts?limit=", "", 400, "limit"},
		{"GET", "/v1/accounts?limit=5&limit=6", "", 400, "limit"},
		{"GET", "/v1/accounts?Limit=5", "", 400, "Limit"},
		{"GET", "/v1/accounts?page=2", "", 400, "page"},
		{"GET", "/v1/accounts?after=%00", "", 400, "after"},
		{"GET", "/v1/tokens?after=%20", "", 400, "after"},
		{"GET", "/v1/accounts/acme/balances?after=a,b", "", 400, "after"},
		{"GET", "/v1/accounts?consistency=eventual", "", 400, "consistency"},
		{"GET", "/v1/accounts?a;b", "", 400, "query"},
		{"GET", "/v1/accounts?a=%zz", "", 400, "query"},
		{"PUT", "/v1/accounts/acme?force=1", `{"name":"Acme"}`, 400, "force"},
		{"PUT", "/v1/accounts/acme?consistency=stale", `{"name":"Acme"}`, 400, "consistency"},
		{"GET", tree + "?min_utilization=80%25", "", 400, "min_utilization"},
		{"GET", tree + "?min_utilization=-1", "", 400, "min_utilization"},
		{"GET", tree + "?scope=some", "", 400, "scope"},
		{"GET", tree + "?sort_by=name", "", 400, "sort_by"},
		{"GET", tree + "?order=up", "", 400, "order"},
		{"GET", tree + "?depth=-1", "", 400, "depth"},
		{"GET", tree + "?depth=33", "", 400, "depth"},
		{"GET", tree + "?after=zzz", "", 400, "after"},
		{"GET", "/v1/accounts/acme/ledger?from=yesterday", "", 400, "from"},
		{"GET", "/v1/accounts/acme/ledger?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", 400, "to"},
		{"GET", "/v1/accounts/acme/ledger?unattributed=maybe", "", 400, "unattributed"},
		{"GET", "/v1/accounts/acme/ledger?after=x", "", 400, "after"},
		{"GET", "/v1/audit?after=-1", "", 400, "after"},

		// Things that are not there.
		{"GET", "/v1/accounts/nowhere", "", 404, ""},
		{"GET", "/v1/accounts/nowhere/entities", "", 404, ""},
		{"PUT", "/v1/accounts/nowhere/entities", `{"entities":[{"id":"x","type":"team"}]}`, 404, ""},
		{"GET", "/v1/accounts/nowhere/assignments", "", 404, ""},
		{"GET", "/v1/accounts/nowhere/balances", "", 404, ""},
		{"GET", "/v1/accounts/nowhere/tree", "", 404, ""},
		{"GET", "/v1/accounts/nowhere/ledger", "", 404, ""},
		{"GET", "/v1/accounts/acme/usage?bucket=week", "", 400, "bucket"},
		{"GET", "/v1/accounts/acme/usage?group_by=colour", "", 400, "group_by"},
		{"GET", "/v1/accounts/acme/usage?group_by=entity,member", "", 400, "group_by"},
		{"GET", "/v1/accounts/acme/usage?after=x", "", 400, "after"},
		{"GET", "/v1/accounts/acme/usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", 400, "to"},
		{"GET", "/v1/accounts/nowhere/usage", "", 404, ""},
		{"PUT", "/v1/accounts/acme", `{"name":"Acme","timezone":"Mars/Olympus"}`, 400, "timezone"},
		{"POST", "/v1/accounts/nowhere/freeze", "", 404, ""},
		{"GET", entities + "/nobody", "", 404, ""},
		{"POST", entities + "/nobody/archive", "", 404, ""},
		{"GET", assignments + "/asg_none", "", 404, ""},
		{"DELETE", assignments + "/asg_none", "", 404, ""},
		{"DELETE", "/v1/tokens/tok_none", "", 404, ""},
		{"GET", tree + "?subtree=nobody", "", 404, ""},
		{"POST", "/v1/cluster/nodes/n9/remove", "", 404, ""},
		{"POST", "/v1/cluster/nodes/n9/forfeit", `{"charge":true}`, 404, ""},

		// What the state forbids.
		{"POST", entities + "/team-a/move", `{"parent":"alice"}`, 409, ""},
		{"PUT", assignments, `{"assignments":[{"entity":"team-a","capability":"tokens","limit":10000,"cadence":"month","backfill":true}]}`, 409, ""},
		{"PUT", entities, `{"entities":[{"id":"alice","type":"user","parent":"team-b"}]}`, 409, ""},
		{"POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":true}`, 409, ""},

		// Paths and methods.
		{"GET", "/", "", 404, ""},
		{"GET", "/v2/accounts", "", 404, ""},
		{"GET", "/v1/accounts/", "", 404, ""},
		{"GET", "/v1//accounts", "", 404, ""},
		{"GET", "/v1/accounts/acme/../acme", "", 404, ""},
		{"GET", "/v1/accounts/acme/keys", "", 404, ""},
		{"DELETE", "/v1/accounts/acme", "", 405, ""},
		{"PATCH", entities, `{}`, 405, ""},
		{"POST", "/openapi.json", ``, 405, ""},
		{"OPTIONS", "/v1/accounts", ``, 405, ""},
	} {
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 200)]
		r := p.call(p.root, c.method, c.path, c.body)
		if r.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, c.status)
			continue
		}
		code := map[int]string{400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 409: "conflict"}[c.status]
		if r.json["code"] != code || r.header.Get("Content-Type") != "application/problem+json" || r.json["status"] != float64(c.status) {
			t.Errorf("%s: %s %s, want a problem with code %s", name, r.header.Get("Content-Type"), r.body, code)
		}
		if r.json["type"] != "about:blank" || r.json["title"] != http.StatusText(c.status) || r.json["detail"] == "" {
			t.Errorf("%s: %s, want type, title and detail", name, r.body)
		}
		if r.field() != c.field {
			t.Errorf("%s: names %q, want %q: %s", name, r.field(), c.field, r.body)
		}
		if r.header.Get("Bursar-Index") == "" {
			t.Errorf("%s: no Bursar-Index", name)
		}
	}
}

// Without a token nobody is told which paths and methods there are.
func TestWhoHasNoTokenIsToldNothing(t *testing.T) {
	p := newPlane(t)
	service := p.token(fsm.RoleService, "")
	for _, c := range []struct {
		method, path string
		open         bool // needs no token
	}{
		{"GET", "/", false},
		{"GET", "/v1/nothing", false},
		{"POST", "/v1/accounts/acme/nothing", false},
		{"DELETE", "/v1/accounts/acme", false},
		{"PATCH", "/v1/accounts/acme/entities", false},
		{"OPTIONS", "/v1/accounts", false},
		{"GET", "/v1//accounts", false},
		{"GET", "/healthz/x", false},
		{"GET", "/openapi.json/", false},
		{"POST", "/openapi.json", true},
		{"POST", "/healthz", true},
		{"DELETE", "/readyz", true},
		{"PUT", "/metrics", true},
	} {
		for token, status := range map[string]int{"": 401, "bt_nobody": 401, service: 403} {
			code := map[int]string{401: "unauthorized", 403: "forbidden"}[status]
			if c.open {
				status, code = 405, "method_not_allowed"
			}
			r := p.call(token, c.method, c.path, "")
			if r.status != status || r.json["code"] != code || r.header.Get("Bursar-Index") == "" {
				t.Errorf("%s %s with token %.9q: %d %s, want %d", c.method, c.path, token, r.status, r.body, status)
			}
			if r.status == 401 && r.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: no WWW-Authenticate", c.method, c.path)
			}
		}
	}
}

// OPTIONS * has a path of its own, which net/http would answer by itself.
func TestOptionsOfTheServerNeedsAToken(t *testing.T) {
	p := newPlane(t)
	for token, status := range map[string]int{"bt_nobody": 401, p.root: 404} {
		c, err := net.Dial("tcp", p.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status || res.Header.Get("Bursar-Index") == "" {
			t.Errorf("OPTIONS *: %s, want %d with Bursar-Index", res.Status, status)
		}
	}
}

func TestARequiredFieldSaysWhatItWants(t *testing.T) {
	p := newPlane(t)
	for _, c := range []struct{ path, field, message string }{
		{"/v1/cluster/nodes/n2/forfeit", "charge", "is required: true counts what the lost node held as used, for it may have been spent; false sets it free, for it is known not to have been"},
		{"/v1/tokens", "role", "is required: one of root, admin, auditor, service"},
		{"/v1/accounts/acme/entities/team-a/move", "parent", "is required: entity to hang it under, with its subtree"},
		{"/v1/tokens", "name", "is required"},
	} {
		r := p.call(p.root, "POST", c.path, `{}`)
		if want := fmt.Sprintf(`{"field":%q,"message":%q}`, c.field, c.message); r.status != 400 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s, want %s", c.path, r.status, r.body, want)
		}
	}
}

// A file that an infrastructure tool applies again changes nothing, backfill and all.
func TestApplyingTheSameAssignmentsAgainIsFine(t *testing.T) {
	p := newPlane(t)
	p.company()
	const body = `{"assignments":[{"entity":"team-a","capability":"usd","limit":5,"cadence":"month","backfill":true}]}`
	first := p.must("PUT", "/v1/accounts/acme/assignments", body)
	if !strings.Contains(string(first.body), `"backfill":true`) {
		t.Errorf("not answered as it was sent: %s", first.body)
	}
	again := p.must("PUT", "/v1/accounts/acme/assignments", body)
	if string(again.body) != string(first.body) {
		t.Errorf("applied again: %s, want %s", again.body, first.body)
	}
}

// A conflict about amounts or counts says them, and every one says what to do.
func TestAConflictSaysItsNumbersAndTheWayOut(t *testing.T) {
	p := newPlane(t)
	p.company()
	const (
		entities    = "/v1/accounts/acme/entities"
		assignments = "/v1/accounts/acme/assignments"
	)
	allocate := func(entity string, limit int) string {
		return fmt.Sprintf(`{"assignments":[{"entity":%q,"capability":"usd","limit":%d,"cadence":"month","mode":"allocated"}]}`, entity, limit)
	}
	pool := func(limit string) string {
		return `{"assignments":[{"entity":"team-a","capability":"usd","limit":` + limit + `,"cadence":"month"}]}`
	}
	p.must("PUT", assignments, pool("100"))
	p.must("PUT", assignments, allocate("alice", 60))
	p.must("PUT", assignments, allocate("bob", 40))
	p.must("POST", entities+"/bob/archive", "")
	p.must("PUT", assignments, allocate("alice", 70))
	for _, c := range []struct {
		name, method, path, body string
		numbers                  map[string]any
		todo                     string
	}{
		{"more than is left", "PUT", assignments, allocate("alice", 101), map[string]any{"limit": 100.0, "allocated": 0.0, "requested": 101.0, "available": 100.0}, "ask for less"},
		{"a full parent", "POST", entities + "/bob/unarchive", "", map[string]any{"limit": 100.0, "allocated": 70.0, "requested": 40.0, "available": 30.0}, "ask for less"},
		{"a cut below the parts", "PUT", assignments, pool("69"), map[string]any{"limit": 100.0, "allocated": 70.0, "requested": 69.0, "available": 30.0}, "lower or delete theirs"},
		{"no limit to carve from", "PUT", assignments, pool("null"), map[string]any{"allocated": 70.0}, "give that one a limit"},
		{"nothing to carve from", "PUT", assignments, allocate("carol", 1), map[string]any{"allocated": 1.0}, "make that one first"},
		{"a move away from it", "POST", entities + "/alice/move", `{"parent":"team-b"}`, map[string]any{"allocated": 70.0}, "make that one first"},
		{"a cycle", "POST", entities + "/team-a/move", `{"parent":"alice"}`, nil, "choose a parent"},
		{"backfill too late", "PUT", assignments, strings.Replace(pool("100"), `"month"`, `"month","backfill":true`, 1), nil, "leave backfill out"},
		{"a built-in", "PUT", "/v1/capabilities", `{"capabilities":[{"id":"usd","unit":"USD","decimals":2}]}`, map[string]any{"decimals": 9.0, "requested": 2.0}, "choose another id"},
		{"a live node", "POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":true}`, nil, "remove it"},
	} {
		r := p.call(p.root, c.method, c.path, c.body)
		numbers, _ := r.json["numbers"].(map[string]any)
		if r.status != 409 || !maps.Equal(numbers, c.numbers) || !strings.Contains(string(r.body), c.todo) {
			t.Errorf("%s: %d %s, want numbers %v and %q", c.name, r.status, r.body, c.numbers, c.todo)
		}
	}
}

func TestMethodNotAllowedSaysWhatIs(t *testing.T) {
	p := newPlane(t)
	r := p.call(p.root, "DELETE", "/v1/accounts/acme", "")
	if allow := r.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "PUT") {
		t.Errorf("Allow = %q, want GET and PUT", allow)
	}
}

func TestBodyOverTheLimitIsTooLarge(t *testing.T) {
	p := newPlane(t)
	fits := `{"name":"` + strings.Repeat(" ", maxBodyBytes-11) + `"}`
	if r := p.call(p.root, "PUT", "/v1/accounts/acme", fits); r.status != 400 || r.field() != "name" {
		t.Errorf("%d bytes: %d, want 400 naming name", len(fits), r.status)
	}
	over := fits + " "
	if r := p.call(p.root, "PUT", "/v1/accounts/acme", over); r.status != 413 || r.json["code"] != "too_large" {
		t.Errorf("%d bytes: %d %.100s, want 413 too_large", len(over), r.status, r.body)
	}
	// A caller that sends all before it reads gets the answer, not a broken connection.
	c, err := net.Dial("tcp", p.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	const size = 4 * maxBodyBytes
	head := fmt.Sprintf("PUT /v1/accounts/acme HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", p.root, size)
	if _, err := io.WriteString(c, head+strings.Repeat(" ", size)); err != nil {
		t.Fatalf("the connection broke while the body was being sent: %v", err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 413 {
		t.Errorf("a body of %d bytes: %v, %v, want 413", size, res, err)
	}
	// Without a declared length it is found out while reading.
	req, _ := http.NewRequest("PUT", p.server.URL+"/v1/accounts/acme", struct{ *strings.Reader }{strings.NewReader(over)})
	req.Header.Set("Authorization", "Bearer "+p.root)
	res, err := p.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("chunked: %d, want 413", res.StatusCode)
	}
}

func TestBodyIsJSONWhateverItIsCalled(t *testing.T) {
	p := newPlane(t)
	for _, ct := range []string{"application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain", ""} {
		r := p.callWith(p.root, "PUT", "/v1/accounts/acme", `{"name":"Acme"}`, map[string]string{"Content-Type": ct})
		if r.status != 200 {
			t.Errorf("Content-Type %q: %d %s, want 200", ct, r.status, r.body)
		}
	}
}

func TestBulkTakesUpToAThousand(t *testing.T) {
	p := newPlane(t)
	p.company()
	var items []string
	for i := range 1000 {
		items = append(items, fmt.Sprintf(`{"id":"u%04d","type":"user","parent":"team-a"}`, i))
	}
	r := p.must("PUT", "/v1/accounts/acme/entities", `{"entities":[`+strings.Join(items, ",")+`]}`)
	if got := len(r.json["entities"].([]any)); got != 1000 {
		t.Errorf("%d entities answered, want 1000", got)
	}
	// All or none: the last one is wrong.
	items[999] = `{"id":"new-last","type":"user","parent":"nobody"}`
	items[0] = `{"id":"new-first","type":"user","parent":"team-a"}`
	if r := p.call(p.root, "PUT", "/v1/accounts/acme/entities", `{"entities":[`+strings.Join(items, ",")+`]}`); r.status != 400 || r.field() != "entities[999].parent" {
		t.Errorf("%d %.200s, want 400 naming entities[999].parent", r.status, r.body)
	}
	if r := p.call(p.root, "GET", "/v1/accounts/acme/entities/new-first", ""); r.status != 404 {
		t.Errorf("a refused bulk write left an entity: %s", r.body)
	}
}

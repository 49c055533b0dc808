package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// without removes what differs from run to run.
func without(v any, keys ...string) any {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range keys {
			delete(x, k)
		}
		for _, e := range x {
			without(e, keys...)
		}
	case []any:
		for _, e := range x {
			without(e, keys...)
		}
	}
	return v
}

// sameJSON compares an answer with what is wanted of it.
func sameJSON(t *testing.T, got reply, want string) {
	t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, without(any(got.json), "created_at", "updated_at", "id")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAccountLifecycle(t *testing.T) {
	p := newPlane(t)
	r := p.must("PUT", "/v1/accounts/globex", `{"name":"Globex"}`)
	if r.json["id"] != "globex" || r.json["created_at"] == nil || r.json["frozen"] != false {
		t.Errorf("PUT: %s", r.body)
	}
	p.must("PUT", "/v1/accounts/globex", `{"name":"Globex Corp"}`)
	if r := p.must("GET", "/v1/accounts/globex", ""); r.json["name"] != "Globex Corp" {
		t.Errorf("renamed: %s", r.body)
	}
	if r := p.must("POST", "/v1/accounts/globex/freeze", ""); r.json["frozen"] != true {
		t.Errorf("freeze: %s", r.body)
	}
	if r := p.must("POST", "/v1/accounts/globex/unfreeze", "{}"); r.json["frozen"] != false {
		t.Errorf("unfreeze: %s", r.body)
	}
	if got := p.must("GET", "/v1/accounts", "").items("id"); !slices.Equal(got, []string{"acme", "globex"}) {
		t.Errorf("accounts: %v", got)
	}
	bound := p.token(fsm.RoleAuditor, "globex")
	if got := p.call(bound, "GET", "/v1/accounts", "").items("id"); !slices.Equal(got, []string{"globex"}) {
		t.Errorf("accounts for globex's auditor: %v", got)
	}
}

func TestEntitiesAreAnsweredAsStored(t *testing.T) {
	p := newPlane(t)
	p.company()
	sameJSON(t, p.must("PUT", "/v1/accounts/acme/entities", `{"entities":[{"id":"dave","type":"user","parent":"team-a","metadata":{"k":"v"}},{"id":"team-c","type":"team"}]}`),
		`{"entities":[
			{"type":"user","parent":"team-a","name":"","metadata":{"k":"v"},"archived":false},
			{"type":"team","parent":"acme","name":"","metadata":{},"archived":false}]}`)
	sameJSON(t, p.must("GET", "/v1/accounts/acme/entities/acme", ""), `{"type":"account","parent":null,"name":"Acme","metadata":{},"archived":false}`)

	if r := p.must("POST", "/v1/accounts/acme/entities/dave/move", `{"parent":"team-b"}`); r.json["parent"] != "team-b" {
		t.Errorf("move: %s", r.body)
	}
	if r := p.must("POST", "/v1/accounts/acme/entities/team-b/archive", ""); r.json["archived"] != true {
		t.Errorf("archive: %s", r.body)
	}
	if r := p.must("GET", "/v1/accounts/acme/entities/dave", ""); r.json["archived"] != true {
		t.Errorf("below an archived team: %s", r.body)
	}
	if r := p.must("POST", "/v1/accounts/acme/entities/team-b/unarchive", ""); r.json["archived"] != false {
		t.Errorf("unarchive: %s", r.body)
	}
}

func TestAssignmentsAreAnsweredAsStored(t *testing.T) {
	p := newPlane(t)
	p.company()
	r := p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[
		{"entity":"carol","capability":"usd","limit":null,"cadence":"week"},
		{"entity":"carol","capability":"tokens","limit":1000000000000000000,"cadence":{"every":"month","timezone":"Europe/Berlin","anchor":"2026-01-15T00:00:00Z"},
		 "enforcement":"soft","scope":["team-b","team-a","team-b"],"alert_thresholds":[80,50]}]}`)
	id := r.json["assignments"].([]any)[0].(map[string]any)["id"].(string)
	if !strings.HasPrefix(id, "asg_") {
		t.Errorf("id = %q, want asg_…", id)
	}
	if !strings.Contains(string(r.body), `"limit":1000000000000000000`) {
		t.Errorf("10^18 is not an integer in the answer: %s", r.body)
	}
	sameJSON(t, r, `{"assignments":[
		{"entity":"carol","capability":"usd","limit":null,"cadence":{"every":"week","timezone":"UTC"},"enforcement":"hard","mode":"cap","scope":[],"alert_thresholds":[],"backfill":false},
		{"entity":"carol","capability":"tokens","limit":1000000000000000000,"cadence":{"every":"month","timezone":"Europe/Berlin","anchor":"2026-01-15T00:00:00Z"},
		 "enforcement":"soft","mode":"cap","scope":["team-a","team-b"],"alert_thresholds":[50,80],"backfill":false}]}`)

	// The same identity is the same assignment; what the server answers can be sent back.
	got := p.must("GET", "/v1/accounts/acme/assignments/"+id, "")
	back := p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[`+strings.Replace(string(got.body), `"limit":null`, `"limit":7`, 1)+`]}`)
	item := back.json["assignments"].([]any)[0].(map[string]any)
	if item["id"] != id || item["limit"] != 7.0 {
		t.Errorf("sent back with another limit: %v, want id %s and limit 7", item, id)
	}
	if got := p.must("GET", "/v1/accounts/acme/assignments?entity=carol&capability=usd", "").items("id"); !slices.Equal(got, []string{id}) {
		t.Errorf("filtered list: %v, want [%s]", got, id)
	}
	if r := p.must("DELETE", "/v1/accounts/acme/assignments/"+id, ""); r.status != 204 {
		t.Errorf("DELETE: %d, want 204", r.status)
	}
	if r := p.call(p.root, "GET", "/v1/accounts/acme/assignments/"+id, ""); r.status != 404 {
		t.Errorf("after DELETE: %d, want 404", r.status)
	}
}

func TestAllocationConflictCarriesTheNumbers(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[{"entity":"team-a","capability":"requests","limit":100,"cadence":"day"}]}`)
	r := p.call(p.root, "PUT", "/v1/accounts/acme/assignments", `{"assignments":[{"entity":"alice","capability":"requests","limit":101,"cadence":"day","mode":"allocated"}]}`)
	if r.status != 409 || r.json["code"] != "conflict" {
		t.Fatalf("%d %s, want 409", r.status, r.body)
	}
	numbers, _ := r.json["numbers"].(map[string]any)
	if len(numbers) == 0 {
		t.Errorf("no numbers: %s", r.body)
	}
}

func TestCatalogIsSharedAndAnsweredAsStored(t *testing.T) {
	p := newPlane(t)
	sameJSON(t, p.must("PUT", "/v1/capabilities", `{"capabilities":[{"id":"images","unit":"image"}]}`), `{"capabilities":[{"unit":"image","decimals":0,"builtin":false}]}`)
	sameJSON(t, p.must("PUT", "/v1/entity-types", `{"entity_types":[{"id":"team"},{"id":"user","name":"User","parents":["team"]}]}`),
		`{"entity_types":[{"name":"","parents":[]},{"name":"User","parents":["team"]}]}`)
	got := p.must("GET", "/v1/capabilities", "").items("id")
	for _, want := range []string{"images", "usd", "tokens", "requests", "input_tokens", "output_tokens", "cached_tokens"} {
		if !slices.Contains(got, want) {
			t.Errorf("capabilities %v lack %s", got, want)
		}
	}
}

func TestBalanceArithmetic(t *testing.T) {
	p := newPlane(t)
	p.company()
	a := p.assignment("team-a", "tokens")
	p.settle("evt-1", a, 1200)
	p.mu.Lock()
	p.reserved[a.Num] = 300
	p.mu.Unlock()

	read := func() client.Balance {
		t.Helper()
		r := p.must("GET", "/v1/accounts/acme/balances?entity=team-a&capability=tokens", "")
		var list client.List[client.Balance]
		if err := json.Unmarshal(r.body, &list); err != nil || len(list.Items) != 1 {
			t.Fatalf("%v: %s", err, r.body)
		}
		return list.Items[0]
	}
	b := read()
	if b.Assignment != a.ID || *b.Limit != 10000 || b.Used != 1200 || b.Reserved != 300 || b.InDoubt != 0 || *b.Available != 10000-1200-300 {
		t.Errorf("balance = %+v, available %d", b, *b.Available)
	}
	start, end := a.Cadence.Period(time.Now().UnixMilli())
	if b.PeriodStart.UnixMilli() != start || b.ResetsAt.UnixMilli() != end {
		t.Errorf("period %v to %v, want %v to %v", b.PeriodStart, b.ResetsAt, moment(start), moment(end))
	}

	// A node that dies takes its lease into doubt, not out of the books.
	p.apply(fsm.DeadNode{Node: 2})
	after := read()
	if after.InDoubt != after.Leased["n2"] || after.InDoubt == 0 {
		t.Errorf("in_doubt = %d with leases %v, want n2's", after.InDoubt, after.Leased)
	}
	if want := 10000 - 1200 - 300 - after.InDoubt; *after.Available != want {
		t.Errorf("available = %d, want %d", *after.Available, want)
	}

	// More taken than there is never shows as less than nothing.
	p.settle("evt-2", a, 20000)
	if b := read(); *b.Available != 0 || b.Used != 21200 {
		t.Errorf("over the limit: used %d, available %d, want 21200 and 0", b.Used, *b.Available)
	}
}

// A node that has just died counts as live until the leader notices.
func TestBalancesWaitForASilentNodeUnlessStale(t *testing.T) {
	p := newPlane(t)
	p.company()
	say := func(silent int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.silent, p.asked = silent, 0
	}
	for _, path := range []string{"/v1/accounts/acme/balances", "/v1/accounts/acme/tree"} {
		say(2)
		if r := p.call(p.root, "GET", path, ""); r.status != 200 {
			t.Errorf("%s with a node silent for a moment: %d %s, want 200", path, r.status, r.body)
		}
		say(1)
		if r := p.call(p.root, "GET", path+"?consistency=stale", ""); r.status != 200 {
			t.Errorf("stale %s: %d %s, want 200", path, r.status, r.body)
		}
		p.mu.Lock()
		if p.asked != 1 {
			t.Errorf("stale %s asked %d times, want once", path, p.asked)
		}
		p.mu.Unlock()
	}
}

func TestReservedIsWaitedForOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := retryReserved(t.Context(), func() error {
			tries++
			return fmt.Errorf("%w: node 2", errNotAllSaid)
		})
		if p := problemOf(err); p.Status != 503 || p.Code != codeUnavailable {
			t.Errorf("problem = %+v, want 503", p.Problem)
		}
		if took := time.Since(began); took != barrierWait || tries < 2 {
			t.Errorf("gave up after %v and %d tries, want %v", took, tries, barrierWait)
		}
		tries = 0
		if err := retryReserved(t.Context(), func() error { tries++; return fsm.ErrNotFound }); err != fsm.ErrNotFound || tries != 1 {
			t.Errorf("another error: %v after %d tries, want it at once", err, tries)
		}
	})
}

func TestBalancesOfUnlimitedAndEndless(t *testing.T) {
	p := newPlane(t)
	p.company()
	r := p.must("GET", "/v1/accounts/acme/balances?entity=bob", "")
	item := r.json["items"].([]any)[0].(map[string]any)
	if v, ok := item["limit"]; !ok || v != nil {
		t.Errorf("limit = %v, want null", item["limit"])
	}
	if v, ok := item["available"]; !ok || v != nil {
		t.Errorf("available = %v, want null", item["available"])
	}
	if diff := cmp.Diff(map[string]any{"every": "month", "timezone": "Europe/Berlin"}, item["cadence"]); diff != "" {
		t.Errorf("cadence: %s", diff)
	}
	r = p.must("GET", "/v1/accounts/acme/balances?entity=team-b", "")
	item = r.json["items"].([]any)[0].(map[string]any)
	if v, ok := item["resets_at"]; !ok || v != nil {
		t.Errorf("resets_at = %v, want null", item["resets_at"])
	}
	if got := p.must("GET", "/v1/accounts/acme/balances?entity=nobody", "").items("entity"); len(got) != 0 {
		t.Errorf("balances of nobody: %v", got)
	}
}

func TestTreeOverHTTP(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.settle("evt-1", p.assignment("team-a", "tokens"), 9000)
	p.settle("evt-2", p.assignment("alice", "tokens"), 500)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{"alice", "bob", "team-a", "team-b"}},
		{"?order=desc", []string{"team-b", "team-a", "bob", "alice"}},
		{"?sort_by=utilization&order=desc", []string{"team-a", "alice", "team-b", "bob"}},
		{"?sort_by=utilization", []string{"team-b", "alice", "team-a", "bob"}},
		{"?sort_by=limit&order=desc", []string{"team-a", "alice", "team-b", "bob"}},
		{"?sort_by=used", []string{"bob", "team-b", "alice", "team-a"}},
		{"?min_utilization=0.5", []string{"alice", "team-a"}},
		{"?min_utilization=0.500000001", []string{"team-a"}},
		{"?entity_types=user", []string{"alice", "bob"}},
		{"?entity_types=user,team&capabilities=usd", []string{"bob"}},
		{"?search=TEAM", []string{"team-a", "team-b"}},
		{"?search=%C3%84RZ", []string{"team-a"}},
		{"?subtree=team-a", []string{"alice", "bob", "team-a"}},
		{"?subtree=team-a&depth=0", []string{"team-a"}},
		{"?subtree=team-a&depth=1", []string{"alice", "bob", "team-a"}},
		{"?depth=0", []string{}},
		{"?depth=1", []string{"team-a", "team-b"}},
		{"?depth=2", []string{"alice", "bob", "team-a", "team-b"}},
		{"?scope=scoped", []string{"team-b"}},
		{"?scope=unscoped", []string{"alice", "bob", "team-a"}},
		{"?consistency=stale", []string{"alice", "bob", "team-a", "team-b"}},
	} {
		if got := p.must("GET", "/v1/accounts/acme/tree"+c.query, "").items("id"); !slices.Equal(got, c.want) {
			t.Errorf("tree%s = %v, want %v", c.query, got, c.want)
		}
	}
	item := p.must("GET", "/v1/accounts/acme/tree?subtree=team-a&depth=0", "").json["items"].([]any)[0].(map[string]any)
	if item["utilization"] != 0.9 || item["depth"] != 2.0 || item["parent"] != "acme" || item["used"] != 9000.0 || item["available"] != 1000.0 {
		t.Errorf("row = %v", item)
	}
	p.must("POST", "/v1/accounts/acme/entities/team-a/archive", "")
	if got := p.must("GET", "/v1/accounts/acme/tree", "").items("id"); !slices.Equal(got, []string{"team-b"}) {
		t.Errorf("with team-a archived: %v", got)
	}
}

// Following next to the end gives every item once, whatever the page size.
func TestPagingNeitherSkipsNorRepeats(t *testing.T) {
	p := newPlane(t)
	p.company()
	var entities, assignments []string
	for i := range 23 {
		p.apply(fsm.PutAccount{ID: fmt.Sprintf("acc%02d", i)})
		p.token(fsm.RoleService, "acme")
		entities = append(entities, fmt.Sprintf(`{"id":"u%02d","type":"user","parent":"team-a"}`, i))
		assignments = append(assignments, fmt.Sprintf(`{"entity":"u%02d","capability":"tokens","limit":%d,"cadence":"day"}`, i, i%3))
	}
	p.must("PUT", "/v1/accounts/acme/entities", `{"entities":[`+strings.Join(entities, ",")+`]}`)
	p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[`+strings.Join(assignments, ",")+`]}`)
	budget := p.assignment("team-a", "tokens")
	for i := range 23 {
		p.settle(fmt.Sprintf("evt-%d", i), budget, 1)
	}
	for _, c := range []struct{ path, key string }{
		{"/v1/accounts", "id"},
		{"/v1/capabilities", "id"},
		{"/v1/tokens", "id"},
		{"/v1/audit", "seq"},
		{"/v1/accounts/acme/entities", "id"},
		{"/v1/accounts/acme/assignments", "id"},
		{"/v1/accounts/acme/balances", "assignment"},
		{"/v1/accounts/acme/tree?sort_by=limit&order=desc", "assignment"},
		{"/v1/accounts/acme/ledger", "seq"},
		{"/v1/accounts/acme/ledger?order=asc", "seq"},
	} {
		sep := "?"
		if strings.Contains(c.path, "?") {
			sep = "&"
		}
		whole := p.must("GET", c.path+sep+"limit=1000", "")
		want := whole.items(c.key)
		if whole.json["next"] != nil || len(want) < 6 {
			t.Errorf("%s: %d items and next %v", c.path, len(want), whole.json["next"])
		}
		for _, size := range []int{1, 3, len(want), len(want) + 1} {
			var got []string
			after := ""
			for pages := 0; pages <= len(want)+2; pages++ {
				r := p.must("GET", fmt.Sprintf("%s%slimit=%d%s", c.path, sep, size, after), "")
				got = append(got, r.items(c.key)...)
				next, more := r.json["next"].(string)
				if !more {
					break
				}
				after = "&after=" + next
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s in pages of %d:\n got %v\nwant %v", c.path, size, got, want)
			}
		}
	}
}

func TestTokensAreListedWithoutSecrets(t *testing.T) {
	p := newPlane(t)
	made := p.must("POST", "/v1/tokens", `{"name":"gateway","role":"service","account":"acme","expires_at":"2099-01-01T00:00:00Z"}`)
	if !strings.HasPrefix(made.json["token"].(string), "bt_") || !strings.HasPrefix(made.json["id"].(string), "tok_") {
		t.Errorf("POST: %s", made.body)
	}
	list := p.must("GET", "/v1/tokens?account=acme", "")
	if got := list.items("name"); !slices.Equal(got, []string{"gateway"}) {
		t.Errorf("acme's tokens: %v", got)
	}
	sameJSON(t, list, `{"items":[{"name":"gateway","role":"service","account":"acme","expires_at":"2099-01-01T00:00:00Z"}],"next":null}`)
	bound := p.token(fsm.RoleAuditor, "acme")
	for _, x := range p.call(bound, "GET", "/v1/tokens", "").items("account") {
		if x != "acme" {
			t.Errorf("acme's auditor sees a token of %s", x)
		}
	}
	if r := p.call(bound, "GET", "/v1/tokens?account=globex", ""); r.status != 404 {
		t.Errorf("tokens of another account: %d, want 404", r.status)
	}
}

func TestAuditNamesWhoDidWhat(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.must("POST", "/v1/accounts/acme/entities/carol/move", `{"parent":"team-a"}`)
	p.apply(fsm.PutAccount{ID: "globex"})
	r := p.must("GET", "/v1/audit?action=entity.move", "")
	list := r.json["items"].([]any)
	if len(list) != 1 {
		t.Fatalf("entity.move: %s", r.body)
	}
	e := list[0].(map[string]any)
	actor := e["actor"].(map[string]any)
	if actor["type"] != "token" || !strings.HasPrefix(actor["id"].(string), "tok_") || e["ip"] != "127.0.0.1" || e["target"] != "carol" || e["account"] != "acme" {
		t.Errorf("entry = %v", e)
	}
	if e["from"].(map[string]any)["parent"] != "team-b" || e["to"].(map[string]any)["parent"] != "team-a" {
		t.Errorf("from %v to %v", e["from"], e["to"])
	}
	if len(e["hash"].(string)) != 64 {
		t.Errorf("hash = %v", e["hash"])
	}
	bound := p.token(fsm.RoleAuditor, "acme")
	for _, x := range p.call(bound, "GET", "/v1/audit", "").items("account") {
		if x != "acme" {
			t.Errorf("acme's auditor sees an entry of %s", x)
		}
	}
	if r := p.call(bound, "GET", "/v1/audit?account=globex", ""); r.status != 404 {
		t.Errorf("audit of another account: %d, want 404", r.status)
	}
	v := p.must("GET", "/v1/audit/verify", "")
	if v.json["valid"] != true || v.json["entries"].(float64) < 5 || v.json["broken_at"] != nil {
		t.Errorf("verify: %s", v.body)
	}
}

func TestClusterShowsMembersAndWhatIsInDoubt(t *testing.T) {
	p := newPlane(t)
	p.company()
	status := func(r reply) map[string]string {
		out := map[string]string{}
		for _, m := range r.json["members"].([]any) {
			x := m.(map[string]any)
			out[x["id"].(string)] = x["status"].(string)
		}
		return out
	}
	r := p.must("GET", "/v1/cluster", "")
	if diff := cmp.Diff(map[string]string{"n1": "live", "n2": "live"}, status(r)); diff != "" {
		t.Error(diff)
	}
	if r.json["leader"] != "n1" || r.json["id"] != "test" || r.json["node"] != "n1" {
		t.Errorf("cluster: %s", r.body)
	}
	p.apply(fsm.DeadNode{Node: 2})
	r = p.must("GET", "/v1/cluster", "")
	doubt, _ := r.json["members"].([]any)[1].(map[string]any)["in_doubt"].(map[string]any)
	held := p.must("GET", "/v1/accounts/acme/balances?entity=team-a", "").json["items"].([]any)[0].(map[string]any)["in_doubt"]
	scoped := p.must("GET", "/v1/accounts/acme/balances?entity=team-b", "").json["items"].([]any)[0].(map[string]any)["in_doubt"]
	if doubt["tokens"] != held.(float64)+scoped.(float64) || status(r)["n2"] != "dead" {
		t.Errorf("in_doubt %v, want tokens %v + %v: %s", doubt, held, scoped, r.body)
	}
	p.must("POST", "/v1/cluster/nodes/n2/forfeit", `{"charge":false}`)
	if got := p.must("GET", "/v1/accounts/acme/balances?entity=team-a", "").json["items"].([]any)[0].(map[string]any)["in_doubt"]; got != 0.0 {
		t.Errorf("in_doubt after forfeit = %v, want 0", got)
	}
	p.must("POST", "/v1/cluster/nodes/n2/remove", "")
	p.must("POST", "/v1/cluster/transfer-leadership", `{"to":"n2"}`)
	if !slices.Equal(p.cluster.removed, []string{"n2"}) || p.cluster.leader != "n2" {
		t.Errorf("removed %v, leader %q", p.cluster.removed, p.cluster.leader)
	}
}

func TestIndexOfAnAnswerCoversTheWriteBeforeIt(t *testing.T) {
	p := newPlane(t)
	w := p.must("PUT", "/v1/accounts/acme", `{"name":"A"}`)
	index, _ := p.machine.Applied()
	if got := w.header.Get("Bursar-Index"); got != fmt.Sprint(index) {
		t.Errorf("Bursar-Index of a write = %s, want %d", got, index)
	}
	r := p.call(p.root, http.MethodGet, "/v1/accounts/acme/balances", "")
	if got := r.header.Get("Bursar-Index"); got != fmt.Sprint(index) {
		t.Errorf("Bursar-Index of a read = %s, want %d", got, index)
	}
}

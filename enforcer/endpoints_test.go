package enforcer

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

func TestCheckAnswersInTheContractsShape(t *testing.T) {
	n := newSoloNode(t)
	for _, tc := range []struct{ name, body, want string }{
		{"granted", `{"account":"acme","entities":["alice"],"usage":{"requests":1,"tokens":100}}`,
			`{"allowed":true,"code":"ok","remaining":{"tokens":1000,"requests":100},"warnings":[],"index":I}`},
		{"usage left out is one request", `{"account":"acme","entities":["alice"]}`,
			`{"allowed":true,"code":"ok","remaining":{"requests":100},"warnings":[],"index":I}`},
		{"null is left out", `{"account":"acme","entities":["alice"],"usage":null,"model":null,"explain":null,"key":null}`,
			`{"allowed":true,"code":"ok","remaining":{"requests":100},"warnings":[],"index":I}`},
		{"ungoverned", `{"account":"acme","entities":["acme"],"ip":"203.0.113.7","member":"m","model":"gpt-4o"}`,
			`{"allowed":true,"code":"ungoverned","remaining":{},"warnings":[],"index":I}`},
		{"never fits", `{"account":"acme","entities":["alice"],"usage":{"tokens":1001}}`,
			`{"allowed":false,"code":"exceeds_limit","denied_by":{"entity":"team","type":"team","capability":"tokens","scope":[],` +
				`"cadence":{"every":"month","timezone":"UTC"},"limit":1000,"used":0,"reserved":0,"requested":1001,"resets_at":"T"},"index":I}`},
		{"key", `{"key":"bk_x"}`, `{"allowed":false,"code":"key_unknown","index":I}`},
		{"explain", `{"account":"acme","entities":["alice"],"usage":{"tokens":1},"explain":true}`,
			`{"allowed":true,"code":"ok","remaining":{"tokens":1000},"warnings":[],"chain":[{"entity":"team","type":"team","parent":"acme",` +
				`"capability":"tokens","scope":[],"cadence":{"every":"month","timezone":"UTC"},"enforcement":"hard","limit":1000,"used":0,` +
				`"reserved":0,"remaining":1000,"period_start":"T","resets_at":"T","allowed":true}],"index":I}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := n.post("/v1/check", tc.body)
			if a.status != 200 || a.header("Content-Type") != "application/json" {
				t.Errorf("status %d, type %s", a.status, a.header("Content-Type"))
			}
			if d := cmp.Diff(tc.want, mask(a.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

var (
	maskTime  = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z"`)
	maskIndex = regexp.MustCompile(`"index":[1-9]\d*`)
	maskRetry = regexp.MustCompile(`"retry_after_ms":[1-9]\d*`)
	maskRsv   = regexp.MustCompile(`"rsv_[0-9a-f]{36}"`)
)

// mask replaces what differs from run to run.
func mask(s string) string {
	s = maskTime.ReplaceAllString(s, `"T"`)
	s = maskIndex.ReplaceAllString(s, `"index":I`)
	s = maskRetry.ReplaceAllString(s, `"retry_after_ms":N`)
	return maskRsv.ReplaceAllString(s, `"R"`)
}

func TestReserveSettlesAndTheRestIsFree(t *testing.T) {
	n := newSoloNode(t)
	a := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":600},"reserve_ttl_ms":60000}`)
	if got := mask(a.text); got != `{"allowed":true,"code":"ok","reservation":"R","expires_at":"T","remaining":{"tokens":400},"warnings":[],"index":I}` {
		t.Fatal(a.text)
	}
	rsv := a.json["reservation"].(string)
	denied := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":600},"reserve_ttl_ms":60000}`)
	want := `{"allowed":false,"code":"budget_exhausted","retry_after_ms":N,"denied_by":{"entity":"team","type":"team","capability":"tokens","scope":[],` +
		`"cadence":{"every":"month","timezone":"UTC"},"limit":1000,"used":0,"reserved":600,"requested":600,"resets_at":"T"},"index":I}`
	if d := cmp.Diff(want, mask(denied.text)); d != "" {
		t.Fatal(d)
	}
	a = n.post("/v1/ingest", fmt.Sprintf(`{"events":[{"id":"e1","account":"acme","entities":["alice"],"reservation":%q,
		"usage":{"input_tokens":300,"output_tokens":50},"at":%q,"metadata":{"trace":"x"}}]}`, rsv, time.Now().UTC().Format(time.RFC3339)))
	if a.status != 200 || a.text != `{"accepted":1,"duplicates":0,"rejected":[],"durability":"quorum"}` {
		t.Fatal(a.status, a.text)
	}
	if got := n.used(fsm.CapTokens); got != 350 {
		t.Errorf("used %d tokens, want 350 (derived)", got)
	}
	if a = n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":650},"reserve_ttl_ms":1000}`); a.json["allowed"] != true {
		t.Error("the rest of the hold is not free:", a.text)
	}
}

func TestReservationsAreReleasedAndExtended(t *testing.T) {
	n := newSoloNode(t)
	reserve := func(token string) string {
		a := n.do("POST", "/v1/check", token, `{"account":"acme","entities":["alice"],"usage":{"tokens":100},"reserve_ttl_ms":60000}`)
		return a.json["reservation"].(string)
	}
	id := reserve(tokenAll)
	a := n.post("/v1/reservations/"+id+"/extend", `{"ttl_ms":120000}`)
	if a.status != 200 || mask(a.text) != `{"expires_at":"T"}` {
		t.Error(a.status, a.text)
	}
	for range 2 { // safe to repeat
		if a = n.post("/v1/reservations/"+id+"/release", ""); a.status != 200 || a.text != `{"released":{"tokens":100}}` {
			t.Error(a.status, a.text)
		}
	}
	if a = n.post("/v1/reservations/"+reserve(tokenAll)+"/release", "{}"); a.status != 200 {
		t.Error("an empty object:", a.status, a.text)
	}
	unknown := "rsv_" + strings.Repeat("0", 36)
	for _, tc := range []struct {
		name, path, token, body string
		status                  int
		code, field             string
	}{
		{"release one of no node", unknown + "/release", tokenAll, "", 404, "reservation_unknown", ""},
		{"extend unknown", "rsv_0001" + strings.Repeat("0", 32) + "/extend", tokenAll, `{"ttl_ms":60000}`, 404, "reservation_unknown", ""},
		{"not an id", "x/release", tokenAll, "", 404, "reservation_unknown", ""},
		{"another tenant's", reserve(tokenAll) + "/release", tokenAcme, "", 200, "", ""},
		{"extend a released one", id + "/extend", tokenAll, `{"ttl_ms":60000}`, 410, "reservation_expired", ""},
		{"release with a field", id + "/release", tokenAll, `{"x":1}`, 400, "invalid_request", "x"},
		{"extend without ttl", id + "/extend", tokenAll, `{}`, 400, "invalid_request", "ttl_ms"},
		{"extend for too short", id + "/extend", tokenAll, `{"ttl_ms":999}`, 400, "invalid_request", "ttl_ms"},
		{"extend by 0", id + "/extend", tokenAll, `{"ttl_ms":0}`, 400, "invalid_request", "ttl_ms"},
		{"extend for too long", id + "/extend", tokenAll, `{"ttl_ms":3600001}`, 400, "invalid_request", "ttl_ms"},
		{"extend without body", id + "/extend", tokenAll, ``, 400, "invalid_request", "body"},
		{"another verb", id + "/renew", tokenAll, ``, 404, "not_found", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := n.do("POST", "/v1/reservations/"+tc.path, tc.token, tc.body)
			if a.status != tc.status || a.code() != tc.code || a.field() != tc.field {
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
}

func TestReservationsOfAnotherTenantAreUnknown(t *testing.T) {
	n := newSoloNode(t)
	a := n.post("/v1/check", `{"account":"other","entities":["bob"],"reserve_ttl_ms":60000}`)
	id, _ := a.json["reservation"].(string)
	if id == "" {
		t.Fatal(a.text)
	}
	for _, verb := range []string{"/release", "/extend"} {
		body := map[string]string{"/release": "", "/extend": `{"ttl_ms":60000}`}[verb]
		if a := n.do("POST", "/v1/reservations/"+id+verb, tokenAcme, body); a.status != 404 || a.code() != "reservation_unknown" {
			t.Error(verb, a.status, a.text)
		}
	}
}

func TestChecksAreDecidedInOrder(t *testing.T) {
	n := newSoloNode(t)
	one := `{"account":"acme","entities":["alice"],"usage":{"tokens":400},"reserve_ttl_ms":60000}`
	a := n.post("/v1/checks", `{"checks":[`+one+`,`+one+`,`+one+`]}`)
	var codes []any
	for _, item := range a.json["items"].([]any) {
		codes = append(codes, item.(map[string]any)["code"])
	}
	if d := cmp.Diff([]any{"ok", "ok", "budget_exhausted"}, codes); d != "" || a.status != 200 {
		t.Fatal(a.status, d)
	}
}

func TestChecksLeaveNothingReservedWhenOneCannotBeDecided(t *testing.T) {
	n := newSoloNode(t)
	good := `{"account":"acme","entities":["alice"],"usage":{"tokens":1000},"reserve_ttl_ms":60000}`
	a := n.post("/v1/checks", `{"checks":[`+good+`,{"account":"acme","entities":["alice"],"usage":{"nonsense":1}}]}`)
	if a.status != 400 || a.code() != "invalid_request" || a.field() != "checks[1].usage.nonsense" {
		t.Error(a.status, a.text)
	}
	if a = n.post("/v1/check", good); a.json["allowed"] != true {
		t.Error("something stayed reserved:", a.text)
	}
}

func TestMsgpackSaysTheSameAsJSON(t *testing.T) {
	n := newSoloNode(t)
	body, err := msgpack.Marshal(map[string]any{
		"account": "acme", "entities": []string{"alice"}, "usage": map[string]any{"tokens": uint64(200), "requests": int8(1)},
		"reserve_ttl_ms": 60000, "explain": true,
	})
	mustDo(t, err)
	a := n.do("POST", "/v1/check", tokenAll, string(body), "Content-Type", "application/msgpack")
	if a.status != 200 || a.header("Content-Type") != typeMsgpack {
		t.Fatal(a.status, a.header("Content-Type"), a.text)
	}
	var got map[string]any
	mustDo(t, msgpack.Unmarshal([]byte(a.text), &got))
	row := got["chain"].([]any)[0].(map[string]any)
	if got["allowed"] != true || got["code"] != "ok" || len(got["chain"].([]any)) != 2 || row["resets_at"] == nil ||
		fmt.Sprint(got["remaining"]) != "map[requests:99 tokens:800]" {
		t.Errorf("%v", got)
	}
	if a = n.do("POST", "/v1/check", tokenAll, string(body), "Content-Type", "application/msgpack", "Accept", "application/json"); a.json["code"] != "ok" {
		t.Error("Accept is not heeded:", a.text)
	}
	a = n.do("POST", "/v1/check", tokenAll, `{"account":"acme","entities":["alice"]}`, "Accept", "application/msgpack, application/problem+json")
	if a.header("Content-Type") != typeMsgpack {
		t.Error("Accept is not heeded:", a.header("Content-Type"))
	}
	if a = n.do("POST", "/v1/check", tokenAll, "\x81\xa1x\x01", "Content-Type", "application/msgpack"); a.status != 400 || a.field() != "x" {
		t.Error(a.status, a.text)
	}
}

func TestRoutesMethodsAndProbes(t *testing.T) {
	n := newSoloNode(t)
	time.Sleep(shortLife)
	ok := `{"account":"acme","entities":["alice"]}`
	for _, tc := range []struct {
		method, path, token string
		status              int
		code, header, value string
	}{
		{"GET", "/healthz", "", 200, "", "", ""},
		{"HEAD", "/readyz", "", 200, "", "", ""},
		{"POST", "/readyz", "", 405, "method_not_allowed", "Allow", "GET, HEAD"},
		{"GET", "/v1/check", tokenAll, 405, "method_not_allowed", "Allow", "POST"},
		{"DELETE", "/v1/ingest", tokenAll, 405, "method_not_allowed", "Allow", "POST"},
		{"POST", "/v1/check", "", 401, "unauthorized", "WWW-Authenticate", "Bearer"},
		{"GET", "/v1/check", "", 401, "unauthorized", "WWW-Authenticate", "Bearer"},
		{"OPTIONS", "/v1/ingest", "bt_nobody", 401, "unauthorized", "", ""},
		{"GET", "/", "", 401, "unauthorized", "", ""},
		{"POST", "/v1/nothing", "bt_nobody", 401, "unauthorized", "", ""},
		{"POST", "/v1/nothing", tokenExpired, 401, "unauthorized", "", ""},
		{"POST", "/v1/nothing", tokenAdmin, 403, "forbidden", "", ""},
		{"POST", "/v1/reservations/x/renew", "", 401, "unauthorized", "", ""},
		{"POST", "/healthz/", "", 401, "unauthorized", "", ""},
		{"POST", "/v1/check", "bt_nobody", 401, "unauthorized", "WWW-Authenticate", "Bearer"},
		{"POST", "/v1/check", tokenExpired, 401, "unauthorized", "", ""},
		{"POST", "/v1/check", tokenAdmin, 403, "forbidden", "", ""},
		{"POST", "/v1/check", tokenRoot, 200, "ok", "", ""},
		{"POST", "/v1/check/", tokenAll, 404, "not_found", "", ""},
		{"POST", "/v1%2fcheck", tokenAll, 404, "not_found", "", ""},
		{"POST", "/v1/x/../check", tokenAll, 404, "not_found", "", ""},
		{"POST", "//v1/check", tokenAll, 404, "not_found", "", ""},
		{"POST", "/", tokenAll, 404, "not_found", "", ""},
		{"POST", "/v1/check?", tokenAll, 200, "ok", "", ""},
		{"POST", "/v1/check?x=1", tokenAll, 400, "invalid_request", "", ""},
		{"POST", "/v1/ingest?ack=some", tokenAll, 400, "invalid_request", "", ""},
		{"POST", "/v1/ingest?ack=node&ack=node", tokenAll, 400, "invalid_request", "", ""},
	} {
		a := n.do(tc.method, tc.path, tc.token, ok)
		if a.status != tc.status || a.code() != tc.code || tc.header != "" && a.header(tc.header) != tc.value {
			t.Errorf("%s %s: %d %s %s=%q", tc.method, tc.path, a.status, a.text, tc.header, a.header(tc.header))
		}
		if a.status >= 400 && (a.header("Content-Type") != "application/problem+json" || a.json["status"] != float64(a.status)) {
			t.Errorf("%s %s: %s %s", tc.method, tc.path, a.header("Content-Type"), a.text)
		}
	}
}

func TestATokenCoversItsAccountOnly(t *testing.T) {
	n := newSoloNode(t)
	for _, tc := range []struct {
		path, body string
		status     int
	}{
		{"/v1/check", `{"account":"acme","entities":["alice"]}`, 200},
		{"/v1/check", `{"account":"other","entities":["alice"]}`, 404},
		{"/v1/check", `{"account":"nobody","entities":["alice"]}`, 404},
		{"/v1/checks", `{"checks":[{"account":"acme","entities":["a"]},{"account":"other","entities":["a"]}]}`, 404},
		{"/v1/ingest", `{"events":[{"id":"1","account":"acme","entities":["a"]},{"id":"2","account":"other","entities":["a"]}]}`, 404},
		{"/v1/ingest", `{"events":[{"id":"1","account":"nobody","entities":["a"]}]}`, 404},
	} {
		a := n.do("POST", tc.path, tokenAcme, tc.body)
		if a.status != tc.status || a.status == 404 && a.code() != "not_found" {
			t.Errorf("%s %s: %d %s", tc.path, tc.body, a.status, a.text)
		}
	}
	if used := n.used(fsm.CapRequests); used != 0 {
		t.Errorf("something of a refused body was kept: used %d", used)
	}
	if a := n.post("/v1/check", `{"account":"nobody","entities":["alice"]}`); a.status != 404 || a.code() != "not_found" {
		t.Error(a.status, a.text)
	}
}

func TestARevokedTokenIsUnknownAtOnce(t *testing.T) {
	n := newSoloNode(t)
	ok := `{"account":"acme","entities":["alice"]}`
	if a := n.do("POST", "/v1/check", tokenAcme, ok); a.status != 200 {
		t.Fatal(a.status, a.text)
	}
	n.commit(fsm.DeleteToken{ID: "tok_" + tokenAcme})
	if a := n.do("POST", "/v1/check", tokenAcme, ok); a.status != 401 {
		t.Error(a.status, a.text)
	}
}

func TestATokenReadBeforeAChangeIsNotKeptAfterIt(t *testing.T) {
	var c tokenCache
	tok := fsm.Token{ID: "tok_1", Digest: [32]byte{1}}
	c.keep(tok, 0)
	if len(c.known) != 1 {
		t.Fatal("not kept")
	}
	c.forget()
	c.keep(tok, 0)
	if len(c.known) != 0 {
		t.Error("a token of the round before the change is kept")
	}
}

func TestAStaleNodeAnswersUnavailableAndNotReady(t *testing.T) {
	n := newSoloNode(t)
	n.peers.leader.Store(false)
	n.peers.heard.Store(time.Now().Add(-time.Minute).UnixNano())
	if a := n.post("/v1/check", `{"account":"acme","entities":["alice"]}`); a.status != 503 || a.code() != "unavailable" || a.header("Retry-After") == "" {
		t.Error(a.status, a.text)
	}
	if a := n.do("GET", "/readyz", "", ""); a.status != 503 || a.code() != "unavailable" {
		t.Error(a.status, a.text)
	}
	if a := n.do("GET", "/healthz", "", ""); a.status != 200 {
		t.Error(a.status, a.text)
	}
	// It may not have heard of the token or the account yet.
	if a := n.do("POST", "/v1/check", "bt_new", `{}`); a.status != 503 {
		t.Error("unknown token on a stale node:", a.status, a.text)
	}
	if a := n.post("/v1/ingest", `{"events":[{"id":"1","account":"new","entities":["a"]}]}`); a.status != 503 {
		t.Error("unknown account on a stale node:", a.status, a.text)
	}
}

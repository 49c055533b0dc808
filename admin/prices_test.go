package admin

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

const onePrice = `{"gpt": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "max_tokens": 5,
	"search_context_cost_per_query": {"search_context_size_low": 0.01}, "ocr_cost_per_page": 1}, "claude-*": {"output_cost_per_token": 1}}`

// onePriceStored is onePrice as it is answered.
const onePriceStored = `{"claude-*":{"output_cost_per_token":1},"gpt":{"litellm_provider":"openai","input_cost_per_token":0.0000025,` +
	`"search_context_cost_per_query":{"search_context_size_low":0.01}}}`

func TestPricesAreAnsweredAsStored(t *testing.T) {
	p := newPlane(t)
	r := p.must("GET", "/v1/prices", "")
	if r.json["version"] != nil || len(r.items("version")) != 0 || string(mustJSON(t, r.json["prices"])) != "{}" {
		t.Errorf("before any: %s", r.body)
	}
	r = p.must("PUT", "/v1/prices", onePrice)
	if !strings.Contains(string(r.body), onePriceStored) || r.json["version"] != 1.0 || r.json["effective_at"] != nil || r.json["models"] != 2.0 {
		t.Errorf("PUT: %s", r.body)
	}
	if d := cmp.Diff([]any{map[string]any{"field": "ocr_cost_per_page", "models": 1.0}}, r.json["ignored"]); d != "" {
		t.Error(d)
	}
	digest := r.json["digest"]
	if r = p.must("PUT", "/v1/prices", onePriceStored); r.json["version"] != 1.0 || r.json["digest"] != digest {
		t.Errorf("the same again: %s", r.body)
	}
	next := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if r = p.must("PUT", "/v1/prices?effective_at="+next.Format(time.RFC3339), `{"gpt": {}}`); r.json["version"] != 2.0 || r.json["effective_at"] != next.Format(time.RFC3339) {
		t.Errorf("scheduled: %s", r.body)
	}
	r = p.must("GET", "/v1/prices", "")
	var book client.PriceBook
	if err := json.Unmarshal(r.body, &book); err != nil {
		t.Fatal(err)
	}
	if *book.Version != 1 || string(book.Prices.Prices) != onePriceStored || len(book.Versions) != 2 || book.Versions[0].Version != 2 {
		t.Errorf("GET: %s", r.body)
	}
	if r = p.must("GET", "/v1/prices?version=2", ""); string(mustJSON(t, r.json["prices"])) != `{"gpt":{}}` {
		t.Errorf("version 2: %s", r.body)
	}
	for query, name := range map[string]string{"openai/gpt": "gpt", "claude-9": "claude-*"} {
		models, _ := p.must("GET", "/v1/prices?model="+query, "").json["prices"].(map[string]any)
		if _, ok := models[name]; !ok || len(models) != 1 {
			t.Errorf("model %s: %v", query, models)
		}
	}
	for _, query := range []string{"?version=3", "?model=nope", "?version=2&model=claude-9"} {
		if r := p.call(p.root, "GET", "/v1/prices"+query, ""); r.status != 404 {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	if r := p.call(p.root, "GET", "/v1/prices?version=0", ""); r.status != 400 {
		t.Errorf("version 0: %d %s", r.status, r.body)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMalformedPricesAreRefusedByModelAndField(t *testing.T) {
	p := newPlane(t)
	p.must("PUT", "/v1/prices", onePrice)
	for _, tc := range []struct{ name, query, body, field string }{
		{"nothing", "", "", "prices"},
		{"no object", "", "[]", "body"},
		{"no JSON", "", "{", "body"},
		{"model no object", "", `{"gpt": 5}`, "gpt"},
		{"price no number", "", `{"gpt": {"input_cost_per_token": "1e-6"}}`, "gpt.input_cost_per_token"},
		{"price negative", "", `{"gpt": {"output_cost_per_token_batches": -1e-6}}`, "gpt.output_cost_per_token_batches"},
		{"nested price", "", `{"gpt": {"search_context_cost_per_query": {"search_context_size_high": []}}}`, "gpt.search_context_cost_per_query.search_context_size_high"},
		{"field twice", "", `{"gpt": {"input_cost_per_token": 1, "input_cost_per_token": 1}}`, "gpt.input_cost_per_token"},
		{"model twice", "", `{"gpt": {}, "gpt": {}}`, "gpt"},
		{"long ago", "?effective_at=1969-01-01T00:00:00Z", `{"gpt": {}}`, "effective_at"},
		{"far off", "?effective_at=2999-01-01T00:00:00Z", `{"gpt": {}}`, "effective_at"},
		{"no time", "?effective_at=soon", `{"gpt": {}}`, "effective_at"},
		{"unknown parameter", "?from=x", `{"gpt": {}}`, "from"},
	} {
		if r := p.call(p.root, "PUT", "/v1/prices"+tc.query, tc.body); r.status != 400 || r.field() != tc.field {
			t.Errorf("%s: %d %s", tc.name, r.status, r.body)
		}
	}
	if r := p.call(p.root, "PUT", "/v1/prices", `{"x":`+strings.Repeat(" ", maxBodyBytes)+`{}}`); r.status != 413 {
		t.Errorf("too large: %d %s", r.status, r.body)
	}
	if r := p.must("GET", "/v1/prices", ""); r.json["version"] != 1.0 {
		t.Errorf("something changed: %s", r.body)
	}
}

func TestRealPriceMapGoesInAndComesOut(t *testing.T) {
	data, err := os.ReadFile("../fsm/price/testdata/model_prices.json")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlane(t)
	if r := p.must("PUT", "/v1/prices", string(data)); r.json["models"] != 218.0 {
		t.Fatalf("%.500s", r.body)
	}
	var book client.PriceBook
	if err := json.Unmarshal(p.must("GET", "/v1/prices", "").body, &book); err != nil {
		t.Fatal(err)
	}
	want, err := price.ParseMap(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := price.ParseMap(book.Prices.Prices)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Entries, got.Entries); d != "" {
		t.Error(d)
	}
}

func TestPricesAreForAllAccountsTogether(t *testing.T) {
	p := newPlane(t)
	p.company()
	for _, tc := range []struct {
		role    fsm.Role
		account string
		get     int
		put     int
	}{
		{fsm.RoleAdmin, "", 200, 200}, {fsm.RoleAdmin, "acme", 200, 403}, {fsm.RoleAuditor, "", 200, 403},
		{fsm.RoleAuditor, "acme", 200, 403}, {fsm.RoleService, "", 403, 403},
	} {
		token := p.token(tc.role, tc.account)
		if r := p.call(token, "GET", "/v1/prices", ""); r.status != tc.get {
			t.Errorf("%s of %q gets %d", tc.role, tc.account, r.status)
		}
		if r := p.call(token, "PUT", "/v1/prices", onePrice); r.status != tc.put {
			t.Errorf("%s of %q puts %d", tc.role, tc.account, r.status)
		}
	}
}

func TestLineSaysWhatItsCostIsMadeOf(t *testing.T) {
	line := wireLine(&fsm.LedgerLine{Seq: 1, Settled: 7, Event: fsm.Event{ID: "e", Tier: price.Batch, Pricing: &fsm.Pricing{
		Version: 3, Model: "gpt-*", Unpriced: true,
		Terms: []price.Term{{Usage: price.CachedTokens, Field: 2, Quantity: 800, Price: price.Decimal{Coef: 125, Scale: 8}}},
	}}}, &lineNames{})
	got := mustJSON(t, []any{line.PriceVersion, line.PriceModel, line.PriceTerms, line.ServiceTier, line.Unpriced, line.SettledAt})
	const want = `[3,"gpt-*",[{"usage":"cached_tokens","field":"cache_read_input_token_cost","quantity":800,"decimals":0,"price":"0.00000125"}],"batch",true,"1970-01-01T00:00:00.007Z"]`
	if string(got) != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	line = wireLine(&fsm.LedgerLine{Event: fsm.Event{Pricing: &fsm.Pricing{Unpriced: true}}}, &lineNames{})
	if line.PriceVersion != nil || !line.Unpriced || line.ServiceTier != "standard" || line.PriceTerms == nil {
		t.Errorf("%+v", line)
	}
}

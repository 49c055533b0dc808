package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// contract lists the calls of the contract that this package serves.
var contract = []string{
	"PUT /v1/prices",
	"GET /v1/prices",
	"PUT /v1/entity-types",
	"GET /v1/entity-types",
	"PUT /v1/capabilities",
	"GET /v1/capabilities",
	"GET /v1/accounts",
	"PUT /v1/accounts/{account}",
	"GET /v1/accounts/{account}",
	"POST /v1/accounts/{account}/freeze",
	"POST /v1/accounts/{account}/unfreeze",
	"PUT /v1/accounts/{account}/entities",
	"GET /v1/accounts/{account}/entities",
	"GET /v1/accounts/{account}/entities/{id}",
	"POST /v1/accounts/{account}/entities/{id}/archive",
	"POST /v1/accounts/{account}/entities/{id}/unarchive",
	"POST /v1/accounts/{account}/entities/{id}/move",
	"PUT /v1/accounts/{account}/assignments",
	"GET /v1/accounts/{account}/assignments",
	"GET /v1/accounts/{account}/assignments/{id}",
	"DELETE /v1/accounts/{account}/assignments/{id}",
	"GET /v1/accounts/{account}/balances",
	"GET /v1/accounts/{account}/tree",
	"GET /v1/accounts/{account}/ledger",
	"GET /v1/accounts/{account}/ledger/verify",
	"GET /v1/accounts/{account}/retention",
	"PUT /v1/accounts/{account}/retention",
	"POST /v1/accounts/{account}/retention/exported",
	"GET /v1/accounts/{account}/usage",
	"GET /v1/accounts/{account}/rejected",
	"GET /v1/rejected",
	"GET /v1/accounts/{account}/unattributed",
	"POST /v1/accounts/{account}/adjustments",
	"POST /v1/accounts/{account}/adjustments/reprice",
	"GET /v1/accounts/{account}/statements",
	"POST /v1/accounts/{account}/statements",
	"GET /v1/accounts/{account}/statements/preview",
	"GET /v1/accounts/{account}/statements/{id}",
	"GET /v1/accounts/{account}/invoice",
	"PUT /v1/accounts/{account}/invoice",
	"GET /v1/audit",
	"GET /v1/audit/verify",
	"POST /v1/tokens",
	"GET /v1/tokens",
	"DELETE /v1/tokens/{id}",
	"GET /v1/cluster",
	"POST /v1/cluster/nodes/{id}/remove",
	"POST /v1/cluster/nodes/{id}/forfeit",
	"POST /v1/cluster/backup",
	"POST /v1/cluster/transfer-leadership",
	"GET /metrics",
	"GET /healthz",
	"GET /readyz",
	"GET /openapi.json",
}

// document fetches /openapi.json.
func document(t *testing.T) map[string]any {
	t.Helper()
	a := New(Config{Machine: openMachine(t)})
	rec := httptest.NewRecorder()
	a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("GET /openapi.json: %d %s", rec.Code, rec.Body)
	}
	var doc map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func openMachine(t testing.TB) *fsm.Machine {
	t.Helper()
	m, err := fsm.Open(t.TempDir(), fsm.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestDocumentNamesEveryCallOfTheContractAndNoOther(t *testing.T) {
	var got []string
	for path, item := range document(t)["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			got = append(got, strings.ToUpper(method)+" "+path)
		}
	}
	for _, c := range contract {
		if !slices.Contains(got, c) {
			t.Errorf("missing: %s", c)
		}
	}
	for _, g := range got {
		if !slices.Contains(contract, g) {
			t.Errorf("not in the contract: %s", g)
		}
	}
}

// The rules that OpenAPI 3.1 tooling trips over first: version, info, unique
// operation ids, declared path parameters, responses, and references that resolve.
func TestDocumentIsValidOpenAPI31(t *testing.T) {
	doc := document(t)
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi = %q, want 3.1.x", v)
	}
	info := doc["info"].(map[string]any)
	if info["title"] == "" || info["version"] == "" {
		t.Errorf("info = %v, want a title and a version", info)
	}
	ids := map[string]string{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, o := range item.(map[string]any) {
			op, name := o.(map[string]any), strings.ToUpper(method)+" "+path
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] != "" {
				t.Errorf("%s: operationId %q is empty or that of %s", name, id, ids[id])
			}
			ids[id] = name
			declared := map[string]bool{}
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				q := p.(map[string]any)
				declared[q["in"].(string)+" "+q["name"].(string)] = true
				if q["in"] == "path" && q["required"] != true {
					t.Errorf("%s: path parameter %v is not required", name, q["name"])
				}
			}
			for part := range strings.SplitSeq(path, "/") {
				if strings.HasPrefix(part, "{") && !declared["path "+strings.Trim(part, "{}")] {
					t.Errorf("%s: %s is not declared", name, part)
				}
			}
			responses := op["responses"].(map[string]any)
			if len(responses) == 0 {
				t.Errorf("%s: no responses", name)
			}
			for status, r := range responses {
				if d, _ := r.(map[string]any)["description"].(string); d == "" {
					t.Errorf("%s: response %s has no description", name, status)
				}
			}
			if strings.HasPrefix(path, "/v1/") && op["security"] == nil {
				t.Errorf("%s: takes no token", name)
			}
		}
	}
	resolveReferences(t, doc, doc, "#")
}

// resolveReferences fails for every $ref below node that leads nowhere.
func resolveReferences(t *testing.T, doc map[string]any, node any, at string) {
	switch n := node.(type) {
	case map[string]any:
		for k, v := range n {
			ref, is := v.(string)
			if k != "$ref" || !is {
				resolveReferences(t, doc, v, at+"/"+k)
				continue
			}
			var target any = doc
			for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				m, _ := target.(map[string]any)
				target = m[part]
			}
			if target == nil {
				t.Errorf("%s: %s leads nowhere", at, ref)
			}
		}
	case []any:
		for _, v := range n {
			resolveReferences(t, doc, v, at+"[]")
		}
	}
}

func TestDocumentStatesTheBoundsThatAreEnforced(t *testing.T) {
	schemas := document(t)["components"].(map[string]any)["schemas"].(map[string]any)
	list := schemas["Entities"].(map[string]any)["properties"].(map[string]any)["entities"].(map[string]any)
	if list["minItems"] != 1.0 || list["maxItems"] != float64(fsm.MaxBulk) {
		t.Errorf("entities: minItems %v, maxItems %v, want 1 and %d", list["minItems"], list["maxItems"], fsm.MaxBulk)
	}
	limit := schemas["Assignment"].(map[string]any)["properties"].(map[string]any)["limit"].(map[string]any)
	if limit["minimum"] != 0.0 || limit["maximum"] != float64(fsm.MaxAmount) {
		t.Errorf("limit: minimum %v, maximum %v, want 0 and %d", limit["minimum"], limit["maximum"], fsm.MaxAmount)
	}
	if _, ok := schemas["Cadence"].(map[string]any)["oneOf"]; !ok {
		t.Error("Cadence does not say that it may be a string")
	}
	if types, _ := limit["type"].([]any); !slices.Contains(types, any("null")) {
		t.Errorf("limit is %v, want it nullable", limit["type"])
	}
	if _, ok := schemas["ErrorModel"]; ok {
		t.Error("an error that no call answers is documented")
	}
}

package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

// controlPlane answers what it is told to and notes every request.
type controlPlane struct {
	mu   sync.Mutex
	log  []string
	next func(r *http.Request, n int) (status int, body string) // n counts from 1; status 0: break the connection
}

func (p *controlPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	p.log = append(p.log, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	status, answer := p.next(r, len(p.log))
	p.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

// asked returns the requests so far.
func (p *controlPlane) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

func newAdmin(t *testing.T, next func(r *http.Request, n int) (int, string)) (*client.Admin, *controlPlane) {
	t.Helper()
	p := &controlPlane{next: next}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	a, err := client.NewAdmin([]string{s.URL}, testToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, p
}

func answering(status int, body string) func(*http.Request, int) (int, string) {
	return func(*http.Request, int) (int, string) { return status, body }
}

// TestEveryCallGoesWhereTheContractSays lists each method with its request.
func TestEveryCallGoesWhereTheContractSays(t *testing.T) {
	ctx := t.Context()
	limit := int64(1000)
	parent := "org"
	depth := 2
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, call := range map[string]func(a *client.Admin) error{
		`PUT /v1/entity-types {"entity_types":[{"id":"team","name":"","parents":["org"]}]}`: func(a *client.Admin) error {
			_, err := a.PutEntityTypes(ctx, []client.EntityType{{ID: "team", Parents: []string{"org"}}})
			return err
		},
		`PUT /v1/capabilities {"capabilities":[{"id":"audio","unit":"second","decimals":3,"builtin":false}]}`: func(a *client.Admin) error {
			_, err := a.PutCapabilities(ctx, []client.Capability{{ID: "audio", Unit: "second", Decimals: 3}})
			return err
		},
		`GET /v1/accounts/a%2Fb`: func(a *client.Admin) error { _, err := a.Account(ctx, "a/b"); return err },
		`PUT /v1/accounts/acme {"name":"Acme","frozen":false}`: func(a *client.Admin) error {
			_, err := a.PutAccount(ctx, client.Account{ID: "acme", Name: "Acme"})
			return err
		},
		`POST /v1/accounts/acme/freeze`:   func(a *client.Admin) error { _, err := a.FreezeAccount(ctx, "acme"); return err },
		`POST /v1/accounts/acme/unfreeze`: func(a *client.Admin) error { _, err := a.UnfreezeAccount(ctx, "acme"); return err },
		`PUT /v1/accounts/acme/entities {"entities":[{"id":"x","type":"team","parent":"org","name":"","metadata":null,"archived":false}]}`: func(a *client.Admin) error {
			_, err := a.PutEntities(ctx, "acme", []client.Entity{{ID: "x", Type: "team", Parent: &parent}})
			return err
		},
		`GET /v1/accounts/acme/entities/x`:                        func(a *client.Admin) error { _, err := a.Entity(ctx, "acme", "x"); return err },
		`POST /v1/accounts/acme/entities/x/move {"parent":"org"}`: func(a *client.Admin) error { _, err := a.MoveEntity(ctx, "acme", "x", "org"); return err },
		`POST /v1/accounts/acme/entities/x/archive`:               func(a *client.Admin) error { _, err := a.ArchiveEntity(ctx, "acme", "x"); return err },
		`POST /v1/accounts/acme/entities/x/unarchive`:             func(a *client.Admin) error { _, err := a.UnarchiveEntity(ctx, "acme", "x"); return err },
		`PUT /v1/accounts/acme/assignments {"assignments":[{"entity":"x","capability":"tokens","limit":1000,"cadence":{"every":"month"},"scope":null,"alert_thresholds":null,"backfill":false}]}`: func(a *client.Admin) error {
			_, err := a.PutAssignments(ctx, "acme", []client.Assignment{{Entity: "x", Capability: "tokens", Limit: &limit, Cadence: client.Cadence{Every: "month"}}})
			return err
		},
		`GET /v1/accounts/acme/assignments/asg_1`:    func(a *client.Admin) error { _, err := a.Assignment(ctx, "acme", "asg_1"); return err },
		`DELETE /v1/accounts/acme/assignments/asg_1`: func(a *client.Admin) error { return a.DeleteAssignment(ctx, "acme", "asg_1") },
		`POST /v1/tokens {"name":"ci","role":"service","account":null,"expires_at":null}`: func(a *client.Admin) error {
			_, err := a.CreateToken(ctx, client.Token{Name: "ci", Role: "service"})
			return err
		},
		`DELETE /v1/tokens/tok_1`:                               func(a *client.Admin) error { return a.DeleteToken(ctx, "tok_1") },
		`GET /v1/audit/verify`:                                  func(a *client.Admin) error { _, err := a.VerifyAudit(ctx); return err },
		`GET /v1/cluster`:                                       func(a *client.Admin) error { _, err := a.Cluster(ctx); return err },
		`GET /v1/cluster?consistency=stale`:                     func(a *client.Admin) error { _, err := a.Stale().Cluster(ctx); return err },
		`POST /v1/cluster/nodes/node-1/remove`:                  func(a *client.Admin) error { return a.RemoveNode(ctx, "node-1") },
		`POST /v1/cluster/nodes/node-1/forfeit {"charge":true}`: func(a *client.Admin) error { return a.ForfeitNode(ctx, "node-1", true) },
		`POST /v1/cluster/transfer-leadership {"to":"node-2"}`:  func(a *client.Admin) error { return a.TransferLeadership(ctx, "node-2") },
		`GET /v1/entity-types`:                                  func(a *client.Admin) error { _, err := client.Collect(a.EntityTypes(ctx)); return err },
		`GET /v1/capabilities`:                                  func(a *client.Admin) error { _, err := client.Collect(a.Capabilities(ctx)); return err },
		`GET /v1/accounts`:                                      func(a *client.Admin) error { _, err := client.Collect(a.Accounts(ctx)); return err },
		`GET /v1/accounts/acme/entities`:                        func(a *client.Admin) error { _, err := client.Collect(a.Entities(ctx, "acme")); return err },
		`GET /v1/tokens`:                                        func(a *client.Admin) error { _, err := client.Collect(a.Tokens(ctx)); return err },
		`GET /v1/accounts/acme/balances?capability=usd&entity=x`: func(a *client.Admin) error {
			_, err := client.Collect(a.Balances(ctx, "acme", client.AssignmentFilter{Entity: "x", Capability: "usd"}))
			return err
		},
		`GET /v1/accounts/acme/tree?capabilities=usd%2Ctokens&depth=2&entity_types=team%2Cuser&min_utilization=0.8&order=desc&scope=all&search=q&sort_by=used&subtree=org`: func(a *client.Admin) error {
			_, err := client.Collect(a.Tree(ctx, "acme", client.TreeFilter{EntityTypes: []string{"team", "user"}, Capabilities: []string{"usd", "tokens"},
				Search: "q", Subtree: "org", Depth: &depth, MinUtilization: "0.8", Scope: "all", SortBy: "used", Order: "desc"}))
			return err
		},
		`GET /v1/audit?account=acme&action=entity.&actor=tok_1&from=2026-01-01T00%3A00%3A00Z&target=x`: func(a *client.Admin) error {
			_, err := client.Collect(a.Audit(ctx, client.AuditFilter{Account: "acme", Action: "entity.", Actor: "tok_1", Target: "x", From: from}))
			return err
		},
		`GET /v1/accounts/acme/ledger?capability=usd&entity=x&event_id=e&key=k&model=m&to=2026-01-01T00%3A00%3A00Z&unattributed=true`: func(a *client.Admin) error {
			_, err := client.Collect(a.Ledger(ctx, "acme", client.LedgerFilter{Entity: "x", Key: "k", Model: "m", Capability: "usd", EventID: "e", To: from, Unattributed: true}))
			return err
		},
	} {
		a, p := newAdmin(t, answering(200, `{"items":[],"next":null}`))
		if err := call(a); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if diff := cmp.Diff([]string{want}, p.asked()); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}
}

func TestAListIsReadPageByPageAndOnlyAsFarAsWanted(t *testing.T) {
	next := func(r *http.Request, n int) (int, string) {
		after := r.URL.Query().Get("after")
		if after == "c&d" {
			return 200, `{"items":[{"id":"e","name":""}],"next":null}`
		}
		return 200, `{"items":[{"id":"a","name":""},{"id":"b","name":""}],"next":"c&d"}`
	}
	a, p := newAdmin(t, next)
	all, err := client.Collect(a.Accounts(t.Context()))
	if err != nil || len(all) != 3 || all[2].ID != "e" {
		t.Fatalf("%v, %v", all, err)
	}
	if want := []string{"GET /v1/accounts", "GET /v1/accounts?after=c%26d"}; !slices.Equal(p.asked(), want) {
		t.Errorf("asked %q, want %q", p.asked(), want)
	}
	before := len(p.asked())
	for account, err := range a.Accounts(t.Context()) {
		if err != nil || account.ID != "a" {
			t.Fatalf("%v, %v", account, err)
		}
		break
	}
	if n := len(p.asked()) - before; n != 1 {
		t.Errorf("asked for %d pages when the first item was enough", n)
	}
}

func TestAProblemKeepsItsFieldsAndNumbers(t *testing.T) {
	a, _ := newAdmin(t, answering(409, `{"status":409,"code":"conflict","detail":"no room in org","errors":[{"field":"assignments[0].limit","message":"too much"}],"numbers":{"limit":5,"allocated":4}}`))
	_, err := a.PutAssignments(t.Context(), "acme", nil)
	p, ok := errors.AsType[*client.Problem](fmt.Errorf("wrapped: %w", err))
	if !ok || !errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
		t.Fatalf("error is %v", err)
	}
	want := &client.Problem{Status: 409, Code: "conflict", Detail: "no room in org",
		Errors: []client.FieldError{{Field: "assignments[0].limit", Message: "too much"}}, Numbers: map[string]int64{"limit": 5, "allocated": 4}}
	if diff := cmp.Diff(*want, *p, cmp.Comparer(func(x, y client.Problem) bool { return jsonOf(x) == jsonOf(y) })); diff != "" {
		t.Error(diff)
	}
	if text := "conflict: no room in org; assignments[0].limit: too much"; err.Error() != text {
		t.Errorf("text %q, want %q", err, text)
	}
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestAnAnswerOfAProxyIsAProblemToo(t *testing.T) {
	a, _ := newAdmin(t, answering(404, `<html>not here</html>`))
	_, err := a.Account(t.Context(), "acme")
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != 404 || p.Code != "http_404" || errors.Is(err, client.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}

func TestATokenIsNotMadeTwice(t *testing.T) {
	for status, tries := range map[int]int{0: 1, 503: 1, 500: 1, 429: 3} {
		a, p := newAdmin(t, answering(status, `{}`))
		_, err := a.CreateToken(t.Context(), client.Token{Name: "ci", Role: "service"})
		if !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrOutcomeUnknown) != (tries == 1) {
			t.Errorf("status %d: error is %v", status, err)
		}
		if len(p.asked()) != tries {
			t.Errorf("status %d: asked %d times, want %d", status, len(p.asked()), tries)
		}
	}
}

func TestADeleteWhoseAnswerWasLostIsDone(t *testing.T) {
	first := func(status int) func(*http.Request, int) (int, string) {
		return func(_ *http.Request, n int) (int, string) {
			if n == 1 && status != 404 {
				return status, `{}`
			}
			return 404, `{"status":404,"code":"not_found"}`
		}
	}
	for _, status := range []int{0, 503} {
		a, _ := newAdmin(t, first(status))
		if err := a.DeleteToken(t.Context(), "tok_1"); err != nil {
			t.Errorf("first answer %d: %v", status, err)
		}
	}
	a, _ := newAdmin(t, first(404))
	if err := a.DeleteToken(t.Context(), "tok_1"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a token that was never there: %v", err)
	}
}

func TestAPutIsRepeatedUntilItIsAnswered(t *testing.T) {
	a, p := newAdmin(t, func(_ *http.Request, n int) (int, string) {
		if n < 3 {
			return 0, ""
		}
		return 200, `{"id":"acme","name":"Acme","frozen":false}`
	})
	got, err := a.PutAccount(t.Context(), client.Account{ID: "acme", Name: "Acme"})
	if err != nil || got.ID != "acme" || len(p.asked()) != 3 {
		t.Errorf("%+v, %v after %d requests", got, err, len(p.asked()))
	}
}

func TestTheLedgerIsExportedAsItComes(t *testing.T) {
	a, p := newAdmin(t, func(r *http.Request, n int) (int, string) {
		if n == 1 {
			return 503, `{}`
		}
		return 200, r.Header.Get("Accept") + "\nseq,event_id\n1,evt-1\n"
	})
	var out strings.Builder
	if err := a.ExportLedger(t.Context(), "acme", client.LedgerFilter{Model: "m"}, client.CSV, &out); err != nil {
		t.Fatal(err)
	}
	if want := "text/csv\nseq,event_id\n1,evt-1\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
	if want := "GET /v1/accounts/acme/ledger?model=m"; p.asked()[1] != want {
		t.Errorf("asked %q", p.asked())
	}
	refused, _ := newAdmin(t, answering(403, `{"status":403,"code":"forbidden"}`))
	if err := refused.ExportLedger(t.Context(), "acme", client.LedgerFilter{}, client.NDJSON, io.Discard); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("error is %v", err)
	}
}

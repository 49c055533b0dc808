package admin

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
)

// used records that alice used a request and so many nano-dollars of a model at a time.
func (p *plane) used(id, at, model string, usd int64) {
	p.t.Helper()
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		p.t.Fatal(err)
	}
	e := fsm.Event{
		Account: "acme", ID: id, Entities: []string{"alice"}, Chain: []string{"alice", "team-a", "acme"}, Model: model,
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 1}, {Capability: fsm.CapUSD, Amount: usd}},
		At:    t.UnixMilli(), ReceivedAt: time.Now().UnixMilli(), Node: 1,
	}
	copy(e.Hash[:], id)
	p.apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Events: []fsm.Event{e}}}})
}

const statementsPath = "/v1/accounts/acme/statements"

func totalOf(t *testing.T, statement map[string]any, capability string) map[string]any {
	t.Helper()
	for _, x := range statement["totals"].([]any) {
		if total := x.(map[string]any); total["capability"] == capability {
			return total
		}
	}
	t.Fatalf("no total of %s in %v", capability, statement["totals"])
	return nil
}

func TestAMonthIsFinalizedOnceAndWhatComesLaterAdjustsTheNext(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.must("PUT", "/v1/accounts/acme/invoice", `{"seller":{"name":"Bursar GmbH","address":["Straße 1"]},"buyer":{"name":"Acme"},"due_days":14,"numbers":{"prefix":"INV-","digits":4},"tax_note":"Reverse charge."}`)
	p.used("evt-1", "2026-01-31T23:00:00Z", "gpt", 1_500_000_000)
	p.used("evt-2", "2026-02-01T00:00:00Z", "gpt", 7)

	first := p.must("POST", statementsPath, "").json
	if first["id"] != "2026-01" || first["final"] != true || first["previous"] != nil || totalOf(t, first, "usd")["total"] != 1.5e9 {
		t.Fatalf("first: %v", first)
	}
	invoice := first["invoice"].(map[string]any)
	if invoice["number"] != "INV-0001" || invoice["total"] != 1.5e9 || invoice["decimals"] != 9.0 || invoice["due"] == nil || invoice["seller"].(map[string]any)["name"] != "Bursar GmbH" {
		t.Errorf("invoice: %v", invoice)
	}
	rows := first["usage"].([]any)
	want := map[string]any{"entity": "team-a", "name": "Ärzte", "model": "gpt", "events": 1.0, "usage": map[string]any{"requests": 1.0, "usd": 1.5e9}}
	if diff := cmp.Diff([]any{want}, rows); diff != "" {
		t.Errorf("rows (-want +got)\n%s", diff)
	}

	p.used("evt-3", "2026-01-02T00:00:00Z", "gpt", 11)
	p.must("POST", "/v1/accounts/acme/adjustments", `{"event_id":"evt-1","kind":"void","reason":"twice"}`)
	p.must("PUT", "/v1/accounts/acme/entities", `{"entities":[{"id":"team-a","type":"team","name":"Renamed"}]}`)
	if again := p.must("POST", statementsPath, `{"month":"2026-01"}`); cmp.Diff(first, again.json) != "" {
		t.Errorf("finalized again it differs: %s", cmp.Diff(first, again.json))
	}
	preview := p.must("GET", statementsPath+"/preview", "").json
	second := p.must("POST", statementsPath, `{"month":"2026-02"}`).json
	usd := totalOf(t, second, "usd")
	if usd["opening"] != 1.5e9 || usd["usage"] != 7.0 || usd["adjustments"] != 11-1.5e9 || usd["closing"] != 18.0 || second["previous"] != "2026-01" {
		t.Errorf("second: %v", usd)
	}
	if diff := cmp.Diff(without(preview, "final", "finalized_at", "index", "invoice"), without(cloneJSON(t, second), "final", "finalized_at", "index", "invoice")); diff != "" {
		t.Errorf("the preview was another (-preview +final)\n%s", diff)
	}
	kinds := []string{}
	for _, x := range second["adjustments"].([]any) {
		a := x.(map[string]any)
		kinds = append(kinds, fmt.Sprint(a["kind"], " ", a["period"], " ", a["reason"], " ", a["events"]))
	}
	if diff := cmp.Diff([]string{"late 2026-01-01T00:00:00Z  1", "void 2026-01-01T00:00:00Z twice -1"}, kinds); diff != "" {
		t.Error(diff)
	}
	if got := p.must("GET", statementsPath, "").items("id"); !cmp.Equal(got, []string{"2026-02", "2026-01"}) {
		t.Errorf("list: %v", got)
	}
	page := p.must("GET", statementsPath+"?limit=1", "")
	if got := p.must("GET", statementsPath+"?limit=1&after="+page.json["next"].(string), "").items("id"); !cmp.Equal(got, []string{"2026-01"}) {
		t.Errorf("second page: %v", got)
	}
	if got := p.must("GET", statementsPath+"/2026-01", "").json; cmp.Diff(first, got) != "" {
		t.Errorf("read it differs: %s", cmp.Diff(first, got))
	}
	if got := p.must("GET", "/v1/accounts/acme/invoice", "").json["numbers"].(map[string]any)["next"]; got != 3.0 {
		t.Errorf("next number: %v", got)
	}
	trail := p.must("GET", "/v1/audit?action=statement.finalize", "")
	if got := trail.items("target"); !cmp.Equal(got, []string{"2026-02", "2026-01"}) {
		t.Errorf("audit: %v", got)
	}
}

// cloneJSON keeps what without would change.
func cloneJSON(t *testing.T, m map[string]any) map[string]any {
	t.Helper()
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

func TestStatementsComeInEveryFormat(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.must("PUT", "/v1/accounts/acme/invoice", `{"buyer":{"name":"<b>東京</b>"}}`)
	p.used("evt-1", "2026-01-31T23:00:00Z", "<i>gpt</i>", 1_500_000_001)
	p.must("POST", statementsPath, "")
	for _, c := range []struct{ query, accept, contentType, begins, has string }{
		{"", "", "application/json", `{"id":"2026-01"`, `"usd":1500000001`},
		{"", "*/*", "application/json", `{"id":"2026-01"`, ``},
		{"?format=csv", "application/json", "text/csv; charset=utf-8", "account,statement,", "1.500000001,1500000001"},
		{"", "text/csv", "text/csv; charset=utf-8", "account,statement,", ""},
		{"", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<!DOCTYPE html>", "&lt;b&gt;東京&lt;/b&gt;"},
		{"?format=html", "", "text/html; charset=utf-8", "<!DOCTYPE html>", "&lt;i&gt;gpt&lt;/i&gt;"},
		{"", "application/pdf", "application/pdf", "%PDF-1.", ""},
	} {
		r := p.callWith(p.root, "GET", statementsPath+"/2026-01"+c.query, "", map[string]string{"Accept": c.accept})
		if r.status != 200 || r.header.Get("Content-Type") != c.contentType || !bytes.HasPrefix(r.body, []byte(c.begins)) || !bytes.Contains(r.body, []byte(c.has)) {
			t.Errorf("%s %s: %d %s\n%.2000s", c.query, c.accept, r.status, r.header.Get("Content-Type"), r.body)
		}
		if !strings.Contains(r.header.Get("Content-Disposition"), `filename="statement-acme-2026-01.`) || !strings.HasPrefix(r.header.Get("Content-Security-Policy"), "default-src 'none'") || r.header.Get("Bursar-Index") == "" {
			t.Errorf("%s %s: headers %v", c.query, c.accept, r.header)
		}
	}
	r := p.must("GET", statementsPath+"/preview?format=csv&from=2026-01-31T22:00:00Z&to=2026-01-31T23:30:00Z&depth=0", "")
	records, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll()
	if err != nil || len(records) < 3 || records[1][1] != "" {
		t.Errorf("preview of a range: %v %q", err, records)
	}
}

func TestStatementsRefuseWhatTheyCannotState(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.apply(fsm.PutAccount{ID: "globex", Name: "Globex"})
	p.used("evt-1", "2026-02-01T00:00:00Z", "gpt", 1)
	p.used("evt-2", time.Now().UTC().Format(time.RFC3339), "gpt", 1)
	p.must("PUT", "/v1/accounts/acme/invoice", `{"numbers":{"prefix":"A"}}`)
	month := time.Now().UTC().Format("2006-01")
	check := func(method, path, body string, status int, field, says string) {
		t.Helper()
		r := p.call(p.root, method, path, body)
		if r.status != status || field != "" && r.field() != field || !strings.Contains(string(r.body), says) {
			t.Errorf("%s %s %s: %d %s, want %d, field %q, %q", method, path, body, r.status, r.body, status, field, says)
		}
	}
	check("POST", statementsPath, `{"month":"2026-01"}`, 409, "", "no ledger lines before the end of 2026-01")
	check("POST", "/v1/accounts/globex/statements", "", 409, "", "no ledger lines yet")
	check("POST", statementsPath, `{"month":"`+month+`"}`, 409, "", "close lag is 24 h")
	p.must("POST", statementsPath, `{"number":"X-1"}`)
	check("POST", statementsPath, `{"month":"2026-04"}`, 409, "", "finalize 2026-03 first")
	check("POST", statementsPath, `{"month":"2026-01"}`, 409, "", "before the account's first statement")
	check("POST", statementsPath, `{"month":"2026-02","number":"X-2"}`, 409, "", "X-1")
	check("POST", statementsPath, `{"month":"2026-02","layout":{"depth":5}}`, 409, "", "layout")
	check("POST", statementsPath, `{"month":"2026-03","number":"X-1"}`, 409, "", "another statement")
	check("POST", statementsPath, `{"month":"March"}`, 400, "month", "write it as 2026-10")
	check("POST", statementsPath, `{"months":"2026-03"}`, 400, "months", "")
	check("POST", statementsPath, `{"month":"2026-03","number":"`+strings.Repeat("x", 65)+`"}`, 400, "number", "64")
	check("POST", statementsPath, `{"month":"2026-03","layout":{"depth":32}}`, 400, "layout.depth", "31")
	check("POST", statementsPath, `{"month":"2026-03","layout":{"entity_type":"galaxy"}}`, 400, "layout.entity_type", "")
	check("POST", statementsPath, `{"month":"2026-03","layout":{"entity_type":"team","depth":1}}`, 400, "layout.depth", "")
	check("GET", statementsPath+"/2026-03", "", 404, "", "")
	check("GET", statementsPath+"/nonsense", "", 404, "", "")
	check("GET", statementsPath+"/2026-02?format=docx", "", 400, "format", "")
	check("GET", statementsPath+"?after=nonsense", "", 400, "after", "")
	preview := statementsPath + "/preview"
	check("GET", preview+"?month=2026-13", "", 400, "month", "")
	check("GET", preview+"?month=2026-02&from=2026-01-01T00:00:00Z", "", 400, "month", "")
	check("GET", preview+"?from=2026-01-01T00:00:00Z", "", 400, "to", "")
	check("GET", preview+"?to=2026-01-01T00:00:00Z", "", 400, "from", "")
	check("GET", preview+"?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", 400, "to", "")
	check("GET", preview+"?from=yesterday&to=2026-01-01T00:00:00Z", "", 400, "from", "")
	check("GET", preview+"?depth=32", "", 400, "depth", "31")
	check("GET", preview+"?depth=x", "", 400, "depth", "")
	check("GET", preview+"?entity_type=galaxy", "", 400, "entity_type", "")
	check("GET", preview+"?entity_type=team&depth=2", "", 400, "depth", "")
	invoice := "/v1/accounts/acme/invoice"
	for field, body := range map[string]string{
		"currency":           `{"currency":"ABC"}`,
		"capability":         `{"capability":"gold"}`,
		"due_days":           `{"due_days":-1}`,
		"close_lag_hours":    `{"close_lag_hours":745}`,
		"numbers.digits":     `{"numbers":{"digits":13}}`,
		"numbers.next":       `{"numbers":{"next":-1}}`,
		"tax_note":           `{"tax_note":"` + strings.Repeat("x", 2001) + `"}`,
		"seller.address":     `{"seller":{"address":["1","2","3","4","5","6","7","8","9"]}}`,
		"seller.address[0]":  `{"seller":{"address":["a\nb"]}}`,
		"buyer.name":         `{"buyer":{"name":"` + strings.Repeat("x", 257) + `"}}`,
		"layout.entity_type": `{"layout":{"entity_type":"galaxy"}}`,
		"iban":               `{"iban":"DE"}`,
	} {
		check("PUT", invoice, body, 400, field, "")
	}
	if got := p.must("GET", invoice, "").json; got["numbers"].(map[string]any)["prefix"] != "A" || got["close_lag_hours"] != 24.0 {
		t.Errorf("settings after what was refused: %v", got)
	}
}

// usedOften records an event of each of n models in January, so that January's statement has n rows.
func (p *plane) usedOften(n int) {
	p.t.Helper()
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	part := fsm.Part{Node: 1, Boot: 1}
	for i := range n {
		id := fmt.Sprint("often-", i)
		part.Events = append(part.Events, fsm.Event{
			Account: "acme", ID: id, Hash: TokenDigest(id), Entities: []string{"acme"}, Chain: []string{"acme"}, At: at, ReceivedAt: at, Node: 1,
			Model: strings.Repeat("m", 200) + id, Usage: []fsm.Quantity{{Capability: fsm.CapTokens, Amount: 1}},
		})
	}
	p.apply(fsm.Reconcile{Parts: []fsm.Part{part}})
}

// A statement whose caller has stopped reading ends with the deadline of one piece, and its places are free.
func TestAStatementIsCutOffWhenItsCallerStopsReading(t *testing.T) {
	p := newPlane(t)
	p.usedOften(500)
	p.must("POST", statementsPath, `{"month":"2026-01"}`)
	get := func(path string) (cut any) {
		w := &stalled{t: t, header: http.Header{}}
		req := httptest.NewRequest("GET", statementsPath+path, nil)
		req.Header.Set("Authorization", "Bearer "+p.root)
		defer func() {
			cut = recover()
			if w.set != 2 {
				t.Errorf("%s: %d deadlines, want one to make it and one of the first piece", path, w.set)
			}
		}()
		p.server.Config.Handler.ServeHTTP(w, req)
		return nil
	}
	for _, path := range []string{"/2026-01", "/preview?month=2026-01"} {
		for _, format := range []string{"json", "csv", "html"} {
			query := "?format="
			if strings.Contains(path, "?") {
				query = "&format="
			}
			for range maxStatements/3 + 1 {
				if cut := get(path + query + format); cut != http.ErrAbortHandler {
					t.Fatalf("%s %s: it ends with %v, want it cut off", path, format, cut)
				}
			}
		}
	}
	p.must("GET", statementsPath+"/preview", "")
}

// Callers who have stopped reading hold no place of those in which statements are added up.
func TestStalledStatementsKeepNobodyElseWaiting(t *testing.T) {
	p := newPlane(t)
	p.usedOften(2_000)
	stall := func() net.Conn {
		conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(conn, "GET %s/preview?month=2026-01 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: text/csv\r\n\r\n", statementsPath, p.root)
		line, err := bufio.NewReaderSize(conn, 16).ReadString('\n') // it has begun
		if err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		return conn
	}
	var conns []net.Conn
	for range maxDrafts {
		conns = append(conns, stall())
	}
	p.must("GET", statementsPath+"/preview", "")
	p.must("POST", statementsPath, `{"month":"2026-01"}`)
	for range maxStatements - maxDrafts {
		conns = append(conns, stall())
	}
	read := func() int { return p.call(p.root, "GET", statementsPath+"/2026-01", "").status }
	if got := read(); got != http.StatusTooManyRequests {
		t.Errorf("with %d of them in progress one more is answered %d, want 429", maxStatements, got)
	}
	for _, conn := range conns {
		conn.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); read() != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the places are not free again after their callers have hung up")
		}
	}
}

// While a node adds up as many statements as it may, one more is refused, and one that is finalized is read.
func TestOneDraftTooManyIsRefused(t *testing.T) {
	p := newPlane(t)
	p.usedOften(1)
	p.must("POST", statementsPath, `{"month":"2026-01"}`)
	proposed, release := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo) // before the server waits for its requests
	p.cluster.setPropose(func() {
		select {
		case proposed <- struct{}{}:
			<-release
		case <-release:
		}
	})
	finalize := func() int { return p.call(p.root, "POST", statementsPath, `{"month":"2026-02"}`).status }
	statuses := make(chan int, maxDrafts)
	for range maxDrafts {
		go func() { statuses <- finalize() }()
		<-proposed
	}
	if got := finalize(); got != http.StatusTooManyRequests {
		t.Errorf("one more finalization is answered %d, want 429", got)
	}
	if got := p.call(p.root, "GET", statementsPath+"/preview", "").status; got != http.StatusTooManyRequests {
		t.Errorf("one more preview is answered %d, want 429", got)
	}
	p.must("GET", statementsPath+"/2026-01", "")
	letGo()
	for range maxDrafts {
		if got := <-statuses; got != http.StatusOK {
			t.Errorf("a finalization that was in progress is answered %d", got)
		}
	}
	p.must("GET", statementsPath+"/preview", "")
}

package admin

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
)

func TestLedgerLineIsTheContractsShape(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.settle("evt-1", p.assignment("team-a", "tokens"), 12000)
	r := p.must("GET", "/v1/accounts/acme/ledger", "")
	line := r.json["items"].([]any)[0].(map[string]any)
	for _, k := range []string{"seq", "event_id", "kind", "account", "entities", "chain", "key", "member", "model", "usage", "price_version",
		"price_model", "price_terms", "service_tier", "unpriced", "at", "received_at", "settled_at", "node", "index", "reservation", "overage", "late", "unattributed", "metadata",
		"corrects", "correction", "reason", "node_number", "charges", "body_hash", "hash"} {
		if _, ok := line[k]; !ok {
			t.Errorf("no %s in %v", k, line)
		}
	}
	if line["event_id"] != "evt-1" || line["node"] != "n1" || line["overage"] != true || line["key"] != nil || line["model"] != "gpt-4o" {
		t.Errorf("line = %v", line)
	}
	if r.header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type = %s", r.header.Get("Content-Type"))
	}
}

func TestLedgerFilters(t *testing.T) {
	p := newPlane(t)
	p.company()
	p.settle("evt-1", p.assignment("team-a", "tokens"), 5)
	p.settle("evt-2", p.assignment("bob", "usd"), 6)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{"evt-2", "evt-1"}},
		{"?order=asc", []string{"evt-1", "evt-2"}},
		{"?entity=bob", []string{"evt-2"}},
		{"?entity=acme", []string{"evt-2", "evt-1"}},
		{"?capability=tokens", []string{"evt-1"}},
		{"?event_id=evt-1", []string{"evt-1"}},
		{"?model=gpt-4o", []string{"evt-2", "evt-1"}},
		{"?model=other", []string{}},
		{"?key=key_1", []string{}},
		{"?unattributed=true", []string{}},
		{"?unpriced=true", []string{}},
		{"?member=nobody", []string{}},
		{"?from=2020-01-01T00:00:00Z", []string{"evt-2", "evt-1"}},
		{"?to=2020-01-01T00:00:00Z", []string{}},
	} {
		if got := p.must("GET", "/v1/accounts/acme/ledger"+c.query, "").items("event_id"); !slices.Equal(got, c.want) {
			t.Errorf("ledger%s = %v, want %v", c.query, got, c.want)
		}
	}
}

// More lines than a stream holds at once: it must still send each once.
func TestLedgerStreamsEveryLineOnce(t *testing.T) {
	p := newPlane(t)
	p.company()
	a := p.assignment("team-a", "tokens")
	const n = 2*streamPage + 7
	for i := range n {
		p.settle(fmt.Sprintf("evt-%04d", i), a, int64(i))
	}
	const path = "/v1/accounts/acme/ledger?order=asc"

	r := p.callWith(p.root, "GET", path, "", map[string]string{"Accept": "application/x-ndjson"})
	if r.status != 200 || r.header.Get("Content-Type") != "application/x-ndjson" || r.header.Get("Bursar-Index") == "" {
		t.Fatalf("ndjson: %d %v", r.status, r.header)
	}
	count, sum := 0, int64(0)
	for lines := bufio.NewScanner(bytes.NewReader(r.body)); lines.Scan(); count++ {
		var l client.LedgerLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("evt-%04d", count); l.EventID != want || l.Seq != uint64(count+1) {
			t.Fatalf("line %d is %s, seq %d", count, l.EventID, l.Seq)
		}
		sum += l.Usage["tokens"]
	}
	if count != n || sum != n*(n-1)/2 {
		t.Errorf("%d lines with %d tokens, want %d with %d", count, sum, n, n*(n-1)/2)
	}

	r = p.callWith(p.root, "GET", path, "", map[string]string{"Accept": "text/csv;q=1, */*;q=0.1"})
	if r.status != 200 || r.header.Get("Content-Type") != "text/csv" {
		t.Fatalf("csv: %d %v", r.status, r.header)
	}
	records, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll()
	if err != nil || len(records) != n+1 {
		t.Fatalf("%d records, %v, want %d and a header", len(records), err, n)
	}
	column := slices.Index(records[0], "tokens")
	metadata := slices.Index(records[0], "metadata")
	last := records[n]
	if last[1] != fmt.Sprintf("evt-%04d", n-1) || last[column] != fmt.Sprint(n-1) || !strings.Contains(last[metadata], `a,b\n\"c\"`) {
		t.Errorf("last record = %q", last)
	}
}

func TestStreamTypeFollowsAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "*/*": "", "application/json": "", "text/html": "", "text/csv": typeCSV, "TEXT/CSV; charset=utf-8": typeCSV,
		"application/x-ndjson": typeNDJSON, "text/html, application/x-ndjson;q=0.9, */*": typeNDJSON, "application/json, text/csv": "",
	} {
		if got := streamType(accept); got != want {
			t.Errorf("streamType(%q) = %q, want %q", accept, got, want)
		}
	}
}

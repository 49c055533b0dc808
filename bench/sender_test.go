package bench

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

func testSender(t *testing.T) *sender {
	t.Helper()
	s, err := newSender(&Load{Account: `a"b`, Endpoints: []string{"http://x"}, InFlight: 1}, []string{"zoé", `q"`})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The bodies are written by hand; they must be what the client would write.
func TestBodiesAreTheContracts(t *testing.T) {
	s := testSender(t)
	c := call{caller: 1}
	s.check(&c, true)
	var got client.CheckRequest
	strict(t, c.body, &got)
	want := client.CheckRequest{Account: `a"b`, Entities: []string{`q"`}, Usage: client.Usage{"requests": 1, "tokens": loadCallTokens}, ReserveTTLMS: reserveTTL.Milliseconds()}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("check (-want +got):\n%s", d)
	}
	s.ingest(&c, "run", 7, 2, func() int { return 0 })
	var batch client.IngestRequest
	strict(t, c.body, &batch)
	event := client.Event{ID: "run-7", Account: `a"b`, Entities: []string{"zoé"}, Usage: client.Usage{"requests": 1, "tokens": loadCallTokens / 2}}
	second := event
	second.ID = "run-8"
	if d := cmp.Diff(client.IngestRequest{Events: []client.Event{event, second}}, batch); d != "" {
		t.Errorf("ingest (-want +got):\n%s", d)
	}
}

func strict(t *testing.T, body []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
}

func TestAnswersAreReadAsWhatTheyAre(t *testing.T) {
	s := testSender(t)
	for _, c := range []struct {
		kind   Kind
		body   string
		want   outcome
		failed bool
	}{
		{KindCheck, `{"allowed":true,"code":"ok","index":1}`, outcome{code: "ok"}, false},
		{KindCheck, `{"allowed":false,"code":"budget_exhausted"}`, outcome{code: "budget_exhausted"}, false},
		{KindReserve, `{"allowed":true,"code":"ok","reservation":"rsv_1"}`, outcome{code: "ok", reservation: "rsv_1"}, false},
		{KindIngest, `{"accepted":3,"duplicates":2,"rejected":[]}`, outcome{code: accepted, events: 5}, false},
		{KindIngest, `{"accepted":3,"duplicates":0,"rejected":[{"index":1}]}`, outcome{code: rejected, events: 3}, true},
		{KindReserve, `<html>`, outcome{code: noAnswer}, true},
	} {
		if got := s.read(c.kind, []byte(c.body)); got != c.want || got.failed() != c.failed {
			t.Errorf("%s: %+v, failed %v; want %+v, %v", c.body, got, got.failed(), c.want, c.failed)
		}
	}
	if !(outcome{code: "http_503"}).retryable() || (outcome{code: "http_429"}).retryable() || !(outcome{code: "http_429"}).failed() {
		t.Error("503 may be asked again at once on another node, 429 may not; both are no answer")
	}
}

package enforcer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// gpt is a price map of one model: $2.50 and $10 a million tokens, half for what
// is cached, half in a batch, double past 200,000.
const gpt = `{"gpt": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
	"cache_read_input_token_cost": 1.25e-06, "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
	"input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_reasoning_token": 2e-05}}`

// dearer is the same with all prices ten times as high.
var dearer = strings.NewReplacer("e-06", "e-05", "1e-05", "1e-04", "2e-05", "2e-04").Replace(gpt)

// prices puts a price map, effective at a time in Unix milliseconds; 0: as the map's absence of one says.
func prices(t testing.TB, data string, effectiveAt int64) fsm.PutPrices {
	t.Helper()
	m, err := fsm.ParsePrices([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return fsm.PutPrices{EffectiveAt: effectiveAt, Entries: m.Entries}
}

// line returns the ledger line of an event.
func (n *soloNode) line(id string) fsm.LedgerLine {
	n.t.Helper()
	lines, _, err := n.m.ListLedger("acme", fsm.LedgerFilter{EventID: id}, 0, 1)
	if err != nil || len(lines) != 1 {
		n.t.Fatalf("line of %s: %v, %v", id, lines, err)
	}
	return lines[0]
}

// usd is the amount of a line; -1: it has none.
func usd(l fsm.LedgerLine) int64 {
	for _, q := range l.Event.Usage {
		if q.Capability == fsm.CapUSD {
			return q.Amount
		}
	}
	return -1
}

func TestCheckWithAModelIsPriced(t *testing.T) {
	n := newSoloNode(t)
	n.commit(prices(t, gpt, 0))
	n.assign("alice", fsm.CapUSD, 6_000_000, fsm.EveryMonth, fsm.Hard)
	check := func(more string) response {
		return n.post("/v1/check", `{"account":"acme","entities":["alice"],`+more+`}`)
	}
	const tokens = `"usage":{"input_tokens":80,"output_tokens":40}` // $0.0006
	for _, tc := range []struct {
		name, more, want string
		remaining        float64
	}{
		{"by its name", tokens + `,"model":"gpt"`, "ok", 6_000_000},
		{"by its provider and name", tokens + `,"model":"openai/gpt"`, "ok", 6_000_000},
		{"cached tokens are not charged twice", `"usage":{"input_tokens":800,"cached_tokens":800,"output_tokens":0},"model":"gpt"`, "ok", 6_000_000},
		{"more than there is", `"usage":{"input_tokens":0,"output_tokens":601},"model":"gpt"`, "exceeds_limit", -1},
		{"as much as there is", `"usage":{"input_tokens":0,"output_tokens":600},"model":"gpt"`, "ok", 6_000_000},
		{"in a batch it is half", `"usage":{"output_tokens":601},"model":"gpt","service_tier":"batch"`, "ok", 6_000_000},
		{"the tier is standard when nothing is said", `"usage":{"output_tokens":601},"model":"gpt","service_tier":"standard"`, "exceeds_limit", -1},
		{"usd that is given counts", `"usage":{"output_tokens":601,"usd":5},"model":"gpt"`, "ok", 6_000_000},
		{"without a model nothing is derived", tokens, "ok", -1},
		{"an unknown model costs nothing", tokens + `,"model":"unheard-of"`, "ok", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := check(tc.more)
			remaining, _ := a.json["remaining"].(map[string]any)
			left, ok := remaining["usd"].(float64)
			if !ok {
				left = -1
			}
			if a.status != 200 || a.code() != tc.want || left != tc.remaining {
				t.Fatalf("%d %s, want %s with %v left", a.status, a.text, tc.want, tc.remaining)
			}
		})
	}
	if a := check(`"usage":{"output_tokens":1000000000000000000},"model":"gpt"`); a.status != 400 || a.field() != "usage.usd" {
		t.Errorf("a cost that overflows: %d %s", a.status, a.text)
	}
	for _, tier := range []string{`"gold"`, `1`, `"` + strings.Repeat("x", 100) + `"`, `""`} {
		if a := check(`"service_tier":` + tier); a.status != 400 || a.field() != "service_tier" {
			t.Errorf("tier %s: %d %s", tier, a.status, a.text)
		}
	}
}

func TestReservationInUSDIsSettledByWhatWasUsed(t *testing.T) {
	n := newSoloNode(t)
	n.commit(prices(t, gpt, 0))
	n.assign("team", fsm.CapUSD, 6_000_000, fsm.EveryMonth, fsm.Hard)
	a := n.post("/v1/check", `{"account":"acme","entities":["alice"],"model":"gpt","usage":{"input_tokens":0,"output_tokens":500},"reserve_ttl_ms":60000}`)
	if a.code() != "ok" || fmt.Sprint(a.json["remaining"]) != "map[tokens:500 usd:1e+06]" {
		t.Fatal(a.text)
	}
	b := n.post("/v1/check", `{"account":"acme","entities":["alice"],"model":"gpt","usage":{"input_tokens":0,"output_tokens":101}}`)
	if b.code() != "budget_exhausted" {
		t.Fatal(b.text)
	}
	n.post("/v1/ingest", events(event("e", fmt.Sprintf(`,"model":"gpt","usage":{"input_tokens":80,"output_tokens":40},"reservation":%q`, a.json["reservation"]))))
	if got := n.used(fsm.CapUSD); got != 600_000 {
		t.Fatalf("used %d, want 600000", got)
	}
	b = n.post("/v1/check", `{"account":"acme","entities":["alice"],"model":"gpt","usage":{"input_tokens":0,"output_tokens":101}}`)
	if b.code() != "ok" || fmt.Sprint(b.json["remaining"]) != "map[tokens:880 usd:5.4e+06]" {
		t.Fatal(b.text)
	}
}

func TestEventIsPricedByTheVersionOfItsTime(t *testing.T) {
	n := newSoloNode(t)
	const tokens = `,"model":"gpt","usage":{"input_tokens":8,"output_tokens":4}`
	n.post("/v1/ingest", events(event("before", tokens)))
	n.commit(prices(t, gpt, 0))
	n.post("/v1/ingest", events(event("first", tokens)))
	time.Sleep(5 * time.Millisecond) // the second version begins at the next millisecond of the log's clock
	between := time.Now().UTC().Format(time.RFC3339Nano)
	time.Sleep(5 * time.Millisecond)
	n.commit(prices(t, dearer, time.Now().UnixMilli()))
	n.post("/v1/ingest", events(event("second", tokens), event("late", tokens+fmt.Sprintf(`,"at":%q`, between))))
	for id, want := range map[string]struct {
		version  uint64
		nano     int64
		unpriced bool
	}{
		"before": {0, -1, true}, "first": {1, 60_000, false}, "second": {2, 600_000, false}, "late": {1, 60_000, false},
	} {
		l := n.line(id)
		p := l.Event.Pricing
		if p == nil || p.Version != want.version || usd(l) != want.nano || p.Unpriced != want.unpriced {
			t.Errorf("%s: %d nano-dollars by %+v, want %+v", id, usd(l), p, want)
			continue
		}
		if sum, err := price.Sum(p.Terms); err != nil || sum != max(0, want.nano) {
			t.Errorf("%s: the terms add up to %d, %v", id, sum, err)
		}
	}
	want := []price.Term{
		{Usage: price.InputTokens, Field: 1, Quantity: 8, Price: price.Decimal{Coef: 25, Scale: 7}},
		{Usage: price.OutputTokens, Field: 10, Quantity: 4, Price: price.Decimal{Coef: 1, Scale: 5}},
	}
	if d := cmp.Diff(want, n.line("first").Event.Pricing.Terms); d != "" {
		t.Error(d)
	}
}

func TestADuplicateUnderNewPricesIsADuplicate(t *testing.T) {
	n := newSoloNode(t)
	n.assign("team", fsm.CapUSD, 6_000_000, fsm.EveryMonth, fsm.Hard)
	n.commit(prices(t, gpt, 0))
	same := events(event("e", `,"model":"gpt","usage":{"input_tokens":8,"output_tokens":4}`))
	n.post("/v1/ingest", same)
	n.commit(prices(t, dearer, time.Now().UnixMilli()))
	a := n.post("/v1/ingest", same)
	if a.json["duplicates"] != float64(1) || n.used(fsm.CapUSD) != 60_000 || n.line("e").Event.Pricing.Version != 1 {
		t.Fatalf("%s, used %d, %+v", a.text, n.used(fsm.CapUSD), n.line("e").Event.Pricing)
	}
}

func TestWhatHasNoPriceIsMarked(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.PutCapabilities{Items: []fsm.Capability{{ID: "output_images", Unit: "image"}, {ID: "reasoning_tokens", Unit: "token"}, {ID: "smiles", Unit: "smile"}}})
	n.commit(prices(t, gpt, 0))
	for _, tc := range []struct {
		name, more string
		nano       int64
		unpriced   bool
		priced     bool
	}{
		{"unknown model", `,"model":"x","usage":{"input_tokens":5}`, -1, true, true},
		{"no model", `,"usage":{"input_tokens":5}`, -1, false, false},
		{"usd given", `,"model":"gpt","usage":{"input_tokens":5,"usd":7}`, 7, false, false},
		{"one usage without a price", `,"model":"gpt","usage":{"input_tokens":4,"output_images":1}`, 10_000, true, true},
		{"nothing but that", `,"model":"gpt","usage":{"output_images":1}`, -1, true, true},
		{"tokens that are not split", `,"model":"gpt","usage":{"tokens":5}`, -1, true, true},
		{"nothing that costs", `,"model":"gpt","usage":{"requests":1,"smiles":3}`, 0, false, true},
		{"reasoning is part of output", `,"model":"gpt","usage":{"output_tokens":5,"reasoning_tokens":3}`, 80_000, false, true},
		{"long context", `,"model":"gpt","usage":{"input_tokens":200001}`, 1_000_005_000, false, true},
		{"batch", `,"model":"gpt","service_tier":"batch","usage":{"input_tokens":8,"output_tokens":4}`, 30_000, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := n.post("/v1/ingest", events(event(tc.name, tc.more))); a.json["accepted"] != float64(1) {
				t.Fatal(a.text)
			}
			l := n.line(tc.name)
			p := l.Event.Pricing
			if usd(l) != tc.nano || tc.priced != (p != nil) || p != nil && p.Unpriced != tc.unpriced {
				t.Fatalf("%d nano-dollars by %+v", usd(l), p)
			}
		})
	}
	a := n.post("/v1/ingest", events(event("huge", `,"model":"gpt","usage":{"output_tokens":1000000000000000000}`)))
	if !strings.Contains(a.text, RejectAmount) || !strings.Contains(a.text, "usage.usd") {
		t.Errorf("a cost that overflows: %s", a.text)
	}
}

// A node that accepts another's event charges what the other said, whatever its own prices.
func TestForwardedEventKeepsItsPrice(t *testing.T) {
	n := newSoloNode(t)
	n.commit(prices(t, gpt, 0))
	for _, pricing := range []*fsm.Pricing{{Version: 9, Model: "gpt"}, {Version: 9, Unpriced: true}} {
		ev := &fsm.Event{Account: "acme", ID: "e", Entities: []string{"alice"}, Model: "gpt", At: time.Now().UnixMilli(), Pricing: pricing,
			Usage: []fsm.Quantity{{Capability: fsm.CapInputTokens, Amount: 5}}}
		if !pricing.Unpriced {
			ev.Usage = append(ev.Usage, fsm.Quantity{Capability: fsm.CapUSD, Amount: 77})
		}
		want := *ev
		mustDo(t, n.e.resolve(ev))
		if got := usd(fsm.LedgerLine{Event: *ev}); ev.Pricing != pricing || got != usd(fsm.LedgerLine{Event: want}) {
			t.Errorf("usd %d by %+v, want it as it came: %+v", got, ev.Pricing, want)
		}
	}
}

func TestScheduledPricesBeginWithoutAnEntry(t *testing.T) {
	n := newSoloNode(t)
	n.commit(prices(t, gpt, 0))
	now := time.Now().UnixMilli()
	n.commit(prices(t, dearer, now+3_600_000))
	for range 2 {
		for at, want := range map[int64]uint64{now - 1e9: 1, now: 1, now + 3_599_999: 1, now + 3_600_000: 2} {
			p, err := n.e.pricesAt(at)
			if err != nil || p.version.Version != want {
				t.Errorf("in %d ms: version %d, %v; want %d", at-now, p.version.Version, err, want)
			}
		}
		if p := n.e.prices.Load(); p == nil || p.version.Version != 1 || p.until != now+3_600_000 {
			t.Fatalf("at hand: %+v", p)
		}
	}
}

func TestSecondsHaveTheDecimalsOfTheirCapability(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.PutCapabilities{Items: []fsm.Capability{{ID: "input_seconds", Unit: "second", Decimals: 3}}})
	n.commit(prices(t, `{"whisper": {"input_cost_per_second": 0.0002833333333333333}}`, 0))
	n.post("/v1/ingest", events(event("e", `,"model":"whisper","usage":{"input_seconds":1500}`)))
	if got := usd(n.line("e")); got != 425_000 {
		t.Fatalf("1.5 s cost %d", got)
	}
}

func TestPricedCallsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := newSim(t, 1, 1)
	defer s.close()
	s.deep(3, fsm.CapTokens, fsm.CapUSD)
	s.commit(prices(t, gpt, 0))
	s.settle()
	e := s.node(1).e
	var d Decision
	for _, model := range []string{"gpt", "unheard-of"} {
		c := callFor([]string{"l3"}, 0, fsm.Quantity{Capability: fsm.CapInputTokens, Amount: 100}, fsm.Quantity{Capability: fsm.CapOutputTokens, Amount: 10})
		c.Model = []byte(model)
		n := testing.AllocsPerRun(500, func() {
			d.Reset()
			if err := e.Check(t.Context(), c, &d); err != nil || !d.Allowed {
				t.Fatalf("%+v, %v", d, err)
			}
		})
		if n != 0 {
			t.Errorf("a check with model %s allocates %v times", model, n)
		}
	}
}

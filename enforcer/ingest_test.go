package enforcer

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

func event(id, more string) string {
	return fmt.Sprintf(`{"id":%q,"account":"acme","entities":["alice"]%s}`, id, more)
}

func events(es ...string) string { return `{"events":[` + strings.Join(es, ",") + `]}` }

func TestWrongEventsAreRejectedAlone(t *testing.T) {
	n := newSoloNode(t)
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for _, tc := range []struct{ name, event, code string }{
		{"id missing", `{"account":"acme","entities":["alice"]}`, RejectID},
		{"id empty", event("", ""), RejectID},
		{"id too long", event(strings.Repeat("x", 129), ""), RejectID},
		{"id no string", `{"id":7,"account":"acme","entities":["alice"]}`, RejectID},
		{"account missing", `{"id":"x","entities":["alice"]}`, RejectAccount},
		{"account unknown", `{"id":"x","account":"nobody","entities":["alice"]}`, RejectNoAccount},
		{"entities missing", `{"id":"x","account":"acme"}`, RejectEntities},
		{"entities empty", `{"id":"x","account":"acme","entities":[]}`, RejectEntities},
		{"entity empty", `{"id":"x","account":"acme","entities":[""]}`, RejectEntities},
		{"key", `{"id":"x","key":"bk_x"}`, RejectKeyUnknown},
		{"amount negative", event("x", `,"usage":{"tokens":-1}`), RejectAmount},
		{"amount fractional", event("x", `,"usage":{"tokens":0.5}`), RejectAmount},
		{"amount in exponent form", event("x", `,"usage":{"tokens":1e2}`), RejectAmount},
		{"amount too large", event("x", `,"usage":{"tokens":1000000000000000001}`), RejectAmount},
		{"amount a string", event("x", `,"usage":{"tokens":"5"}`), RejectAmount},
		{"usage no object", event("x", `,"usage":5`), RejectUsage},
		{"capability unknown", event("x", `,"usage":{"smiles":5}`), RejectCapability},
		{"time no time", event("x", `,"at":"yesterday"`), RejectTime},
		{"time without zone", event("x", `,"at":"2026-11-22T10:00:00"`), RejectTime},
		{"time a number", event("x", `,"at":1700000000`), RejectTime},
		{"time in the future", event("x", fmt.Sprintf(`,"at":%q`, at(fsm.MaxFuture+time.Minute))), RejectTime},
		{"time long past", event("x", fmt.Sprintf(`,"at":%q`, at(-fsm.MaxPast-time.Minute))), RejectTime},
		{"model no string", event("x", `,"model":1`), RejectModel},
		{"service tier unknown", event("x", `,"service_tier":"gold"`), RejectTier},
		{"service tier no string", event("x", `,"service_tier":1`), RejectTier},
		{"member no string", event("x", `,"member":1`), RejectMember},
		{"reservation no text", event("x", `,"reservation":7`), RejectReservation},
		{"tokens that add up to too much", `{"id":"x","account":"acme","entities":["alice"],"usage":{"input_tokens":1000000000000000000,"output_tokens":1}}`, RejectAmount},
		{"metadata no object", event("x", `,"metadata":[]`), RejectMetadata},
		{"metadata no string", event("x", `,"metadata":{"a":1}`), RejectMetadata},
		{"metadata too large", event("x", `,"metadata":{"a":"`+strings.Repeat("x", fsm.MaxMetadataBytes)+`"}`), RejectMetadata},
	} {
		t.Run(tc.name, func(t *testing.T) {
			good := "good-" + strings.ReplaceAll(tc.name, " ", "-")
			a := n.post("/v1/ingest", events(event(good, ""), tc.event))
			var got struct {
				Accepted, Duplicates int
				Rejected             []struct {
					Index        int
					Code, Detail string
				}
				Durability string
			}
			mustDo(t, json.Unmarshal([]byte(a.text), &got))
			if a.status != 200 || got.Accepted != 1 || len(got.Rejected) != 1 || got.Rejected[0].Index != 1 ||
				got.Rejected[0].Code != tc.code || got.Rejected[0].Detail == "" || got.Durability != "quorum" {
				t.Errorf("want %s, got %d: %s", tc.code, a.status, a.text)
			}
		})
	}
}

func TestAnEventCountsOnceHoweverItIsSent(t *testing.T) {
	n := newSoloNode(t)
	const first = `{"id":"e","account":"acme","entities":["alice"],"usage":{"input_tokens":3,"output_tokens":4},"at":"%s","metadata":{"a":"1","b":"2"}}`
	const shuffled = `{"metadata":{"b":"2","a":"1"}, "usage":{"output_tokens":4,"input_tokens":3}, "at":"%s", "entities":["alice"],"account":"acme","id":"\u0065"}`
	at := time.Now().UTC().Truncate(time.Second)
	send := func(format string, at time.Time) response {
		return n.post("/v1/ingest", events(fmt.Sprintf(format, at.Format(time.RFC3339Nano))))
	}
	const accepted = `{"accepted":1,"duplicates":0,"rejected":[],"durability":"quorum"}`
	const duplicate = `{"accepted":0,"duplicates":1,"rejected":[],"durability":"quorum"}`
	if a := send(first, at); a.text != accepted {
		t.Fatal(a.text)
	}
	for name, a := range map[string]response{
		"the same":                    send(first, at),
		"fields in another order":     send(shuffled, at),
		"the time in another zone":    send(first, at.In(time.FixedZone("", 3600))),
		"twice within a body":         n.post("/v1/ingest", events(fmt.Sprintf(first, at.Format(time.RFC3339)))),
		"the time to the millisecond": send(strings.Replace(first, "%s", strings.TrimSuffix(at.Format(time.RFC3339), "Z")+".000Z%.0s", 1), at),
	} {
		if a.text != duplicate {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	body, err := msgpack.Marshal(map[string]any{"events": []any{map[string]any{
		"id": "e", "account": "acme", "entities": []string{"alice"}, "at": at.Format(time.RFC3339),
		"usage": map[string]int{"output_tokens": 4, "input_tokens": 3}, "metadata": map[string]string{"a": "1", "b": "2"},
	}}})
	mustDo(t, err)
	if a := n.do("POST", "/v1/ingest", tokenAll, string(body), "Content-Type", typeMsgpack, "Accept", typeJSON); a.text != duplicate {
		t.Error("msgpack:", a.text)
	}
	if a := send(strings.Replace(first, `"output_tokens":4`, `"output_tokens":5`, 1), at); !strings.Contains(a.text, `"code":"id_conflict"`) {
		t.Error("another body:", a.text)
	}
	if used := n.used(fsm.CapTokens); used != 7 {
		t.Errorf("used %d, want 7", used)
	}
}

func TestDuplicatesWithinABodyCountOnce(t *testing.T) {
	n := newSoloNode(t)
	a := n.post("/v1/ingest", events(event("e", ""), event("e", ""), event("e", `,"model":"m"`), event("f", "")))
	want := `{"accepted":2,"duplicates":1,"rejected":[{"index":2,"id":"e","code":"id_conflict","detail":"id e was used before with another body"}],"durability":"quorum"}`
	if d := cmp.Diff(want, a.text); d != "" {
		t.Error(d)
	}
	if used := n.used(fsm.CapRequests); used != 2 {
		t.Errorf("used %d, want 2", used)
	}
}

func TestWithoutALeaderEventsAreKeptAndSettledLater(t *testing.T) {
	n := newSoloNode(t)
	n.peers.leader.Store(false)
	const kept = `{"accepted":1,"duplicates":0,"rejected":[],"durability":"node"}`
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 202 || a.text != kept {
		t.Fatal(a.status, a.text)
	}
	if a := n.post("/v1/ingest?ack=node", events(event("f", ""))); a.status != 202 || a.text != kept {
		t.Fatal(a.status, a.text)
	}
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 202 || a.text != `{"accepted":0,"duplicates":1,"rejected":[],"durability":"node"}` {
		t.Error("a duplicate of what is only here:", a.status, a.text)
	}
	n.stop() // they outlive the process
	n.start()
	n.await("the outbox is shipped", func() bool { return n.used(fsm.CapRequests) == 2 })
	if a := n.post("/v1/ingest", events(event("e", ""), event("f", ""))); a.text != `{"accepted":0,"duplicates":2,"rejected":[],"durability":"quorum"}` {
		t.Error(a.text)
	}
	if left := n.e.ship.depth(); left.events != 0 || left.bytes != 0 {
		t.Errorf("%d events, %d bytes are left", left.events, left.bytes)
	}
}

func TestAnUnknownOutcomeIsNotCountedTwice(t *testing.T) {
	n := newSoloNode(t)
	n.peers.silent.Store(true)
	for i := range 5 {
		if a := n.post("/v1/ingest", events(event(fmt.Sprint(i), ""))); a.status != 200 {
			t.Fatal(a.status, a.text)
		}
	}
	if used := n.used(fsm.CapRequests); used != 5 {
		t.Errorf("used %d, want 5", used)
	}
}

func TestConcurrentCopiesOfAnEventCountOnce(t *testing.T) {
	n := newSoloNode(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted, duplicates := 0, 0
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				a := n.post("/v1/ingest", events(event(fmt.Sprint(i), "")))
				mu.Lock()
				accepted += int(a.json["accepted"].(float64))
				duplicates += int(a.json["duplicates"].(float64))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if accepted != 20 || duplicates != 140 || n.used(fsm.CapRequests) != 20 {
		t.Errorf("accepted %d, duplicates %d, used %d; want 20, 140, 20", accepted, duplicates, n.used(fsm.CapRequests))
	}
}

func TestAnOutboxThatIsFullAnswersOverloaded(t *testing.T) {
	n := newSoloNode(t)
	n.e.ship.mu.Lock()
	n.e.ship.bytes += maxOutboxBytes
	n.e.ship.mu.Unlock()
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 429 || a.code() != "overloaded" {
		t.Error(a.status, a.text)
	}
	n.e.ship.mu.Lock()
	n.e.ship.bytes -= maxOutboxBytes
	n.e.ship.mu.Unlock()
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 200 || a.json["accepted"] != 1.0 {
		t.Error("the id stayed taken:", a.status, a.text)
	}
}

func TestACopyOfWhatCouldNotBeStoredIsNotAcknowledged(t *testing.T) {
	n := newSoloNode(t)
	p := acquireParser()
	defer releaseParser(p)
	items, err := p.events([]byte(events(event("e", ""))), false, n.e.now())
	mustDo(t, err)
	other := admitBatch(t, n.e.ship, 1)
	other.err = ErrUnavailable
	close(other.stored)
	sh, _ := n.e.ship.claim(items[0].ev, other)
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 503 {
		t.Error(a.status, a.text)
	}
	n.e.ship.unclaim(sh, 0)
	if a := n.post("/v1/ingest", events(event("e", ""))); a.status != 200 || a.json["accepted"] != 1.0 {
		t.Error(a.status, a.text)
	}
}

// away is the text of a reservation of node 2.
var away = resID{node: 2, boot: 1, seq: 1}.String()

func TestEventsGoToTheOriginOfTheirReservation(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.AdmitNode{Name: "n2", Addr: "y"})
	var got []fsm.Event
	outcome := fsm.Settled
	n.peers.call = func(node fsm.NodeNum, method Method, req, reply any) error {
		in, ok := req.(*IngestRequest)
		if node != 2 || method != MethodIngest || !ok {
			return ErrUnreachable
		}
		got = append(got, in.Events...)
		for range in.Events {
			reply.(*IngestReply).Results = append(reply.(*IngestReply).Results, EventResult{Outcome: outcome, Quorum: true})
		}
		return nil
	}
	with := fmt.Sprintf(`,"reservation":%q`, away)
	a := n.post("/v1/ingest", events(event("e", with), event("f", "")))
	if a.text != `{"accepted":2,"duplicates":0,"rejected":[],"durability":"quorum"}` || len(got) != 1 || got[0].ID != "e" || got[0].Reservation != away {
		t.Errorf("%s; forwarded %+v", a.text, got)
	}
	if used := n.used(fsm.CapRequests); used != 1 {
		t.Errorf("used %d: the forwarded event was accepted here, too", used)
	}
	outcome = fsm.IDConflict
	if a = n.post("/v1/ingest", events(event("g", with))); !strings.Contains(a.text, `"code":"id_conflict"`) {
		t.Error(a.text)
	}
}

// A request that waits for the origin of a reservation keeps the places of what it may still bring, and of nothing else.
func TestRejectedEventsTakeNoPlaceOfTheBacklog(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.AdmitNode{Name: "n2", Addr: "y"})
	places := func() int {
		n.e.ship.mu.Lock()
		defer n.e.ship.mu.Unlock()
		return n.e.ship.entering
	}
	kept := -1
	n.peers.call = func(_ fsm.NodeNum, method Method, _, reply any) error {
		if method != MethodIngest {
			return ErrUnreachable
		}
		kept = places()
		reply.(*IngestReply).Results = []EventResult{{Outcome: fsm.Settled, Quorum: true}}
		return nil
	}
	sent := []string{event("e", fmt.Sprintf(`,"reservation":%q`, away))}
	for i := range 9 {
		sent = append(sent, fmt.Sprintf(`{"id":"r%d","account":"gone","entities":["a"]}`, i))
	}
	if a := n.post("/v1/ingest", events(sent...)); !strings.Contains(a.text, `"accepted":1,`) || kept != 1 {
		t.Errorf("%d places are kept while the one event is under way: %s", kept, a.text)
	}
	if left := places(); left != 0 {
		t.Errorf("%d places are kept of a request that was answered", left)
	}
}

func TestWithoutTheOriginAnEventIsAcceptedHere(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.AdmitNode{Name: "n2", Addr: "y"})
	calls := 0
	n.peers.call = func(fsm.NodeNum, Method, any, any) error { calls++; return ErrUnknownOutcome }
	a := n.post("/v1/ingest", events(event("e", fmt.Sprintf(`,"reservation":%q`, away))))
	if a.text != `{"accepted":1,"duplicates":0,"rejected":[],"durability":"quorum"}` || n.used(fsm.CapRequests) != 1 || calls == 0 {
		t.Errorf("%s, used %d, %d calls", a.text, n.used(fsm.CapRequests), calls)
	}
}

func TestForwardedEventsAreAcceptedByTheOrigin(t *testing.T) {
	n := newSoloNode(t)
	p := acquireParser()
	defer releaseParser(p)
	items, err := p.events([]byte(events(event("e", ""), event("e", ""), `{"id":"x","account":"gone","entities":["a"]}`)), false, n.e.now())
	mustDo(t, err)
	req := &IngestRequest{Quorum: true}
	for _, it := range items {
		req.Events = append(req.Events, *it.ev)
	}
	reply, err := n.e.handleIngest(t.Context(), req)
	mustDo(t, err)
	want := []EventResult{{Outcome: fsm.Settled, Quorum: true}, {Outcome: fsm.Duplicate, Quorum: true}, {}}
	if d := cmp.Diff(want, reply.Results); d != "" {
		t.Error(d)
	}
}

func FuzzCanonicalHash(f *testing.F) {
	f.Add("id", "acme", "alice", "tokens", int64(5), "k", "v")
	f.Add("", "", "", "", int64(0), "", "")
	f.Fuzz(func(t *testing.T, id, account, entity, capability string, amount int64, k, v string) {
		base := func() *fsm.Event {
			return &fsm.Event{
				ID: id, Account: account, Entities: []string{entity, "x"}, Model: "m",
				Usage: []fsm.Quantity{{Capability: capability, Amount: amount}}, At: 1000,
				Metadata: map[string]string{k: v, "fixed": "y"},
			}
		}
		want := canonicalHash(base(), true)
		same := base()
		same.Node, same.ReceivedAt, same.Chain, same.Lines = 3, 99, []string{"c"}, []fsm.Line{{Amount: 1}}
		same.Pricing = &fsm.Pricing{Version: 7}
		if canonicalHash(same, true) != want {
			t.Fatal("it depends on what the node adds")
		}
		changes := []func(*fsm.Event){
			func(e *fsm.Event) { e.ID += "x" },
			func(e *fsm.Event) { e.Account += "x" },
			func(e *fsm.Event) { e.Entities = []string{entity + "x"} },
			func(e *fsm.Event) { e.Entities = []string{"x", entity + "y"} },
			func(e *fsm.Event) { e.Usage[0].Amount++ },
			func(e *fsm.Event) { e.Usage = append(e.Usage, fsm.Quantity{Capability: "z"}) },
			func(e *fsm.Event) { e.Model, e.Member = "", "m" },
			func(e *fsm.Event) { e.Member = "m" },
			func(e *fsm.Event) { e.Tier = price.Batch },
			func(e *fsm.Event) { e.Key = "m" },
			func(e *fsm.Event) { e.Reservation = "r" },
			func(e *fsm.Event) { e.At++ },
			func(e *fsm.Event) { e.Metadata["fixed"] = v + "z" },
			func(e *fsm.Event) { e.Metadata[k+"new"] = v },
			func(e *fsm.Event) { e.Metadata = nil },
		}
		for i, change := range changes {
			other := base()
			change(other)
			if !cmp.Equal(base(), other) && canonicalHash(other, true) == want {
				t.Fatalf("change %d does not show", i)
			}
		}
		if canonicalHash(base(), false) == want {
			t.Fatal("a time left out is as one given")
		}
	})
}

func TestARejectedEventIsToldByItsID(t *testing.T) {
	n := newSoloNode(t)
	for _, tc := range []struct{ name, event, id string }{
		{"right", event("evt-9", `,"usage":5`), "evt-9"},
		{"one byte too long", event(strings.Repeat("x", 129), ""), strings.Repeat("x", 64) + "…"},
		{"far too long", event(strings.Repeat("y", 20_000), ""), strings.Repeat("y", 64) + "…"},
		{"cut within a character", event(strings.Repeat("x", 63)+strings.Repeat("ü", 60), ""), strings.Repeat("x", 63) + "…"},
		{"with a control character", `{"id":"a\u0007b","account":"acme","entities":["alice"]}`, "a\ab"},
		{"no string", `{"id":7,"account":"acme","entities":["alice"]}`, ""},
		{"missing", `{"account":"acme","entities":["alice"]}`, ""},
	} {
		a := n.post("/v1/ingest", events(tc.event))
		rejected := a.json["rejected"].([]any)
		if len(rejected) != 1 || rejected[0].(map[string]any)["id"] != tc.id {
			t.Errorf("%s: want it told by %q, got %s", tc.name, tc.id, a.text)
		}
	}
}

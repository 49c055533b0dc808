package admin

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// The SDK computes a line's hash from its JSON; the state machine from what it stores.
func TestHashOfALineFollowsFromWhatIsShown(t *testing.T) {
	full := fsm.LedgerLine{
		Seq: 1, Kind: fsm.KindAdjust, Index: 2, Settled: 3, Overage: true, Late: true, Corrects: 4, Correction: "c", Reason: "r\x00é",
		Event: fsm.Event{
			Account: "acme", ID: "evt\u2028<&>", Hash: [32]byte{1}, Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
			Key: "key", Member: "member", Model: "model", Tier: price.Batch,
			Pricing: &fsm.Pricing{Version: 5, Model: "priced", Unpriced: true, Terms: []price.Term{
				{Usage: price.CachedTokens, Field: 2, Quantity: 6, Decimals: 7, Price: price.Decimal{Coef: 25, Scale: 7}},
			}},
			Usage: []fsm.Quantity{{Capability: "tokens", Amount: -8}, {Capability: "usd", Amount: 1}}, At: 9, ReceivedAt: 10, Node: 11, Reservation: "rsv",
			Unattributed: true, Metadata: map[string]string{"k": "v", "a": "b"},
			Lines: []fsm.Line{{Budget: fsm.BudgetKey{Assignment: 12, Start: -13}, Amount: 14, Drawn: 15, On: 16}},
		},
	}
	bare := fsm.LedgerLine{Seq: 1, Kind: fsm.KindUsage, Event: fsm.Event{Account: "acme", ID: "e"}}
	unpriced := bare
	unpriced.Event.Pricing = &fsm.Pricing{}
	for name, line := range map[string]*fsm.LedgerLine{"full": &full, "bare": &bare, "unpriced": &unpriced} {
		for _, prev := range [][32]byte{{}, {1, 2, 3}} {
			want := line.ChainHash(prev)
			before := ""
			if prev != ([32]byte{}) {
				before = hex.EncodeToString(prev[:])
			}
			var shown client.LedgerLine
			data, err := json.Marshal(wireLine(line, &lineNames{}))
			if err == nil {
				err = json.Unmarshal(data, &shown)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := shown.ChainHash(before); err != nil || got != hex.EncodeToString(want[:]) {
				t.Errorf("%s after %q: %s, %v; the state machine says %x\n%s", name, before, got, err, want, data)
			}
		}
	}
}

func TestExportedLinesAreAChain(t *testing.T) {
	p := newPlane(t)
	p.company()
	for _, id := range []string{"evt-1", "evt-2", "evt-3"} {
		p.settle(id, p.assignment("team-a", "tokens"), 5)
	}
	p.must("POST", "/v1/accounts/acme/adjustments", `{"event_id":"evt-2","kind":"void"}`)
	prev, lines := "", 0
	for text := range strings.Lines(string(p.callWith(p.root, "GET", "/v1/accounts/acme/ledger?order=asc", "", map[string]string{"Accept": typeNDJSON}).body)) {
		var line client.LedgerLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if hash, err := line.ChainHash(prev); err != nil || line.Hash == nil || *line.Hash != hash {
			t.Fatalf("the hash of %s\nis %s, %v", text, hash, err)
		}
		if len(line.Charges) != 1 || line.Charges[0].Assignment == nil {
			t.Errorf("line %d charges %+v", line.Seq, line.Charges)
		}
		prev, lines = *line.Hash, lines+1
	}
	if lines != 4 {
		t.Errorf("%d lines", lines)
	}
}

package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// history is a ledger that is being written, with what queries are checked against.
type history struct {
	*rig
	rng    *rand.Rand
	lines  []Event
	prompt bool // no event is late
}

func newHistory(t testing.TB, seed uint64) *history {
	h := &history{rig: emptyRig(t, vfs.NewMem()), rng: rand.New(rand.NewPCG(seed, 1))}
	h.must(PutAccount{ID: "acme", Name: "Acme"})
	h.must(PutAccount{ID: "acme2", Name: "Another"})
	return h
}

// write settles n events. Times go up, with some that are late or early; most
// values are rare, some in nearly every line.
func (h *history) write(n int) {
	for ; n > 0; n -= 100 {
		var batch []Event
		for range min(n, 100) {
			h.now += h.rng.Int64N(60_000)
			i := len(h.lines)
			e := Event{
				Account: "acme", ID: fmt.Sprintf("evt-%d", i), Entities: []string{"x"}, At: h.now, ReceivedAt: h.now, Node: 1,
				Usage: []Quantity{{CapRequests, 1}},
			}
			e.Hash[0], e.Hash[1], e.Hash[2] = byte(i), byte(i>>8), byte(i>>16)
			e.Chain = []string{fmt.Sprintf("user-%d", h.rng.IntN(1500)), fmt.Sprintf("team-%d", h.rng.IntN(3)), "acme"}
			if !h.prompt && h.rng.IntN(200) == 0 {
				e.At -= h.rng.Int64N(40 * 24 * hourMS)
			}
			if h.rng.IntN(2) == 0 {
				e.Model = fmt.Sprintf("model-%d", h.rng.IntN(40))
			}
			if h.rng.IntN(300) == 0 {
				e.Key, e.Member, e.Unattributed = "key-1", "m", true
				e.Usage = append(e.Usage, Quantity{"images", 2})
				e.Pricing = &Pricing{Version: 1, Unpriced: true}
			}
			batch = append(batch, e)
			h.lines = append(h.lines, e)
		}
		// Another account's lines lie beside them in every table.
		other := batch[0]
		other.Account, other.Chain = "acme2", []string{"user-1", "acme2"}
		h.must(settle(1, append(batch, other)...))
	}
}

// filters are some of each kind, and together.
func (h *history) filters() []LedgerFilter {
	at := func() int64 { return h.lines[h.rng.IntN(len(h.lines))].At }
	a, b := at(), at()
	return []LedgerFilter{
		{}, {Entity: "acme"}, {Entity: "team-1"}, {Entity: fmt.Sprintf("user-%d", h.rng.IntN(1500))}, {Entity: "user"}, {Entity: "nobody"},
		{Model: fmt.Sprintf("model-%d", h.rng.IntN(40))}, {Model: "model-"}, {Key: "key-1"}, {Member: "m"}, {Capability: "images"}, {Capability: CapRequests},
		{Unattributed: true}, {Unpriced: true}, {From: a}, {To: b}, {From: min(a, b), To: max(a, b)}, {From: a, To: a + hourMS}, {To: h.lines[h.rng.IntN(min(20, len(h.lines)))].At},
		{Entity: "team-0", Model: "model-3"}, {Entity: "user-7", Model: "model-3"}, {Key: "key-1", From: min(a, b)}, {Model: "model-9", From: a, To: a + 24*hourMS},
		{Entity: "team-2", Capability: "images", Unpriced: true, To: b},
	}
}

// check compares each filter's pages, in both orders, with the lines that match.
func (h *history) check() {
	h.t.Helper()
	for _, f := range h.filters() {
		for _, f.OldestFirst = range []bool{true, false} {
			var want []string
			for i := range h.lines {
				if f.match(&h.lines[i]) {
					want = append(want, h.lines[i].ID)
				}
			}
			if !f.OldestFirst {
				slices.Reverse(want)
			}
			var got []string
			var after uint64
			for first := true; first || after != 0; first = false {
				limit := 1 + h.rng.IntN(2*blockLines)
				items, next, err := h.m.ListLedger("acme", f, after, limit)
				if err != nil || len(items) > limit || next != 0 && next == after {
					h.t.Fatalf("%+v after %d: %d lines, next %d, %v", f, after, len(items), next, err)
				}
				for _, l := range items {
					got = append(got, l.Event.ID)
				}
				after = next
			}
			if !slices.Equal(got, want) {
				h.t.Fatalf("%+v: %d lines, want %d\n%v\n%v", f, len(got), len(want), got, want)
			}
		}
	}
}

func TestEveryFilterFindsItsLines(t *testing.T) {
	notShort(t)
	for seed := range uint64(3) {
		h := newHistory(t, seed)
		for _, n := range []int{1, 62, 1, 1, 63, 2000, 2500} { // around the ends of blocks and of a stride of them
			h.write(n)
			h.check()
			if h.rng.IntN(2) == 0 {
				h.reopen()
			}
		}
	}
}

// A replica that was restarted in the middle of a block writes what the others write.
func TestIndexDoesNotDependOnRestarts(t *testing.T) {
	notShort(t)
	run := func(restarts bool) *history {
		h := newHistory(t, 7)
		for range 60 {
			h.write(77)
			if restarts {
				h.reopen()
			}
		}
		return h
	}
	a, b := run(false), run(true)
	if a.m.s.sum != b.m.s.sum {
		t.Fatalf("checksum %x with restarts, %x without", b.m.s.sum, a.m.s.sum)
	}
}

// A ledger that was begun before there was an index is read all the same, and
// indexed from the next block on.
func TestLinesFromBeforeTheIndexAreFound(t *testing.T) {
	lengths := []int{30, 64, 64*64 + 5}
	if testing.Short() {
		lengths = lengths[:1]
	}
	for _, before := range lengths {
		h := newHistory(t, uint64(before))
		h.prompt = before%2 == 0
		h.write(before)
		for _, table := range []byte{tableIndex, tableTimes, tableIndexFrom} {
			lower, upper := tableRange(table)
			if err := committed(t, h.m).DeleteRange(lower, upper, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		h.reopen()
		h.check()
		h.write(300)
		h.check()
		h.reopen()
		h.write(64 * 64)
		h.check()
		h.reopen()
		h.write(1)
		h.check()
	}
}

func TestCursorsNeitherSkipNorRepeatWhileLinesArrive(t *testing.T) {
	h := newHistory(t, 3)
	h.write(500)
	for _, f := range []LedgerFilter{{Entity: "team-1"}, {Entity: "team-1", OldestFirst: true}, {OldestFirst: true}, {}} {
		there := len(h.lines)
		seen := map[string]bool{}
		var after uint64
		for first := true; first || after != 0; first = false {
			items, next, err := h.m.ListLedger("acme", f, after, 17)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range items {
				if seen[l.Event.ID] {
					t.Fatalf("%+v: %s twice", f, l.Event.ID)
				}
				seen[l.Event.ID] = true
			}
			after = next
			if len(h.lines) < there+200 {
				h.write(10)
			}
		}
		for _, e := range h.lines[:there] {
			if f.match(&e) != seen[e.ID] {
				t.Fatalf("%+v: %s seen: %v", f, e.ID, seen[e.ID])
			}
		}
	}
}

// work returns how many lines and steps of the index a page takes.
func (h *history) work(f LedgerFilter) (lines, steps int) {
	h.t.Helper()
	q := &ledgerQuery{r: committed(h.t, h.m), account: "acme", f: &f, limit: 20}
	if err := q.open(); err != nil {
		h.t.Fatal(err)
	}
	defer q.close()
	if _, _, err := q.page(0); err != nil {
		h.t.Fatal(err)
	}
	return q.read, q.steps
}

// A page costs the same however long the ledger is.
func TestAPageCostsTheSameInALongerLedger(t *testing.T) {
	notShort(t)
	h := newHistory(t, 5)
	h.prompt = true
	h.write(4000)
	at := h.lines[1000].At
	filters := []LedgerFilter{
		{}, {Entity: "team-1"}, {Model: "model-3"}, {Key: "key-1", OldestFirst: true}, {Unpriced: true}, {From: at, To: at + hourMS, OldestFirst: true},
		{Entity: "nobody"}, {Entity: "team-1", To: at, OldestFirst: true},
	}
	for range 4 {
		for _, f := range filters {
			if lines, steps := h.work(f); lines > 21*blockLines || steps > 60 {
				t.Errorf("%d lines, %+v: a page of 20 reads %d lines with %d steps", len(h.lines), f, lines, steps)
			}
		}
		h.write(3000)
	}
	// From the far end a time span is reached in strides.
	if lines, steps := h.work(LedgerFilter{From: at, To: at + hourMS}); lines > 21*blockLines || steps > 4*blockLines {
		t.Errorf("back to an old hour: %d lines, %d steps", lines, steps)
	}
}

// What an older release wrote is read: this is a line of it, byte for byte.
func TestLineOfAnOlderReleaseIsRead(t *testing.T) {
	old := []byte("\x01\x87\xa3seq\x05\xa4kind\xa5usage\xa5index\x09\xa7settled\x07\xa7overage\xc3\xa4late\xc2\xa5event\x88" +
		"\xa2ac\xa4acme\xa2id\xa1e\xa1h\xc4\x20" + string(bytes.Repeat([]byte{1}, 32)) + "\xa2ch\x92\xa5alice\xa4acme" +
		"\xa2mo\xa3gpt\xa2us\x91\x82\xa1c\xa6tokens\xa1a\x0c\xa2at\x06\xa2no\x01")
	var l LedgerLine
	if err := decodeValue(old, &l); err != nil {
		t.Fatal(err)
	}
	if l.Seq != 5 || !l.Overage || l.Event.Model != "gpt" || l.Event.Pricing != nil || l.Event.Tier != 0 || l.Event.Usage[0] != (Quantity{"tokens", 12}) {
		t.Fatalf("%+v", l)
	}
	var r lineReader
	if err := r.read(old); err != nil || string(r.model) != "gpt" || r.unpriced || len(r.chain) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// A correction stands far behind the line it corrects, among lines of others.
func TestCorrectionsAreFoundByWhatTheyCorrect(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.spend("e1", d.now, []Quantity{{CapTokens, 5}})
	p := Part{Node: 1}
	for i := range 2 * blockLines {
		p.Events = append(p.Events, Event{Account: "acme", ID: fmt.Sprint(i), Node: 1, Chain: []string{"acme"}, Usage: []Quantity{{CapRequests, 1}}, At: d.now})
	}
	d.must(Reconcile{Parts: []Part{p}})
	d.must(correct(Correction{ID: "c1", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 7}}}))
	d.must(correct(Correction{ID: "c2", Event: "e1", Kind: KindVoid}))
	for _, f := range []LedgerFilter{{Entity: "alice"}, {Capability: CapTokens}, {EventID: "e1"}} {
		for _, f.OldestFirst = range []bool{true, false} {
			for limit := 1; limit <= 4; limit++ {
				var kinds []string
				var after uint64
				for first := true; first || after != 0; first = false {
					items, next, err := d.m.ListLedger("acme", f, after, limit)
					if err != nil || len(items) > limit {
						t.Fatal(items, err)
					}
					for _, l := range items {
						kinds = append(kinds, l.Kind)
					}
					after = next
				}
				want := []string{KindUsage, KindAdjust, KindVoid}
				if !f.OldestFirst {
					slices.Reverse(want)
				}
				if !slices.Equal(kinds, want) {
					t.Errorf("%+v by %d: %v, want %v", f, limit, kinds, want)
				}
			}
		}
	}
}

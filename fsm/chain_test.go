package fsm

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm/price"
)

// ledgerOf returns all lines of an account, oldest first.
func (r *rig) ledgerOf(account string) (all []LedgerLine) {
	r.t.Helper()
	for after := uint64(0); ; {
		items, next, err := r.m.ListLedger(account, LedgerFilter{OldestFirst: true}, after, MaxPage)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, items...)
		if after = next; after == 0 {
			return all
		}
	}
}

// chainedLines makes a ledger of usage of two accounts, with corrections.
func chainedLines(r *rig) {
	k := r.period(r.assign(1000))
	r.must(PutAccount{ID: "globex", Name: "Globex"})
	for i := range 5 {
		e := r.event(fmt.Sprintf("evt-%d", i), k, int64(i), 0, 1)
		e.Metadata = map[string]string{"b": "2", "a": "1"}
		other := e
		other.Account, other.Chain, other.Lines = "globex", []string{"globex"}, nil
		r.must(settle(1, e, other))
		r.now += 1000
	}
	r.must(Correct{Account: "acme", Items: []Correction{
		{ID: "c1", Event: "evt-1", Kind: KindVoid},
		{ID: "c2", Event: "evt-2", Kind: KindAdjust, Usage: []Quantity{{CapRequests, 9}}, Reason: "typo"},
	}})
}

func checkChain(t *testing.T, lines []LedgerLine) {
	t.Helper()
	var prev [32]byte
	for i := range lines {
		if got := lines[i].ChainHash(prev); got != lines[i].Hash || got == ([32]byte{}) {
			t.Fatalf("line %d has hash %x, computed %x", lines[i].Seq, lines[i].Hash, got)
		}
		prev = lines[i].Hash
	}
}

func TestEveryLineIsChainedToTheOneBefore(t *testing.T) {
	r := newRig(t)
	chainedLines(r)
	lines := r.ledgerOf("acme")
	if len(lines) != 7 {
		t.Fatalf("%d lines", len(lines))
	}
	checkChain(t, lines)
	checkChain(t, r.ledgerOf("globex"))
}

func TestChainIsTheSameHoweverEntriesAreBatched(t *testing.T) {
	r := newRig(t)
	chainedLines(r)
	want := r.ledgerOf("acme")
	for name, size := range map[string]int{"one by one": 1, "by three": 3, "at once": len(r.log)} {
		for _, restart := range []bool{false, true} {
			again := emptyRig(t, vfs.NewMem())
			for entries := range slices.Chunk(r.log, size) {
				if _, err := again.m.Apply(entries); err != nil {
					t.Fatal(err)
				}
				if restart {
					again.reopen()
				}
			}
			if diff := cmp.Diff(want, again.ledgerOf("acme")); diff != "" {
				t.Errorf("%s, restarts %v (-first +again):\n%s", name, restart, diff)
			}
		}
	}
}

func TestChainBeginsWithTheFirstEntryOfItsVersion(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.version = FirstLogVersion
	for i := range 3 {
		r.must(settle(1, r.event(fmt.Sprintf("old-%d", i), k, 1, 0, 1)))
	}
	r.version = LogVersion
	r.reopen()
	for i := range 3 {
		r.must(settle(1, r.event(fmt.Sprintf("new-%d", i), k, 1, 0, 1)))
	}
	lines := r.ledgerOf("acme")
	for _, l := range lines[:3] {
		if l.Hash != ([32]byte{}) {
			t.Errorf("line %d was written before there were chains and has a hash", l.Seq)
		}
	}
	checkChain(t, lines[3:])
	var mark ledgerMark
	if _, err := r.m.get(ledgerMarkKey("acme"), &mark); err != nil || mark.ChainFrom != 4 {
		t.Errorf("the chain begins at %d, %v; want 4", mark.ChainFrom, err)
	}
}

// fullLine has a value in every field.
func fullLine() LedgerLine {
	return LedgerLine{
		Seq: 1, Kind: KindAdjust, Index: 2, Settled: 3, Overage: true, Late: true, Corrects: 4, Correction: "c", Reason: "r",
		Event: Event{
			Account: "acme", ID: "evt", Hash: [32]byte{1}, Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
			Key: "key", Member: "member", Model: "model", Tier: price.Batch,
			Pricing: &Pricing{Version: 5, Model: "priced", Unpriced: true, Terms: []price.Term{
				{Usage: price.InputTokens, Field: 1, Quantity: 6, Decimals: 7, Price: price.Decimal{Coef: 25, Scale: 7}},
			}},
			Usage: []Quantity{{"tokens", 8}}, At: 9, ReceivedAt: 10, Node: 11, Reservation: "rsv", Unattributed: true,
			Metadata: map[string]string{"k": "v"}, Lines: []Line{{Budget: BudgetKey{12, 13}, Amount: 14, Drawn: 15, On: 16}},
		},
	}
}

// A hash computed by hand from the form that chain.go documents; it never changes.
func TestChainHashIsThatOfTheDocumentedForm(t *testing.T) {
	l := fullLine()
	const want = "91575c488d841f4fe2da4ef4c0d40bbb851bb35eb476cfb73706a99784fe8e3b"
	if sum := l.ChainHash([32]byte{}); hex.EncodeToString(sum[:]) != want {
		t.Errorf("hash is %x, want %s", sum, want)
	}
}

func TestChainHashCoversEveryField(t *testing.T) {
	l := fullLine()
	whole := l.ChainHash([32]byte{})
	if l.ChainHash([32]byte{1}) == whole {
		t.Error("the hash does not depend on the one before")
	}
	var change func(path string, v reflect.Value)
	differs := func(path string) {
		t.Helper()
		if l.ChainHash([32]byte{}) == whole {
			t.Errorf("the hash does not cover %s", path)
		}
	}
	change = func(path string, v reflect.Value) {
		if path == "LedgerLine.Hash" {
			return
		}
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				change(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		case reflect.Pointer:
			change(path, v.Elem())
			return
		case reflect.Slice:
			for i := range v.Len() {
				change(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
			v.Set(reflect.AppendSlice(v.Slice(0, v.Len()), v.Slice(v.Len()-1, v.Len())))
		case reflect.Array:
			v.Index(31).SetUint(1)
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{"k": "w"}))
			differs(path + " value")
			v.Set(reflect.ValueOf(map[string]string{"l": "v"}))
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int64:
			v.SetInt(-v.Int())
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			v.SetUint(v.Uint() + 1)
		default:
			t.Fatalf("%s is a %s", path, v.Kind())
		}
		differs(path)
		v.Set(was)
	}
	change("LedgerLine", reflect.ValueOf(&l).Elem())
}

func TestChainHashAllocatesNothing(t *testing.T) {
	var s chainScratch
	var prev [32]byte
	l := fullLine()
	if n := testing.AllocsPerRun(100, func() { prev = s.hash(&prev, &l) }); n > 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func BenchmarkChainHash(b *testing.B) {
	var s chainScratch
	var prev [32]byte
	l := fullLine()
	b.ReportAllocs()
	for b.Loop() {
		prev = s.hash(&prev, &l)
	}
}

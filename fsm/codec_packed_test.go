package fsm

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bursar-dev/bursar/fsm/price"
)

// fill gives every field of what v points to a value that is not zero, as whole numbers, texts and lists go.
// A field that is added to a struct is filled too, so that a packer which forgets it is found out.
func fill(t testing.TB, r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, r, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, r, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, r, v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(3), 4))
		for i := range v.Len() {
			fill(t, r, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + r.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, r, key)
			fill(t, r, value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(string(rune('a'+r.IntN(26))) + string(rune('a'+r.IntN(26))))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt([]int64{1, -1, math.MaxInt64, math.MinInt64, 1 + r.Int64N(1<<40)}[r.IntN(5)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(max(1, r.Uint64()>>(64-min(v.Type().Bits(), 1+r.IntN(64)))))
	default:
		t.Fatalf("%s is of a kind that no packer knows", v.Type())
	}
}

func allSet[T any](t testing.TB, r *rand.Rand) (v T) {
	fill(t, r, reflect.ValueOf(&v).Elem())
	return v
}

// leaves calls f for every value of the type of v that has one field alone filled, however deep it lies.
func leaves(t testing.TB, r *rand.Rand, v reflect.Value, f func()) {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			leaves(t, r, v.Field(i), f)
		}
		return
	}
	fill(t, r, v)
	f()
	v.SetZero()
}

// packed are the packers, by name: each encodes what v points to and decodes that again.
var packed = map[string]struct {
	zero func() any
	turn func(v any) ([]byte, any, error)
}{
	"event of a block": {func() any { return new(Event) }, func(v any) ([]byte, any, error) {
		b := AppendEvents(nil, []*Event{v.(*Event)})
		events, err := DecodeEvents(b)
		if err != nil {
			return b, nil, err
		}
		return b, &events[0], nil
	}},
	"part": {func() any { return new(Part) }, func(v any) ([]byte, any, error) {
		b := v.(*Part).Pack()
		p, err := b.Unpack()
		return b, p, err
	}},
	"command": {func() any { return new(reconcileCommand) }, func(v any) ([]byte, any, error) {
		c := v.(*reconcileCommand)
		b, err := Encode(&Command{c.ID, c.At, c.Leader, c.Actor, c.Body})
		if err != nil {
			return b, nil, err
		}
		d, err := Decode(b)
		if err != nil {
			return b, nil, err
		}
		return b, &reconcileCommand{d.ID, d.At, d.Leader, d.Actor, d.Body.(Reconcile)}, nil
	}},
	"line": {func() any { return new(LedgerLine) }, func(v any) ([]byte, any, error) {
		b := appendLedgerLine(nil, &eventPacker{}, v.(*LedgerLine))
		l := new(LedgerLine)
		return b, l, decodeValue(b, l)
	}},
	"event id": {func() any { return new(dedup) }, func(v any) ([]byte, any, error) {
		b := v.(*dedup).append(nil)
		d := new(dedup)
		return b, d, decodeValue(b, d)
	}},
	"budget": {func() any { return new(Budget) }, func(v any) ([]byte, any, error) {
		x := v.(*Budget)
		b := x.append(nil)
		d := new(Budget)
		return b, d, decodeValue(b, d)
	}},
}

// reconcileCommand is Command with a Reconcile, for fill.
type reconcileCommand struct {
	ID     string
	At     int64
	Leader NodeNum
	Actor  Actor
	Body   Reconcile
}

func TestPackersForgetNoField(t *testing.T) {
	notShort(t)
	for name, p := range packed {
		r := rand.New(rand.NewPCG(1, 2))
		check := func(v any) {
			t.Helper()
			b, got, err := p.turn(v)
			if err != nil {
				t.Fatalf("%s: %+v in %x: %v", name, v, b, err)
			}
			if diff := cmp.Diff(v, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s (-packed +unpacked):\n%s", name, diff)
			}
		}
		check(p.zero())
		for range 200 {
			v := p.zero()
			fill(t, r, reflect.ValueOf(v).Elem())
			check(v)
		}
		one := p.zero()
		leaves(t, r, reflect.ValueOf(one).Elem(), func() { check(one) })
	}
}

// The line of an entry of version 1 has the bytes that the release of that time wrote: of every field but the hash.
func TestUnchainedLineHasEveryOtherField(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	line := allSet[LedgerLine](t, r)
	value, err := encodeValue(line.unchained())
	if err != nil {
		t.Fatal(err)
	}
	var got LedgerLine
	if err := decodeValue(value, &got); err != nil {
		t.Fatal(err)
	}
	if line.Hash = [32]byte{}; !reflect.DeepEqual(line, got) {
		t.Fatalf("(-line +stored):\n%s", cmp.Diff(line, got))
	}
	if bytes.Contains(value, []byte("hash")) {
		t.Error("it has a hash, which the first release did not write")
	}
}

// A value that lost its end, or has one bit turned, is refused, or is another value's only form.
func TestPackedValuesHaveOneForm(t *testing.T) {
	for name, p := range packed {
		r := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			v := p.zero()
			fill(t, r, reflect.ValueOf(v).Elem())
			b, _, err := p.turn(v)
			if err != nil {
				t.Fatal(err)
			}
			for i := range b {
				if again(name, b[:i]) != nil {
					t.Fatalf("%s: %d of %d bytes are accepted", name, i, len(b))
				}
				bad := bytes.Clone(b)
				bad[i] ^= 1 << r.IntN(8)
				if name == "command" {
					continue // its checksum is enough; TestDamagedCommandIsRejected
				}
				if got := again(name, bad); got != nil && !bytes.Equal(got, bad) {
					t.Fatalf("%s: %x is accepted and written as %x", name, bad, got)
				}
			}
			if again(name, append(bytes.Clone(b), 0)) != nil {
				t.Fatalf("%s: a byte more is accepted", name)
			}
		}
	}
}

// What lines drew is said in one way: of all at once where that can be.
func TestDrawsHaveOneForm(t *testing.T) {
	e := Event{ID: "e", Node: 3, Lines: []Line{{Amount: 5, Drawn: 4, On: 2}}}
	b := AppendEvents(nil, []*Event{&e})
	if _, err := DecodeEvents(b); err != nil {
		t.Fatal(err)
	}
	for _, drawnOn := range [][2]byte{{10, 3}, {0, 0}} { // all of it on the event's node, and nothing
		bad := append(bytes.Clone(b[:len(b)-2]), drawnOn[0], drawnOn[1])
		if events, err := DecodeEvents(bad); err == nil {
			t.Errorf("each line says what there is a shorter form for: %+v", events[0].Lines)
		}
	}
}

// again decodes b and encodes what that gave; nil: it was refused.
func again(name string, b []byte) []byte {
	switch name {
	case "event of a block":
		events, err := DecodeEvents(b)
		if err != nil {
			return nil
		}
		return AppendEvents(nil, pointersTo(events))
	case "part":
		p, err := PackedPart(b).Unpack()
		if err != nil {
			return nil
		}
		return p.Pack()
	case "command":
		c, err := Decode(b)
		if err != nil {
			return nil
		}
		b, _ := Encode(c)
		return b
	case "line":
		var l LedgerLine
		if len(b) == 0 || b[0] != packedVersion || decodeValue(b, &l) != nil {
			return nil
		}
		return appendLedgerLine(nil, &eventPacker{}, &l)
	case "event id":
		var d dedup
		if len(b) == 0 || b[0] != packedVersion || decodeValue(b, &d) != nil {
			return nil
		}
		return d.append(nil)
	default:
		var x Budget
		if len(b) == 0 || b[0] != packedVersion || decodeValue(b, &x) != nil {
			return nil
		}
		return x.append(nil)
	}
}

func pointersTo(events []Event) (p []*Event) {
	for i := range events {
		p = append(p, &events[i])
	}
	return p
}

// randomEvents are events as those of one account are: much of them repeats.
func randomEvents(r *rand.Rand, n int) (events []Event) {
	text := func() string { return []string{"", "a", "acme", "alice", "gpt-4o", "é\x00"}[r.IntN(6)] }
	number := func() int64 { return []int64{0, 1, -1, 1795341600000, math.MaxInt64, math.MinInt64}[r.IntN(6)] }
	for range n {
		e := Event{
			Account: text(), ID: text(), Hash: [32]byte{byte(r.Uint32())}, Key: text(), Member: text(), Model: text(), Tier: price.Tier(r.IntN(3)),
			At: number(), ReceivedAt: number(), Node: NodeNum(r.IntN(3)), Reservation: text(), Unattributed: r.IntN(2) == 0,
		}
		for range r.IntN(4) {
			e.Entities, e.Chain = append(e.Entities, text()), append(e.Chain, text(), text())
			e.Usage = append(e.Usage, Quantity{text(), number()})
		}
		for range r.IntN(3) {
			l := Line{Budget: BudgetKey{uint64(r.IntN(3)), number()}, Amount: number()}
			if r.IntN(3) > 0 {
				l.Drawn, l.On = l.Amount, e.Node
			}
			e.Lines = append(e.Lines, l)
		}
		if r.IntN(3) == 0 {
			e.Metadata = map[string]string{text(): text(), "trace": text()}
		}
		if r.IntN(3) == 0 {
			e.Pricing = &Pricing{Version: uint64(r.IntN(3)), Model: text(), Unpriced: r.IntN(2) == 0}
			for range r.IntN(3) {
				e.Pricing.Terms = append(e.Pricing.Terms, price.Term{Usage: 1, Field: price.Field(r.Uint32()), Quantity: number(), Price: price.Decimal{Coef: r.Uint64(), Scale: 3}})
			}
		}
		events = append(events, e)
	}
	return events
}

// Packed and msgpack, an event is the same.
func TestBothVersionsOfAnEntrySayTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		c := &Command{At: 5, Leader: 2, Actor: Actor{Type: "node", ID: "n1"}, Body: Reconcile{[]Part{
			{Node: 1, Boot: 2, Events: randomEvents(r, r.IntN(40))},
			{Node: 2, Events: randomEvents(r, r.IntN(3)), Asks: []Ask{allSet[Ask](t, r)}},
		}}}
		var got [2]*Command
		var size [2]int
		for i, version := range []uint8{FirstLogVersion, LogVersion} {
			data, err := EncodeVersion(c, version)
			if err != nil {
				t.Fatal(err)
			}
			if size[i] = len(data); data[1] != version {
				t.Fatalf("version %d, want %d", data[1], version)
			}
			if got[i], err = Decode(data); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Fatalf("msgpack and packed (-msgpack +packed):\n%s", cmp.Diff(got[0], got[1]))
		}
		// What a leader makes of parts that were packed elsewhere is the same entry.
		var parts []PackedPart
		body := c.Body.(Reconcile)
		for i := range body.Parts {
			parts = append(parts, body.Parts[i].Pack())
		}
		whole, _ := Encode(c)
		if joined, err := EncodeParts(c, parts); err != nil || !bytes.Equal(whole, joined) {
			t.Fatalf("packed parts make another entry: %x, %v; want %x", joined, err, whole)
		}
	}
}

func TestHeadOfAPartSaysWhatIsInIt(t *testing.T) {
	event := Event{ID: "e"}
	for _, c := range []struct {
		p             Part
		events, empty bool
	}{
		{Part{Node: 3, Boot: 1 << 40, ReleaseFloor: 1 << 50}, false, true},
		{Part{Node: 3, Events: []Event{event}}, true, false},
		{Part{Node: 3, Releases: []Release{{}}}, false, false},
		{Part{Node: 3, Asks: []Ask{{}}}, false, false},
		{Part{Node: 3, Exits: []Exit{{}}}, false, false},
	} {
		node, events, empty, err := c.p.Pack().Head()
		if node != 3 || events != c.events || empty != c.empty || err != nil {
			t.Errorf("%+v: node %d, events %v, empty %v, %v", c.p, node, events, empty, err)
		}
	}
	for _, b := range []PackedPart{nil, {3}, {3, 0, 0, 0, 0, 0}, {0x80}} {
		if _, _, _, err := b.Head(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// Memory that is used again holds nothing of what was in it.
func TestReusedMemoryShowsNothingOld(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var m unpackMemory
	for range 300 {
		c := &Command{Body: Reconcile{[]Part{{Node: 1, Events: randomEvents(r, r.IntN(60))}, allSet[Part](t, r)}}}
		data, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		m.reset()
		got, err := decodeCommand(data, &m)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, got) {
			t.Fatalf("(-packed +unpacked):\n%s", cmp.Diff(c, got))
		}
	}
}

// FuzzPacked feeds bytes, and pieces of sound ones, to every decoder of packed values.
func FuzzPacked(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, p := range packed {
		v := p.zero()
		fill(f, r, reflect.ValueOf(v).Elem())
		b, _, err := p.turn(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(AppendEvents(nil, pointersTo(randomEvents(r, 20))))
	f.Add([]byte((&Part{Node: 1, Events: randomEvents(r, 20)}).Pack()))
	f.Add([]byte{packedVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		for name := range packed {
			if name == "part" {
				continue // the blocks of its events may be cut elsewhere
			}
			if got := again(name, b); got != nil && !bytes.Equal(got, b) && name != "command" {
				t.Fatalf("%s: %x is accepted and written as %x", name, b, got)
			}
		}
		p, err := PackedPart(b).Unpack()
		if err != nil {
			return
		}
		once := p.Pack()
		again, err := once.Unpack()
		if err != nil {
			t.Fatal(err)
		}
		if twice := again.Pack(); !bytes.Equal(once, twice) {
			t.Fatalf("part: %x, and then %x", once, twice)
		}
		node, events, _, err := PackedPart(b).Head()
		if err != nil || node != p.Node || events != (len(p.Events) > 0) {
			t.Fatalf("head says node %d, events %v, %v of %+v", node, events, err, p)
		}
	})
}

// FuzzPackedLineReader compares the reader of filters and backfills with the decoder of packed lines.
func FuzzPackedLineReader(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, e := range randomEvents(r, 20) {
		f.Add(appendLedgerLine(nil, &eventPacker{}, &LedgerLine{Seq: 1, Kind: KindUsage, Index: 2, Settled: 3, Event: e}))
	}
	var reader lineReader
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] != packedVersion {
			return
		}
		var l LedgerLine
		err, readErr := decodeValue(b, &l), reader.read(b)
		if (err == nil) != (readErr == nil) {
			t.Fatalf("%x: decoded with %v, read with %v", b, err, readErr)
		}
		if err != nil {
			return
		}
		reader.mustEqual(t, &l)
		e := &l.Event
		if reader.model != e.Model || reader.key != e.Key || reader.member != e.Member || reader.unattributed != e.Unattributed ||
			reader.unpriced != (e.Pricing != nil && e.Pricing.Unpriced) || !slices.Equal(reader.chain, e.Chain) {
			t.Fatalf("read %+v of %+v", reader.packed.line, e)
		}
	})
}

package fsm

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// FuzzLineReader compares the reader of a backfill with the decoder of lines.
func FuzzLineReader(f *testing.F) {
	for _, l := range []LedgerLine{
		{},
		{Seq: 1, Kind: KindUsage, Settled: -5, Event: Event{
			At: testNow, Chain: []string{"alice", "acme"}, Usage: []Quantity{{"tokens", 1 << 60}, {"usd", -1}},
			Metadata: map[string]string{"at": "ch"}, Lines: []Line{{Amount: 7}},
		}},
	} {
		v, err := encodeValue(&l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(v)
	}
	f.Add([]byte{})
	f.Add([]byte{valueVersion, 0xdf, 0xff, 0xff, 0xff, 0xff})
	var r lineReader
	f.Fuzz(func(t *testing.T, value []byte) {
		err := r.read(value) // never panics
		var line LedgerLine
		if decodeValue(value, &line) != nil {
			return
		}
		again, encodeErr := encodeValue(&line)
		if encodeErr != nil || !slices.Equal(again, value) {
			return // not as the state machine writes it
		}
		if err != nil {
			t.Fatalf("%+v: %v", line, err)
		}
		r.mustEqual(t, &line)
	})
}

func TestABackfillReadsLinesAsTheyWereWritten(t *testing.T) {
	var r lineReader
	rapid.Check(t, func(t *rapid.T) {
		line := LedgerLine{
			Seq: 7, Kind: KindUsage, Index: rapid.Uint64().Draw(t, "index"), Settled: rapid.Int64().Draw(t, "settled"),
			Event: Event{
				ID: "evt", At: rapid.Int64().Draw(t, "at"), Chain: rapid.SliceOf(rapid.String()).Draw(t, "chain"),
				Metadata: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"),
			},
		}
		for range rapid.IntRange(0, 4).Draw(t, "usage") {
			line.Event.Usage = append(line.Event.Usage, Quantity{rapid.String().Draw(t, "capability"), rapid.Int64().Draw(t, "amount")})
		}
		v, err := encodeValue(&line)
		if err == nil {
			err = r.read(v)
		}
		if err != nil {
			t.Fatalf("%+v: %v", line, err)
		}
		r.mustEqual(t, &line)
	})
}

func (l *lineReader) mustEqual(t fataler, want *LedgerLine) {
	t.Helper()
	same := l.settled == want.Settled && l.at == want.Event.At &&
		slices.Equal(l.chain, want.Event.Chain) &&
		slices.Equal(l.usage, want.Event.Usage)
	if !same {
		t.Fatalf("read %d %d %q %v of %+v", l.settled, l.at, l.chain, l.usage, want)
	}
}

func BenchmarkBackfillLine(b *testing.B) {
	v, err := encodeValue(&LedgerLine{Seq: 1, Kind: KindUsage, Index: 9, Settled: testNow, Event: Event{
		Account: "acme", ID: "evt-123456", Entities: []string{"alice"}, Chain: []string{"alice", "a", "p", "o", "acme"}, Model: "gpt-4o",
		Usage: []Quantity{{"input_tokens", 800}, {"output_tokens", 400}, {"requests", 1}, {"tokens", 1200}, {"usd", 6_000_000}},
		At:    testNow, ReceivedAt: testNow, Node: 1, Lines: make([]Line, 5),
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("reader", func(b *testing.B) {
		var r lineReader
		for b.Loop() {
			if err := r.read(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decoder", func(b *testing.B) {
		for b.Loop() {
			if err := decodeValue(v, new(LedgerLine)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

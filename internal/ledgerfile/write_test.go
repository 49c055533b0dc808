package ledgerfile

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/bursar-dev/bursar/client"
)

func some[T any](v T) *T { return &v }

// lines are one with everything in it, one with as little as can be, and a correction.
func lines() []client.LedgerLine {
	at := time.Date(2026, 11, 22, 10, 0, 0, 123_000_000, time.UTC)
	return []client.LedgerLine{
		{
			Seq: 1, EventID: "evt-1", Kind: "usage", Account: "acme", Entities: []string{"alice", "p"}, Chain: []string{"alice", "team", "p", "acme"},
			Key: some("key_1"), Member: some("a@b.test"), Model: some("gpt-4o"),
			Usage:        map[string]int64{"requests": 1, "input_tokens": 800, "output_tokens": 400, "cached_tokens": 7, "tokens": 1200, "usd": math.MaxInt64, "images": 3},
			PriceVersion: some(int64(4)), PriceModel: some("gpt-*"), ServiceTier: "batch", Unpriced: true,
			PriceTerms: []client.PriceTerm{{Usage: "input_tokens", Field: "input_cost_per_token", Quantity: 793, Decimals: 0, Price: "0.0000025"}, {Usage: "output_tokens", Field: "x", Quantity: 400, Decimals: 3, Price: "1"}},
			At:         at, ReceivedAt: at.Add(time.Second), SettledAt: at.Add(2 * time.Second), Node: "n1", NodeNumber: 1, Index: 99, Reservation: some("rsv_1"),
			Overage: true, Late: true, Unattributed: true, Metadata: map[string]string{"trace": "ä\n\"", "": "x"},
			Charges:  []client.LedgerCharge{{Assignment: some("asg_1"), AssignmentNumber: 7, PeriodStart: at, Amount: 1200, Drawn: 1000, DrawnOn: 2}, {AssignmentNumber: 8, PeriodStart: at, Amount: 1}},
			BodyHash: "00ff", Hash: some("ff00"),
		},
		{Seq: 2, EventID: "evt-2", Kind: "usage", Account: "acme", Usage: map[string]int64{"tokens": 5}, ServiceTier: "standard", At: at, ReceivedAt: at, SettledAt: at},
		{Seq: 3, EventID: "evt-1", Kind: "void", Account: "acme", Usage: map[string]int64{"usd": math.MinInt64, "requests": -1}, At: at, ReceivedAt: at, SettledAt: at,
			Corrects: some(uint64(1)), Correction: some("adj_1"), Reason: "sent twice", Metadata: map[string]string{}},
	}
}

func write(t testing.TB, to io.Writer, all []client.LedgerLine) {
	t.Helper()
	w := NewWriter(to)
	for i := range all {
		if err := w.Write(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLinesAreReadBackAsTheyWere(t *testing.T) {
	var file bytes.Buffer
	write(t, &file, lines())
	got, err := parquet.Read[Row](bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var want []Row
	for _, l := range lines() {
		want = append(want, rowOf(&l))
	}
	empty := cmp.FilterValues(func(a, b any) bool {
		x, y := reflect.ValueOf(a), reflect.ValueOf(b)
		return x.IsValid() && y.IsValid() && (x.Kind() == reflect.Slice || x.Kind() == reflect.Map) && y.Kind() == x.Kind() && x.Len()+y.Len() == 0
	}, cmp.Comparer(func(a, b any) bool { return true }))
	if d := cmp.Diff(want, got, empty); d != "" {
		t.Error(d)
	}
}

// A field that is added to the line needs a column, or analytics miss it without a word.
func TestEveryFieldOfALineHasAColumn(t *testing.T) {
	columns := func(of reflect.Type, tag string) (names []string) {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get(tag), ",")
			names = append(names, name)
		}
		return names
	}
	for _, c := range []struct{ line, row reflect.Type }{
		{reflect.TypeFor[client.LedgerLine](), reflect.TypeFor[Row]()},
		{reflect.TypeFor[client.PriceTerm](), reflect.TypeFor[Term]()},
		{reflect.TypeFor[client.LedgerCharge](), reflect.TypeFor[Charge]()},
	} {
		has := columns(c.row, "parquet")
		for _, field := range columns(c.line, "json") {
			if !slices.Contains(has, field) {
				t.Errorf("%s.%s has no column", c.line.Name(), field)
			}
		}
	}
	// And every column is filled: of the first line none is null or empty.
	full := rowOf(&lines()[0])
	for i := range reflect.TypeFor[Row]().NumField() {
		name := reflect.TypeFor[Row]().Field(i).Name
		if v := reflect.ValueOf(full).Field(i); v.IsZero() && name != "Corrects" && name != "Correction" && name != "Reason" {
			t.Errorf("%s is not filled", name)
		}
	}
}

// Nothing of a capability is not the same as not having it.
func TestZeroIsNotNull(t *testing.T) {
	r := rowOf(&client.LedgerLine{Usage: map[string]int64{"cached_tokens": 0, "usd": 0}})
	if r.CachedTokens == nil || *r.CachedTokens != 0 || r.USD == nil || *r.USD != 0 || r.Tokens != nil || r.Requests != nil {
		t.Errorf("%+v", r)
	}
}

// A part is no file: what breaks off has no footer.
func TestAPartIsNoFile(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file)
	l := lines()[0]
	for i := range 3_000 {
		l.EventID = fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		if err := w.Write(&l); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.to.Flush(); err != nil {
		t.Fatal(err)
	}
	if file.Len() == 0 {
		t.Fatal("nothing is written before the end")
	}
	if _, err := parquet.OpenFile(bytes.NewReader(file.Bytes()), int64(file.Len())); err == nil {
		t.Error("a part is read as a file")
	}
}

// Memory does not grow with the number of lines, and groups are bounded by their bytes, too.
func TestMemoryIsThatOfAGroup(t *testing.T) {
	const n = 40_000 // some groups
	base := lines()[0]
	base.Metadata = map[string]string{"note": strings.Repeat("x", 1000)}
	w := NewWriter(io.Discard)
	peak := uint64(0)
	for i := range n {
		l := base
		l.Seq, l.EventID = uint64(i+1), fmt.Sprint("evt-", i)
		if err := w.Write(&l); err != nil {
			t.Fatal(err)
		}
		if i%5_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lines of about %d bytes: at most %d MiB of heap", n, w.row[0].size(), peak>>20)
	if peak > 150<<20 {
		t.Errorf("%d MiB of heap", peak>>20)
	}
}

func BenchmarkWrite(b *testing.B) {
	all := lines()
	w := NewWriter(io.Discard)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := w.Write(&all[i%len(all)]); err != nil {
			b.Fatal(err)
		}
	}
}

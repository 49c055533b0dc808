package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bursar-dev/bursar/fsm/price"
)

// prices reads a price map that must be sound.
func (r *rig) prices(data string) []price.Entry {
	r.t.Helper()
	m, err := ParsePrices([]byte(data))
	if err != nil {
		r.t.Fatal(err)
	}
	return m.Entries
}

// pricesAt is the version effective at a time, and until when.
func (r *rig) pricesAt(at int64) (version uint64, until int64) {
	r.m.View(func(v *View) {
		p, end, _ := v.PricesAt(at)
		version, until = p.Version, end
	})
	return version, until
}

func tokenPrice(usd string) string { return `{"gpt": {"input_cost_per_token": ` + usd + `}}` }

func TestFirstPricesCountFromTheBeginningAndLaterOnesFromNow(t *testing.T) {
	r := newRig(t)
	if v, until := r.pricesAt(r.now); v != 0 || until != Forever {
		t.Fatalf("before any: version %d until %d", v, until)
	}
	r.must(PutPrices{Entries: r.prices(tokenPrice("1"))})
	first := r.now
	r.now += 1000
	r.must(PutPrices{Entries: r.prices(tokenPrice("2"))})
	second := r.now
	for at, want := range map[int64]uint64{0: 1, first: 1, second - 1: 1, second: 2, second + 1e9: 2} {
		if v, _ := r.pricesAt(at); v != want {
			t.Errorf("at %d: version %d, want %d", at-second, v, want)
		}
	}
	if _, until := r.pricesAt(first); until != second {
		t.Errorf("version 1 counts until %d, want %d", until, second)
	}
}

func TestScheduledPricesTakeTheirTurn(t *testing.T) {
	r := newRig(t)
	const day = int64(24 * hourMS)
	r.must(PutPrices{EffectiveAt: r.now + 10*day, Entries: r.prices(tokenPrice("1"))})
	if v, until := r.pricesAt(r.now); v != 0 || until != r.now+10*day {
		t.Fatalf("before the first: version %d until %d", v, until)
	}
	r.must(PutPrices{EffectiveAt: r.now - 5*day, Entries: r.prices(tokenPrice("2"))})
	r.must(PutPrices{EffectiveAt: r.now + 10*day, Entries: r.prices(tokenPrice("3"))}) // corrects the first
	for at, want := range map[int64]uint64{-6 * day: 0, -5 * day: 2, 0: 2, 10*day - 1: 2, 10 * day: 3, 11 * day: 3} {
		if v, _ := r.pricesAt(r.now + at); v != want {
			t.Errorf("in %d days: version %d, want %d", at/day, v, want)
		}
	}
	r.reopen()
	if v, until := r.pricesAt(r.now); v != 2 || until != r.now+10*day {
		t.Fatalf("after a restart: version %d until %d", v, until)
	}
}

// TestPriceListAgainstSearch checks look-ups against going through all versions.
func TestPriceListAgainstSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l priceList
		for i := range rapid.IntRange(0, 20).Draw(t, "versions") {
			l.add(PriceVersion{Version: uint64(i + 1), EffectiveAt: rapid.Int64Range(0, 10).Draw(t, "effective")})
		}
		at := rapid.Int64Range(-1, 11).Draw(t, "at")
		var want PriceVersion
		for _, v := range l {
			if v.EffectiveAt <= at && (want.Version == 0 || v.EffectiveAt > want.EffectiveAt || v.EffectiveAt == want.EffectiveAt && v.Version > want.Version) {
				want = v
			}
		}
		var got PriceVersion
		if i := l.at(at); i >= 0 {
			got = l[i]
		}
		if got != want {
			t.Fatalf("at %d of %+v: %+v, want %+v", at, l, got, want)
		}
	})
}

func TestEqualPricesAddNoVersion(t *testing.T) {
	r := newRig(t)
	r.must(PutPrices{Entries: r.prices(`{"a": {"input_cost_per_token": 2.50e-06}, "b": {}}`)})
	r.now += 1000
	before := r.m.s.auditSeq
	r.must(PutPrices{Entries: r.prices(`{"b": {"mode": "chat"}, "a": {"input_cost_per_token": 0.0000025}}`)})
	if n := len(r.m.s.prices); n != 1 || r.m.s.auditSeq != before {
		t.Fatalf("%d versions, %d audit entries more", n, r.m.s.auditSeq-before)
	}
	r.must(PutPrices{Entries: r.prices(tokenPrice("1"))})
	r.now += 1000
	r.must(PutPrices{Entries: r.prices(`{"b": {}, "a": {"input_cost_per_token": 0.0000025}}`)}) // back to the first
	if n := len(r.m.s.prices); n != 3 {
		t.Fatalf("%d versions, want 3", n)
	}
}

func TestBadPricesChangeNothing(t *testing.T) {
	r := newRig(t)
	r.must(PutPrices{Entries: r.prices(tokenPrice("1"))})
	sound := r.prices(`{"a": {"input_cost_per_token": 1}, "b": {}}`)
	for name, c := range map[string]PutPrices{
		"none":         {},
		"too far back": {EffectiveAt: r.now - MaxPast.Milliseconds() - 1, Entries: sound},
		"too far off":  {EffectiveAt: r.now + MaxPast.Milliseconds() + 1, Entries: sound},
		"order":        {Entries: []price.Entry{sound[1], sound[0]}},
		"repeat":       {Entries: []price.Entry{sound[0], sound[0]}},
		"field":        {Entries: []price.Entry{{Name: "a", Prices: []price.Price{{Field: 0xff}}}}},
		"price":        {Entries: []price.Entry{{Name: "a", Prices: []price.Price{{Field: 1, Value: price.Decimal{Coef: 1_000_001}}}}}},
	} {
		r.refused(CodeInvalid, c)
		if n := len(r.m.s.prices); n != 1 {
			t.Fatalf("%s: %d versions", name, n)
		}
	}
}

func TestMalformedPricesNameModelAndField(t *testing.T) {
	_, err := ParsePrices([]byte(`{"gpt": {"input_cost_per_token": "free"}, "": {}}`))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != CodeInvalid {
		t.Fatal(err)
	}
	if d := cmp.Diff([]FieldError{{Field: "gpt.input_cost_per_token", Message: "must be a number"}}, e.Fields); d != "" {
		t.Error(d)
	}
	_, err = ParsePrices([]byte(`5`))
	if e, ok = errors.AsType[*Error](err); !ok || e.Fields[0].Field != "prices" {
		t.Fatal(err)
	}
}

func TestPriceBookOfEachVersionIsKeptAsItWas(t *testing.T) {
	r := newRig(t)
	for i := range booksKept + 3 {
		r.now += 1000
		r.must(PutPrices{Entries: r.prices(tokenPrice(fmt.Sprint(i + 1)))})
	}
	r.reopen()
	var versions []PriceVersion
	r.m.View(func(v *View) { versions = v.PriceVersions() })
	for range 2 {
		for i, v := range versions {
			b, err := r.m.PriceBook(v)
			if err != nil {
				t.Fatal(err)
			}
			var q price.Quantities
			q.Set(price.InputTokens, 1, 0)
			if nano, _, _ := b.Find([]byte("gpt")).Cost(q, price.Standard, nil); nano != int64(i+1)*1e9 || v.Version != uint64(i+1) {
				t.Errorf("version %d: a token costs %d", v.Version, nano)
			}
		}
	}
	if n := len(r.m.books.list); n != booksKept {
		t.Errorf("%d books in memory, want %d", n, booksKept)
	}
	if _, err := r.m.PriceMap(99); !errors.Is(err, ErrNotFound) {
		t.Errorf("version 99: %v", err)
	}
	digest, err := PriceDigest(r.prices(tokenPrice("1")))
	if err != nil || digest != versions[0].Digest {
		t.Errorf("digest %x (%v), version 1 has %x", digest, err, versions[0].Digest)
	}
}

func TestPricesTravelWithSnapshots(t *testing.T) {
	r := newRig(t)
	r.must(PutPrices{Entries: r.prices(tokenPrice("7"))})
	other := emptyRig(t, vfs.NewMem())
	if err := other.m.InstallSnapshot(bytes.NewReader(snapshot(t, r.m))); err != nil {
		t.Fatal(err)
	}
	if v, _ := other.pricesAt(r.now); v != 1 {
		t.Fatalf("version %d", v)
	}
	if d := cmp.Diff(r.m.s.prices, other.m.s.prices); d != "" {
		t.Error(d)
	}
	entries, err := other.m.PriceMap(1)
	if err != nil || !strings.Contains(string(price.AppendJSON(nil, entries)), `"input_cost_per_token":7`) {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestAuditOfPricesNamesWhatChangedAndNotTheMap(t *testing.T) {
	data, err := os.ReadFile("price/testdata/model_prices.json")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.must(PutPrices{Entries: r.prices(string(data))})
	r.now += 1000
	entries := r.prices(string(data))
	entries[3].Prices = entries[3].Prices[1:]
	entries[7].Name += "-new" // one removed, one added
	r.must(PutPrices{Entries: entries})
	list, _, err := r.m.ListAudit(AuditFilter{Action: actionPricesPut}, 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	var to pricesDocument
	if err := json.Unmarshal(list[0].To, &to); err != nil {
		t.Fatal(err)
	}
	gone := r.prices(string(data))[7].Name
	want := &pricesChanges{
		Added:   changedModels{1, []string{gone + "-new"}},
		Changed: changedModels{1, []string{entries[3].Name}},
		Removed: changedModels{1, []string{gone}},
	}
	if d := cmp.Diff(want, to.Changes); d != "" || to.Models != 218 || to.Version != 2 || to.EffectiveAt == nil {
		t.Errorf("%+v\n%s", to, d)
	}
	if err := json.Unmarshal(list[1].To, &to); err != nil {
		t.Fatal(err)
	}
	if to.Changes.Added.Count != 218 || len(to.Changes.Added.First) != maxChangedNames || to.EffectiveAt != nil || list[1].From != nil {
		t.Errorf("%+v", to)
	}
	if n := len(list[1].To); n > 2000 {
		t.Errorf("the entry has %d bytes", n)
	}
}

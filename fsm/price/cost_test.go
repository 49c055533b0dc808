package price

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// realMap reads the map of real models.
func realMap(t testing.TB) (data []byte, m *Map, b *Book) {
	t.Helper()
	data, err := os.ReadFile("testdata/model_prices.json")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = ParseMap(data); err != nil {
		t.Fatal(err)
	}
	if b, err = NewBook(m.Entries); err != nil {
		t.Fatal(err)
	}
	return data, m, b
}

// text parses a map that must be sound.
func text(t testing.TB, data string) *Book {
	t.Helper()
	m, err := ParseMap([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBook(m.Entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func quantities(amounts map[Usage]int64) (q Quantities) {
	for u, n := range amounts {
		q.Set(u, n, 0)
	}
	return q
}

// The worked examples of the package comment and of what providers publish.
func TestCostExamples(t *testing.T) {
	b := text(t, `{
		"plain":  {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06},
		"write":  {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06,
		           "cache_creation_input_token_cost_above_1hr": 6e-06, "cache_read_input_token_cost": 3e-07},
		"nodisc": {"input_cost_per_token": 4e-06, "output_cost_per_token": 8e-06},
		"hit":    {"input_cost_per_token": 4e-06, "input_cost_per_token_cache_hit": 1e-06},
		"think":  {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "output_cost_per_reasoning_token": 5e-06},
		"talk":   {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "input_cost_per_audio_token": 1e-05,
		           "output_cost_per_audio_token": 2e-05, "cache_read_input_token_cost": 5e-07, "cache_read_input_audio_token_cost": 3e-07},
		"long":   {"input_cost_per_token": 1e-06, "input_cost_per_token_above_200k_tokens": 2e-06,
		           "input_cost_per_token_above_272k_tokens": 3e-06, "output_cost_per_token": 4e-06,
		           "output_cost_per_token_above_200k_tokens": 6e-06, "input_cost_per_token_priority": 9e-06,
		           "input_cost_per_token_batches": 5e-07, "output_cost_per_token_flex": 2e-06,
		           "output_cost_per_token_above_200k_tokens_priority": 7e-06},
		"search": {"search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.025, "search_context_size_high": 0.05}},
		"hear":   {"input_cost_per_second": 0.0002833333333333333},
		"draw":   {"input_cost_per_image": 0.0011, "output_cost_per_image": 0.039},
		"tiny":   {"input_cost_per_token": 5e-10, "output_cost_per_token": 1e-10},
		"free":   {"input_cost_per_token": 0, "output_cost_per_token": 0}
	}`)
	for _, tc := range []struct {
		name, model string
		tier        Tier
		amounts     map[Usage]int64
		want        int64
		incomplete  bool
	}{
		{"input and output", "plain", Standard, map[Usage]int64{InputTokens: 800, OutputTokens: 400}, 6_000_000, false},
		{"cached is part of input", "plain", Standard, map[Usage]int64{InputTokens: 800, CachedTokens: 300, OutputTokens: 400}, 5_625_000, false},
		{"more cached than input", "plain", Standard, map[Usage]int64{InputTokens: 100, CachedTokens: 300}, 375_000, false},
		{"cached alone", "plain", Standard, map[Usage]int64{CachedTokens: 300}, 375_000, false},
		{"cached without a price of its own", "nodisc", Standard, map[Usage]int64{InputTokens: 100, CachedTokens: 40}, 400_000, false},
		{"cached at the cache-hit price", "hit", Standard, map[Usage]int64{InputTokens: 100, CachedTokens: 40}, 280_000, false},
		{"cache creation", "write", Standard, map[Usage]int64{InputTokens: 1000, CacheCreationTokens: 400, CachedTokens: 100}, 3_030_000, false},
		{"cache creation for an hour is part of it", "write", Standard, map[Usage]int64{InputTokens: 1000, CacheCreationTokens: 400, CacheCreation1hTokens: 100}, 3_525_000, false},
		{"reasoning is part of output", "think", Standard, map[Usage]int64{OutputTokens: 100, ReasoningTokens: 60}, 380_000, false},
		{"reasoning without a price of its own", "plain", Standard, map[Usage]int64{OutputTokens: 100, ReasoningTokens: 60}, 1_000_000, false},
		{"audio", "talk", Standard, map[Usage]int64{InputTokens: 100, InputAudioTokens: 60, OutputTokens: 50, OutputAudioTokens: 50}, 1_640_000, false},
		{"cached audio is part of both", "talk", Standard,
			map[Usage]int64{InputTokens: 100, InputAudioTokens: 60, CachedTokens: 50, CachedAudioTokens: 30}, 339_000, false},
		{"at the threshold", "long", Standard, map[Usage]int64{InputTokens: 200_000, OutputTokens: 10}, 200_040_000, false},
		{"past the threshold", "long", Standard, map[Usage]int64{InputTokens: 200_001, OutputTokens: 10}, 400_062_000, false},
		{"past both thresholds", "long", Standard, map[Usage]int64{InputTokens: 272_001, OutputTokens: 10}, 816_063_000, false},
		{"parts count for the threshold", "long", Standard, map[Usage]int64{CachedTokens: 200_001}, 400_002_000, false},
		{"priority", "long", Priority, map[Usage]int64{InputTokens: 10, OutputTokens: 10}, 130_000, false},
		{"priority past the threshold", "long", Priority, map[Usage]int64{InputTokens: 200_001, OutputTokens: 10}, 400_072_000, false},
		{"batch", "long", Batch, map[Usage]int64{InputTokens: 10, OutputTokens: 10}, 45_000, false},
		{"flex", "long", Flex, map[Usage]int64{InputTokens: 10, OutputTokens: 10}, 30_000, false},
		{"searches", "search", Standard, map[Usage]int64{SearchQueries: 2, SearchQueriesLow: 1, SearchQueriesHigh: 1}, 110_000_000, false},
		{"images", "draw", Standard, map[Usage]int64{InputImages: 2, OutputImages: 1}, 41_200_000, false},
		{"seconds", "hear", Standard, map[Usage]int64{InputSeconds: 60}, 17_000_000, false},
		{"half to even, down", "tiny", Standard, map[Usage]int64{InputTokens: 1}, 0, false},
		{"half to even, up", "tiny", Standard, map[Usage]int64{InputTokens: 3}, 2, false},
		{"rounded once, not by term", "tiny", Standard, map[Usage]int64{InputTokens: 1, OutputTokens: 1}, 1, false},
		{"free is a price", "free", Standard, map[Usage]int64{InputTokens: 1, OutputTokens: 1}, 0, false},
		{"what has no price is not charged", "draw", Standard, map[Usage]int64{InputImages: 2, OutputTokens: 5}, 2_200_000, true},
		{"nothing used", "draw", Standard, nil, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var terms []Term
			got, complete, err := b.Find([]byte(tc.model)).Cost(quantities(tc.amounts), tc.tier, &terms)
			if err != nil || got != tc.want || complete == tc.incomplete {
				t.Fatalf("cost %d (complete %v, %v), want %d; terms %+v", got, complete, err, tc.want, terms)
			}
			if again, err := Sum(terms); err != nil || again != got {
				t.Fatalf("the terms add up to %d (%v), the cost is %d", again, err, got)
			}
		})
	}
}

func TestCostOfSecondsWithDecimals(t *testing.T) {
	b := text(t, `{"m": {"input_cost_per_second": 0.5, "input_cost_per_token": 1}}`)
	var q Quantities
	q.Set(InputSeconds, 1_500, 3) // milliseconds
	if got, complete, err := b.Find([]byte("m")).Cost(q, Standard, nil); got != 750_000_000 || !complete || err != nil {
		t.Fatalf("1.5 s at 0.5 USD cost %d, %v, %v", got, complete, err)
	}
	q = Quantities{}
	q.Set(InputTokens, 1_500, 3)
	if got, complete, err := b.Find([]byte("m")).Cost(q, Standard, nil); got != 0 || complete || err != nil {
		t.Fatalf("tokens with decimals cost %d, %v, %v; want them to have no price", got, complete, err)
	}
}

func TestTokensThatAreNotSplitHaveNoPrice(t *testing.T) {
	m := text(t, `{"m": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}}`).Find([]byte("m"))
	var q Quantities
	q.SetUnsplit(100)
	if got, complete, _ := m.Cost(q, Standard, nil); got != 0 || complete {
		t.Fatalf("tokens alone cost %d, complete %v", got, complete)
	}
	q = quantities(map[Usage]int64{InputTokens: 100})
	q.SetUnsplit(100)
	if got, complete, _ := m.Cost(q, Standard, nil); got != 100_000 || !complete {
		t.Fatalf("tokens that are input cost %d, complete %v", got, complete)
	}
}

func TestCostBeyondBoundsIsAnError(t *testing.T) {
	m := text(t, `{"m": {"input_cost_per_token": 1000000, "output_cost_per_token": 1}}`).Find([]byte("m"))
	for n, ok := range map[int64]bool{1_000: true, 1_001: false, MaxCost: false} {
		got, _, err := m.Cost(quantities(map[Usage]int64{InputTokens: n}), Standard, nil)
		if ok != (err == nil) || ok && got != MaxCost || !ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d tokens cost %d, %v", n, got, err)
		}
	}
	every := Quantities{}
	for u := InputTokens; u < usages; u++ {
		every.Set(u, MaxCost, 0)
	}
	if _, _, err := m.Cost(every, Standard, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the largest amounts of everything: %v", err)
	}
}

// TestCostEqualsBigRationalsOverTheRealMap recomputes costs with math/big from the map's own
// JSON text, for every model and tier, independently of how this package reads it.
func TestCostEqualsBigRationalsOverTheRealMap(t *testing.T) {
	data, m, b := realMap(t)
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var raw map[string]map[string]any
	if err := d.Decode(&raw); err != nil {
		t.Fatal(err)
	}
	if len(raw) != 218 || len(m.Entries) != len(raw) {
		t.Fatalf("%d models in the file, %d read", len(raw), len(m.Entries))
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if b.Find([]byte(name)) == nil {
			t.Fatalf("model %s is not found", name)
		}
	}
	names := slices.Sorted(maps.Keys(raw))
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "model")
		tier := rapid.SampledFrom([]Tier{Standard, Batch, Flex, Priority}).Draw(t, "tier")
		amounts := map[string]int64{}
		for u := InputTokens; u < usages; u++ {
			if rapid.IntRange(0, 2).Draw(t, "given") == 0 {
				amounts[u.String()] = rapid.OneOf(rapid.Int64Range(0, 3000), rapid.Int64Range(0, 400_000), rapid.Int64Range(0, 10_000_000_000)).Draw(t, u.String())
			}
		}
		costsByOracle(t, b, name, raw[name], tier, amounts)
	})
}

// oraclePrices are the fields that may have a usage's price, the first that a model has.
var oraclePrices = func() map[string][]string {
	const (
		in, out = "input_cost_per_token", "output_cost_per_token"
		write   = "cache_creation_input_token_cost"
		audio   = "input_cost_per_audio_token"
	)
	return map[string][]string{
		"input_tokens": {in}, "cached_tokens": {"cache_read_input_token_cost", "input_cost_per_token_cache_hit", in},
		"cache_creation_tokens": {write, in}, "cache_creation_1h_tokens": {write + "_above_1hr", write, in},
		"input_audio_tokens": {audio, in}, "cached_audio_tokens": {"cache_read_input_audio_token_cost", audio, in},
		"cache_creation_audio_tokens": {"cache_creation_input_audio_token_cost", audio, in},
		"input_image_tokens":          {"input_cost_per_image_token", in},
		"output_tokens":               {out}, "reasoning_tokens": {"output_cost_per_reasoning_token", out},
		"output_audio_tokens": {"output_cost_per_audio_token", out}, "output_image_tokens": {"output_cost_per_image_token", out},
		"output_video_tokens": {"output_cost_per_video_token", out},
		"input_images":        {"input_cost_per_image"}, "output_images": {"output_cost_per_image"},
		"input_seconds": {"input_cost_per_second"}, "output_seconds": {"output_cost_per_second"},
		"input_audio_seconds": {"input_cost_per_audio_per_second"}, "input_video_seconds": {"input_cost_per_video_per_second"},
		"input_characters": {"input_cost_per_character"}, "output_characters": {"output_cost_per_character"}, "queries": {"input_cost_per_query"},
		"search_queries": {"/search_context_size_medium"}, "search_queries_low": {"/search_context_size_low"}, "search_queries_high": {"/search_context_size_high"},
	}
}()

// oracle is the documented rule, written a second time over names and big numbers.
func oracle(model map[string]any, amounts map[string]int64, tier string) *big.Int {
	n := maps.Clone(amounts)
	minus := func(whole string, parts ...string) {
		for _, p := range parts {
			n[whole] -= n[p]
		}
		if n[whole] < 0 {
			n[whole] = 0
		}
	}
	minus("input_audio_tokens", "cached_audio_tokens", "cache_creation_audio_tokens")
	minus("cached_tokens", "cached_audio_tokens")
	minus("cache_creation_tokens", "cache_creation_1h_tokens", "cache_creation_audio_tokens")
	input := []string{"cached_tokens", "cache_creation_tokens", "cache_creation_1h_tokens", "input_audio_tokens",
		"cached_audio_tokens", "cache_creation_audio_tokens", "input_image_tokens"}
	minus("input_tokens", input...)
	minus("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens", "output_video_tokens")
	total := n["input_tokens"]
	for _, p := range input {
		total += n[p]
	}
	suffix := map[string]string{"standard": "", "batch": "_batches", "flex": "_flex", "priority": "_priority"}[tier]
	var above []string
	if total > 272_000 {
		above = append(above, "_above_272k_tokens")
	}
	if total > 200_000 {
		above = append(above, "_above_200k_tokens")
	}
	cost := new(big.Rat)
	for id, amount := range n {
		var found json.Number
		for _, field := range oraclePrices[id] {
			where := model
			if name, ok := strings.CutPrefix(field, "/"); ok {
				where, _ = model["search_context_cost_per_query"].(map[string]any)
				field = name
			}
			for _, over := range append(above, "") {
				for _, s := range []string{suffix, ""} {
					if v, ok := where[field+over+s].(json.Number); ok && found == "" {
						found = v
					}
				}
			}
			if found != "" {
				break
			}
		}
		if found == "" {
			continue
		}
		p, _ := new(big.Rat).SetString(found.String())
		cost.Add(cost, p.Mul(p, new(big.Rat).SetInt64(amount)))
	}
	cost.Mul(cost, new(big.Rat).SetInt64(1_000_000_000))
	whole, rest := new(big.Int).QuoRem(cost.Num(), cost.Denom(), new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(cost.Denom()) {
	case 1:
		whole.Add(whole, big.NewInt(1))
	case 0:
		whole.Add(whole, big.NewInt(int64(whole.Bit(0))))
	}
	return whole
}

// TestSumEqualsBigRationals covers the whole range of prices, quantities and scales.
func TestSumEqualsBigRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := make([]Term, rapid.IntRange(0, 40).Draw(t, "terms"))
		exact := new(big.Rat)
		for i := range terms {
			scale := rapid.IntRange(0, maxScale).Draw(t, "scale")
			largest := pow10(min(maxDigits, scale+6)) - 1
			terms[i] = Term{
				Quantity: rapid.OneOf(rapid.Int64Range(0, 1_000_000), rapid.Int64Range(0, MaxCost)).Draw(t, "quantity"),
				Decimals: uint8(rapid.IntRange(0, maxQuantityScale).Draw(t, "decimals")),
				Price:    Decimal{Coef: rapid.OneOf(rapid.Just(uint64(5)), rapid.Uint64Range(0, largest)).Draw(t, "coef"), Scale: uint8(scale)},
			}
			units := new(big.Rat).SetFrac(big.NewInt(terms[i].Quantity), power(int(terms[i].Decimals)))
			exact.Add(exact, units.Mul(units, rational(terms[i].Price)))
		}
		exact.Mul(exact, new(big.Rat).SetInt64(1_000_000_000))
		want, rest := new(big.Int).QuoRem(exact.Num(), exact.Denom(), new(big.Int))
		if c := rest.Lsh(rest, 1).Cmp(exact.Denom()); c > 0 || c == 0 && want.Bit(0) == 1 {
			want.Add(want, big.NewInt(1))
		}
		got, err := Sum(terms)
		if tooLarge := want.Cmp(big.NewInt(MaxCost)) > 0; tooLarge != errors.Is(err, ErrTooLarge) || !tooLarge && want.Cmp(big.NewInt(got)) != 0 {
			t.Fatalf("Sum(%+v) = %d, %v; want %s", terms, got, err, want)
		}
	})
}

func TestSumRefusesWhatIsNoTerm(t *testing.T) {
	for name, term := range map[string]Term{
		"negative quantity": {Quantity: -1},
		"huge quantity":     {Quantity: MaxCost + 1},
		"decimals":          {Quantity: 1, Decimals: 19},
		"price":             {Quantity: 1, Price: Decimal{Coef: 1_000_001}},
		"scale":             {Quantity: 1, Price: Decimal{Coef: 1, Scale: 31}},
	} {
		if n, err := Sum([]Term{term}); err == nil {
			t.Errorf("%s: Sum = %d", name, n)
		}
	}
}

func TestFindingAndPricingAllocateNothing(t *testing.T) {
	_, _, b := realMap(t)
	name := []byte("gpt-4o")
	n := testing.AllocsPerRun(100, func() {
		var q Quantities
		q.Set(UsageOf([]byte("input_tokens")), 1200, 0)
		q.Set(UsageOf([]byte("output_tokens")), 300, 0)
		if cost, _, err := b.Find(name).Cost(q, Standard, nil); cost == 0 || err != nil {
			t.Fatal(cost, err)
		}
		if b.Find([]byte("no such model")) != nil {
			t.Fatal("found")
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCost(b *testing.B) {
	_, _, book := realMap(b)
	name := []byte("gpt-5.4")
	for b.Loop() {
		var q Quantities
		q.Set(InputTokens, 300_000, 0)
		q.Set(CachedTokens, 100_000, 0)
		q.Set(OutputTokens, 300, 0)
		book.Find(name).Cost(q, Priority, nil)
	}
}

func TestFieldsHaveOneNameEach(t *testing.T) {
	for b := baseInput; b < bases; b++ {
		for tier := range Tier(tiers) {
			for _, over := range []uint16{0, 128, 200, 272, 65535} {
				f := newField(b, over, tier)
				if got, ok := ParseField(f.String()); !ok || got != f {
					t.Errorf("ParseField(%q) = %v, %v", f.String(), got, ok)
				}
			}
		}
	}
	for _, name := range []string{"", "input_cost_per_token_above_k_tokens", "input_cost_per_token_above_0k_tokens", "input_cost_per_token_above_0200k_tokens",
		"input_cost_per_token_above_65536k_tokens", "input_cost_per_token_flex_above_200k_tokens", "input_cost_per_token_batches_flex", "max_tokens"} {
		if f, ok := ParseField(name); ok {
			t.Errorf("ParseField(%q) = %s", name, f)
		}
	}
}

func TestUsagesHaveOneNameEach(t *testing.T) {
	seen := map[string]Usage{}
	for u := InputTokens; u < usages; u++ {
		if seen[u.String()] != 0 || u.String() == "" || len(fields[u]) == 0 {
			t.Errorf("usage %d is %q like %d, with %d fields", u, u, seen[u.String()], len(fields[u]))
		}
		seen[u.String()] = u
		if got := UsageOf([]byte(u.String())); got != u {
			t.Errorf("UsageOf(%q) = %d, want %d", u, got, u)
		}
	}
	if UsageOf([]byte("requests")) != 0 || UsageOf(nil) != 0 || Usage(200).String() != "" {
		t.Error("a name or number that is none has a usage")
	}
}

func TestTiersHaveOneNameEach(t *testing.T) {
	for tier := range Tier(tiers) {
		if got, ok := TierOf([]byte(tier.String())); !ok || got != tier {
			t.Errorf("TierOf(%q) = %v, %v", tier, got, ok)
		}
	}
	if _, ok := TierOf([]byte("gold")); ok {
		t.Error("gold is a tier")
	}
}

// The numbers stand in ledger lines: a change here is a change of the format.
func TestNumbersOfTheFormat(t *testing.T) {
	got := []any{InputTokens, CachedTokens, OutputTokens, SearchQueriesHigh, newField(baseInput, 200, Priority), newField(baseSearchHigh, 0, Standard)}
	want := []any{Usage(1), Usage(2), Usage(9), Usage(25), Field(200<<16 | 3<<8 | 1), Field(26)}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// costsByOracle fails the test unless amounts cost what the oracle says, and the terms add up to it. It returns the terms.
func costsByOracle(t interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}, b *Book, name string, model map[string]any, tier Tier, amounts map[string]int64) (terms []Term) {
	t.Helper()
	var q Quantities
	for id, n := range amounts {
		q.Set(UsageOf([]byte(id)), n, 0)
	}
	got, _, err := b.Find([]byte(name)).Cost(q, tier, &terms)
	if err != nil {
		t.Fatal(err)
	}
	if want := oracle(model, amounts, tier.String()); want.Cmp(big.NewInt(got)) != 0 {
		t.Fatalf("%s %s %v costs %d, want %s; terms %+v", name, tier, amounts, got, want, terms)
	}
	if again, err := Sum(terms); err != nil || again != got {
		t.Fatalf("%s %s %v: the terms add up to %d (%v), the cost is %d", name, tier, amounts, again, err, got)
	}
	return terms
}

// TestEveryPriceOfTheRealMapIsChargedExactly leaves nothing to chance: every model, in every tier, at and above each
// threshold, each usage alone and all of them together. Every price that stands in the map has to be charged by one of them.
func TestEveryPriceOfTheRealMapIsChargedExactly(t *testing.T) {
	data, _, b := realMap(t)
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var raw map[string]map[string]any
	if err := d.Decode(&raw); err != nil {
		t.Fatal(err)
	}
	charged := map[string]bool{} // "model field"
	calls := 0
	for name, model := range raw {
		for tier := range Tier(tiers) {
			check := func(amounts map[string]int64) {
				terms := costsByOracle(t, b, name, model, tier, amounts)
				for _, term := range terms {
					charged[name+" "+term.Field.String()] = true
				}
				calls++
			}
			all := map[string]int64{}
			for u := InputTokens; u < usages; u++ {
				all[u.String()] = 1_009 + 7*int64(u)
				check(map[string]int64{u.String(): 1_009})
				check(map[string]int64{u.String(): 300_007})
			}
			for _, input := range []int64{3, 200_000, 200_001, 272_000, 272_001} { // of which all other kinds are part
				all["input_tokens"] = input
				check(all)
				check(map[string]int64{"input_tokens": input, "output_tokens": 17})
			}
		}
	}
	prices := 0
	for name, model := range raw {
		for field, v := range model {
			fields := map[string]any{field: v}
			if nested, ok := v.(map[string]any); ok {
				fields = map[string]any{}
				for inner, v := range nested {
					fields[field+"."+inner] = v
				}
			}
			for field, v := range fields {
				if _, number := v.(json.Number); !number {
					continue
				}
				if _, ok := ParseField(field); !ok {
					continue
				}
				if prices++; field == "input_cost_per_token_cache_hit" && v == model["cache_read_input_token_cost"] {
					continue // the same price under a second name
				}
				if !charged[name+" "+field] {
					t.Errorf("%s: no call is charged %s", name, field)
				}
			}
		}
	}
	t.Logf("%d prices of %d models in %d calls", prices, len(raw), calls)
	if prices < 900 {
		t.Errorf("only %d prices were found in the map", prices)
	}
}

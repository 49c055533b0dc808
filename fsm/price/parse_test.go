package price

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMalformedMapNamesModelAndField(t *testing.T) {
	many := make([]string, maxFaults+5)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d": {"input_cost_per_token": "x"}`, i)
	}
	for _, tc := range []struct{ name, data, model, field, message string }{
		{"empty", ``, "", "", "is not valid JSON"},
		{"cut off", `{"m": {"input_cost_per_token": 1e-06}`, "", "", "is not valid JSON"},
		{"list", `[]`, "", "", "must be an object"},
		{"null", `null`, "", "", "must be an object"},
		{"no models", `{}`, "", "", "has no models"},
		{"only the sample", `{"sample_spec": {"mode": "chat"}}`, "", "", "has no models"},
		{"more follows", `{"m": {}} {}`, "", "", "is followed by something else"},
		{"model is a number", `{"m": 5}`, "m", "", "must be an object"},
		{"text for a price", `{"m": {"input_cost_per_token": "1e-06"}}`, "m", "input_cost_per_token", "must be a number"},
		{"list for a price", `{"m": {"output_cost_per_token": [1]}}`, "m", "output_cost_per_token", "must be a number"},
		{"true for a price", `{"m": {"output_cost_per_token": true}}`, "m", "output_cost_per_token", "must be a number"},
		{"negative", `{"m": {"input_cost_per_token_flex": -1e-06}}`, "m", "input_cost_per_token_flex", "must not be negative"},
		{"too many digits", `{"m": {"input_cost_per_token": 0.1234567890123456789}}`, "m", "input_cost_per_token", "significant digits"},
		{"too large", `{"m": {"input_cost_per_token_above_200k_tokens": 1e7}}`, "m", "input_cost_per_token_above_200k_tokens", "more than 1000000 USD"},
		{"model twice", `{"m": {}, "m": {}}`, "m", "", "stands in the map twice"},
		{"field twice", `{"m": {"input_cost_per_token": 1, "input_cost_per_token": 2}}`, "m", "input_cost_per_token", "is given twice"},
		{"search price", `{"m": {"search_context_cost_per_query": {"search_context_size_low": "x"}}}`, "m", "search_context_cost_per_query.search_context_size_low", "must be a number"},
		{"search size twice", `{"m": {"search_context_cost_per_query": {"search_context_size_low": 1, "search_context_size_low": 1}}}`, "m", "search_context_cost_per_query.search_context_size_low", "is given twice"},
		{"search prices", `{"m": {"search_context_cost_per_query": 0.01}}`, "m", "search_context_cost_per_query", "must be an object"},
		{"provider", `{"m": {"litellm_provider": 5}}`, "m", "litellm_provider", "must be a string"},
		{"aliases", `{"m": {"aliases": "n"}}`, "m", "aliases", "must be a list of names"},
		{"alias of two", `{"m": {"aliases": ["x"]}, "n": {"aliases": ["x"]}}`, "n", "aliases", `"x" is a name of model "m" already`},
		{"alias with a star", `{"m": {"aliases": ["x*"]}}`, "m", "aliases", "has a star"},
		{"empty name", `{"": {}}`, "", "", "is empty"},
		{"long name", `{"` + strings.Repeat("m", 257) + `": {}}`, strings.Repeat("m", 257), "", "has 257 bytes"},
		{"control character", `{"a\u0000b": {}}`, "a\x00b", "", "control character"},
		{"wrong everywhere", `{` + strings.Join(many, ",") + `}`, "m0", "input_cost_per_token", "must be a number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := ParseMap([]byte(tc.data))
			faults, ok := errors.AsType[Faults](err)
			if !ok || m != nil || len(faults) == 0 || len(faults) > maxFaults {
				t.Fatalf("ParseMap = %v, %v", m, err)
			}
			if f := faults[0]; f.Model != tc.model || f.Field != tc.field || !strings.Contains(f.Message, tc.message) {
				t.Fatalf("fault %+v; want %q of %q of model %q", f, tc.message, tc.field, tc.model)
			}
			if !strings.Contains(err.Error(), tc.message) || !strings.Contains(err.Error(), tc.field) {
				t.Fatalf("the error is %q", err)
			}
		})
	}
}

func TestTooManyModelsAreRefused(t *testing.T) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range MaxModels + 1 {
		fmt.Fprintf(&b, `"m%d":{},`, i)
	}
	data := strings.TrimSuffix(b.String(), ",") + "}"
	if _, err := ParseMap([]byte(data)); err == nil || !strings.Contains(err.Error(), "at most 20000 are allowed") {
		t.Fatal(err)
	}
}

func TestTooManyGlobsAreRefused(t *testing.T) {
	var entries []Entry
	for i := range MaxGlobs + 1 {
		entries = append(entries, Entry{Name: fmt.Sprintf("m%d/*", i)})
	}
	if _, err := NewBook(entries); err == nil || !strings.Contains(err.Error(), "names with a star") {
		t.Fatal(err)
	}
	if _, err := NewBook(entries[1:]); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNoPriceIsPassedOver(t *testing.T) {
	m, err := ParseMap([]byte(`{"sample_spec": {"input_cost_per_token": "the price of a token"}, "m": {
		"max_tokens": 4096, "mode": "chat", "supports_vision": true, "supported_endpoints": ["/v1"], "source": "x", "rpm": 5,
		"input_cost_per_token": 1e-06, "output_cost_per_token": null, "search_context_cost_per_query": null,
		"ocr_cost_per_page": 0.5, "input_cost_per_pixel": 1e-08, "tiered_pricing": [{"range": [0, 1]}],
		"regional_processing_uplift_multiplier_eu": 1.1, "provider_specific_entry": {"fast": 2.0}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Entry{{Name: "m", Prices: []Price{{Field: newField(baseInput, 0, Standard), Value: Decimal{Coef: 1, Scale: 6}}}}},
		m.Entries); d != "" {
		t.Error(d)
	}
	want := []Ignored{{"input_cost_per_pixel", 1}, {"ocr_cost_per_page", 1}, {"provider_specific_entry", 1},
		{"regional_processing_uplift_multiplier_eu", 1}, {"tiered_pricing", 1}}
	if d := cmp.Diff(want, m.Ignored); d != "" {
		t.Error(d)
	}
}

func TestNoPriceOfTheRealMapIsPassedOver(t *testing.T) {
	_, m, _ := realMap(t)
	want := []Ignored{{"provider_specific_entry", 10}, {"regional_processing_uplift_multiplier_eu", 19}, {"regional_processing_uplift_multiplier_us", 19}}
	if d := cmp.Diff(want, m.Ignored); d != "" {
		t.Error(d)
	}
}

func TestMapWrittenReadsTheSame(t *testing.T) {
	_, m, _ := realMap(t)
	m.Entries[0].Aliases = []string{"a", "b"}
	m.Entries = append(m.Entries, Entry{Name: "zzz/*"})
	again, err := ParseMap(AppendJSON(nil, m.Entries))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m.Entries, again.Entries, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestModelIsFoundByNameAliasProviderAndGlob(t *testing.T) {
	b := text(t, `{
		"gpt-4o": {"litellm_provider": "openai", "aliases": ["four-o", "openai/other"]},
		"other": {"litellm_provider": "openai"},
		"openai/*": {}, "openai/gpt-*": {}, "*/gpt-*": {}, "*mini": {"litellm_provider": "x"}, "a*b*c": {}
	}`)
	for name, want := range map[string]string{
		"gpt-4o":        "gpt-4o",
		"openai/gpt-4o": "gpt-4o",
		"four-o":        "gpt-4o",
		"openai/other":  "gpt-4o", // an alias goes before provider/name
		"other":         "other",
		"openai/gpt-9":  "openai/gpt-*",
		"openai/x":      "openai/*",
		"azure/gpt-9":   "*/gpt-*",
		"4o-mini":       "*mini",
		"a-b-b-c":       "a*b*c",
		"a-b-c-d":       "",
		"GPT-4o":        "",
		"":              "",
		"gpt-4o ":       "",
	} {
		got := ""
		if m := b.Find([]byte(name)); m != nil {
			got = m.Name
		}
		if got != want {
			t.Errorf("Find(%q) is %q, want %q", name, got, want)
		}
	}
	if (*Book)(nil).Find([]byte("gpt-4o")) != nil {
		t.Error("no book has a model")
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(`{"m": {"input_cost_per_token": 1e-06, "aliases": ["x"], "litellm_provider": "p"}}`))
	f.Add([]byte(`{"m*": {"search_context_cost_per_query": {"search_context_size_low": 0.01}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMap(data)
		if err != nil {
			if faults, ok := errors.AsType[Faults](err); !ok || len(faults) == 0 {
				t.Fatalf("an error without faults: %v", err)
			}
			return
		}
		if _, err := NewBook(m.Entries); err != nil {
			t.Fatalf("a map that was read is refused: %v", err)
		}
		again, err := ParseMap(AppendJSON(nil, m.Entries))
		if err != nil || !slices.EqualFunc(m.Entries, again.Entries, func(a, b Entry) bool {
			return a.Name == b.Name && a.Provider == b.Provider && slices.Equal(a.Aliases, b.Aliases) && slices.Equal(a.Prices, b.Prices)
		}) {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

package main

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bursar-dev/bursar/fsm"
)

func TestParseAmountReadsWhatAPersonWrites(t *testing.T) {
	for _, c := range []struct {
		text     string
		decimals int
		want     int64
	}{
		{"250.00", 9, 250_000_000_000},
		{"250", 9, 250_000_000_000},
		{"0.000000001", 9, 1},
		{"1.5", 9, 1_500_000_000},
		{"1_000_000", 0, 1_000_000},
		{"1_000.000_000_001", 9, 1_000_000_000_001},
		{"007", 0, 7},
		{"0", 0, 0},
		{"0.0", 3, 0},
		{"1000000000", 9, 1_000_000_000_000_000_000},
		{"1000000000000000000", 0, fsm.MaxAmount},
	} {
		if got, err := parseAmount(c.text, c.decimals); err != nil || got != c.want {
			t.Errorf("%s with %d decimals: %d, %v; want %d", c.text, c.decimals, got, err, c.want)
		}
	}
}

func TestParseAmountSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		text     string
		decimals int
		want     string
	}{
		{"1.2345", 2, "has 4 decimals, at most 2 are allowed"},
		{"1.0", 0, "has decimals, and this capability has none"},
		{"1000000000.000000001", 9, "more than the largest amount, 1000000000.00"},
		{"1000000000000000001", 0, "more than the largest amount, 1000000000000000000"},
		{"99999999999999999999999999", 0, "more than the largest amount"},
		{"9223372036854775808", 0, "more than the largest amount"},
		{"", 2, "is not an amount"},
		{"-1", 2, "is not an amount"},
		{"+1", 2, "is not an amount"},
		{"1e9", 2, "is not an amount"},
		{"1,000", 2, "is not an amount"},
		{".5", 2, "is not an amount"},
		{"5.", 2, "is not an amount"},
		{"1.2.3", 2, "is not an amount"},
		{"_1", 2, "is not an amount"},
		{"1_", 2, "is not an amount"},
		{"1__0", 2, "is not an amount"},
		{"1._5", 2, "is not an amount"},
		{"$5", 2, "is not an amount"},
		{" 5", 2, "is not an amount"},
		{"٣", 2, "is not an amount"},
		{"unlimited", 2, "is not an amount"},
	} {
		if got, err := parseAmount(c.text, c.decimals); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %d decimals: %d, %v; want an error with %q", c.text, c.decimals, got, err, c.want)
		}
	}
}

func TestFormatAmountKeepsTwoDecimalsOfMoney(t *testing.T) {
	for _, c := range []struct {
		n        int64
		decimals int
		want     string
	}{
		{250_000_000_000, 9, "250.00"},
		{1_500_000_000, 9, "1.50"},
		{1, 9, "0.000000001"},
		{0, 9, "0.00"},
		{1_234_000_000, 9, "1.234"},
		{5, 1, "0.5"},
		{50, 1, "5.0"},
		{1_000_000, 0, "1000000"},
		{-1_500_000_000, 9, "-1.50"},
		{-9_223_372_036_854_775_808, 0, "-9223372036854775808"},
		{1, 18, "0.000000000000000001"},
	} {
		if got := formatAmount(c.n, c.decimals); got != c.want {
			t.Errorf("%d with %d decimals: %s, want %s", c.n, c.decimals, got, c.want)
		}
	}
	if got := formatLimit(nil, 9); got != "unlimited" {
		t.Errorf("no limit: %s", got)
	}
}

func TestParseReadsWhatFormatWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, fsm.MaxAmount).Draw(t, "n")
		decimals := rapid.IntRange(0, 18).Draw(t, "decimals")
		got, err := parseAmount(formatAmount(n, decimals), decimals)
		if err != nil || got != n {
			t.Fatalf("%d with %d decimals is written %s and read %d, %v", n, decimals, formatAmount(n, decimals), got, err)
		}
	})
}

// FuzzParseAmount compares with exact rationals: what is accepted is what the text says, to the last digit.
func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"250.00", "1_000", "0.000000001", "1e9", "-1", "1.", "999999999999999999999", "1_000.5_5"} {
		f.Add(s, 9)
		f.Add(s, 0)
	}
	f.Fuzz(func(t *testing.T, s string, decimals int) {
		if decimals < 0 || decimals > 18 {
			return
		}
		n, err := parseAmount(s, decimals)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(strings.ReplaceAll(s, "_", ""))
		if !ok {
			t.Fatalf("%q was read as %d and is no number", s, n)
		}
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
		got := new(big.Rat).SetFrac(big.NewInt(n), scale)
		if n < 0 || n > fsm.MaxAmount || got.Cmp(want) != 0 {
			t.Fatalf("%q with %d decimals was read as %d", s, decimals, n)
		}
	})
}

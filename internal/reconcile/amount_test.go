package reconcile

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAmountsAreReadExactly(t *testing.T) {
	for _, c := range []struct {
		text  string
		shift int
		want  string
	}{
		{"0", 0, "0"}, {"12.50", 0, "12.5"}, {"-3", 0, "-3"}, {"+3.", 0, "3"}, {".5", 0, "0.5"}, {"0.8958740000000000", 0, "0.895874"},
		{"1.2e-05", 0, "0.000012"}, {"5E+2", 0, "500"}, {"59200.0", 0, "59200"}, {"0.000000000000000000000000000001", 0, "0.000000000000000000000000000001"},
		{"123", 2, "1.23"}, {"7", 9, "0.000000007"}, {"1e-30", 0, "0.000000000000000000000000000001"}, {"1000e-33", 0, "0.000000000000000000000000000001"},
		{"999999999999999999999999999999", 0, "999999999999999999999999999999"}, {"-0", 0, "0"}, {"00012", 0, "12"},
	} {
		a, err := ParseAmount(c.text, c.shift)
		if got := a.Text(0); err != nil || got != c.want {
			t.Errorf("ParseAmount(%q, %d) = %s, %v; want %s", c.text, c.shift, got, err, c.want)
		}
	}
	for _, text := range []string{"", "-", ".", "1,5", "$1", "1 000", "1e", "e5", "1e1000", "1.5.", "0x10", "NaN", "inf", "1e-31", "1e30",
		"--1", "1_000", "1.0000000000000000000000000000001", strings.Repeat("0", maxNumberBytes+1), "٣"} {
		if a, err := ParseAmount(text, 0); err == nil {
			t.Errorf("ParseAmount(%q) = %s", text, a.Text(0))
		}
	}
}

func TestAmountsAddUpAsBigRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sum Amount
		want := new(big.Rat)
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			n, decimals := rapid.Int64().Draw(t, "units"), rapid.IntRange(0, 18).Draw(t, "decimals")
			sum.AddUnits(n, decimals)
			want.Add(want, new(big.Rat).SetFrac(big.NewInt(n), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)))
		}
		if got, ok := new(big.Rat).SetString(sum.Text(2)); !ok || got.Cmp(want) != 0 {
			t.Fatalf("%s, want %s", sum.Text(2), want.FloatString(18))
		}
		again, err := ParseAmount(sum.Text(0), 0)
		if err != nil || again.n.Cmp(&sum.n) != 0 {
			t.Fatalf("%s is read as %s, %v", sum.Text(0), again.Text(0), err)
		}
	})
}

func TestAmountsAreShownInFull(t *testing.T) {
	for text, want := range map[string]string{"3": "3.00", "-0.5": "-0.50", "1.234567891": "1.234567891", "-0.000000001": "-0.000000001"} {
		if a, err := ParseAmount(text, 0); err != nil || a.Text(2) != want {
			t.Errorf("%s is shown as %s, %v; want %s", text, a.Text(2), err, want)
		}
	}
}

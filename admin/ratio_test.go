package admin

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestParseRatio(t *testing.T) {
	for _, c := range []struct {
		in       string
		num, den uint64
		ok       bool
	}{
		{"0", 0, 1, true},
		{"1", 1, 1, true},
		{"0.8", 8, 10, true},
		{"1.25", 125, 100, true},
		{"007.50", 750, 100, true},
		{"999999999.999999999", 999999999999999999, 1000000000, true},
		{"", 0, 0, false},
		{".5", 0, 0, false},
		{"5.", 0, 0, false},
		{"-1", 0, 0, false},
		{"+1", 0, 0, false},
		{"1e3", 0, 0, false},
		{"0x1", 0, 0, false},
		{"0.1.2", 0, 0, false},
		{"NaN", 0, 0, false},
		{"1_0", 0, 0, false},
		{"1234567890", 0, 0, false},
		{"0.1234567890", 0, 0, false},
	} {
		r, ok := parseRatio(c.in)
		if ok != c.ok || ok && (r.num != c.num || r.den != c.den) {
			t.Errorf("parseRatio(%q) = %d/%d, %v, want %d/%d, %v", c.in, r.num, r.den, ok, c.num, c.den, c.ok)
		}
	}
}

// Ratios that floats cannot tell apart must still be told apart.
func TestCompareRatiosIsExact(t *testing.T) {
	if got := compareRatios(999999999999999999, 1000000000000000000, 999999999999999998, 999999999999999999); got != 1 {
		t.Errorf("(10^18−1)/10^18 against (10^18−2)/(10^18−1) = %d, want 1", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 { return rng.Uint64()>>rng.IntN(64) | 1 }
	for range 10_000 {
		a, b, c, d := pick(), pick(), pick(), pick()
		if rng.IntN(4) == 0 {
			c, d = a, b
		}
		left := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(d))
		right := new(big.Int).Mul(new(big.Int).SetUint64(c), new(big.Int).SetUint64(b))
		if got, want := compareRatios(a, b, c, d), left.Cmp(right); got != want {
			t.Fatalf("compareRatios(%d, %d, %d, %d) = %d, want %d", a, b, c, d, got, want)
		}
	}
}

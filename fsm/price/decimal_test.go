package price

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecimalIsReadExactly(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"0", "0"},
		{"0.0", "0"},
		{"0e5", "0"},
		{"1", "1"},
		{"1.25e-06", "0.00000125"},
		{"1.25E-6", "0.00000125"},
		{"2.5e+1", "25"},
		{"3.3333333333333335e-05", "0.000033333333333333335"},
		{"0.0002833333333333333", "0.0002833333333333333"},
		{"1000000", "1000000"},
		{"1e6", "1000000"},
		{"0.10", "0.1"},
		{"1e-30", "0." + strings.Repeat("0", 29) + "1"},
		{"100e-32", "0." + strings.Repeat("0", 29) + "1"},
		{"999999.999999999999", "999999.999999999999"},
	} {
		d, err := ParseDecimal(tc.text)
		if err != nil || d.String() != tc.want {
			t.Errorf("ParseDecimal(%q) = %v, %v; want %s", tc.text, d, err, tc.want)
		}
	}
}

func TestDecimalOutOfBoundsIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "must be a decimal number",
		".5":                     "must be a decimal number",
		"5.":                     "must be a decimal number",
		"+1":                     "must be a decimal number",
		"0x10":                   "must be a decimal number",
		"1e":                     "must be a decimal number",
		"1e+":                    "must be a decimal number",
		"1_000":                  "must be a decimal number",
		"NaN":                    "must be a decimal number",
		"-1":                     "must not be negative",
		"-0.0":                   "must not be negative",
		"1e-31":                  "30 decimal places",
		"1000000.1":              "more than 1000000 USD",
		"1e7":                    "more than 1000000 USD",
		"1e99":                   "more than 1000000 USD",
		"1e100":                  "exponent of more than two digits",
		"1e999999999999999999":   "exponent of more than two digits",
		"1.234567890123456789":   "18 significant digits",
		"1.2345678901234567890":  "18 significant digits",
		"9999999999999999999999": "18 significant digits",
	} {
		if d, err := ParseDecimal(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDecimal(%q) = %v, %v; want an error with %q", text, d, err, want)
		}
	}
}

func TestDecimalEqualsItsTextInRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[0-9]{1,8}(\.[0-9]{1,14})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		d, err := ParseDecimal(text)
		if err != nil {
			return
		}
		want, _ := new(big.Rat).SetString(text)
		if got := rational(d); got.Cmp(want) != 0 {
			t.Fatalf("ParseDecimal(%q) is %s", text, d)
		}
		again, err := ParseDecimal(d.String())
		if err != nil || again != d {
			t.Fatalf("ParseDecimal(%q) = %v, %v; want %v", d.String(), again, err, d)
		}
		hi, lo := d.fixed()
		fixed := new(big.Int).Add(new(big.Int).Lsh(new(big.Int).SetUint64(hi), 64), new(big.Int).SetUint64(lo))
		if scaled := new(big.Rat).SetFrac(fixed, power(maxScale)); scaled.Cmp(want) != 0 {
			t.Fatalf("fixed of %q is %s", text, fixed)
		}
	})
}

// rational is d as a fraction.
func rational(d Decimal) *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(d.Coef), power(int(d.Scale)))
}

// power is 10^n.
func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func FuzzParseDecimal(f *testing.F) {
	for _, text := range []string{"0", "1.25e-06", "-1", "1e99", "000.100e+02"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDecimal(text)
		if err != nil {
			return
		}
		if !d.valid() {
			t.Fatalf("ParseDecimal(%q) = %+v, which is out of bounds", text, d)
		}
		if want, ok := new(big.Rat).SetString(text); !ok || rational(d).Cmp(want) != 0 {
			t.Fatalf("ParseDecimal(%q) is %s", text, d)
		}
	})
}

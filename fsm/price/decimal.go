package price

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Bounds of a price. They keep every sum within 256 bits.
const (
	maxDigits = 18        // significant digits
	maxScale  = 30        // decimal places
	maxPrice  = 1_000_000 // USD for one unit
)

// Decimal is an exact price in USD for one unit: Coef / 10^Scale, not negative. In
// its normal form, which ParseDecimal returns, Coef does not end with a zero unless Scale is 0.
type Decimal struct {
	Coef  uint64 `msgpack:"c"`
	Scale uint8  `msgpack:"s,omitempty"`
}

// errNumber is what a text that is no number gets.
var errNumber = errors.New("must be a decimal number such as 0.0000025 or 2.5e-06")

// ParseDecimal reads a decimal number exactly, in the forms that JSON has:
// digits with an optional fraction and an optional exponent. It is an error if
// the number is negative, more than a million, or has more than 18 significant
// digits or 30 decimal places.
func ParseDecimal(text string) (Decimal, error) {
	if strings.HasPrefix(text, "-") {
		return Decimal{}, errors.New("must not be negative")
	}
	mantissa, exponent, hasExponent := cutExponent(text)
	whole, fraction, hasPoint := strings.Cut(mantissa, ".")
	if !isDigits(whole) || (hasPoint && !isDigits(fraction)) {
		return Decimal{}, errNumber
	}
	shift := 0
	if hasExponent {
		var err error
		if shift, err = parseExponent(exponent); err != nil {
			return Decimal{}, err
		}
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	scale := len(fraction) - shift
	trimmed := strings.TrimRight(digits, "0")
	scale -= len(digits) - len(trimmed)
	switch {
	case trimmed == "":
		return Decimal{}, nil
	case len(trimmed) > maxDigits:
		return Decimal{}, fmt.Errorf("has more than %d significant digits", maxDigits)
	case scale > maxScale:
		return Decimal{}, fmt.Errorf("has more than %d decimal places", maxScale)
	case len(trimmed)-scale > maxDigits:
		return Decimal{}, fmt.Errorf("is more than %d USD for one unit", maxPrice)
	}
	for ; scale < 0; scale++ {
		trimmed += "0"
	}
	coef, err := strconv.ParseUint(trimmed, 10, 64)
	if err != nil {
		return Decimal{}, errNumber
	}
	d := Decimal{Coef: coef, Scale: uint8(scale)}
	if !d.valid() {
		return Decimal{}, fmt.Errorf("is more than %d USD for one unit", maxPrice)
	}
	return d, nil
}

func cutExponent(text string) (mantissa, exponent string, ok bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

// parseExponent reads an exponent. Those out of any use are errors, so that no text makes a long number.
func parseExponent(text string) (int, error) {
	sign, digits := 1, text
	if text != "" && (text[0] == '+' || text[0] == '-') {
		if digits = text[1:]; text[0] == '-' {
			sign = -1
		}
	}
	if !isDigits(digits) {
		return 0, errNumber
	}
	if digits = strings.TrimLeft(digits, "0"); len(digits) > 2 {
		return 0, errors.New("has an exponent of more than two digits")
	}
	n, _ := strconv.Atoi("0" + digits)
	return sign * n, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// valid reports whether d is within the bounds of a price.
func (d Decimal) valid() bool {
	const always = maxDigits - 6 // from this scale on, maxDigits digits are less than maxPrice
	return d.Coef < pow10(maxDigits) && d.Scale <= maxScale &&
		(d.Scale >= always || d.Coef <= maxPrice*pow10(int(d.Scale)))
}

// String returns d in plain decimal notation: "0.0000025".
func (d Decimal) String() string { return string(d.Append(nil)) }

// Append appends d in plain decimal notation to dst.
func (d Decimal) Append(dst []byte) []byte {
	var digits [20]byte // of a uint64
	coef := strconv.AppendUint(digits[:0], d.Coef, 10)
	whole := len(coef) - int(d.Scale)
	if d.Scale == 0 {
		return append(dst, coef...)
	}
	if whole > 0 {
		return append(append(append(dst, coef[:whole]...), '.'), coef[whole:]...)
	}
	dst = append(dst, "0."...)
	for ; whole < 0; whole++ {
		dst = append(dst, '0')
	}
	return append(dst, coef...)
}

// fixed returns d × 10^maxScale, which is less than 2^128.
func (d Decimal) fixed() (hi, lo uint64) {
	return mul128(0, d.Coef, maxScale-int(d.Scale))
}

// mul128 returns (hi, lo) × 10^n, for results of less than 2^128.
func mul128(hi, lo uint64, n int) (uint64, uint64) {
	for ; n > 0; n -= maxPow10 {
		p := pow10(min(n, maxPow10))
		over, low := bits.Mul64(lo, p)
		hi, lo = hi*p+over, low
	}
	return hi, lo
}

// maxPow10 is the largest n with 10^n < 2^64.
const maxPow10 = 19

// pow10 returns 10^n, for 0 ≤ n ≤ maxPow10.
func pow10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

package reconcile

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// scale is how many decimals an Amount keeps.
const scale = 30

// The longest number that is read: digits before the point, and in all.
const (
	maxWhole       = 30
	maxNumberBytes = 128
)

var one = new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil)

// Amount is an exact decimal number. The zero value is 0. A copy shares its digits: only one of the two may be added to.
type Amount struct{ n big.Int } // in units of 10^-scale

// ParseAmount reads a decimal number, "12.50", "-3" or "1.2e-05", and divides it by
// 10^shift. It never rounds: what it cannot keep exactly is an error, which says
// what is wrong with the text without repeating it.
func ParseAmount(s string, shift int) (a Amount, err error) {
	if len(s) > maxNumberBytes {
		return a, fmt.Errorf("has more than %d characters", maxNumberBytes)
	}
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		if exponent, err = strconv.Atoi(s[i+1:]); err != nil || exponent < -maxNumberBytes || exponent > maxNumberBytes {
			return a, errNumber
		}
	}
	negative := false
	if mantissa != "" && (mantissa[0] == '-' || mantissa[0] == '+') {
		negative, mantissa = mantissa[0] == '-', mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return a, errNumber
	}
	digits := strings.TrimRight(fraction, "0")
	places := len(digits) - exponent + shift // decimals of the number that whole+digits, read as an integer, stands for
	digits = strings.TrimLeft(whole+digits, "0")
	if digits == "" {
		return a, nil
	}
	for places > scale && strings.HasSuffix(digits, "0") {
		digits, places = digits[:len(digits)-1], places-1
	}
	switch {
	case places > scale:
		return a, fmt.Errorf("has more than %d decimals", scale)
	case len(digits)-places > maxWhole:
		return a, fmt.Errorf("has more than %d digits before the point", maxWhole)
	}
	a.n.SetString(digits+strings.Repeat("0", scale-places), 10)
	if negative {
		a.n.Neg(&a.n)
	}
	return a, nil
}

var errNumber = fmt.Errorf("is not a number: digits, with a point and no separators, as 1234.56")

// Add adds b.
func (a *Amount) Add(b *Amount) { a.n.Add(&a.n, &b.n) }

// AddUnits adds n units of 10^-decimals; decimals is 0 to 18, as a capability has them.
func (a *Amount) AddUnits(n int64, decimals int) {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-decimals)), nil)
	a.n.Add(&a.n, unit.Mul(unit, big.NewInt(n)))
}

// Sign is -1, 0 or 1.
func (a *Amount) Sign() int { return a.n.Sign() }

// Within reports whether the number is at most limit away from zero.
func (a *Amount) Within(limit *Amount) bool { return a.n.CmpAbs(&limit.n) <= 0 }

// HasAtMost reports whether the number can be written with so many decimals.
func (a *Amount) HasAtMost(decimals int) bool {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-decimals)), nil)
	return unit.Rem(&a.n, unit).Sign() == 0
}

// difference is a − b.
func difference(a, b *Amount) (d Amount) {
	d.n.Sub(&a.n, &b.n)
	return d
}

// Text writes the number in full, with at least so many decimals (0 to 30) and no zeros after those.
func (a *Amount) Text(decimals int) string {
	whole, rest := new(big.Int).QuoRem(new(big.Int).Abs(&a.n), one, new(big.Int))
	text := whole.String()
	fraction := fmt.Sprintf("%0*s", scale, rest.String())
	keep := max(decimals, len(strings.TrimRight(fraction, "0")))
	if keep > 0 {
		text += "." + fraction[:keep]
	}
	if a.n.Sign() < 0 {
		text = "-" + text
	}
	return text
}

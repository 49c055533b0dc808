package statement

import (
	"math/big"
	"strings"
	"time"

	"golang.org/x/text/currency"
)

// minorDigits returns how many decimals amounts of a currency are written with: 2 of USD, 0 of JPY.
func minorDigits(code string) int {
	unit, err := currency.ParseISO(code)
	if err != nil {
		return 2
	}
	digits, _ := currency.Standard.Rounding(unit)
	return digits
}

// amount writes n of a capability's smallest unit exactly, in groups of three digits: without trailing zeros,
// but with at least digits decimals if the capability has them.
//
//	amount(1234500000000, 9, 2) = "1,234.50"
//	amount(1, 9, 2)             = "0.000000001"
func amount(n *big.Int, decimals, digits int) string {
	text := new(big.Int).Abs(n).String()
	if len(text) <= decimals {
		text = strings.Repeat("0", decimals+1-len(text)) + text
	}
	whole, fraction := text[:len(text)-decimals], text[len(text)-decimals:]
	fraction = fraction[:max(len(strings.TrimRight(fraction, "0")), min(digits, decimals))]
	var b strings.Builder
	if n.Sign() < 0 {
		b.WriteByte('-')
	}
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if fraction != "" {
		b.WriteByte('.')
		b.WriteString(fraction)
	}
	return b.String()
}

// plain is amount without groups, for programs.
func plain(n int64, decimals int) string {
	return strings.ReplaceAll(amount(big.NewInt(n), decimals, 0), ",", "")
}

func date(t time.Time, in *time.Location) string { return t.In(in).Format(time.DateOnly) }

// span writes [from, to) as days if it is whole days, else to the second.
func span(from, to time.Time, in *time.Location) string {
	midnight := func(t time.Time) bool { return t.In(in).Format(time.TimeOnly) == "00:00:00" && t.Nanosecond() == 0 }
	if midnight(from) && midnight(to) {
		return date(from, in) + " to " + date(to.Add(-time.Millisecond), in)
	}
	return from.In(in).Format(time.DateTime) + " until " + to.In(in).Format(time.DateTime)
}

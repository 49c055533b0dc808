package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bursar-dev/bursar/fsm"
)

// unlimited is how a person writes a limit that there is none.
const unlimited = "unlimited"

// parseAmount reads an amount as a person writes it into the capability's
// smallest unit: "250.00" with 9 decimals is 250000000000. Underscores may stand
// between digits. It never rounds: more decimals than the capability has are an error.
func parseAmount(s string, decimals int) (int64, error) {
	whole, fraction, dotted := strings.Cut(s, ".")
	if !digits(whole) || dotted && !digits(fraction) {
		return 0, fmt.Errorf("%q is not an amount: write digits, with _ between them and one point if needed, as 1_000.50", s)
	}
	whole, fraction = strings.ReplaceAll(whole, "_", ""), strings.ReplaceAll(fraction, "_", "")
	if len(fraction) > decimals {
		if decimals == 0 {
			return 0, fmt.Errorf("%q has decimals, and this capability has none", s)
		}
		return 0, fmt.Errorf("%q has %d decimals, at most %d are allowed", s, len(fraction), decimals)
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", decimals-len(fraction)), 10, 64)
	if errors.Is(err, strconv.ErrRange) || n > fsm.MaxAmount {
		return 0, fmt.Errorf("%q is more than the largest amount, %s", s, formatAmount(fsm.MaxAmount, decimals))
	}
	return n, err
}

// parseLimit is parseAmount that takes "unlimited" as nil.
func parseLimit(s string, decimals int) (*int64, error) {
	if s == unlimited {
		return nil, nil
	}
	n, err := parseAmount(s, decimals)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// digits reports whether s is decimal digits, with single underscores only between them.
func digits(s string) bool {
	afterDigit := false
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			afterDigit = true
		case c == '_' && afterDigit:
			afterDigit = false
		default:
			return false
		}
	}
	return afterDigit
}

// moneyDecimals are shown even where they are zero: $250 is read as 250.00.
const moneyDecimals = 2

// formatAmount writes an amount as parseAmount reads it, without trailing zeros
// past the second decimal.
func formatAmount(n int64, decimals int) string {
	sign, u := "", uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	s := strconv.FormatUint(u, 10)
	if decimals == 0 {
		return sign + s
	}
	if len(s) <= decimals {
		s = strings.Repeat("0", decimals+1-len(s)) + s
	}
	whole, fraction := s[:len(s)-decimals], s[len(s)-decimals:]
	keep := max(len(strings.TrimRight(fraction, "0")), min(moneyDecimals, decimals))
	return sign + whole + "." + fraction[:keep]
}

// formatLimit is formatAmount that writes nil as "unlimited".
func formatLimit(n *int64, decimals int) string {
	if n == nil {
		return unlimited
	}
	return formatAmount(*n, decimals)
}

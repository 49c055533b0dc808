package admin

import (
	"math/bits"
	"strconv"
	"strings"
)

// ratio is a non-negative decimal number as num/den, so that it can be compared
// with used/limit exactly.
type ratio struct{ num, den uint64 }

// maxRatioDigits bounds each side of the point: num stays below 10^18, and a
// product with an amount below 2^127.
const maxRatioDigits = 9

// parseRatio reads digits with an optional fraction, as "0.8" or "1".
func parseRatio(s string) (ratio, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if !digits(whole) || point && !digits(fraction) {
		return ratio{}, false
	}
	n, err := strconv.ParseUint(whole+fraction, 10, 64)
	if err != nil {
		return ratio{}, false
	}
	den := uint64(1)
	for range fraction {
		den *= 10
	}
	return ratio{n, den}, true
}

func digits(s string) bool {
	return s != "" && len(s) <= maxRatioDigits && strings.Trim(s, "0123456789") == ""
}

// compareRatios compares a/b with c/d by cross-multiplication in 128 bits: −1,
// 0 or 1. b and d are positive.
func compareRatios(a, b, c, d uint64) int {
	h1, l1 := bits.Mul64(a, d)
	h2, l2 := bits.Mul64(c, b)
	switch {
	case h1 != h2 && h1 < h2, h1 == h2 && l1 < l2:
		return -1
	case h1 == h2 && l1 == l2:
		return 0
	}
	return 1
}

// utilization is used/limit as a fraction. A limit of zero counts as one, so
// that every budget with a limit has its place in the order.
func utilization(used, limit int64) (num, den uint64) {
	return uint64(max(0, used)), uint64(max(1, limit))
}

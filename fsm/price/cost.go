package price

import (
	"errors"
	"math/bits"
)

// MaxCost is the largest cost of one call in nano-dollars.
const MaxCost = int64(1_000_000_000_000_000_000)

// ErrTooLarge is a cost of more than MaxCost.
var ErrTooLarge = errors.New("the cost is more than 10^18 nano-dollars")

// errTerm is a term that no release writes.
var errTerm = errors.New("a term of a cost is damaged")

// Term is one product of a cost: Quantity / 10^Decimals units at Price each.
type Term struct {
	Usage    Usage   `msgpack:"u"`
	Field    Field   `msgpack:"f"`           // of the map, that the price stands in
	Quantity int64   `msgpack:"q"`           // without the parts of it that are terms of their own
	Decimals uint8   `msgpack:"d,omitempty"` // of the quantity
	Price    Decimal `msgpack:"p"`
}

// Cost computes what q costs in nano-dollars. complete is false if some of it has no price:
// that part costs nothing. The terms are appended to *terms unless it is nil,
// in the order of the usages; without them nothing is allocated. The error is ErrTooLarge.
func (m *Model) Cost(q Quantities, tier Tier, terms *[]Term) (nano int64, complete bool, err error) {
	input := q.split()
	complete = !q.odd
	var s sum
	for u := InputTokens; u < usages; u++ {
		n := q.amounts[u]
		if n == 0 {
			continue
		}
		p := m.find(u, tier, input)
		if p == nil {
			complete = false
			continue
		}
		s.add(p.hi, p.lo, n, q.decimals[u])
		if terms != nil {
			*terms = append(*terms, Term{Usage: u, Field: p.field, Quantity: n, Decimals: q.decimals[u], Price: p.value})
		}
	}
	nano, err = s.nano()
	return nano, complete, err
}

// Sum computes the cost of terms in nano-dollars from nothing else. The error is
// ErrTooLarge, or says that a term is none.
func Sum(terms []Term) (nano int64, err error) {
	var s sum
	if len(terms) >= maxTerms {
		return 0, errTerm
	}
	for i := range terms {
		t := &terms[i]
		if t.Quantity < 0 || t.Quantity > MaxCost || t.Decimals > maxQuantityScale || !t.Price.valid() {
			return 0, errTerm
		}
		hi, lo := t.Price.fixed()
		s.add(hi, lo, t.Quantity, t.Decimals)
	}
	return s.nano()
}

// A sum counts in units of 10^-(maxScale+maxQuantityScale) USD. A price is less than 2^120 of
// 10^-maxScale, a quantity less than 2^120 of 10^-maxQuantityScale; so the sum of
// maxTerms products fits in 256 bits.
const (
	maxQuantityScale = 18
	maxTerms         = 1 << 16
	sumScale         = maxScale + maxQuantityScale
	nanoScale        = 9
)

// sum is an unsigned number of 256 bits, the lowest first.
type sum [4]uint64

// add adds quantity/10^decimals × price, the price as Decimal.fixed gives it.
func (s *sum) add(hi, lo uint64, quantity int64, decimals uint8) {
	qhi, qlo := mul128(0, uint64(quantity), maxQuantityScale-int(decimals))
	s.addProduct(lo, qlo, 0)
	s.addProduct(lo, qhi, 1)
	s.addProduct(hi, qlo, 1)
	s.addProduct(hi, qhi, 2)
}

// addProduct adds a × b × 2^(64·at).
func (s *sum) addProduct(a, b uint64, at int) {
	high, low := bits.Mul64(a, b)
	var carry uint64
	s[at], carry = bits.Add64(s[at], low, 0)
	s[at+1], carry = bits.Add64(s[at+1], high, carry)
	for i := at + 2; i < len(s); i++ {
		s[i], carry = bits.Add64(s[i], 0, carry)
	}
}

// nano rounds the sum half to even to nano-dollars.
func (s *sum) nano() (int64, error) {
	// 10^39, by which the sum is divided, is 10^19 · 10^19 · 10: the last remainder
	// decides about the half, the ones before it only whether it is exact.
	first := s.divide(pow10(maxPow10))
	second := s.divide(pow10(maxPow10))
	last := s.divide(pow10(sumScale - nanoScale - 2*maxPow10))
	const half = 5
	if last > half || last == half && (first != 0 || second != 0 || s[0]&1 == 1) {
		s[0]++ // the quotient is far below 2^256, and a carry out of s[0] is too large below
		if s[0] == 0 {
			return 0, ErrTooLarge
		}
	}
	if s[1]|s[2]|s[3] != 0 || s[0] > uint64(MaxCost) {
		return 0, ErrTooLarge
	}
	return int64(s[0]), nil
}

// divide divides s by d and returns the remainder.
func (s *sum) divide(d uint64) (remainder uint64) {
	for i := len(s) - 1; i >= 0; i-- {
		s[i], remainder = bits.Div64(remainder, s[i], d)
	}
	return remainder
}

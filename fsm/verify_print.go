package fsm

import (
	"hash/maphash"
	"math/bits"
)

// A verification compares millions of rows without holding them, by fingerprints. That of a lot of rows is a linear
// function of what they say, with coefficients that are drawn anew for each verification, and so is that of the
// lines that the rows follow from: it adds up line by line, in any order. Equal rows have equal fingerprints. Different ones
// have equal ones by chance only, once in 2⁶⁰ lots, whoever made them; each is computed in two rings:
//
//	modulo 2⁶¹ − 1     finds every difference that is no multiple of that
//	modulo 2⁶⁴         finds those
//
// Rows whose fingerprint differs are compared one by one, which names them. A row that says nothing but zeros is in no fingerprint.
type print struct {
	prime uint64 // modulo mersenne61
	wrap  uint64 // modulo 2⁶⁴
}

// mersenne61 is the prime of a fingerprint's first half.
const mersenne61 = 1<<61 - 1

// add adds another fingerprint.
func (p *print) add(o print) {
	p.prime, p.wrap = reduce61(p.prime+o.prime), p.wrap+o.wrap
}

// times returns the product of a fingerprint and a coefficient.
func (p print) times(by print) print {
	hi, lo := bits.Mul64(p.prime, by.prime)
	return print{reduce61(lo&mersenne61 + (lo>>61 | hi<<3)), p.wrap * by.wrap}
}

// reduce61 returns n modulo mersenne61.
func reduce61(n uint64) uint64 {
	n = n&mersenne61 + n>>61
	if n >= mersenne61 {
		n -= mersenne61
	}
	return n
}

// factor returns an amount as a factor.
func factor(n int64) print {
	if n < 0 {
		return print{reduce61(mersenne61 - reduce61(uint64(-n))), uint64(n)}
	}
	return print{reduce61(uint64(n)), uint64(n)}
}

// wide returns hi·2⁶⁴ + lo, in two's complement, as a factor.
func wide(hi int64, lo uint64) print {
	p := factor(hi).times(print{prime: 8}) // 2⁶⁴ is 8 modulo 2⁶¹ − 1
	p.add(print{prime: reduce61(lo), wrap: lo})
	return p
}

// printer draws coefficients.
type printer struct{ amount, events maphash.Seed }

func newPrinter() *printer { return &printer{maphash.MakeSeed(), maphash.MakeSeed()} }

// row returns the coefficient of a row, by its key.
func (d *printer) row(key []byte) print { return coefficient(maphash.Bytes(d.amount, key)) }

// pair returns the fingerprint of a row that is either there or not.
func (d *printer) pair(key, value []byte) print {
	return coefficient(maphash.Bytes(d.amount, key)).times(coefficient(maphash.Bytes(d.events, value)))
}

func coefficient(h uint64) print { return print{reduce61(h), h} }

// sum returns the fingerprint of one capability's sum, less the coefficient of its row.
func (d *printer) sum(capability string, amount print, events int64) print {
	p := coefficient(maphash.String(d.amount, capability)).times(amount)
	p.add(coefficient(maphash.String(d.events, capability)).times(factor(events)))
	return p
}

// rollup returns the fingerprint of a stored row's content.
func (d *printer) rollup(stored []byte) (p print, err error) {
	events := int64(0)
	err = eachStoredSum(stored, &events, func(capability []byte, s rollupSum) {
		p.add(d.sum(view(capability), wide(s.hi, s.lo), s.events))
	})
	p.add(d.sum("", factor(0), events)) // no capability is called so
	return p, err
}

// line returns the fingerprint of what a line adds to each of its rows.
func (d *printer) line(e *Event, events int64) print {
	p := d.sum("", factor(0), events)
	for _, q := range e.Usage {
		p.add(d.sum(q.Capability, factor(q.Amount), events))
	}
	return p
}

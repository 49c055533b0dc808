package fsm

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// Fingerprints compute in both rings as numbers without a bound do.
func TestFingerprintsAreLinear(t *testing.T) {
	prime := new(big.Int).SetUint64(mersenne61)
	wrap := new(big.Int).Lsh(big.NewInt(1), 64)
	is := func(t *rapid.T, what string, p print, want *big.Int) {
		t.Helper()
		if p.prime != new(big.Int).Mod(want, prime).Uint64() || p.wrap != new(big.Int).Mod(want, wrap).Uint64() {
			t.Fatalf("%s is %d and %d, want %d", what, p.prime, p.wrap, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		lo := rapid.Uint64().Draw(t, "lo")
		x, y := big.NewInt(a), big.NewInt(b)
		is(t, "a number", factor(a), x)
		is(t, "a product", factor(a).times(factor(b)), new(big.Int).Mul(x, y))
		sum := factor(a)
		sum.add(factor(b))
		is(t, "a sum", sum, new(big.Int).Add(x, y))
		is(t, "a number of 128 bits", wide(a, lo), new(big.Int).Add(new(big.Int).Mul(x, wrap), new(big.Int).SetUint64(lo)))
	})
}

// Lines and the row that sums them have one fingerprint, and no other row has it.
func TestARowHasTheFingerprintOfItsLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newPrinter()
		var lines print
		row := &rollup{}
		for range rapid.IntRange(1, 20).Draw(t, "lines") {
			e := &Event{}
			events := rapid.Int64Range(-1, 1).Draw(t, "events")
			row.events += events
			for range rapid.IntRange(0, 3).Draw(t, "usage") {
				q := Quantity{rapid.SampledFrom([]string{CapUSD, CapTokens, "images"}).Draw(t, "capability"), rapid.Int64().Draw(t, "amount")}
				e.Usage = append(e.Usage, q)
				row.add(q.Capability, q.Amount, events)
			}
			lines.add(d.line(e, events))
		}
		stored, err := d.rollup(row.append(nil))
		if err != nil || stored != lines {
			t.Fatalf("%v of the row, %v of its lines: %v", stored, lines, err)
		}
		bit := rapid.IntRange(0, 127).Draw(t, "bit")
		switch {
		case len(row.sums) == 0 || rapid.Bool().Draw(t, "count"):
			row.events ^= 1 << (bit % 63)
		case bit < 64:
			row.sums[0].lo ^= 1 << bit
		default:
			row.sums[0].hi ^= 1 << (bit - 64)
		}
		if stored, _ = d.rollup(row.append(nil)); stored == lines {
			t.Fatalf("bit %d makes no difference", bit)
		}
	})
}

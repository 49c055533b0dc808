package bench

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Skew says who makes the calls.
type Skew string

// The skews.
const (
	SkewUniform Skew = "uniform" // every caller as often
	SkewZipf    Skew = "zipf"    // shares fall off as a Zipf distribution: some callers are far busier than others
	SkewHot     Skew = "hot"     // nine calls of ten come from one caller in a hundred, and who these are moves on
)

// Shapes of the skews.
const (
	zipfExponent = 1.2
	zipfFlat     = 4
	hotShare     = 0.9 // of the calls
	hotPart      = 100 // one n-th of the callers
)

// Validate names the flag that is wrong.
func (s Skew) Validate() error {
	switch s {
	case SkewUniform, SkewZipf, SkewHot:
		return nil
	}
	return fmt.Errorf("--skew %q: want %s, %s or %s", s, SkewUniform, SkewZipf, SkewHot)
}

// picker chooses callers. It is not safe for concurrent use: each worker has its own.
type picker struct {
	skew Skew
	rng  *rand.Rand
	zipf *rand.Zipf
	n    int
	hop  time.Duration // how long a hot spot stays
}

func newPicker(s Skew, callers int, hop time.Duration, seed, worker uint64) *picker {
	rng := rand.New(rand.NewPCG(seed, worker))
	return &picker{skew: s, rng: rng, n: callers, hop: hop, zipf: rand.NewZipf(rng, zipfExponent, zipfFlat, uint64(callers-1))}
}

// scatter is a large prime: multiples of it modulo the number of callers spread
// busy callers over the tree instead of leaving them side by side.
const scatter = 2_147_483_647

// pick returns the caller of a call this long after the start.
func (p *picker) pick(after time.Duration) int {
	switch p.skew {
	case SkewZipf:
		return int(p.zipf.Uint64() * scatter % uint64(p.n))
	case SkewHot:
		if p.rng.Float64() < hotShare {
			hot := max(1, p.n/hotPart)
			from := int(after/p.hop) * hot
			return (from + p.rng.IntN(hot)) % p.n
		}
	}
	return p.rng.IntN(p.n)
}

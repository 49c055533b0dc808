package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Kind is what one call of a load does.
type Kind string

// The kinds.
const (
	KindCheck   Kind = "check"   // POST /v1/check without a reservation
	KindReserve Kind = "reserve" // with one, settled later by an event of half its amount
	KindIngest  Kind = "ingest"  // POST /v1/ingest of a batch
)

// kinds in the order that reports have them.
var kinds = []Kind{KindCheck, KindReserve, KindIngest}

// Mixed is short for the weights of an application that checks more often than it calls.
const (
	Mixed        = "mixed"
	mixedWeights = "check=6,reserve=3,ingest=1"
	maxWeight    = 1_000
)

// Workload is which kinds a load makes, and how often in relation to one another.
type Workload struct {
	weights [3]int // by place in kinds
	text    string
}

// UnmarshalText reads a kind, "mixed", or weights as check=8,reserve=1,ingest=1.
func (w *Workload) UnmarshalText(b []byte) error {
	text := string(b)
	*w = Workload{text: text}
	if text == Mixed {
		text = mixedWeights
	}
	for _, part := range strings.Split(text, ",") {
		name, weight, weighed := strings.Cut(part, "=")
		at := slices.Index(kinds, Kind(name))
		n := 1
		var err error
		if weighed {
			n, err = strconv.Atoi(weight)
		}
		if at < 0 || err != nil || n < 1 || n > maxWeight {
			return fmt.Errorf("workload %q: want check, reserve, ingest, mixed, or weights of 1 to %d as %s", part, maxWeight, mixedWeights)
		}
		if w.weights[at] != 0 {
			return fmt.Errorf("workload %q: %s is there twice", b, name)
		}
		w.weights[at] = n
	}
	return nil
}

// String returns it as it was given.
func (w Workload) String() string { return w.text }

// has reports whether calls of the kind are made.
func (w Workload) has(k Kind) bool { return w.weights[slices.Index(kinds, k)] > 0 }

// spends reports whether it leaves lines in a ledger.
func (w Workload) spends() bool { return w.has(KindReserve) || w.has(KindIngest) }

// pick draws the kind of one call.
func (w Workload) pick(rng *rand.Rand) Kind {
	sum := 0
	for _, n := range w.weights {
		sum += n
	}
	at := rng.IntN(sum)
	for i, n := range w.weights {
		if at -= n; at < 0 {
			return kinds[i]
		}
	}
	panic("unreachable: the weights add up to sum")
}

// Validate reports an empty workload.
func (w Workload) Validate() error {
	if w == (Workload{}) {
		return errors.New("--workload is empty: want check, reserve, ingest, mixed or weights")
	}
	return nil
}

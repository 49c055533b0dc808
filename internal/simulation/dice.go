package simulation

import (
	"math/rand/v2"
	"sync"
	"time"
)

// dice is one actor's stream of choices. Each actor has its own, so that what one
// does leaves the others' choices as they were.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

// The streams of a seed.
const (
	streamScenario = iota + 1
	streamWorld
	streamDisk
	streamChaos
	streamAdmin
	streamFinale
	streamClocks
	streamClients // and above
)

func newDice(seed, stream uint64) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, stream))}
}

// upTo returns 0 to n.
func (d *dice) upTo(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Int64N(n + 1)
}

// between returns lo to hi.
func (d *dice) between(lo, hi int64) int64 { return lo + d.upTo(hi-lo) }

// wait returns a duration from lo to hi.
func (d *dice) wait(lo, hi time.Duration) time.Duration {
	return time.Duration(d.between(int64(lo), int64(hi)))
}

// chance is true in percent cases of a hundred.
func (d *dice) chance(percent int64) bool { return d.upTo(99) < percent }

// pick returns one of the choices.
func pick[T any](d *dice, choices ...T) T { return choices[d.upTo(int64(len(choices)-1))] }

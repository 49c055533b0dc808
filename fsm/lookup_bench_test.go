package fsm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkEventLookup asks a ledger whether it has an event: what a node does
// before it accepts one, and apply before it settles one. Nearly always it has not.
func BenchmarkEventLookup(b *testing.B) {
	const perEntry = 300
	r := benchRig(b)
	keys := benchKeys(r, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	id := func() string { return fmt.Sprintf("%016x", rng.Uint64()) } // as unordered as callers' own ids
	lines := 0
	for _, ledger := range []int{10_000, 200_000} {
		var last string
		for ; lines < ledger; lines += perEntry {
			c := busy(r, keys, lines, perEntry)
			for p := range c.Parts {
				for e := range c.Parts[p].Events {
					last = id()
					c.Parts[p].Events[e].ID = last
				}
			}
			r.must(c)
			r.log = nil
		}
		if err := committed(b, r.m).Compact(context.Background(), []byte{0}, []byte{0xff}, true); err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct {
			name string
			id   func() string
			want bool
		}{{"new", id, false}, {"known", func() string { return last }, true}} {
			b.Run(fmt.Sprintf("event=%s/ledger=%d", c.name, ledger), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, ok, err := r.m.Event("acme", c.id()); err != nil || ok != c.want {
						b.Fatal(ok, err)
					}
				}
			})
		}
	}
}

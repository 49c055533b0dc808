package fsm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// drains makes a machine with unused and used budgets of several cadences, and drains nodes between other entries. by is called before each drain.
func drains(t *testing.T, seed uint64, version uint8, by func(r *rig)) *rig {
	r := newRig(t)
	r.version = version
	rng := rand.New(rand.NewPCG(seed, 3))
	var made []*Assignment
	for i := range 40 {
		user := fmt.Sprint("u", i)
		r.must(PutEntities{Account: "acme", Items: []Entity{{ID: user, Type: "user"}}})
		every := []Every{EveryNever, EveryMonth, EveryHour, EveryMinute}[i%4]
		made = append(made, r.assign(int64(rng.IntN(1000)), per(every), func(a *Assignment) {
			a.Entity = user
			if i%10 == 9 {
				a.Enforcement = Soft
			}
		}))
	}
	boots := []uint64{0, 1, 1, 1}
	for round := range 12 {
		if err := r.m.Commit(); err != nil { // what is as it was born becomes a seed
			t.Fatal(err)
		}
		n := NodeNum(1 + rng.IntN(3))
		a := made[rng.IntN(len(made))]
		k := r.period(a)
		by(r)
		batch := []Body{DrainNode{Node: n, Boot: boots[n], Keep: []Keep{{Budget: k, Amount: int64(rng.IntN(50))}}}}
		switch round % 4 {
		case 1:
			batch = append(batch, BootNode{Node: n, Boot: boots[n] + 1}, ask(n, Ask{Budget: r.period(made[rng.IntN(len(made))]), NeedMin: 1, NeedSum: 1}))
			boots[n]++
		case 2:
			gone := rng.IntN(len(made))
			batch = append(batch, DeleteAssignment{Account: "acme", ID: made[gone].ID})
			made = append(made[:gone], made[gone+1:]...)
		case 3:
			other := n%3 + 1
			batch = append(batch, DrainNode{Node: other, Boot: boots[other]})
		}
		r.apply(batch...)
		r.must(settle(n%3+1, r.event(fmt.Sprint("e", round), r.period(made[0]), 1, 0, n%3+1)))
		r.now += int64(rng.IntN(40 * 60_000))
	}
	return r
}

// What a drain makes of budgets does not depend on which of them are seeds: replicas of another release, or that were
// opened at another time, have others. The checksum says that they wrote the same in the same order.
func TestADrainIsTheSameForSeedsAndForBudgetsByThemselves(t *testing.T) {
	for _, version := range []uint8{0, packedFrom - 1} {
		seeds := 0
		for seed := range uint64(20) {
			asSeeds := drains(t, seed, version, func(r *rig) {
				for rec := range r.m.s.records.all() {
					if rec.seed != nil && len(rec.seed.nodes) > 0 {
						seeds++
					}
				}
			})
			alone := drains(t, seed, version, func(r *rig) {
				for rec := range r.m.s.records.all() {
					r.m.s.sprout(rec)
				}
			})
			if a, b := asSeeds.m.s.sum, alone.m.s.sum; a != b {
				t.Fatalf("seed %d: checksum %x, of budgets by themselves %x", seed, a, b)
			}
			if a, b := asSeeds.stored(), alone.stored(); !maps.Equal(a, b) {
				t.Fatalf("seed %d: the stores differ: %d and %d keys", seed, len(a), len(b))
			}
			for _, again := range []bool{false, true} {
				if again {
					asSeeds.reopen()
				}
				for rec := range alone.m.s.records.all() {
					alone.m.s.sprout(rec)
					for b := rec.budgets; b != nil; b = b.next {
						if got := asSeeds.budget(b.Key); got.Used != b.Used || got.Holder != b.Holder || fmt.Sprint(got.Leases) != fmt.Sprint(b.Leases) {
							t.Fatalf("seed %d, opened again %v: %+v, want %+v", seed, again, got, b.Budget)
						}
					}
				}
			}
		}
		if seeds < 100 {
			t.Errorf("%d budgets were drained as seeds: the test shows nothing", seeds)
		}
	}
}

// Unused budgets take no memory for a node that stops.
func TestADrainLeavesUnusedBudgetsSeeds(t *testing.T) {
	r := newRig(t)
	const n = 100
	for range n {
		r.assign(1000)
	}
	if err := r.m.Commit(); err != nil {
		t.Fatal(err)
	}
	r.must(DrainNode{Node: 2, Boot: 1})
	for rec := range r.m.s.records.all() {
		if rec.budgets != nil || rec.seed == nil || len(rec.seed.nodes) != 2 {
			t.Fatalf("assignment %d: budgets %v, seed %+v", rec.num, rec.budgets, rec.seed)
		}
	}
	if told := len(r.last().Budgets); told != 0 || !r.last().Nodes {
		t.Errorf("%d budgets are told one by one, nodes %v", told, r.last().Nodes)
	}
}

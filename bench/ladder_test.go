package bench

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLadderHasItsDepthAndParentsFirst(t *testing.T) {
	for _, l := range []Ladder{{1, 2}, {1, 32}, {25, 2}, {25, 3}, {25, 5}, {1000, 5}, {1001, 32}} {
		t.Run(fmt.Sprintf("%d in %d", l.Entities, l.Depth), func(t *testing.T) {
			known, members := map[string]bool{"acct": true}, map[string]int{}
			for _, e := range l.entities("acct") {
				if !known[*e.Parent] || known[e.ID] {
					t.Fatalf("%s below %s: the parent must come first, and each once", e.ID, *e.Parent)
				}
				known[e.ID] = true
				members[*e.Parent]++
			}
			for id, n := range members {
				if n > groupMembers && id != "acct" {
					t.Errorf("%s has %d members, at most %d are right", id, n, groupMembers)
				}
			}
			chains := l.chains("acct")
			if len(chains) != l.Entities {
				t.Fatalf("%d callers, want %d", len(chains), l.Entities)
			}
			for _, c := range chains {
				if len(c) != l.Depth || c[len(c)-1] != "acct" {
					t.Fatalf("chain %v, want %d levels up to the root", c, l.Depth)
				}
			}
			if got, want := len(l.budgets("acct", l.entities("acct"))), 2*len(known); got != want {
				t.Errorf("%d budgets, want %d", got, want)
			}
		})
	}
	want := []string{"caller-24", "group-3-2", "group-2-0", "acct"}
	if d := cmp.Diff(want, Ladder{25, 4}.chains("acct")[24]); d != "" {
		t.Errorf("chain (-want +got):\n%s", d)
	}
}

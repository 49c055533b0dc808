package bench

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTreeHasEveryLevel(t *testing.T) {
	tr := newTree("acct", Shape{Projects: 2, Teams: 2, Users: 5})
	want := []string{"agent-of-user-0-1-4", "user-0-1-4", "team-0-1", "project-0", "org", "acct"}
	if d := cmp.Diff(want, tr.chain(want[0])); d != "" {
		t.Errorf("chain (-want +got):\n%s", d)
	}
	if got := len(tr.leaves); got != 22 { // 20 users, and an agent for each tenth leaf
		t.Errorf("%d leaves, want 22", got)
	}
}

func TestCallersAreSkewedAndRepeatable(t *testing.T) {
	tr := newTree("acct", Shape{Projects: 2, Teams: 2, Users: 5})
	a, b := tr.callers(10_000, 7), tr.callers(10_000, 7)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave other callers")
	}
	count := map[string]int{}
	for _, id := range a {
		count[id]++
	}
	busiest := 0
	for _, n := range count {
		busiest = max(busiest, n)
	}
	if even := 10_000 / len(tr.leaves); busiest < 2*even {
		t.Errorf("the busiest caller made %d calls; an even share is %d", busiest, even)
	}
}

func TestBudgetsLetAShareOfTheTraceIn(t *testing.T) {
	tr := newTree("acct", Shape{Projects: 1, Teams: 1, Users: 1})
	calls := []TraceCall{{Input: 100, Output: 10}, {Input: 50, Output: 5}}
	var got []string
	for _, a := range tr.budgets(calls, []string{"user-0-0-0", "user-0-0-0"}, 0.5, 0) {
		limit := "unlimited"
		if a.Limit != nil {
			if *a.Limit != 82 { // half of 165, rounded down
				t.Errorf("%s %s: limit %d, want 82", a.Entity, a.Capability, *a.Limit)
			}
			limit = a.Enforcement
		}
		got = append(got, a.Entity+" "+a.Capability+" "+limit)
	}
	want := []string{"org tokens hard", "org requests unlimited", "project-0 tokens hard", "team-0-0 tokens soft",
		"user-0-0-0 tokens hard", "user-0-0-0 requests unlimited"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("budgets (-want +got):\n%s", d)
	}
}

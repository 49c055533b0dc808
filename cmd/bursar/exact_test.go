package main

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// The first promise and the second at once, over three real processes: exactly
// the limit is admitted, and nobody is refused while there is room.
func TestHardLimitAdmitsExactlyTheLimit(t *testing.T) {
	const clients = 64
	limits := []int64{10, 100, 1000}
	if long() {
		limits = append(limits, 100_000)
	}
	c := startCluster(t, 3, nil)
	run := 0
	for _, traffic := range []struct {
		name      string
		pick      func(*load) func() int
		releasing float64
	}{
		{"even", func(l *load) func() int { return l.anyNode }, 0},
		{"95 percent on one node", func(l *load) func() int { return l.mostlyFirst }, 0},
		{"half released", func(l *load) func() int { return l.anyNode }, 0.5},
	} {
		for _, limit := range limits {
			run++
			t.Run(fmt.Sprintf("%s/%d", traffic.name, limit), func(t *testing.T) {
				team := fmt.Sprintf("team-%d", run)
				c.in(t).makeTeam(team, limit)
				l := &load{c: c.in(t), team: team, limit: limit}
				l.pick = traffic.pick(l)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(limit)*5*time.Millisecond)
				defer cancel()
				began := time.Now()
				l.spend(ctx, clients, traffic.releasing)
				t.Logf("%v in %v", l, time.Since(began).Round(time.Millisecond))
				l.faults()
				if got := l.allowed.Load() - l.released.Load(); got != limit || l.settled.Load() != limit {
					t.Errorf("admitted %d, settled %d, want %d of each (%v)", got, l.settled.Load(), limit, l)
				}
				l.c.settles(team, limit, 20*time.Second)
			})
		}
	}
	c.stopAll()
}

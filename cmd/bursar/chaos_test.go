package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

// Nodes are killed with kill -9, the leader included, while clients call and
// retry elsewhere under the same event id. Nothing is overspent, nothing
// acknowledged is lost or counted twice, and after healing the rest is spendable
// to exactly the limit.
func TestKilledNodesLoseAndDoubleNothing(t *testing.T) {
	const (
		clients = 16
		team    = "team"
		limit   = 5_000
		ttl     = 15 * time.Second // longer than a node is down, so no hold expires before its event arrives
	)
	trouble := 10 * time.Second
	if long() {
		trouble = time.Minute
	}
	c := startCluster(t, 3, nil)
	c.makeTeam(team, limit)
	l := &load{c: c, team: team, limit: limit}
	l.pick = l.anyNode

	finishing, giveUp := context.WithTimeout(t.Context(), trouble+2*time.Minute)
	defer giveUp()
	kills := 0
	l.during(finishing, callers{clients, limit / 2, ttl, 20 * time.Millisecond}, func(context.Context) {
		for began := time.Now(); time.Since(began) < trouble; kills++ {
			time.Sleep(2*time.Second + time.Duration(rand.IntN(2000))*time.Millisecond)
			victim := c.leader()
			if kills%2 == 1 {
				victim = rand.IntN(len(c.nodes))
			}
			c.nodes[victim].kill()
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
			c.start(victim)
			c.waitReady(victim)
		}
	})
	t.Logf("%d kills: %v", kills, l)
	l.closeBooks(finishing, clients, ttl)
}

// callers are clients that reserve and settle, one request at a time.
type callers struct {
	number int
	most   int64         // grants after which they stop
	ttl    time.Duration // of a hold
	pause  time.Duration // between two calls, at most
}

// during lets the callers call until trouble returns; what they were granted they
// settle, which has time until finishing ends.
func (l *load) during(finishing context.Context, who callers, trouble func(calling context.Context)) {
	calling, stop := context.WithCancel(finishing)
	defer stop()
	var all sync.WaitGroup
	for range who.number {
		all.Go(func() {
			for calling.Err() == nil {
				if l.allowed.Load() < who.most {
					if reservation, ok := l.reserve(calling, who.ttl, false); ok {
						l.ingest(finishing, "evt-"+ulid.Make().String(), reservation)
					}
				}
				time.Sleep(rand.N(who.pause))
			}
		})
	}
	trouble(calling)
	stop()
	all.Wait()
}

// closeBooks checks, after whatever went wrong, that every acknowledged event is in every
// ledger once and no other is, that the balances of all nodes say so, that nothing is
// in doubt, and that the rest is spendable to exactly the limit. Holds whose answer was lost live for ttl.
func (l *load) closeBooks(ctx context.Context, clients int, ttl time.Duration) {
	c, spent := l.c, l.settled.Load()
	c.t.Helper()
	l.faults()
	c.checkLedger(l)
	if spent == 0 || spent > l.limit {
		c.t.Fatalf("%d used of %d", spent, l.limit)
	}
	c.settles(l.team, spent, ttl+20*time.Second)
	before := l.allowed.Load()
	l.allowed.Store(spent) // what was granted and never settled has expired
	l.released.Store(0)
	l.spend(ctx, clients, 0)
	l.faults()
	if total := l.settled.Load(); total != l.limit {
		c.t.Errorf("after healing %d were spent in all, want %d (%d were granted before)", total, l.limit, before)
	}
	c.settles(l.team, l.limit, 20*time.Second)
	c.checkLedger(l)
	c.stopAll()
}

// checkLedger compares the ledger of every node with what was acknowledged:
// each event once, and no other.
func (c *testCluster) checkLedger(l *load) {
	c.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	acked := map[string]bool{}
	for _, id := range l.acked {
		if acked[id] {
			c.t.Fatalf("the test acknowledged %s twice", id)
		}
		acked[id] = true
	}
	for i := range c.nodes {
		eventually(c.t, 30*time.Second, func() error {
			lines := c.ledger(i)
			for id := range acked {
				if n := len(lines[id]); n != 1 {
					return fmt.Errorf("%s: the acknowledged event %s is in the ledger %d times", c.nodes[i].name, id, n)
				}
			}
			for id := range lines {
				if !acked[id] {
					return fmt.Errorf("%s: event %s is in the ledger and was never acknowledged", c.nodes[i].name, id)
				}
			}
			return nil
		})
	}
}

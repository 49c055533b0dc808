package enforcer

import (
	"flag"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// sizes draws amounts from 1 to n.
func (s *sim) sizes(n int) func() int64 {
	return func() int64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return 1 + int64(s.rng.IntN(n))
	}
}

func (s *sim) leads(nd *simNode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader == nd.num
}

// outage is a way in which a node goes away and comes back.
type outage struct{ begin, end func(*simNode) }

var (
	crash     = outage{(*simNode).kill, func(nd *simNode) { nd.start(); nd.awaitReady() }}
	partition = outage{
		func(nd *simNode) { nd.set(&nd.cut, true) },
		func(nd *simNode) { nd.set(&nd.cut, false) },
	}
	reboot = outage{
		func(nd *simNode) { nd.powerCut(int(nd.s.sizes(100)())) },
		func(nd *simNode) { nd.start(); nd.awaitReadyFor(2 * time.Minute) },
	}
)

// disrupt takes random nodes away and brings them back until stop is closed; a
// leader that is taken is followed by another.
func (d *driver) disrupt(stop <-chan struct{}, every time.Duration, how outage) {
	s := d.s
	for {
		select {
		case <-stop:
			return
		case <-time.After(s.between(every/2, every)):
		}
		nd := s.anyUp()
		s.note("node %d goes away", nd.num)
		d.doubt(true)
		how.begin(nd)
		if s.leads(nd) {
			s.elect(0)
			time.Sleep(s.between(200*time.Millisecond, 1200*time.Millisecond))
			s.elect(s.anyUp().num)
		}
		time.Sleep(s.between(0, 2500*time.Millisecond))
		how.end(nd)
		s.note("node %d is back", nd.num)
		time.Sleep(settleTime)
		d.doubt(false)
	}
}

// doubt says whether a node is away, or was a moment ago.
func (d *driver) doubt(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsafe = on
}

// TestNothingIsOverspentOrLostUnderFaults is the heart of the promises: whatever
// the network and the machines do, the callers' own sums hold at every step, and
// in the end the limit is spent to the last unit.
func TestNothingIsOverspentOrLostUnderFaults(t *testing.T) {
	for _, c := range []struct {
		name     string
		limit    int64
		size     int
		faults   faults
		crash    time.Duration
		cut      time.Duration
		skewed   bool
		duration time.Duration
	}{
		{name: "loss, repeats and reordering", limit: 5_000, size: 3, faults: faults{lose: 10, repeat: 10, slow: 20 * time.Millisecond}, duration: 5 * time.Second},
		{name: "tiny budget under loss", limit: 40, size: 1, faults: faults{lose: 10, repeat: 10, slow: 5 * time.Millisecond}, duration: 5 * time.Second},
		{name: "crashes", limit: 6_000, size: 5, crash: time.Second, duration: 15 * time.Second},
		{name: "crashes near the end", limit: 300, size: 2, crash: time.Second, duration: 15 * time.Second},
		{name: "crashes and loss", limit: 3_000, size: 3, crash: 500 * time.Millisecond, faults: faults{lose: 5, repeat: 5, slow: 5 * time.Millisecond}, duration: 15 * time.Second},
		{name: "partitions", limit: 3_000, size: 3, cut: time.Second, duration: 15 * time.Second},
		{name: "partitions and loss near the end", limit: 300, size: 2, cut: time.Second, faults: faults{lose: 5, repeat: 5, slow: 5 * time.Millisecond}, duration: 15 * time.Second},
		{name: "all traffic on one node", limit: 2_000, size: 3, skewed: true, duration: 5 * time.Second},
	} {
		for seed := range seeds() {
			t.Run(fmt.Sprintf("%s/%d", c.name, seed), func(t *testing.T) {
				inSim(t, func(t *testing.T) {
					s := newSim(t, 3, seed)
					defer s.close()
					s.disturb(c.faults)
					d := &driver{s: s, limit: c.limit, num: s.assign("team", c.limit, fsm.EveryNever)}
					s.assign("alice", c.limit*2, fsm.EveryNever) // a second level that never decides
					var chaos sync.WaitGroup
					stop := make(chan struct{})
					if c.crash > 0 {
						chaos.Go(func() { d.disrupt(stop, c.crash, crash) })
					}
					if c.cut > 0 {
						chaos.Go(func() { d.disrupt(stop, c.cut, partition) })
					}
					on := s.anyUp
					if c.skewed {
						on = func() *simNode { return s.node(3) }
					}
					d.load(32, c.duration, on, s.sizes(c.size))
					close(stop)
					chaos.Wait()
					s.disturb(faults{})
					d.exhaust()
					d.report(t)
				})
			})
		}
	}
}

var (
	seedsFlag = flag.Uint64("seeds", 2, "how many seeds each simulation runs with; 1 with -short")
	seedFlag  = flag.Int64("seed", -1, "the one seed to run simulations with, as a failure has told it")
)

// seeds are what to run a simulation with.
func seeds() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if *seedFlag >= 0 {
			yield(uint64(*seedFlag))
			return
		}
		n := *seedsFlag
		if testing.Short() {
			n = 1
		}
		for seed := range n {
			if !yield(seed) {
				return
			}
		}
	}
}

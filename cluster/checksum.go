package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// checksumTimeout bounds one comparison.
const checksumTimeout = 2 * time.Second

// checksum is what a replica has at an index.
type checksum struct {
	Index uint64 `msgpack:"i"`
	Sum   uint64 `msgpack:"s"`
	Known bool   `msgpack:"k"` // false: the replica does not remember that index
}

// watchChecksums has the replicas compared now and then. The sum that most of
// them have is right, the leader's if there is no most; each node judges itself by it.
func (l *leadership) watchChecksums() {
	tick := time.NewTicker(l.n.cfg.Tuning.ChecksumEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.compare()
		case <-l.ctx.Done():
			return
		}
	}
}

// compare performs one comparison.
func (l *leadership) compare() {
	ctx, cancel := context.WithTimeout(l.ctx, checksumTimeout)
	defer cancel()
	index, own := l.n.machine.Checksum()
	sums := l.askSums(ctx, index)
	votes := map[uint64]int{own: 1}
	right := own
	for _, c := range sums {
		votes[c.Sum]++
		if votes[c.Sum] > votes[right] {
			right = c.Sum
		}
	}
	if len(votes) == 1 {
		return
	}
	l.n.log.Error("replicas differ", "index", index, "sums", len(votes), "asked", len(sums)+1)
	verdict := &checksum{Index: index, Sum: right, Known: true}
	for name := range sums {
		l.n.rpc.call(ctx, l.n.target(name), methodVerdict, verdict, nil)
	}
	l.n.judged(verdict)
}

// askSums asks every other member for its sum at an index.
func (l *leadership) askSums(ctx context.Context, index uint64) map[string]checksum {
	sums := make(map[string]checksum)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range l.n.members.Load().nodes {
		if m.RemovedAt != 0 || m.Name == l.n.cfg.Name {
			continue
		}
		wg.Go(func() {
			var c checksum
			err := l.n.rpc.call(ctx, l.n.target(m.Name), methodChecksum, indexRequest{index}, &c)
			if err == nil && c.Known && c.Index == index {
				mu.Lock()
				sums[m.Name] = c
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return sums
}

// checksumAt answers what this replica has at an index, once it is applied.
func (n *Node) checksumAt(ctx context.Context, index uint64) (*checksum, error) {
	if err := n.machine.WaitApplied(ctx, index); err != nil {
		return nil, err
	}
	sum, ok := n.machine.ChecksumAt(index)
	return &checksum{Index: index, Sum: sum, Known: ok}, nil
}

// judged compares this replica with what most have. One that differs must not
// decide any more: the node fails.
func (n *Node) judged(c *checksum) error {
	if sum, ok := n.machine.ChecksumAt(c.Index); ok && sum != c.Sum {
		n.fail(fmt.Errorf("this replica differs from the others at index %d (%016x, they have %016x): its state is damaged; remove this node, empty its data directory and let it join anew", c.Index, sum, c.Sum))
	}
	return nil
}

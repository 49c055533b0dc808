package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// openLoop starts call i at start + offset(i), for i = 0 … n−1, whether or not
// earlier calls have come back. At most workers calls run at once; a call that
// finds no free worker starts late, and because do is given the intended start,
// its latency shows that. It returns when all calls have come back, or with the
// context's error when that ends first (calls under way are waited for).
//
// behind reports how late the latest call was started, so that a reader of the
// figures can tell a slow server from a generator that could not keep up.
// wait is sleepUntil or pace.
func openLoop(ctx context.Context, n, workers int, wait func(context.Context, time.Time) bool, offset func(i int) time.Duration, do func(i int, intended time.Time)) (behind time.Duration, err error) {
	type job struct {
		i        int
		intended time.Time
	}
	var (
		jobs  = make(chan job)
		wg    sync.WaitGroup
		worst atomic.Int64
	)
	for range min(workers, n) {
		wg.Go(func() {
			for j := range jobs {
				if late := int64(time.Since(j.intended)); late > worst.Load() {
					worst.Store(late) // a lost race loses a figure within noise
				}
				do(j.i, j.intended)
			}
		})
	}
	start := time.Now()
feed:
	for i := range n {
		intended := start.Add(offset(i))
		if time.Until(intended) > 0 && !wait(ctx, intended) {
			break
		}
		select {
		case jobs <- job{i, intended}:
		case <-ctx.Done():
			break feed
		}
	}
	close(jobs)
	wg.Wait()
	return time.Duration(worst.Load()), ctx.Err()
}

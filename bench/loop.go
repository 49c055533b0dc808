package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Lateness is how late an open loop started its calls after their intended
// start, and whose doing that was. All of it is part of the latencies.
type Lateness struct {
	// Starved counts the calls that found all workers busy: the servers did not
	// keep up, or there are too few workers for the rate.
	Starved int64 `json:"starved"`
	// Own is the lateness of the others: the generator's own timers and scheduling.
	Own Quantiles `json:"own"`
	// Worst is the latest start of all, in nanoseconds.
	Worst time.Duration `json:"worst_ns"`
}

// lateness collects a Lateness.
type lateness struct {
	own     *Latency
	starved atomic.Int64
	worst   atomic.Int64
}

func (l *lateness) note(late time.Duration, starved bool) {
	if int64(late) > l.worst.Load() {
		l.worst.Store(int64(late)) // a lost race loses a figure within noise
	}
	if starved {
		l.starved.Add(1)
		return
	}
	l.own.Record(late)
}

func (l *lateness) sum() Lateness {
	return Lateness{Starved: l.starved.Load(), Own: l.own.Quantiles(), Worst: time.Duration(l.worst.Load())}
}

// openLoop starts call i at start + offset(i), for i = 0 … n−1, whether or not
// earlier calls have come back. At most workers calls run at once; a call that
// finds no free worker starts late, and because do is given the intended start,
// its latency shows that. It returns when all calls have come back, or with the
// context's error when that ends first (calls under way are waited for).
// wait is sleepUntil or pace. do also gets which worker it runs on, from 0.
func openLoop(ctx context.Context, n, workers int, wait func(context.Context, time.Time) bool, offset func(i int) time.Duration, do func(worker, i int, intended time.Time)) (Lateness, error) {
	type job struct {
		i        int
		intended time.Time
		starved  bool
	}
	workers = min(workers, n)
	var (
		jobs  = make(chan job, workers)
		late  = lateness{own: NewLatency()}
		open  atomic.Int64 // calls handed out and not back
		wg    sync.WaitGroup
		freed time.Time // when the pacer was last held up by busy workers
	)
	for w := range workers {
		wg.Go(func() {
			for j := range jobs {
				late.note(time.Since(j.intended), j.starved)
				do(w, j.i, j.intended)
				open.Add(-1)
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
		j := job{i, intended, open.Add(1) > int64(workers) || intended.Before(freed)}
		select {
		case jobs <- j:
			continue
		default:
		}
		select {
		case jobs <- j:
			freed = time.Now()
		case <-ctx.Done():
			break feed
		}
	}
	close(jobs)
	wg.Wait()
	return late.sum(), ctx.Err()
}

// closedLoop lets workers call one after the other until the time is over: a call
// starts when the worker's last one has come back.
func closedLoop(ctx context.Context, workers int, last time.Duration, do func(worker, i int, start time.Time)) error {
	var (
		next atomic.Int64
		wg   sync.WaitGroup
		end  = time.Now().Add(last)
	)
	for w := range workers {
		wg.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
				do(w, int(next.Add(1)-1), now)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

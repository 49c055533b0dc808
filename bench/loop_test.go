package bench

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOpenLoopStartsCallsOnTimeWhateverTheServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var calls atomic.Int64
		late, err := openLoop(t.Context(), 10, 10, sleepUntil, func(i int) time.Duration { return time.Duration(i) * time.Second },
			func(_, i int, intended time.Time) {
				if want := start.Add(time.Duration(i) * time.Second); !intended.Equal(want) || !time.Now().Equal(want) {
					t.Errorf("call %d: intended %v, started %v, want %v", i, intended, time.Now(), want)
				}
				calls.Add(1)
				time.Sleep(time.Minute) // a server that has stalled
			})
		if err != nil || calls.Load() != 10 || late.Worst != 0 || late.Starved != 0 {
			t.Errorf("%d calls, %+v late, error %v; want 10, none, nil", calls.Load(), late, err)
		}
	})
}

func TestOpenLoopCountsWaitingForAWorkerAsLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, err := openLoop(t.Context(), 3, 1, sleepUntil, func(int) time.Duration { return 0 },
			func(_, i int, intended time.Time) {
				time.Sleep(time.Second)
				if got, want := time.Since(intended), time.Duration(i+1)*time.Second; got != want {
					t.Errorf("call %d: latency %v, want %v", i, got, want)
				}
			})
		if err != nil || late.Worst != 2*time.Second || late.Starved != 2 {
			t.Errorf("%+v late, error %v; want 2s and 2 starved, nil", late, err)
		}
	})
}

func TestOpenLoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var calls atomic.Int64
		_, err := openLoop(ctx, 1000, 4, sleepUntil, func(i int) time.Duration { return time.Duration(i) * time.Second },
			func(int, int, time.Time) { calls.Add(1) })
		if err == nil || calls.Load() != 3 {
			t.Errorf("%d calls, error %v; want 3 and the context's", calls.Load(), err)
		}
	})
}

// What the server holds up is not put down to the generator, also while it catches up.
func TestOpenLoopTellsAStallFromItsOwnLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, stalled = 100, 4
		late, err := openLoop(t.Context(), n, stalled, sleepUntil, func(i int) time.Duration { return time.Duration(i) * time.Second },
			func(_, i int, _ time.Time) {
				if i < stalled {
					time.Sleep(20 * time.Second) // all workers at once
				}
			})
		if err != nil || late.Own.Max > 1 || late.Starved < 15 || late.Starved > 20 || late.Own.Count+late.Starved != n {
			t.Errorf("%+v, error %v; want some 17 starved and no lateness of its own", late, err)
		}
	})
}

func TestClosedLoopSendsTheNextCallWhenTheLastIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		err := closedLoop(t.Context(), 3, 10*time.Second, func(_, _ int, start time.Time) {
			if !start.Equal(time.Now()) {
				t.Errorf("started at %v, said %v", time.Now(), start)
			}
			calls.Add(1)
			time.Sleep(2 * time.Second)
		})
		if err != nil || calls.Load() != 15 {
			t.Errorf("%d calls, error %v; want 15 and nil", calls.Load(), err)
		}
	})
}

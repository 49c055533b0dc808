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
		behind, err := openLoop(t.Context(), 10, 10, sleepUntil, func(i int) time.Duration { return time.Duration(i) * time.Second },
			func(i int, intended time.Time) {
				if want := start.Add(time.Duration(i) * time.Second); !intended.Equal(want) || !time.Now().Equal(want) {
					t.Errorf("call %d: intended %v, started %v, want %v", i, intended, time.Now(), want)
				}
				calls.Add(1)
				time.Sleep(time.Minute) // a server that has stalled
			})
		if err != nil || calls.Load() != 10 || behind != 0 {
			t.Errorf("%d calls, %v behind, error %v; want 10, 0, nil", calls.Load(), behind, err)
		}
	})
}

func TestOpenLoopCountsWaitingForAWorkerAsLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind, err := openLoop(t.Context(), 3, 1, sleepUntil, func(int) time.Duration { return 0 },
			func(i int, intended time.Time) {
				time.Sleep(time.Second)
				if got, want := time.Since(intended), time.Duration(i+1)*time.Second; got != want {
					t.Errorf("call %d: latency %v, want %v", i, got, want)
				}
			})
		if err != nil || behind != 2*time.Second {
			t.Errorf("%v behind, error %v; want 2s, nil", behind, err)
		}
	})
}

func TestOpenLoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var calls atomic.Int64
		_, err := openLoop(ctx, 1000, 4, sleepUntil, func(i int) time.Duration { return time.Duration(i) * time.Second },
			func(int, time.Time) { calls.Add(1) })
		if err == nil || calls.Load() != 3 {
			t.Errorf("%d calls, error %v; want 3 and the context's", calls.Load(), err)
		}
	})
}

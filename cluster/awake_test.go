package cluster

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAPauseOfTheProcessCountsAsOnePartAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fired := make(chan time.Duration, 1)
		timer := AfterAwake(10*time.Second, func() { fired <- time.Since(began) })
		timer.passed() // what a pause of any length does: the part that was running is over when the process goes on
		if took := <-fired; took != 9*time.Second {
			t.Errorf("fired after %v, want the nine parts that were left", took)
		}
	})
}

func TestAStoppedTimerDoesNotFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timer := AfterAwake(10*time.Second, func() { t.Error("fired") })
		time.Sleep(9500 * time.Millisecond)
		timer.Stop()
		time.Sleep(time.Minute)
	})
}

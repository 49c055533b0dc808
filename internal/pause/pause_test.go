package pause

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPauseEndsWithItsTimeOrItsContext(t *testing.T) {
	for _, c := range []struct {
		name     string
		d, until time.Duration // of the pause; of the context
		took     time.Duration
		alive    bool
	}{
		{"its time", time.Second, time.Minute, time.Second, true},
		{"its context", time.Minute, time.Second, time.Second, false},
		{"nothing to wait for", 0, time.Second, 0, true},
		{"less than nothing", -time.Second, time.Second, 0, true},
		{"ended before", time.Minute, 0, 0, false},
		{"ended before, and nothing to wait for", 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.until)
				defer cancel()
				began := time.Now()
				if alive := For(ctx, c.d); alive != c.alive || time.Since(began) != c.took {
					t.Errorf("%v after %v, want %v after %v", alive, time.Since(began), c.alive, c.took)
				}
			})
		})
	}
}

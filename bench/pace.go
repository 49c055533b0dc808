package bench

import (
	"context"
	"time"
)

// sleepUntil waits for a moment with the runtime's timers, whose slack is about
// a millisecond, and reports whether it came before ctx ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

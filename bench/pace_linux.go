package bench

import (
	"context"
	"syscall"
	"time"
)

// maxNap is how long the pacer is deaf to the end of its context.
const maxNap = 20 * time.Millisecond

// pace waits for a moment in the kernel, whose slack is some 50 µs. Latencies
// count from the intended start, so at thousands of calls a second the slack of
// the runtime's timers would be most of what is measured.
func pace(ctx context.Context, at time.Time) bool {
	for {
		wait := time.Until(at)
		if wait <= 0 {
			return ctx.Err() == nil
		}
		nap := syscall.NsecToTimespec(int64(min(wait, maxNap)))
		_ = syscall.Nanosleep(&nap, nil) // a signal may cut it short: the loop looks again
		if ctx.Err() != nil {
			return false
		}
	}
}

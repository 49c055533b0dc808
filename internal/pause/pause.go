package pause

import (
	"context"
	"time"
)

// For waits for d and reports whether ctx was still alive then. It returns early when ctx
// ends, and at once where d is not positive.
func For(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

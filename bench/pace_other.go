//go:build !linux

package bench

import (
	"context"
	"time"
)

// pace is sleepUntil where there is nothing more exact.
func pace(ctx context.Context, at time.Time) bool { return sleepUntil(ctx, at) }

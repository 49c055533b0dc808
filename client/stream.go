package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// stream sends r and returns a good answer whose body, which the caller closes, is still to come; only ctx
// bounds it. Another endpoint is tried as long as no body has begun.
func (c *caller) stream(ctx context.Context, r *request) (*http.Response, error) {
	c.budget.earn()
	var tried attempts
	var last error
	for try := 1; try <= c.maxTries; try++ {
		e, rest, fresh := c.pool.pick(tried, r.ingests)
		if try > 1 && (!c.pause(ctx, rest, fresh, try-1) || !c.budget.spend()) {
			c.pool.abandoned(e)
			break
		}
		tried |= e.bit
		start := time.Now()
		resp, _, err := c.send(ctx, e.base, r)
		if err != nil {
			if ctx.Err() != nil {
				c.pool.abandoned(e)
				return nil, fmt.Errorf("%s: %w", r.path, ctx.Err())
			}
			c.pool.suspect(e, true)
			last = err
			continue
		}
		if resp.StatusCode/100 == 2 {
			c.pool.answered(e, time.Since(start))
			return resp, nil
		}
		a, err := readAnswer(resp)
		discard(resp.Body)
		if err != nil {
			c.pool.suspect(e, true)
			last = err
			continue
		}
		f := c.judge(e, r, resp, a)
		if f.final {
			return nil, f.err
		}
		last = f.err
	}
	return nil, &UnavailableError{Path: r.path, Tries: c.maxTries, Err: last}
}

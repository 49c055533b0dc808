package client

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	latencyWeight   = 0.2                    // of a new sample in the running mean
	latencyHalfLife = time.Second            // an endpoint not used forgets that it was slow
	probeTimeout    = time.Second            // of one /readyz
	probeAgainMin   = 100 * time.Millisecond // between two probes of an endpoint
	probeAgainMax   = 5 * time.Second
)

// endpoint is one node, or a load balancer before many. Guarded by its pool's mutex.
type endpoint struct {
	base      string
	bit       attempts // this endpoint alone
	inflight  int
	latency   float64 // seconds, running mean of answers
	measured  time.Time
	failures  int          // in a row, without an answer between
	out       bool         // not used while others can be, until it is seen ready
	outUntil  time.Time    // when it may be tried or probed again
	probing   bool         // a goroutine looks at /readyz
	restUntil [2]time.Time // it said it is overloaded: with ingests, with anything else
}

// restOf is the index in restUntil. A node whose disks are behind still decides.
func restOf(ingest bool) int {
	if ingest {
		return 0
	}
	return 1
}

// attempts is the set of endpoints that one call has tried.
type attempts uint64

// maxEndpoints is how many endpoints attempts can hold.
const maxEndpoints = 64

// cost orders endpoints: expected wait, with work under way counted as a queue.
func (e *endpoint) cost(now time.Time) float64 {
	idle := now.Sub(e.measured).Seconds() / latencyHalfLife.Seconds()
	return e.latency * math.Exp2(-idle) * float64(e.inflight+1)
}

// pool chooses endpoints. An endpoint that fails is out until /readyz says it
// is ready; probes of it run in the background only while it is out, and end with close.
type pool struct {
	http  *http.Client
	probe bool // endpoints have /readyz; if not, time alone brings one back
	stop  context.CancelFunc
	ctx   context.Context // of the probes; ends with close
	wg    sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	endpoints []*endpoint
}

func newPool(bases []string, h *http.Client, probe bool) *pool {
	p := &pool{http: h, probe: probe && len(bases) > 1}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for i, b := range bases {
		p.endpoints = append(p.endpoints, &endpoint{base: b, bit: 1 << i})
	}
	return p
}

// close ends the probes and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.wg.Wait()
}

// pick returns the endpoint for the next try and counts it in flight. It prefers
// endpoints that this call has not tried, are not out and not resting; of those,
// the cheaper of two drawn at random, so that many clients do not herd. When all
// are out it still picks one: they may be back before a probe knows. rest is how
// long the picked one has asked to be left alone with such a call. fresh tells whether the call had not tried it.
func (p *pool) pick(tried attempts, ingest bool) (e *endpoint, rest time.Duration, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	best, bestRank := make([]*endpoint, 0, 8), math.MaxInt
	for _, e := range p.endpoints {
		r := e.rank(now, tried&e.bit != 0, p.probe, ingest)
		if r < bestRank {
			best, bestRank = best[:0], r
		}
		if r == bestRank {
			best = append(best, e)
		}
	}
	e = cheaperOfTwo(best, now)
	e.inflight++
	return e, max(0, e.restUntil[restOf(ingest)].Sub(now)), tried&e.bit == 0
}

// rank is lower for endpoints to prefer.
func (e *endpoint) rank(now time.Time, tried, probe, ingest bool) int {
	r := 0
	if e.restUntil[restOf(ingest)].After(now) {
		r += 4
	}
	if tried {
		r += 2
	}
	if e.out && (probe || e.outUntil.After(now)) {
		r++
	}
	return r
}

func cheaperOfTwo(from []*endpoint, now time.Time) *endpoint {
	i := rand.IntN(len(from))
	if len(from) == 1 {
		return from[0]
	}
	j := rand.IntN(len(from) - 1)
	if j >= i {
		j++
	}
	if from[j].cost(now) < from[i].cost(now) {
		i = j
	}
	return from[i]
}

// abandoned ends a try whose caller went away: it says nothing about the endpoint.
func (p *pool) abandoned(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
}

// answered records an answer that the endpoint gave after took.
func (p *pool) answered(e *endpoint, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
	e.failures = 0
	e.out = false
	if e.measured.IsZero() {
		e.latency = took.Seconds()
	} else {
		e.latency += latencyWeight * (took.Seconds() - e.latency)
	}
	e.measured = time.Now()
}

// verdict records an answer that says no: the endpoint works. How long that
// took says nothing about how long work takes.
func (p *pool) verdict(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
	e.failures = 0
	e.out = false
}

// resting records that the endpoint asked to be left alone for a while, with ingests or with anything else.
func (p *pool) resting(e *endpoint, d time.Duration, ingest bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
	e.failures = 0
	e.restUntil[restOf(ingest)] = time.Now().Add(d)
}

// suspect takes the endpoint out. dead: it did not answer, so each such failure
// makes the next look at it later. Otherwise it answered that it cannot decide,
// which may hold for one budget only: it is probed at once.
func (p *pool) suspect(e *endpoint, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
	if dead {
		e.failures++
	}
	if e.out && e.outUntil.After(time.Now()) {
		return
	}
	e.out = true
	e.outUntil = time.Now().Add(e.lookAgain())
	if p.probe && !e.probing && !p.closed {
		e.probing = true
		p.wg.Go(func() { p.probeUntilReady(e) })
	}
}

// lookAgain is how long to wait before the next look at an endpoint that is out:
// nothing after a first failure, then a backoff with jitter.
func (e *endpoint) lookAgain() time.Duration {
	if e.failures <= 1 && e.outUntil.Add(probeAgainMin).Before(time.Now()) {
		return 0
	}
	return backoff(probeAgainMin, probeAgainMax, e.failures-1)
}

// probeUntilReady asks /readyz until the endpoint is ready, an answer to a call
// brought it back, or the pool is closed. At most one runs per endpoint.
func (p *pool) probeUntilReady(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { e.probing = false }()
	for e.out {
		wait := time.Until(e.outUntil)
		p.mu.Unlock()
		alive := sleep(p.ctx, wait)
		ready := alive && p.ready(e.base)
		p.mu.Lock()
		switch {
		case !alive:
			return
		case ready:
			e.out = false
		default:
			e.failures++
			e.outUntil = time.Now().Add(backoff(probeAgainMin, probeAgainMax, e.failures-1))
		}
	}
}

func (p *pool) ready(base string) bool {
	ctx, cancel := context.WithTimeout(p.ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return false
	}
	discard(resp.Body)
	return resp.StatusCode == http.StatusOK
}

// backoff doubles from low to high with n, and draws from the upper half of that.
func backoff(low, high time.Duration, n int) time.Duration {
	d := high
	if n = max(n, 0); n < 32 && low<<n < high {
		d = low << n
	}
	return d/2 + rand.N(d/2+1)
}

// spread draws from d to a quarter more.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4+1) }

// sleep waits for d and reports whether ctx was still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
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

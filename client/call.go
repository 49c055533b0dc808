package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// safety says which failures of a request may be followed by another try.
type safety int

const (
	// repeatable: doing it twice is doing it once. Every failure is retried.
	repeatable safety = iota
	// holding: a check that reserves. A lost answer may leave a hold that nobody
	// knows and that lasts until it expires, so at most one lost answer is retried.
	holding
	// once: doing it twice is wrong. Retried only if it was never sent, or was turned away unseen.
	once
)

const (
	maxLostHolds     = 1                      // tries of one reserving call whose answer may be lost and yet be retried
	retryDelayMin    = 20 * time.Millisecond  // before an endpoint is tried again by the same call
	retryDelayMax    = time.Second            //
	defaultRest      = time.Second            // after a 429 that does not say how long
	maxRest          = 30 * time.Second       // whatever it says
	maxAnswerBytes   = 64 << 20               // of one answer
	maxDiscardBytes  = 64 << 10               // read to keep a connection; beyond, it is closed
	retryTokens      = 20.0                   // retries in a burst
	retryTokenPerTry = 0.2                    // earned by each call: at most a fifth more load on a sick cluster
	userAgent        = "bursar-client-go/1.0" //
)

// headerRequest carries a number made up for each try. A node sends it back, which
// tells an answer to this try from another's that a connection is one behind with. An answer
// without it is taken as it is.
const headerRequest = "Bursar-Request"

// request is one call, independent of the endpoint that will serve it.
type request struct {
	method, path string // path with its query
	body         []byte // nil: none
	contentType  string
	accept       string
	safety       safety
	tryTimeout   time.Duration
	timeout      time.Duration
	ingests      bool // a node has a bound of its own for these, and they can wait
	deletes      bool // a 404 to a retry means that a try whose answer was lost had done it
	// read decodes a good answer; nil: it is not looked at. An answer that it refuses, because it cannot be one to
	// this request, is a lost answer.
	read func(*answer) error
}

// answer is what an endpoint said.
type answer struct {
	contentType string
	body        []byte
}

// caller sends requests: it chooses endpoints, retries, and turns what went wrong into errors.
type caller struct {
	pool      *pool
	http      *http.Client
	ownHTTP   bool
	dataPlane bool // has /readyz; a 503 means that nothing was done
	token     string
	maxTries  int
	budget    retryBudget
}

func newCaller(endpoints []string, token string, h *http.Client, maxTries int, dataPlane bool) (*caller, error) {
	bases, err := baseURLs(endpoints)
	if err != nil {
		return nil, err
	}
	if token == "" || strings.ContainsAny(token, " \r\n") {
		return nil, errors.New("client: no token, or one with spaces")
	}
	c := &caller{http: h, dataPlane: dataPlane, token: token, maxTries: maxTries, budget: retryBudget{tokens: retryTokens}}
	if h == nil {
		c.http, c.ownHTTP = newHTTPClient(), true
	}
	c.pool = newPool(bases, c.http, dataPlane)
	return c, nil
}

// close ends background work and, of an HTTP client made here, the idle connections.
func (c *caller) close() {
	c.pool.close()
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
}

// failure is one try without success.
type failure struct {
	err    error
	unsent bool          // never left this process
	turned bool          // turned away: the node says that it did nothing
	after  time.Duration // the node said when to come back
	final  bool          // an answer that another try would only repeat
}

// do sends r until it is answered, its failure must not be retried, or time, tries or the
// retry budget run out. Errors: *Problem for an answer that says no, the
// context's if the caller's ended, *UnavailableError otherwise.
func (c *caller) do(ctx context.Context, r *request) error {
	c.budget.earn()
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var tried attempts
	lost := 0
	var last failure
	try := 0
	for try < c.maxTries {
		e, rest, fresh := c.pool.pick(tried, r.ingests)
		if try == 0 && r.ingests {
			c.pause(ctx, rest, true, try) // every node has asked for a rest; one that does not fit is not awaited
		}
		if try > 0 {
			if !c.pause(ctx, rest, fresh, try) || !c.budget.spend() {
				c.pool.abandoned(e)
				break
			}
		}
		try++
		tried |= e.bit
		f := c.try(ctx, parent, e, r)
		if f == nil {
			return nil
		}
		if f.final {
			if r.deletes && lost > 0 && errors.Is(f.err, ErrNotFound) {
				return nil
			}
			return f.err
		}
		last = *f
		if !f.unsent && !f.turned {
			lost++
		}
		if parent.Err() != nil || !retryable(r.safety, f, lost) {
			break
		}
	}
	if err := parent.Err(); err != nil {
		return fmt.Errorf("%s: %w (last try: %v)", r.path, err, last.err)
	}
	return &UnavailableError{Path: r.path, Tries: try, Unknown: lost > 0, After: last.after, Err: last.err}
}

func retryable(s safety, f *failure, lost int) bool {
	switch s {
	case holding:
		return lost <= maxLostHolds
	case once:
		return f.unsent || f.turned
	default:
		return true
	}
}

// pause waits before a retry: as long as the node asked and up to a quarter longer, so that those
// it turned away do not all come back at once; or, on a node that this call has tried before, a backoff. An untried node is asked at once. It reports false
// if ctx ends first, without waiting for that.
func (c *caller) pause(ctx context.Context, rest time.Duration, fresh bool, try int) bool {
	wait := spread(rest)
	if !fresh {
		wait = max(wait, backoff(retryDelayMin, retryDelayMax, try-1))
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	return sleep(ctx, wait)
}

// try sends r to e once. parent is the caller's context: when that ended, the endpoint is not to blame.
func (c *caller) try(ctx, parent context.Context, e *endpoint, r *request) *failure {
	ctx, cancel := context.WithTimeout(ctx, r.tryTimeout)
	defer cancel()
	start := time.Now()
	resp, unsent, err := c.send(ctx, e.base, r)
	if err == nil {
		defer discard(resp.Body)
		var a *answer
		if a, err = readAnswer(resp); err == nil {
			if f := c.judge(e, r, resp, a); f != nil {
				return f
			}
			if err = c.accept(r, a); err == nil {
				c.pool.answered(e, time.Since(start))
				return nil
			}
		}
	}
	if parent.Err() != nil {
		c.pool.abandoned(e)
	} else {
		c.pool.suspect(e, true)
	}
	return &failure{err: err, unsent: unsent}
}

// accept decodes a good answer.
func (c *caller) accept(r *request, a *answer) error {
	if r.read == nil {
		return nil
	}
	if err := r.read(a); err != nil {
		return c.foreign(err)
	}
	return nil
}

// foreign reports an answer that does not belong to the request: another's, left on the
// connection by a node or proxy that answered twice. What follows on that connection would be
// one behind, so connections are not used again.
func (c *caller) foreign(err error) error {
	c.http.CloseIdleConnections()
	return fmt.Errorf("the answer is not one to this request: %w", err)
}

// send writes the request. unsent is a proof that no byte of it left: the
// transport looked for a connection and got none. (A transport that does not report that leaves it open.)
func (c *caller) send(ctx context.Context, base string, r *request) (resp *http.Response, unsent bool, err error) {
	var looked, got atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { looked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	})
	var body io.Reader = http.NoBody
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, body)
	if err != nil {
		return nil, true, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set(headerRequest, strconv.FormatUint(rand.Uint64(), 36))
	req.Header.Set("Accept", r.accept)
	if r.body != nil {
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err = c.http.Do(req)
	if err != nil {
		return nil, looked.Load() && !got.Load(), err
	}
	if id := resp.Header.Get(headerRequest); id != "" && id != req.Header.Get(headerRequest) {
		discard(resp.Body)
		return nil, false, c.foreign(errors.New("it names another"))
	}
	return resp, false, nil
}

// judge returns nil for a good answer, and otherwise what it means for r and for the endpoint.
func (c *caller) judge(e *endpoint, r *request, resp *http.Response, a *answer) *failure {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	f := &failure{err: problem(resp, a)}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		f.turned = true
		f.after = retryAfter(resp.Header, defaultRest)
		c.pool.resting(e, f.after, r.ingests)
	case resp.StatusCode == http.StatusServiceUnavailable:
		// On the data plane nothing was done. A control-plane write may have been proposed.
		f.turned = c.dataPlane
		f.after = retryAfter(resp.Header, 0)
		c.pool.suspect(e, false)
	case resp.StatusCode >= 500:
		c.pool.suspect(e, true)
	default:
		f.final = true
		c.pool.verdict(e)
	}
	return f
}

func readAnswer(resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswerBytes {
		return nil, fmt.Errorf("the answer is over %d bytes", maxAnswerBytes)
	}
	return &answer{contentType: resp.Header.Get("Content-Type"), body: body}, nil
}

// problem makes a *Problem of an error answer, also of one that is none of ours
// (a proxy's): that one has the code "http_<status>".
func problem(resp *http.Response, a *answer) *Problem {
	p := new(Problem)
	isJSON := strings.HasPrefix(a.contentType, typeProblem) || strings.HasPrefix(a.contentType, typeJSON)
	if !isJSON || json.Unmarshal(a.body, p) != nil || p.Code == "" {
		p = &Problem{Code: "http_" + strconv.Itoa(resp.StatusCode), Title: http.StatusText(resp.StatusCode)}
	}
	p.Status = resp.StatusCode
	return p
}

// retryAfter reads Retry-After in seconds or as a date; def if there is none.
func retryAfter(h http.Header, def time.Duration) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, maxRest)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), maxRest)
	}
	return def
}

// discard reads what is left of a body, so that its connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxDiscardBytes)
	_ = body.Close()
}

// retryBudget keeps retries a fraction of calls, so that clients do not bury a
// cluster that is already down. Safe for concurrent use.
type retryBudget struct {
	mu     sync.Mutex
	tokens float64
}

func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+retryTokenPerTry, retryTokens)
}

func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

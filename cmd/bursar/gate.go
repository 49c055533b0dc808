package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/client"
)

// gate says whether the node's data plane answers, for reasons that the enforcer
// cannot know: it does not exist yet, the disk is full, the process is about to
// stop. It is read on every request and changes rarely.
type gate struct {
	mu     sync.Mutex
	causes [causeCount]*obstacle
	worst  atomic.Pointer[obstacle] // nil: open
}

// cause is who keeps the gate from being open.
type cause int

// The causes, the most telling one first.
const (
	causeStopping cause = iota
	causeDisk
	causeStarting
	causeToken
	causeCount
)

// obstacle is one reason. It turns /readyz red; with shut it refuses calls, too.
type obstacle struct {
	why  error
	shut bool
}

var (
	errStarting = errors.New("the node is starting: it waits to be admitted to the cluster")
	errStopping = errors.New("the node is stopping")
	errFailed   = errors.New("the node has failed and ends")
	errNoToken  = errors.New("the cluster has no root token yet: nobody could call")
)

// set puts an obstacle up for a cause; nil takes it away.
func (g *gate) set(c cause, o *obstacle) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.causes[c] = o
	var worst *obstacle
	for _, o := range g.causes {
		if o != nil && (worst == nil || o.shut && !worst.shut) {
			worst = o
		}
	}
	g.worst.Store(worst)
}

// reason returns why the gate is not open, or nil.
func (g *gate) reason() error {
	if o := g.worst.Load(); o != nil {
		return o.why
	}
	return nil
}

// guard wraps the data plane's handler. /healthz always passes.
func (g *gate) guard(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		o := g.worst.Load()
		if o == nil {
			next(ctx)
			return
		}
		path := string(ctx.URI().PathOriginal())
		if path == pathHealth || path != pathReady && !o.shut {
			next(ctx)
			return
		}
		ctx.Response.Header.SetContentType(problemType)
		ctx.Response.SetStatusCode(fasthttp.StatusServiceUnavailable)
		ctx.Response.SetBody(unavailable(o.why))
	}
}

// startingHandler answers on both planes while the node is not a member yet:
// the process is up, and nothing else can be said.
func (g *gate) startingHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == pathHealth {
			w.WriteHeader(http.StatusOK)
			return
		}
		w.Header().Set("Content-Type", problemType)
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write(unavailable(errStarting))
	})
}

const (
	pathHealth  = "/healthz"
	pathReady   = "/readyz"
	problemType = "application/problem+json" // RFC 9457
)

// unavailable is the body of a 503.
func unavailable(why error) []byte {
	body, _ := json.Marshal(client.Problem{
		Title:  http.StatusText(http.StatusServiceUnavailable),
		Status: http.StatusServiceUnavailable,
		Code:   "unavailable",
		Detail: why.Error(),
	})
	return body
}

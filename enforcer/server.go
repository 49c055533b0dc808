package enforcer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// The data plane's HTTP server. fasthttp leaves the following to its user:
//
//   - It takes a body's length from Transfer-Encoding or Content-Length, whichever
//     it likes better; a proxy in front may like the other. Only Content-Length is accepted here.
//   - Its Path is decoded and cleaned. Routes are compared with the path as it came.
//   - It allocates a body as long as it is declared. Limits are small and set by path.
//   - It does not recover panics.
//   - A request's bytes are reused after the handler. What outlives it is copied.

const (
	maxBodyBytes     = 64 << 10 // of a request that is no list
	maxListBodyBytes = 1 << 20  // of an ingest or of checks
	maxHeaderBytes   = 8 << 10

	maxStrangerBodyBytes = 4 << 10 // that is waited for before it is known who asks

	maxConns = 10_000

	// Ingests wait for disks, and for the cluster; nothing else is turned away because of them.
	maxIngests       = 4_096    // being answered
	maxInFlight      = 8_192    // requests being answered, but for ingests
	maxInFlightBytes = 32 << 20 // bodies of either

	readTimeout  = 10 * time.Second // a whole request
	writeTimeout = 10 * time.Second
	idleTimeout  = 75 * time.Second // longer than a load balancer's, which should be the one to close
)

// server answers the data plane's requests.
type server struct {
	e       *Enforcer
	log     *slog.Logger
	metrics *metrics

	inFlight inFlight
	ingests  inFlight
}

// inFlight counts requests being answered.
type inFlight struct{ calls, bytes atomic.Int64 }

// begin counts a request in, if there are fewer than most, and not too many bytes.
func (f *inFlight) begin(size int, most int64) bool {
	calls, bytes := f.calls.Add(1), f.bytes.Add(int64(size))
	if calls > most || bytes > maxInFlightBytes {
		f.end(size)
		return false
	}
	return true
}

func (f *inFlight) end(size int) {
	f.calls.Add(-1)
	f.bytes.Add(-int64(size))
}

// NewServer returns the data plane's HTTP server over e. It registers metrics
// with Config.Registerer. Serve it on a listener that lingers (Linger). Shut it
// down before e is drained.
func NewServer(e *Enforcer, log *slog.Logger) *fasthttp.Server {
	s := &server{e: e, log: log, metrics: newMetrics(e)}
	if e.c.Registerer != nil {
		if err := e.c.Registerer.Register(s.metrics); err != nil {
			log.Error("metrics of the data plane are not exported", "err", err)
		}
	}
	return &fasthttp.Server{
		Handler:        s.handle,
		ErrorHandler:   s.handleBroken,
		HeaderReceived: s.limits,

		Concurrency:        maxConns,
		ReadBufferSize:     maxHeaderBytes,
		MaxRequestBodySize: maxBodyBytes,
		ReadTimeout:        readTimeout,
		WriteTimeout:       writeTimeout,
		IdleTimeout:        idleTimeout,
		TCPKeepalive:       true,
		CloseOnShutdown:    true,

		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		NoDefaultDate:                true,
		SecureErrorLogMessage:        true,
		Logger:                       httpLog{log},
	}
}

// limits sets the limit of a body before it is read. A stranger's is not read at
// all: memory for it is taken when it is declared, and ten thousand connections
// may declare one each. The request goes on without it, to be told who may.
func (s *server) limits(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() > maxStrangerBodyBytes {
		if _, p := s.authenticate(h, s.e.now()); p != nil {
			h.SetContentLength(0)
			h.SetConnectionClose()
		}
	}
	c := fasthttp.RequestConfig{MaxRequestBodySize: maxBodyBytes} // the timeouts are the server's
	uri := h.RequestURI()
	if i := bytes.IndexByte(uri, '?'); i >= 0 {
		uri = uri[:i]
	}
	switch string(uri) {
	case pathIngest, pathChecks:
		c.MaxRequestBodySize = maxListBodyBytes
	}
	return c
}

var transferEncoding = []byte("transfer-encoding")

// hasTransferEncoding looks for the header as it was sent: fasthttp keeps only
// "chunked" and drops "identity".
func hasTransferEncoding(raw []byte) bool {
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		if len(line) > len(transferEncoding) && line[0]|0x20 == 't' && bytes.EqualFold(line[:len(transferEncoding)], transferEncoding) {
			return true
		}
	}
	return false
}

var errChunked = invalidFraming("Transfer-Encoding", "is not accepted: send a Content-Length")

// invalidFraming is the problem of a request that is wrong before its body begins.
func invalidFraming(part, message string) *problem {
	return invalidFields([]fsm.FieldError{{Field: part, Message: message}})
}

// handleBroken answers a request that could not be read. The connection is closed after it.
func (s *server) handleBroken(ctx *fasthttp.RequestCtx, err error) {
	leaveUnread(ctx)
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	var p *problem
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge): // the headers are forgotten by now
		p = newProblem(codeTooLarge, fmt.Sprintf("a body has at most %d bytes, or %d for ingest and checks", maxBodyBytes, maxListBodyBytes))
	case errors.As(err, &small):
		p = invalidFraming("headers", fmt.Sprintf("are larger than %d bytes", maxHeaderBytes))
	case errors.As(err, &netErr) && netErr.Timeout():
		p = newProblem(codeTimeout, fmt.Sprintf("the request did not arrive within %v", readTimeout))
	default:
		p = invalidFraming("request", "is not valid HTTP/1.1")
	}
	s.fail(ctx, p)
}

// handle answers one request.
func (s *server) handle(ctx *fasthttp.RequestCtx) {
	defer s.recover(ctx)
	if hasTransferEncoding(ctx.Request.Header.RawHeaders()) {
		ctx.SetConnectionClose()
		s.fail(ctx, errChunked)
		return
	}
	size, of, most := len(ctx.Request.Body()), &s.inFlight, int64(maxInFlight)
	if string(ctx.URI().PathOriginal()) == pathIngest {
		of, most = &s.ingests, maxIngests
	}
	if !of.begin(size, most) {
		if of == &s.ingests {
			s.metrics.refusedCalls.Add(1)
		}
		s.fail(ctx, problemOf(ErrOverloaded, ""))
		return
	}
	defer of.end(size)
	if p := s.route(ctx); p != nil {
		if ctx.Request.Header.ConnectionClose() {
			leaveUnread(ctx) // what may have been left by limits
		}
		s.fail(ctx, p)
	}
}

// recover keeps a panic from ending the process.
func (s *server) recover(ctx *fasthttp.RequestCtx) {
	if r := recover(); r != nil {
		s.log.Error("panic in a request", "path", string(ctx.Path()), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		ctx.SetConnectionClose()
		s.fail(ctx, newProblem(codeInternal, "an unexpected error; the node's log has it"))
	}
}

func (s *server) fail(ctx *fasthttp.RequestCtx, p *problem) {
	s.metrics.problem(p.code)
	ctx.Response.ResetBody()
	p.write(ctx)
}

// The paths of the data plane.
const (
	pathHealth       = "/healthz"
	pathReady        = "/readyz"
	pathCheck        = "/v1/check"
	pathChecks       = "/v1/checks"
	pathIngest       = "/v1/ingest"
	pathReservations = "/v1/reservations/"
)

// route finds who answers a path. The path is compared as it was sent: there is
// one spelling of each. Whoever has no token is told no more than that, not even
// which paths there are.
func (s *server) route(ctx *fasthttp.RequestCtx) *problem {
	path := ctx.URI().PathOriginal()
	switch string(path) {
	case pathHealth:
		return s.probe(ctx, nil)
	case pathReady:
		return s.probe(ctx, s.ready())
	}
	at := time.Now()
	account, p := s.authenticate(&ctx.Request.Header, s.e.c.Wall(at))
	if p != nil {
		return p
	}
	switch string(path) {
	case pathCheck:
		return s.post(ctx, account, at, (*server).check)
	case pathChecks:
		return s.post(ctx, account, at, (*server).checks)
	case pathIngest:
		return s.post(ctx, account, at, (*server).ingest, queryAck)
	}
	if rest, ok := bytes.CutPrefix(path, []byte(pathReservations)); ok {
		if id, verb, ok := bytes.Cut(rest, []byte("/")); ok {
			switch string(verb) {
			case "release":
				return s.post(ctx, account, at, func(s *server, r *request) *problem { return s.release(r, id) })
			case "extend":
				return s.post(ctx, account, at, func(s *server, r *request) *problem { return s.extend(r, id) })
			}
		}
	}
	return newProblem(codeNotFound, "there is no such path")
}

// ready reports why this node may not decide, its own disk included.
func (s *server) ready() error {
	return errors.Join(s.e.Ready(), s.e.journal.health(), s.e.ship.health())
}

// probe answers a health check without a token.
func (s *server) probe(ctx *fasthttp.RequestCtx, err error) *problem {
	if !ctx.IsGet() && !ctx.IsHead() {
		return methodProblem(ctx, "GET, HEAD")
	}
	if err != nil {
		return newProblem(codeUnavailable, err.Error())
	}
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"status":"ok"}`)
	return nil
}

func methodProblem(ctx *fasthttp.RequestCtx, allow string) *problem {
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	return newProblem(codeMethod, "use "+allow)
}

// request is one authenticated POST with what is needed to answer it. It is pooled.
type request struct {
	ctx      *fasthttp.RequestCtx
	at       time.Time // when it came
	account  string    // that the token covers; empty: all
	msgpack  bool      // the body
	parser   *requestParser
	answer   encoder
	decision Decision
}

var requestPool = sync.Pool{New: func() any { return new(request) }}

// maxAnswerKept is the largest answer buffer that a pooled request keeps.
const maxAnswerKept = 64 << 10

// post sets the request of a POST that came at a time up and answers it with f. account is
// what its token covers, query the parameters that it may have.
func (s *server) post(ctx *fasthttp.RequestCtx, account string, at time.Time, f func(*server, *request) *problem, query ...string) *problem {
	if !ctx.IsPost() {
		return methodProblem(ctx, "POST")
	}
	r := requestPool.Get().(*request)
	r.ctx, r.at, r.account, r.parser = ctx, at, account, acquireParser()
	r.msgpack = isMsgpack(ctx.Request.Header.ContentType())
	r.answer.reset(answerMsgpack(ctx.Request.Header.Peek(fasthttp.HeaderAccept), r.msgpack))
	defer r.release()
	if p := r.checkQuery(query); p != nil {
		return p
	}
	return f(s, r)
}

func (r *request) release() {
	releaseParser(r.parser)
	if cap(r.answer.b) > maxAnswerKept {
		r.answer.b = nil
	}
	r.ctx, r.account, r.parser = nil, "", nil
	requestPool.Put(r)
}

// send makes the written answer the response.
func (r *request) send(status int) {
	r.ctx.SetStatusCode(status)
	if r.answer.msgpack {
		r.ctx.Response.Header.SetContentType(typeMsgpack)
	} else {
		r.ctx.Response.Header.SetContentType(typeJSON)
	}
	r.ctx.Response.SetBody(r.answer.b)
}

// checkQuery refuses query parameters other than those that are allowed, and repeats.
func (r *request) checkQuery(allowed []string) *problem {
	if len(r.ctx.URI().QueryString()) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, name := range allowed {
		seen[name] = false
	}
	for name := range r.ctx.QueryArgs().All() {
		again, known := seen[string(name)]
		switch {
		case !known:
			r.parser.problem(printable(name), "is not a known query parameter")
		case again:
			r.parser.problem(printable(name), "is given twice")
		}
		if known {
			seen[string(name)] = true
		}
	}
	return r.wrong(nil)
}

// wrong is the problem of what a parser said of the request, if any: err, which
// says that the body is no document, or fields.
func (r *request) wrong(err error) *problem {
	switch {
	case err != nil:
		return invalidBody(err)
	case len(r.parser.problems) > 0:
		return invalidFields(r.parser.problems)
	}
	return nil
}

// covers reports whether the request's token covers an account.
func (r *request) covers(account []byte) bool {
	return r.account == "" || string(account) == r.account
}

// coversCall reports whether the request's token covers a call. The account of a
// key is looked at where the key is.
func (r *request) coversCall(c *Call) bool { return len(c.Key) > 0 || r.covers(c.Account) }

var errNotCovered = newProblem(codeNotFound, "there is no such account")

const (
	typeJSON    = "application/json"
	typeMsgpack = "application/msgpack"
)

// isMsgpack reports whether a content type is msgpack. Anything else is read as
// JSON: curl -d says that JSON is a form.
func isMsgpack(contentType []byte) bool {
	media, _, _ := bytes.Cut(contentType, []byte(";"))
	media = bytes.TrimSpace(media)
	return bytes.EqualFold(media, []byte(typeMsgpack)) || bytes.EqualFold(media, []byte("application/x-msgpack"))
}

// answerMsgpack chooses the answer's encoding: the one that Accept names if it
// names one of the two, else that of the request.
func answerMsgpack(accept []byte, request bool) bool {
	if len(accept) == 0 {
		return request
	}
	msgpack, json := bytes.Contains(accept, []byte(typeMsgpack)), bytes.Contains(accept, []byte(typeJSON))
	if msgpack == json {
		return request
	}
	return msgpack
}

// httpLog takes fasthttp's own messages, which are about single connections.
type httpLog struct{ log *slog.Logger }

// Printf implements fasthttp.Logger.
func (l httpLog) Printf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("http", "msg", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

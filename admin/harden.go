package admin

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// Limits of the HTTP server.
const (
	maxRequests    = 256      // requests in progress on a node; one more is answered 429
	maxStreams     = 16       // ledger streams in progress on a node, of those
	maxBodyBytes   = 4 << 20  // of a request
	maxHeaderBytes = 32 << 10 // of a request's line and headers

	maxBodyDiscarded = 64 << 20 // of a body that is too large, read and thrown away before the answer

	headerTimeout = 5 * time.Second   // for a request's headers
	bodyTimeout   = 20 * time.Second  // for a request's body
	readTimeout   = 60 * time.Second  // for a request whose body no handler reads
	writeTimeout  = 60 * time.Second  // for an answer; a stream has it anew for each piece
	idleTimeout   = 120 * time.Second // for a kept connection
)

// headerIndex carries the log index an answer was read at.
const headerIndex = "Bursar-Index"

// headerRequestID names a request in the logs.
const headerRequestID = "X-Request-Id"

// NewServer returns a server for h with the control plane's timeouts and limits. The caller sets its address or listener.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,

		DisableGeneralOptionsHandler: true, // OPTIONS * is a path like any other
	}
}

// harden wraps the router with what every request gets: an id, a place among
// maxRequests (probes and metrics need none, they must answer under load), a log
// line, and an answer even if its handler panics.
func (a *api) harden(next http.Handler) http.Handler {
	places := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &answerWriter{ResponseWriter: rw, applied: a.applied}
		w.Header().Set(headerRequestID, newRequestID())
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if len(r.TransferEncoding) > 0 {
			// net/http does not tell whether a Content-Length came with it, which a proxy in
			// front may have gone by: whatever follows may be no request (RFC 9112, 6.1).
			w.Header().Set("Connection", "close")
		}
		began := time.Now()
		defer a.finish(w, r, began)
		if !isProbe(r.URL.Path) {
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			default:
				newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is handling %d requests already", maxRequests).write(w)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// finish recovers a panicking handler and writes the access log. http.ErrAbortHandler
// passes on: it is how a stream that broke tells its reader. huma panics when an
// answer cannot be written, which is no fault when the caller has hung up.
func (a *api) finish(w *answerWriter, r *http.Request, began time.Time) {
	p := recover()
	log := a.log.With("request", w.Header().Get(headerRequestID), "method", r.Method, "path", r.URL.Path)
	if err, ok := p.(error); ok {
		if _, gone := errors.AsType[*net.OpError](err); gone {
			p = http.ErrAbortHandler
		}
	}
	if p != nil && p != http.ErrAbortHandler {
		log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
		if w.status == 0 {
			newProblem(http.StatusInternalServerError, codeInternal, "the request could not be completed; the node's log says why").write(w)
			p = nil
		} else {
			p = http.ErrAbortHandler
		}
	}
	log.LogAttrs(r.Context(), slog.LevelDebug, "request",
		slog.Int("status", w.status), slog.Duration("took", time.Since(began)), slog.String("remote", r.RemoteAddr))
	if p != nil {
		panic(p)
	}
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// answerWriter notes the status of an answer, and states the index the node
// stands at on every answer whose handler did not state a better one.
type answerWriter struct {
	http.ResponseWriter
	applied func() uint64
	status  int // 0: not started
}

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
		if w.Header().Get(headerIndex) == "" {
			w.Header().Set(headerIndex, strconv.FormatUint(w.applied(), 10))
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

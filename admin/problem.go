package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// The codes of a problem, as the contract lists them. codeInternal is the one
// it does not list: a fault of ours, not of the request.
const (
	codeInvalid     = "invalid_request"
	codeUnauthed    = "unauthorized"
	codeForbidden   = "forbidden"
	codeNotFound    = "not_found"
	codeMethod      = "method_not_allowed"
	codeConflict    = "conflict"
	codeTooLarge    = "too_large"
	codeOverloaded  = "overloaded"
	codeUnavailable = "unavailable"
	codeInternal    = "internal"
)

// retryAfter is what a caller who met an overloaded node or a cluster without a
// leader is told to wait: longer than an election usually takes.
const retryAfter = time.Second

// maxFieldErrors bounds the fields one answer names.
const maxFieldErrors = 20

// maxShownBytes bounds a text of an answer, which may quote what the caller sent.
const maxShownBytes = 1 << 10

// shown is a text as it stands in an answer: all of it, or its beginning with an ellipsis.
func shown(text string) string {
	if len(text) <= maxShownBytes {
		return text
	}
	cut := maxShownBytes
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

const problemContentType = "application/problem+json"

// problemType says that a problem is told by its status and code, and has no page of its own (RFC 9457, 4.2.1).
const problemType = "about:blank"

// problem is an RFC 9457 error on its way out. It implements the interfaces by
// which huma takes status, headers and content type from a handler's error.
type problem struct {
	client.Problem
	cause error // for the log; never sent
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.Code + ": " + p.cause.Error()
	}
	return p.Code + ": " + p.Detail
}

func (p *problem) Unwrap() error { return p.cause }

// GetStatus is the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is that of every problem.
func (p *problem) ContentType(string) string { return problemContentType }

// GetHeaders returns what belongs to the status.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	}
	return h
}

// write sends p on a response that has not been started.
func (p *problem) write(w http.ResponseWriter) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", problemContentType)
	w.WriteHeader(p.Status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // for people who read it in a terminal
	e.Encode(p.Problem)    // an error here is a caller who has gone
}

func newProblem(status int, code, format string, args ...any) *problem {
	return &problem{Problem: client.Problem{
		Type:   problemType,
		Title:  http.StatusText(status),
		Status: status,
		Code:   code,
		Detail: shown(fmt.Sprintf(format, args...)),
	}}
}

func notFound(format string, args ...any) *problem {
	return newProblem(http.StatusNotFound, codeNotFound, format, args...)
}

func forbidden(format string, args ...any) *problem {
	return newProblem(http.StatusForbidden, codeForbidden, format, args...)
}

func conflict(format string, args ...any) *problem {
	return newProblem(http.StatusConflict, codeConflict, format, args...)
}

// invalidField is the problem of one wrong field.
func invalidField(field, format string, args ...any) *problem {
	return invalidFields([]client.FieldError{{Field: field, Message: fmt.Sprintf(format, args...)}})
}

// invalidFields is the problem of a request with wrong fields, of which there is at least one.
func invalidFields(fields []client.FieldError) *problem {
	detail := fields[0].Field + ": " + fields[0].Message
	if n := len(fields) - 1; n > 0 {
		detail += fmt.Sprintf(" (and %d more)", n)
	}
	p := newProblem(http.StatusBadRequest, codeInvalid, "%s", detail)
	for _, f := range fields[:min(len(fields), maxFieldErrors)] {
		p.add(f.Field, f.Message)
	}
	return p
}

// add names a wrong field.
func (p *problem) add(field, message string) {
	p.Errors = append(p.Errors, client.FieldError{Field: shown(field), Message: shown(message)})
}

// problemOf is the one table from errors of the layers below to problems. A
// *problem passes through; what nobody expected is a 500 that says nothing.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*fsm.Error](err); ok {
		return problemOfRejection(e)
	}
	p := newProblem(http.StatusInternalServerError, codeInternal, "the request could not be completed; the node's log says why")
	switch {
	case errors.Is(err, errNotAllSaid): // of a read, whatever it was that a node did not say
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "%v", errNotAllSaid)
	case errors.Is(err, enforcer.ErrUnknownOutcome):
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "the outcome of the write is unknown: it may still take effect; read before repeating it")
	case errors.Is(err, enforcer.ErrNoLeader), errors.Is(err, cluster.ErrNotLeader):
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "the cluster has no leader this node can reach")
	case errors.Is(err, enforcer.ErrUnreachable):
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "the node that has to answer cannot be reached")
	case errors.Is(err, cluster.ErrStopped):
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "this node is stopping")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p = newProblem(http.StatusServiceUnavailable, codeUnavailable, "the cluster did not answer in time")
	}
	p.cause = err
	return p
}

// problemOfRejection maps a rejection by the state machine.
func problemOfRejection(e *fsm.Error) *problem {
	var p *problem
	switch e.Code {
	case fsm.CodeInvalid:
		p = newProblem(http.StatusBadRequest, codeInvalid, "%s", e.Message)
	case fsm.CodeNotFound:
		p = notFound("%s", e.Message)
	case fsm.CodeConflict:
		p = conflict("%s", e.Message)
	case fsm.CodeTooLarge:
		p = newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "%s", e.Message)
	default: // fsm.CodeCorrupt: we sent what we could not read back
		p = newProblem(http.StatusInternalServerError, codeInternal, "the request could not be completed; the node's log says why")
	}
	for _, f := range e.Fields[:min(len(e.Fields), maxFieldErrors)] {
		p.add(f.Field, f.Message)
	}
	p.Numbers = e.Numbers
	p.cause = e
	return p
}

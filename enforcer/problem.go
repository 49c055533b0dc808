package enforcer

import (
	"errors"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// problem is an answer that is an error (RFC 9457). Problems are JSON whatever
// the request was.
type problem struct {
	status int
	code   string
	detail string
	fields []fsm.FieldError
}

func (p *problem) Error() string { return p.code + ": " + p.detail }

// The problems of the data plane. A caller may wait and retry after the last two.
const (
	codeInvalid     = "invalid_request"
	codeNoToken     = "unauthorized"
	codeForbidden   = "forbidden"
	codeNotFound    = "not_found"
	codeMethod      = "method_not_allowed"
	codeTimeout     = "request_timeout"
	codeTooLarge    = "too_large"
	codeInternal    = "internal"
	codeOverloaded  = "overloaded"
	codeUnavailable = "unavailable"
)

// retryAfter is what a caller that is turned away for want of capacity should wait, in seconds.
const retryAfter = 1

var problemStatus = map[string]int{
	codeInvalid:            fasthttp.StatusBadRequest,
	codeNoToken:            fasthttp.StatusUnauthorized,
	codeForbidden:          fasthttp.StatusForbidden,
	codeNotFound:           fasthttp.StatusNotFound,
	CodeReservationUnknown: fasthttp.StatusNotFound,
	codeMethod:             fasthttp.StatusMethodNotAllowed,
	codeTimeout:            fasthttp.StatusRequestTimeout,
	CodeReservationExpired: fasthttp.StatusGone,
	codeTooLarge:           fasthttp.StatusRequestEntityTooLarge,
	codeOverloaded:         fasthttp.StatusTooManyRequests,
	codeInternal:           fasthttp.StatusInternalServerError,
	codeUnavailable:        fasthttp.StatusServiceUnavailable,
}

func newProblem(code, detail string, fields ...fsm.FieldError) *problem {
	return &problem{status: problemStatus[code], code: code, detail: detail, fields: fields}
}

// invalidFields is the problem of a request with wrong fields.
func invalidFields(fields []fsm.FieldError) *problem {
	var detail strings.Builder
	for i, f := range fields {
		if i > 0 {
			detail.WriteString("; ")
		}
		if f.Field != "" {
			detail.WriteString(f.Field + " ")
		}
		detail.WriteString(f.Message)
	}
	return newProblem(codeInvalid, detail.String(), fields...)
}

// invalidBody is the problem of a body that is no document.
func invalidBody(err error) *problem {
	detail := strings.TrimPrefix(err.Error(), errMalformed.Error()+": ")
	return newProblem(codeInvalid, errMalformed.Error()+": "+detail, fsm.FieldError{Field: "body", Message: detail})
}

// problemOf maps an error of the enforcer to its problem. field is put in front
// of a field that is named. An error that is none of the known ones is internal,
// and its text is not shown.
func problemOf(err error, field string) *problem {
	var p *problem
	var bad *RequestError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &bad):
		return invalidFields([]fsm.FieldError{{Field: field + bad.Field, Message: bad.Message}})
	case errors.Is(err, ErrAccountNotFound):
		return newProblem(codeNotFound, "there is no such account")
	case errors.Is(err, ErrOverloaded):
		return newProblem(codeOverloaded, "this node has as much to do as it can: try again, or another node")
	case errors.Is(err, ErrUnavailable):
		return newProblem(codeUnavailable, err.Error())
	default:
		return newProblem(codeInternal, "an unexpected error; the node's log has it")
	}
}

// write makes p the answer.
func (p *problem) write(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(p.status)
	ctx.SetContentType("application/problem+json")
	h := &ctx.Response.Header
	switch p.code {
	case codeNoToken:
		h.Set("WWW-Authenticate", "Bearer")
	case codeOverloaded, codeUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	var w encoder
	w.begin(true)
	w.stringField("type", "about:blank")
	w.stringField("title", fasthttp.StatusMessage(p.status))
	w.intField("status", int64(p.status))
	w.stringField("code", p.code)
	w.stringField("detail", p.detail)
	if len(p.fields) > 0 {
		w.key("errors")
		w.begin(false)
		for _, f := range p.fields {
			w.item()
			w.begin(true)
			w.stringField("field", f.Field)
			w.stringField("message", f.Message)
			w.end(true)
		}
		w.end(false)
	}
	w.end(true)
	ctx.Response.SetBody(w.b)
}

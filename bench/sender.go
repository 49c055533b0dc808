package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"
)

// sender puts calls on the wire with as little work as possible, so that what is
// measured is the cluster. It is safe for concurrent use; each worker has a call of its own.
type sender struct {
	http    *fasthttp.Client
	bearer  string
	checks  []string // URLs, one an endpoint
	ingests []string
	account []byte // JSON
	callers []string
	quoted  [][]byte // callers as JSON
	holdMS  int64    // of reservations
	parsers fastjson.ParserPool
}

// call is one request under construction.
type call struct {
	body   []byte
	caller int
}

// outcome is what came of a call.
type outcome struct {
	code        string // of the decision; "accepted", "rejected"; "http_<status>" or "error": none
	reservation string
	events      int // acknowledged
}

// The codes of calls that were not decided begin with httpStatus, or are noAnswer.
const (
	httpStatus = "http_"
	noAnswer   = "error"
	accepted   = "accepted"
	rejected   = "rejected"

	turnedAway = httpStatus + "429"
)

// failed reports whether a call came to nothing. A refusal is an answer.
func (o outcome) failed() bool {
	return o.code == noAnswer || o.code == rejected || len(o.code) > len(httpStatus) && o.code[:len(httpStatus)] == httpStatus
}

// retryable reports whether another node may take the call at once.
func (o outcome) retryable() bool { return o.code == noAnswer || o.code == httpStatus+"503" }

func newSender(l *Load, callers []string) (*sender, error) {
	s := &sender{
		http: &fasthttp.Client{
			MaxConnsPerHost: l.InFlight, ReadTimeout: loadTimeout, WriteTimeout: loadTimeout,
			NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
		},
		bearer: "Bearer " + l.Token, callers: callers, holdMS: reserveTTL.Milliseconds(),
	}
	for _, e := range l.Endpoints {
		check, err := url.JoinPath(e, "/v1/check")
		if err != nil {
			return nil, fmt.Errorf("--endpoint %q: %w", e, err)
		}
		ingest, _ := url.JoinPath(e, "/v1/ingest") // as above
		if l.NodeAck {
			ingest += "?ack=node"
		}
		s.checks, s.ingests = append(s.checks, check), append(s.ingests, ingest)
	}
	var err error
	if s.account, err = json.Marshal(l.Account); err != nil {
		return nil, err
	}
	for _, id := range callers {
		q, err := json.Marshal(id)
		if err != nil {
			return nil, err
		}
		s.quoted = append(s.quoted, q)
	}
	return s, nil
}

// who writes the account and the entity that is charged.
func (s *sender) who(b []byte, caller int) []byte {
	b = append(b, `"account":`...)
	b = append(b, s.account...)
	b = append(b, `,"entities":[`...)
	b = append(b, s.quoted[caller]...)
	return append(b, ']')
}

// check writes the body of a check.
func (s *sender) check(c *call, reserve bool) {
	b := s.who(append(c.body[:0], '{'), c.caller)
	b = append(b, `,"usage":{"requests":1,"tokens":`...)
	b = strconv.AppendInt(b, loadCallTokens, 10)
	b = append(b, '}')
	if reserve {
		b = append(b, `,"reserve_ttl_ms":`...)
		b = strconv.AppendInt(b, s.holdMS, 10)
	}
	c.body = append(b, '}')
}

// ingest writes the body of a batch, whose events are numbered from first.
func (s *sender) ingest(c *call, run string, first, n int, pick func() int) {
	b := append(c.body[:0], `{"events":[`...)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":"`...)
		b = append(b, run...)
		b = append(b, '-')
		b = strconv.AppendInt(b, int64(first+i), 10)
		b = s.who(append(b, `",`...), pick())
		b = append(b, `,"usage":{"requests":1,"tokens":`...)
		b = strconv.AppendInt(b, loadCallTokens/2, 10)
		b = append(b, '}', '}')
	}
	c.body = append(b, ']', '}')
}

// send sends what has been written to the turn-th endpoint and reads the answer.
func (s *sender) send(c *call, kind Kind, turn int) outcome {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	to := s.checks
	if kind == KindIngest {
		to = s.ingests
	}
	req.Header.SetMethod(http.MethodPost)
	req.SetRequestURI(to[turn%len(to)])
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", s.bearer)
	req.SetBodyRaw(c.body)
	if err := s.http.Do(req, resp); err != nil {
		return outcome{code: noAnswer}
	}
	if status := resp.StatusCode(); status != http.StatusOK && (kind != KindIngest || status != http.StatusAccepted) {
		return outcome{code: httpStatus + strconv.Itoa(status)}
	}
	return s.read(kind, resp.Body())
}

var okCode = []byte(`"code":"ok"`)

// read reads an answer. That of the common check, granted without a reservation, is only looked at.
func (s *sender) read(kind Kind, body []byte) outcome {
	if kind == KindCheck && bytes.Contains(body, okCode) {
		return outcome{code: "ok"}
	}
	p := s.parsers.Get()
	defer s.parsers.Put(p)
	v, err := p.ParseBytes(body)
	switch {
	case err != nil:
		return outcome{code: noAnswer}
	case kind != KindIngest:
		return outcome{code: string(v.GetStringBytes("code")), reservation: string(v.GetStringBytes("reservation"))}
	case len(v.GetArray("rejected")) > 0:
		return outcome{code: rejected, events: v.GetInt("accepted")}
	}
	return outcome{code: accepted, events: v.GetInt("accepted") + v.GetInt("duplicates")}
}

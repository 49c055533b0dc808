package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Client asks the data plane. It is safe for concurrent use; make one and keep it.
type Client struct {
	caller *caller
	opts   Options
}

// New returns a client for o. It does not connect: an endpoint that is down is
// found out by the first call.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	c, err := newCaller(o.Endpoints, o.Token, o.HTTPClient, o.MaxTries, true)
	if err != nil {
		return nil, err
	}
	return &Client{caller: c, opts: o}, nil
}

// Close ends probes of endpoints and closes idle connections. Calls under way
// are not interrupted. Close recorders first.
func (c *Client) Close() { c.caller.close() }

// Check asks whether a call may be made. It returns the decision, also when
// that is no; an error means that there is none. With ReserveTTLMS set it holds the amounts
// (Reserve is more convenient); see Reserve for what a retry may then leave behind. A retried
// check may count twice against a rate limit; against a budget never.
func (c *Client) Check(ctx context.Context, req CheckRequest) (*CheckResponse, error) {
	var d *CheckResponse
	err := c.decide(ctx, "/v1/check", req, req.ReserveTTLMS > 0, func(a *answer) error {
		d = new(CheckResponse)
		if err := unmarshal(a.contentType, a.body, d); err != nil {
			return err
		}
		if d.Code == "" {
			return errNoDecision
		}
		return nil
	})
	if c.failOpen(ctx, err) {
		return degraded(), nil
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Checks asks about 1 to 100 calls at once, decided in order: what an earlier
// one reserves is gone for the later ones.
func (c *Client) Checks(ctx context.Context, reqs []CheckRequest) ([]CheckResponse, error) {
	reserves := false
	for i := range reqs {
		reserves = reserves || reqs[i].ReserveTTLMS > 0
	}
	var list List[CheckResponse]
	err := c.decide(ctx, "/v1/checks", ChecksRequest{Checks: reqs}, reserves, func(a *answer) error {
		list = List[CheckResponse]{}
		if err := unmarshal(a.contentType, a.body, &list); err != nil {
			return err
		}
		if len(list.Items) != len(reqs) {
			return fmt.Errorf("%d decisions on %d checks", len(list.Items), len(reqs))
		}
		return nil
	})
	if c.failOpen(ctx, err) {
		items := make([]CheckResponse, len(reqs))
		for i := range items {
			items[i] = *degraded()
		}
		return items, nil
	}
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

var errNoDecision = errors.New("there is no decision in it")

// decide sends a check or checks.
func (c *Client) decide(ctx context.Context, path string, req any, reserves bool, read func(*answer) error) error {
	r := &request{path: path, safety: repeatable, tryTimeout: c.opts.TryTimeout, timeout: c.opts.Timeout, read: read}
	if reserves {
		r.safety = holding
	}
	return c.post(ctx, r, req)
}

// post sends r with a body; nil: none.
func (c *Client) post(ctx context.Context, r *request, body any) error {
	if body != nil {
		b, err := c.opts.Encoding.marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		r.body = b
	}
	r.method, r.contentType, r.accept = http.MethodPost, c.opts.Encoding.contentType(), c.opts.Encoding.accept()
	return c.caller.do(ctx, r)
}

// failOpen reports whether err lets this client grant by itself: no node
// answered, the caller still waits, and the options say so.
func (c *Client) failOpen(ctx context.Context, err error) bool {
	return c.opts.WhenAway == FailOpen && errors.Is(err, ErrUnavailable) && ctx.Err() == nil
}

func degraded() *CheckResponse {
	return &CheckResponse{Allowed: true, Code: CodeUnavailable, Degraded: true}
}

// Ingest records what calls used: 1 to 1,000 events, at most 1 MiB. It gates
// nothing. An event without an id gets one, and a time, written into the slice: calling
// again with the same slice after an error counts nothing twice. An event with an id of the caller's
// own is sent as it is, so that a process that starts anew can send it again; without At it counts when it
// is first received. A retry that finds its events already recorded reports
// them as Duplicates. Events that were refused one by one are in Rejected, which is not an error.
func (c *Client) Ingest(ctx context.Context, events []Event) (*IngestResponse, error) {
	encoded := make([][]byte, len(events))
	for i := range events {
		if events[i].ID == "" {
			events[i].seal()
		}
		b, err := c.encode(&events[i])
		if err != nil {
			return nil, err
		}
		encoded[i] = b
	}
	return c.ingest(ctx, encoded, "")
}

// seal gives the event an id and a time where it has none. From then on it must not change:
// the same id with another body is a conflict.
func (e *Event) seal() {
	if e.ID == "" {
		e.ID = NewEventID()
	}
	if e.At.IsZero() {
		e.At = time.Now().UTC().Truncate(time.Millisecond)
	}
}

func (c *Client) encode(e *Event) ([]byte, error) {
	b, err := c.opts.Encoding.marshal(e)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", e.ID, err)
	}
	return b, nil
}

// ingest sends encoded events. query is empty or "?ack=node". The answer accounts for every one of them.
func (c *Client) ingest(ctx context.Context, encoded [][]byte, query string) (*IngestResponse, error) {
	enc := c.opts.Encoding
	var resp *IngestResponse
	err := c.caller.do(ctx, &request{
		method: http.MethodPost, path: "/v1/ingest" + query, body: enc.events(encoded), contentType: enc.contentType(),
		accept: enc.accept(), safety: repeatable, ingests: true, tryTimeout: c.opts.IngestTryTimeout, timeout: c.opts.IngestTimeout,
		read: func(a *answer) error {
			resp = new(IngestResponse)
			if err := unmarshal(a.contentType, a.body, resp); err != nil {
				return err
			}
			if n := resp.Accepted + resp.Duplicates + len(resp.Rejected); n != len(encoded) {
				return fmt.Errorf("it accounts for %d of %d events", n, len(encoded))
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// ReleaseReservation frees a hold by its id, on any node. Repeating it is safe.
// Errors: ErrReservationUnknown, ErrReservationExpired.
func (c *Client) ReleaseReservation(ctx context.Context, id string) (Usage, error) {
	var out ReleaseResponse
	err := c.post(ctx, c.reservationRequest(id, "release", &out), nil)
	return out.Released, err
}

// ExtendReservation makes a hold last for ttl from now (1 s to 1 h) and returns
// when it will expire. Repeating it is safe. Errors: as ReleaseReservation.
func (c *Client) ExtendReservation(ctx context.Context, id string, ttl time.Duration) (time.Time, error) {
	var out ExtendResponse
	err := c.post(ctx, c.reservationRequest(id, "extend", &out), ExtendRequest{TTLMS: ttl.Milliseconds()})
	return out.ExpiresAt, err
}

func (c *Client) reservationRequest(id, verb string, into any) *request {
	return &request{
		path:   "/v1/reservations/" + url.PathEscape(id) + "/" + verb,
		safety: repeatable, tryTimeout: c.opts.TryTimeout, timeout: c.opts.Timeout,
		read: func(a *answer) error { return unmarshal(a.contentType, a.body, into) },
	}
}

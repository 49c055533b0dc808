package client

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// Reservation is an amount held from admission until the real cost is known.
// Commit it with what the call used, or Release it if the call was not made; a
// reservation that is neither expires by itself. Safe for concurrent use.
type Reservation struct {
	client   *Client
	request  CheckRequest
	decision *CheckResponse

	mu      sync.Mutex
	expires time.Time
	event   *Event // sealed by the first Event or Commit
	done    bool   // the event is recorded
}

// Reserve asks whether a call may be made and holds its amounts for ttl (1 s to
// 1 h). A refusal is a *DeniedError (errors.Is(err, ErrDenied)); every other
// error means that there is no decision.
//
// A reserve is not idempotent. If its answer is lost on the way the hold may
// exist without anyone knowing its id; it then keeps its amount from others until
// ttl has passed, and is never charged. So one lost answer is retried, a second is
// returned as ErrUnavailable and ErrOutcomeUnknown. Keep ttl near what a call
// takes, and Extend a long one.
func (c *Client) Reserve(ctx context.Context, req CheckRequest, ttl time.Duration) (*Reservation, error) {
	req.ReserveTTLMS = ttl.Milliseconds()
	if req.ReserveTTLMS <= 0 {
		return nil, errors.New("client: a reservation needs a ttl of at least a second")
	}
	d, err := c.Check(ctx, req)
	if err != nil {
		return nil, err
	}
	if !d.Allowed {
		return nil, &DeniedError{Decision: d}
	}
	r := &Reservation{client: c, request: req, decision: d}
	if d.ExpiresAt != nil {
		r.expires = *d.ExpiresAt
	}
	return r, nil
}

// ID returns the reservation's id; empty if nothing is held: under FailOpen, or
// where no budget applies.
func (r *Reservation) ID() string { return r.decision.Reservation }

// Decision returns the decision that granted the reservation.
func (r *Reservation) Decision() *CheckResponse { return r.decision }

// Degraded tells that Bursar was away and the client granted by itself.
func (r *Reservation) Degraded() bool { return r.decision.Degraded }

// ExpiresAt returns when the hold ends; the zero time if nothing is held.
func (r *Reservation) ExpiresAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expires
}

// Event returns the event that settles the reservation with what the call used,
// for a Recorder or Ingest. The first call (or Commit) fixes it, id, time and
// amounts; later ones return the same event whatever they are given. From then on Release does nothing.
func (r *Reservation) Event(used Usage) Event {
	return *r.seal(Event{Usage: used})
}

// Commit records what the call used: the real amounts are charged, the rest of
// the hold is free. An expired hold still charges. If it fails, call it again:
// it sends the same event under the same id, so nothing is charged twice.
// Errors: *RejectedError, and those of Ingest.
func (r *Reservation) Commit(ctx context.Context, used Usage) error {
	return r.CommitEvent(ctx, Event{Usage: used})
}

// CommitEvent is Commit with an event of the caller's own, for a model, time
// or metadata that differ from the request's. Fields left empty are taken from the request.
func (r *Reservation) CommitEvent(ctx context.Context, e Event) error {
	sealed := r.seal(e)
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done {
		return nil
	}
	resp, err := r.client.Ingest(ctx, []Event{*sealed})
	if err != nil {
		return err
	}
	if len(resp.Rejected) > 0 {
		return &RejectedError{Rejection: resp.Rejected[0]}
	}
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
	return nil
}

// seal fixes the event at the first call.
func (r *Reservation) seal(e Event) *Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.event != nil {
		return r.event
	}
	e.seal()
	if e.Account == "" {
		e.Account = r.request.Account
	}
	if e.Entities == nil {
		e.Entities = r.request.Entities
	}
	if e.Key == "" {
		e.Key = r.request.Key
	}
	if e.Model == "" {
		e.Model = r.request.Model
	}
	if e.ServiceTier == "" {
		e.ServiceTier = r.request.ServiceTier
	}
	if e.Member == "" {
		e.Member = r.request.Member
	}
	e.Reservation = r.decision.Reservation
	e.Usage, e.Metadata = maps.Clone(e.Usage), maps.Clone(e.Metadata)
	r.event = &e
	return r.event
}

// Release gives the hold back. It does nothing once Event or a Commit has been called, so it can be
// deferred right after Reserve; it must not take the hold from under a commit whose answer was lost.
// A hold that has expired meanwhile is not an error.
func (r *Reservation) Release(ctx context.Context) error {
	r.mu.Lock()
	skip := r.event != nil || r.decision.Reservation == ""
	r.mu.Unlock()
	if skip {
		return nil
	}
	_, err := r.client.ReleaseReservation(ctx, r.decision.Reservation)
	if errors.Is(err, ErrReservationExpired) {
		return nil
	}
	return err
}

// Extend makes the hold last for ttl from now.
func (r *Reservation) Extend(ctx context.Context, ttl time.Duration) error {
	if r.decision.Reservation == "" {
		return nil
	}
	at, err := r.client.ExtendReservation(ctx, r.decision.Reservation, ttl)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.expires = at
	r.mu.Unlock()
	return nil
}

package client

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sentinels for errors.Is. They match a *Problem of the same code, however deep
// it is wrapped.
var (
	ErrInvalidRequest     = &Problem{Code: "invalid_request"}
	ErrUnauthorized       = &Problem{Code: "unauthorized"}
	ErrForbidden          = &Problem{Code: "forbidden"}
	ErrNotFound           = &Problem{Code: "not_found"}
	ErrConflict           = &Problem{Code: "conflict"}
	ErrTooLarge           = &Problem{Code: "too_large"}
	ErrOverloaded         = &Problem{Code: "overloaded"}
	ErrReservationUnknown = &Problem{Code: "reservation_unknown"}
	ErrReservationExpired = &Problem{Code: "reservation_expired"}
)

// Sentinels of what the client itself finds.
var (
	// ErrUnavailable: no node gave an answer in time. See UnavailableError.
	ErrUnavailable = errors.New("bursar is unavailable")
	// ErrOutcomeUnknown: the request may have taken effect although no answer came.
	ErrOutcomeUnknown = errors.New("the outcome is unknown")
	// ErrDenied: Bursar answered no. See DeniedError.
	ErrDenied = errors.New("denied")
	// ErrRejected: an event was refused and will be as it is. See RejectedError.
	ErrRejected = errors.New("the event was rejected")
	// ErrClosed: the client or recorder was closed before.
	ErrClosed = errors.New("closed")
)

// Error says what is wrong, field by field.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Code)
	switch {
	case p.Detail != "":
		b.WriteString(": " + p.Detail)
	case p.Title != "":
		b.WriteString(": " + p.Title)
	}
	for _, f := range p.Errors {
		if !strings.Contains(p.Detail, f.Message) { // of one field it is the same
			fmt.Fprintf(&b, "; %s: %s", f.Field, f.Message)
		}
	}
	return b.String()
}

// Is reports whether target is the sentinel of p's code.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Status == 0 && t.Code == p.Code
}

// UnavailableError reports a call that no node answered, for a reason that may
// pass. errors.Is(err, ErrUnavailable) holds; so does errors.Is(err,
// ErrOutcomeUnknown) if a node may have done what was asked.
type UnavailableError struct {
	Path    string // that was called
	Tries   int
	Unknown bool          // a try was sent and its answer lost
	After   time.Duration // when Bursar said to come back; 0: it did not say
	Err     error         // of the last try; often a *Problem
}

func (e *UnavailableError) Error() string {
	unknown := ""
	if e.Unknown {
		unknown = ", the outcome is unknown"
	}
	return fmt.Sprintf("%s: no answer after %d tries%s: %v", e.Path, e.Tries, unknown, e.Err)
}

// Unwrap returns what the last try failed with.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Is matches ErrUnavailable and, where it applies, ErrOutcomeUnknown.
func (e *UnavailableError) Is(target error) bool {
	return target == ErrUnavailable || e.Unknown && target == ErrOutcomeUnknown
}

// DeniedError carries the decision of a Reserve that was refused.
// errors.Is(err, ErrDenied) holds.
type DeniedError struct {
	Decision *CheckResponse
}

func (e *DeniedError) Error() string {
	d := e.Decision.DeniedBy
	if d == nil {
		return "denied: " + string(e.Decision.Code)
	}
	return fmt.Sprintf("denied: %s: %s of %s: limit %d, used %d, reserved %d, requested %d",
		e.Decision.Code, d.Capability, d.Entity, d.Limit, d.Used, d.Reserved, d.Requested)
}

// Is matches ErrDenied.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

// RejectedError carries the rejection of an event. errors.Is(err, ErrRejected) holds.
type RejectedError struct {
	Rejection Rejection
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("event %s was rejected: %s: %s", e.Rejection.ID, e.Rejection.Code, e.Rejection.Detail)
}

// Is matches ErrRejected.
func (e *RejectedError) Is(target error) bool { return target == ErrRejected }

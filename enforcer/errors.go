package enforcer

import "errors"

// Errors of decisions. The HTTP server maps them to statuses: 503, 429, 404.
var (
	// ErrUnavailable: this node cannot know in time whether there is room, or may
	// not decide at all (see Ready). The caller may retry at once on another node.
	ErrUnavailable = errors.New("cannot be decided here and now")
	// ErrOverloaded: a bound of this node is reached (waiting checks, reservations, outbox).
	ErrOverloaded = errors.New("overloaded")
	// ErrAccountNotFound: the account does not exist.
	ErrAccountNotFound = errors.New("account not found")
)

// The codes of ReleaseReply and ExtendReply; empty is success.
const (
	CodeReservationUnknown = "reservation_unknown"
	CodeReservationExpired = "reservation_expired"
)

// RequestError is a request that can never be answered: Field says what is wrong with it.
type RequestError struct {
	Field   string
	Message string
}

func (e *RequestError) Error() string { return e.Field + ": " + e.Message }

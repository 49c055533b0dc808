package fsm

import (
	"errors"
	"fmt"
)

// Code classifies an Error. It is part of the log format (a replica returns it
// as the outcome of a command) and maps one to one to a problem code of the
// HTTP API.
type Code string

// The codes a command can be rejected with.
const (
	CodeInvalid  Code = "invalid_request" // a field is wrong; Fields says which
	CodeNotFound Code = "not_found"       // the thing named does not exist
	CodeConflict Code = "conflict"        // it exists, but the state forbids it
	CodeTooLarge Code = "too_large"       // a documented limit was passed
	CodeCorrupt  Code = "corrupt"         // the command could not be decoded
)

// FieldError names one field of a request and says what is wrong with it.
type FieldError struct {
	Field   string `msgpack:"f" json:"field"`
	Message string `msgpack:"m" json:"message"`
}

// Error is a deterministic rejection: every replica returns the same one for
// the same log entry. It never carries a secret.
type Error struct {
	Code    Code             `msgpack:"c"`
	Message string           `msgpack:"m"`
	Fields  []FieldError     `msgpack:"f,omitempty"`
	Numbers map[string]int64 `msgpack:"n,omitempty"` // the amounts behind a conflict
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Is reports whether target is a sentinel of the same code, so that
// errors.Is(err, ErrNotFound) works on rejections that crossed the network.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Message == "" && t.Code == e.Code
}

// Sentinels for errors.Is. They carry a code and no message.
var (
	ErrInvalid  = &Error{Code: CodeInvalid}
	ErrNotFound = &Error{Code: CodeNotFound}
	ErrConflict = &Error{Code: CodeConflict}
	ErrTooLarge = &Error{Code: CodeTooLarge}
	ErrCorrupt  = &Error{Code: CodeCorrupt}
)

// ErrReleases rejects a command that a member's release cannot read. It is never in the log.
var ErrReleases = conflict("every node must run this release first: one that does not cannot read this change")

func invalid(field, format string, args ...any) *Error {
	m := fmt.Sprintf(format, args...)
	return &Error{Code: CodeInvalid, Message: field + ": " + m, Fields: []FieldError{{Field: field, Message: m}}}
}

func notFound(format string, args ...any) *Error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Error {
	return &Error{Code: CodeConflict, Message: fmt.Sprintf(format, args...)}
}

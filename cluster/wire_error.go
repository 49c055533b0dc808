package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// Errors. ErrUnknownOutcome (from enforcer) marks a proposal that may or may not take effect.
var (
	ErrNotLeader = errors.New("this node is not the leader")
	ErrStopped   = errors.New("the node is stopped")
)

// Errors between nodes.
var (
	errNotMember  = errors.New("the caller is not a member of this cluster")
	errOverloaded = errors.New("too many requests in flight")
	errRefused    = errors.New("refused") // for good: trying again changes nothing
	errRejoin     = errors.New("another process of this name was heard last: join again")
	errRemoved    = errors.New("this node was removed from the cluster")
)

// wireCode says across the wire which error it is. Numbers are part of the peer protocol.
type wireCode uint8

const (
	codeInternal wireCode = iota + 1
	codeRejected          // by the state machine; Rejection is set
	codeNotLeader
	codeUnknownOutcome
	codeNotMember
	codeOverloaded
	codeStopped
	codeRefused
	codeRejoin
	codeRemoved
)

// sentinels pairs codes with errors. Of several that match, the first counts.
var sentinels = []struct {
	code wireCode
	err  error
}{
	{codeUnknownOutcome, enforcer.ErrUnknownOutcome},
	{codeNotLeader, ErrNotLeader},
	{codeNotMember, errNotMember},
	{codeOverloaded, errOverloaded},
	{codeStopped, ErrStopped},
	{codeRefused, errRefused},
	{codeRejoin, errRejoin},
	{codeRemoved, errRemoved},
	{codeUnknownOutcome, context.DeadlineExceeded},
	{codeUnknownOutcome, context.Canceled},
}

// wireError is an error on its way to the caller.
type wireError struct {
	Code      wireCode   `msgpack:"c"`
	Message   string     `msgpack:"m"`
	Rejection *fsm.Error `msgpack:"r,omitempty"`
}

func toWire(err error) *wireError {
	var rejection *fsm.Error
	if errors.As(err, &rejection) {
		return &wireError{Code: codeRejected, Message: rejection.Message, Rejection: rejection}
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return &wireError{Code: s.code, Message: err.Error()}
		}
	}
	return &wireError{Code: codeInternal, Message: err.Error()}
}

// fromWire is the inverse of toWire as far as errors.Is and errors.As can tell.
func (w *wireError) fromWire(peer string) error {
	if w.Code == codeRejected && w.Rejection != nil {
		return w.Rejection
	}
	for _, s := range sentinels {
		if s.code == w.Code {
			return &remoteError{peer: peer, message: w.Message, is: s.err}
		}
	}
	return &remoteError{peer: peer, message: w.Message}
}

// remoteError is an error that a peer answered with.
type remoteError struct {
	peer    string
	message string
	is      error // a sentinel, or nil
}

func (e *remoteError) Error() string { return fmt.Sprintf("node %s: %s", e.peer, e.message) }
func (e *remoteError) Unwrap() error { return e.is }

// saidByPeer reports whether err is an answer that matches a sentinel, as
// opposed to an error of this side.
func saidByPeer(err, sentinel error) bool {
	var e *remoteError
	return errors.As(err, &e) && errors.Is(e, sentinel)
}

// notDone reports whether err proves that a request had no effect.
func notDone(err error) bool {
	for _, e := range []error{ErrNotLeader, errNotMember, errOverloaded, ErrStopped, errRejoin, enforcer.ErrUnreachable, enforcer.ErrNoLeader} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

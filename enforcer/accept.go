package enforcer

import (
	"context"

	"github.com/bursar-dev/bursar/fsm"
)

// resolve fills Chain, Unattributed, derived usage, and Lines (Budget and Amount
// only) of an event, as the tree stands now. Errors: ErrAccountNotFound, *RequestError.
func (e *Enforcer) resolve(ev *fsm.Event) error { panic("unwritten") }

// accept computes Drawn and On of the lines of a resolved event, against its
// reservation if this node gave it out and against this node's own room, and
// makes them pending. The reservation then no longer expires.
func (e *Enforcer) accept(ev *fsm.Event) { panic("unwritten") }

// unaccept undoes accept, for an event that could not be written to the outbox.
func (e *Enforcer) unaccept(ev *fsm.Event) { panic("unwritten") }

// originOf returns the node that gave a reservation out.
func (e *Enforcer) originOf(id resID) (node fsm.NodeNum, self bool) {
	return id.node, id.node == e.c.Node
}

// release frees a reservation, here or at its origin. account is what the
// caller's token covers; empty: all. Errors: ErrUnavailable.
func (e *Enforcer) release(ctx context.Context, id resID, account string) (ReleaseReply, error) {
	panic("unwritten")
}

// extend moves a reservation's expiry to ttl milliseconds from now; see release.
func (e *Enforcer) extend(ctx context.Context, id resID, account string, ttl int64) (ExtendReply, error) {
	panic("unwritten")
}

// part returns a part without content of this node's present session.
func (e *Enforcer) part() *fsm.Part { panic("unwritten") }

// Check decides a call and fills d, which must have been Reset. Errors:
// ErrUnavailable, ErrOverloaded, ErrAccountNotFound, *RequestError.
func (e *Enforcer) Check(ctx context.Context, c *Call, d *Decision) error { panic("unwritten") }

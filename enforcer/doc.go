// Package enforcer decides calls on one node: it answers Check from memory, holds
// reservations, accepts events into a durable outbox, and runs the node's half of
// the lease protocol. See DESIGN.md for its invariants.
//
// It is not for: consensus (it is given Peers), the control plane, or deciding how
// much a node may hold (fsm does).
//
// A check's way: check.go reads the call, plan.go and match.go find what it
// charges, book.go the slots, slot.go takes, undecided.go keeps half-done calls out
// of proofs, judge.go says why not, queue.go waits, draw.go asks another node
// (holder.go answers there, drawlife.go keeps the two of one mind, recall.go asks
// for what a crash of the machine has made a holder forget), reserve.go and
// reservation.go keep what is held, decision.go fills the answer.
//
// What happens comes in through applied.go; agent.go sends what want.go decides;
// notices.go sees cancels and confirms through; transit.go waits until what was
// set free is room for anyone; intake.go and admit.go bound what waits, accept.go charges an event before ship.go ships it,
// early.go takes one before the session begins; boot.go and drain.go begin and end
// a session; journal.go and outbox.go are what survives it, claims.go is what they
// know and the replica does not yet, recorded.go reads an outbox from outside;
// pricing.go says what a model's usage costs; server.go is HTTP, parse_plain.go reads the
// usual check and parse.go any body, deadline.go and linger.go are its connections.
package enforcer

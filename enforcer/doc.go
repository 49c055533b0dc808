// Package enforcer decides calls on one node: it answers Check from memory, holds
// reservations, accepts events into a durable outbox, and runs the node's half of
// the lease protocol. See DESIGN.md for its invariants.
//
// It is not for: consensus (it is given Peers), the control plane, or deciding how
// much a node may hold (fsm does).
package enforcer

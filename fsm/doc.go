// Package fsm is the replicated state machine and the domain: accounts, entities,
// assignments, budgets with their leases, the ledger and the audit trail, as a
// deterministic function of a log of commands, durable in a Pebble store. See DESIGN.md.
//
// It is not for: clocks, networks, HTTP, or deciding a call (package enforcer does, from what this package replicates).
package fsm

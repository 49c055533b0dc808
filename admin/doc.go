// Package admin is the control plane: the HTTP API by which administrators and
// CI configure a cluster and read its books, on every node.
//
// A request passes, in this order: harden.go (limits, request ids, panics), the
// router (mux.go), the guard of its route (guard.go: who is it, may they), the
// input check (input.go, schema.go: what the OpenAPI document says is what is
// accepted), the barrier that makes reads linearizable, and one handler. Every
// error leaves through problem.go.
//
// Invariants:
//   - Nothing is decided from state older than the barrier, the caller's own
//     token included, unless the caller asked for ?consistency=stale.
//   - A write is one command, proposed through the leader; its answer is read
//     from the local replica after the command was applied there.
//   - Secrets of tokens exist in one answer and nowhere else; the replica has digests.
//   - Amounts are integers from the wire to the store; ratios are compared by
//     cross-multiplication.
//
// It is not for: deciding calls (package enforcer) or what commands mean (package fsm).
//
// Files: api.go (Config, New, routes) · route.go (declaring an operation) · mux.go ·
// harden.go · guard.go · role.go · secret.go · input.go, schema.go, param.go ·
// problem.go · page.go · wire.go, and one file for each resource: accounts.go, catalog.go, entities.go,
// assignments.go, balances.go, tree.go, treequery.go, ratio.go, ledger.go,
// ledgerstream.go, usage.go, adjustments.go, statements.go (package statement lays them out), invoice.go, prices.go, tokens.go, audit.go, members.go, probes.go, metrics.go.
package admin

// Package fsm is the replicated state machine and the domain: accounts, entities,
// assignments, budgets with their leases, the ledger and the audit trail, as a
// deterministic function of a log of commands, durable in a Pebble store. See DESIGN.md.
//
// Where things are:
//
//	surface       command.go event.go changes.go errors.go limits.go, and the types in
//	              entity.go assignment.go budget.go node.go token.go cadence.go
//	machine       machine.go (open, close, read) apply.go (entries to outcomes) txn.go (one
//	              entry) tail.go (what the store does not have yet) wait.go checksum.go failure.go view.go query.go
//	leases        lease.go (the pure rules) birth.go (what a period is born with) reconcile.go
//	              settle.go releases.go nodes.go restore.go budget_cache.go invariants.go
//	configuration put_*.go move.go archive.go allocated.go limit.go backfill.go validate.go
//	              audit.go document.go
//	ledger        chain.go (the hashes of lines) ledger_index.go ledger_query.go (finding lines) line_reader.go
//	              rollup.go rollup_write.go usage.go (sums) correct.go reprice.go (corrections)
//	              verify*.go (recomputing it all from the lines) retain.go (dropping old lines)
//	statements    statement.go (what one is) statement_sum.go (lines to rows) statement_read.go (drafts, lists)
//	              statement_finalize.go statement_invoice.go
//	prices        prices.go prices_document.go (versions of the price book); the arithmetic is package price
//	packed        codec_pack.go codec_event.go codec_unpack_event.go codec_part.go codec_line.go
//	memory        state.go member.go (entities) record.go (assignments) seed.go (budgets nobody has used) rows.go rows_by_id.go
//	disk          keys.go value.go codec.go store.go load.go hot_reader.go memory.go snapshot.go install.go
//
// It is not for: clocks, networks, HTTP, or deciding a call (package enforcer does, from what this package replicates).
package fsm

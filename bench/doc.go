// Package bench drives a cluster as its users would and proves what came of it.
//
// Replay sends a real trace of model calls through check+reserve → ingest over a
// generated tree, at the trace's own pace or compressed, and ends with a report:
// decisions by code, latencies, and whether ledger, balances and the trace's own
// sums agree to the unit.
//
// Load sends checks at a fixed rate, to read latencies off.
//
// Both are open loop: a call starts when the trace says, whether or not earlier
// ones have been answered, and its latency counts from that intended start. A
// stalled server therefore shows up as latency instead of as fewer calls
// (the "coordinated omission" that closed loops suffer from).
//
// Map of the files:
//
//	trace.go    reading a trace
//	tree.go     the tree, who calls, and the budgets
//	account.go  making the account
//	loop.go     the open loop
//	pace.go     starting calls on time
//	replay.go   a trace through check+reserve → ingest
//	load.go     checks at a fixed rate
//	scrape.go   what nodes say of themselves
//	latency.go  histograms
//	proof.go    ledger = balances = trace
//	report.go   text and JSON
package bench

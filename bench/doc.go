// Package bench drives a cluster as its users would and proves what came of it.
//
// Replay sends a real trace of model calls through check+reserve → ingest over a
// generated tree, at the trace's own pace or compressed, and ends with a report:
// decisions by code, latencies, and whether ledger, balances and the trace's own
// sums agree to the unit.
//
// Load is open loop: a call starts when the trace says, whether or not earlier
// ones have been answered, and its latency counts from that intended start. A
// stalled server therefore shows up as latency instead of as fewer calls
// (the "coordinated omission" that closed loops suffer from).
//
// Map of the files:
//
//	trace.go    reading a trace
//	tree.go     the account, its tree and its budgets
//	replay.go   the open loop
//	latency.go  histograms
//	proof.go    ledger = balances = trace
//	report.go   text and JSON
package bench

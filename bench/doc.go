// Package bench drives a cluster as its users would, measures it, and proves what
// came of it.
//
// Load puts a workload on a cluster and holds the latencies against an objective
// (SLO). Replay sends a real trace of model calls through check+reserve → ingest
// over a generated tree and ends with a proof: ledger, balances and the trace's
// own sums agree to the unit. Diff compares two reports of Load. Comparison measures a
// cluster and what people use in its place (package baseline) in one run.
//
// # What a latency is
//
// In an open loop a call starts when its schedule says, whether or not earlier
// ones have been answered, and its latency counts from that intended start. A
// stalled server therefore shows as latency instead of as fewer calls
// (the "coordinated omission" that closed loops suffer from). A closed loop
// measures what a fixed number of callers get, each waiting for its answer; its
// latency counts from the sending.
//
// # When the figures are the generator's own
//
// Generator tells what the generator used and how late it started calls by itself,
// apart from those that waited because too many were under way (Lateness), and says
// in words when that shaped the figures.
//
// # What a run leaves behind
//
// An account that it made, named by the report, with its entities, budgets and ledger lines; the entity types bench_group
// and bench_caller (Load) or org, project, team, user and agent (Replay). In an account of the user's own (Load.Callers)
// it sets up nothing, and writes ledger lines only with Load.Spend.
//
// Map of the files:
//
//	load.go          a load: account, loop, counting
//	workload.go      what calls do; skew.go: who makes them; ladder.go: the tree
//	sender.go        bodies and answers on the wire
//	slo.go           objectives
//	load_report.go   text and JSON; diff.go: two reports; html.go, plot.go: a page with curves
//	generator*.go    what the generator used; machine_*.go: what everybody used
//	scale*.go        what a node costs with a million entities; process_*.go: memory and processor time of it
//	overload.go      more than a cluster can do
//	compare.go       Bursar and others in alternating rounds; compare_report.go: ratios with their spread
//	loop.go          the open and the closed loop; pace*.go: starting calls on time
//	latency.go       histograms
//	account.go       making an account
//	scrape.go        what nodes say of themselves
//	replay.go        a trace through check+reserve → ingest; trace.go: reading it; tree.go: who calls, and the budgets
//	proof.go         ledger = balances = trace; report.go: text and JSON of that
package bench

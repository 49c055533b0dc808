package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is what a replay came to.
type Report struct {
	Account  string         `json:"account"`
	Calls    int            `json:"calls"`
	Granted  int            `json:"granted"`
	Decided  map[string]int `json:"decided"` // by code; "error": no decision
	Elapsed  time.Duration  `json:"elapsed_ns"`
	Behind   time.Duration  `json:"behind_ns"` // the latest start of a call after its intended time
	Check    Quantiles      `json:"check"`     // from the intended start
	Ingest   Quantiles      `json:"ingest"`    // from sending to the acknowledgement
	Recorded int            `json:"recorded"`  // events acknowledged
	Unknown  int            `json:"unknown"`   // events whose acknowledgement was lost
	Errors   []string       `json:"errors,omitempty"`
	Proof    *Proof         `json:"proof"`
}

func (n *run) report(elapsed, behind time.Duration) *Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &Report{
		Account: n.Account, Calls: len(n.Calls), Granted: n.decided["ok"] + n.decided["ungoverned"], Decided: n.decided,
		Elapsed: elapsed, Behind: behind, Check: n.check.Quantiles(), Ingest: n.ingest.Quantiles(),
		Recorded: len(n.recorded), Unknown: len(n.unknown), Errors: n.errors,
	}
}

// WriteText writes the report as tables.
func (r *Report) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "calls\t%d\t\n", r.Calls)
	fmt.Fprintf(tw, "granted\t%d\t\n", r.Granted)
	for _, code := range sortedKeys(r.Decided) {
		if code != "ok" && code != "ungoverned" {
			fmt.Fprintf(tw, "%s\t%d\t\n", code, r.Decided[code])
		}
	}
	fmt.Fprintf(tw, "events recorded\t%d\t\n", r.Recorded)
	if r.Unknown > 0 {
		fmt.Fprintf(tw, "answers lost\t%d\t\n", r.Unknown)
	}
	fmt.Fprintf(tw, "took\t%s\t(%.0f calls/s)\t\n\n", r.Elapsed.Round(time.Millisecond), float64(r.Calls)/r.Elapsed.Seconds())

	fmt.Fprint(tw, "latency (ms)\tp50\tp90\tp99\tp99.9\tmax\t\n")
	writeQuantiles(tw, "check + reserve", r.Check)
	writeQuantiles(tw, "ingest", r.Ingest)
	writeBehind(tw, r.Behind)
	if r.Proof != nil {
		r.Proof.writeText(tw)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(tw, "error: %s\n", e)
	}
	return tw.Flush()
}

func writeQuantiles(w io.Writer, name string, q Quantiles) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", name, millis(q.P50), millis(q.P90), millis(q.P99), millis(q.P999), millis(q.Max))
}

// writeBehind says when the generator itself was late by more than timers are.
func writeBehind(w io.Writer, behind time.Duration) {
	const noise = 5 * time.Millisecond
	if behind > noise {
		fmt.Fprintf(w, "\nthe generator started a call up to %s late, which is part of the latencies: give it more --in-flight, or less load\n", behind.Round(time.Millisecond))
	}
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

func (p *Proof) writeText(w io.Writer) {
	fmt.Fprint(w, "\nproof\ttrace\tledger\tbalances\t\n")
	fmt.Fprintf(w, "calls\t%d\t%d\t%d\t\n", p.Trace.Requests, p.Ledger.Requests, p.Balances.Requests)
	fmt.Fprintf(w, "input tokens\t%d\t%d\t\t\n", p.Trace.Input, p.Ledger.Input)
	fmt.Fprintf(w, "output tokens\t%d\t%d\t\t\n", p.Trace.Output, p.Ledger.Output)
	fmt.Fprintf(w, "tokens\t%d\t%d\t%d\t\n", p.Trace.tokens(), p.Ledger.tokens(), p.Balances.tokens())
	if p.Holds() {
		fmt.Fprintf(w, "\nledger (%d lines), balances (%d budgets) and the trace agree to the unit\n", p.Lines, p.Budgets)
		return
	}
	fmt.Fprint(w, "\nTHE BOOKS DO NOT AGREE\n")
	for _, f := range p.Faults {
		fmt.Fprintf(w, "  %s\n", f)
	}
}

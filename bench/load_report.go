package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// LoadReport is what a load came to. Its JSON is what `bench diff` reads.
type LoadReport struct {
	Schema    int          `json:"schema"`
	Started   time.Time    `json:"started"` // of the calls that count
	Settings  LoadSettings `json:"settings"`
	Calls     int64        `json:"calls"`
	Errors    int64        `json:"errors"`  // calls that came to nothing
	Refused   int64        `json:"refused"` // decided and not granted
	Retried   int64        `json:"retried"` // calls given to another node
	Events    int64        `json:"events"`  // acknowledged, those that settled reservations included
	PerSecond float64      `json:"calls_per_second"`
	Kinds     []KindReport `json:"kinds"`
	Seconds   []Second     `json:"seconds"`
	Local     *float64     `json:"local"` // share of decided checks that nodes answered from memory; null: their metrics could not be read
	Generator Generator    `json:"generator"`
	SLO       []Verdict    `json:"slo,omitempty"`

	stats map[Kind]*kindStats
}

// loadSchema is the version of LoadReport's JSON.
const loadSchema = 1

// LoadSettings are what two reports must share to be comparable.
type LoadSettings struct {
	Workload  string        `json:"workload"`
	Loop      string        `json:"loop"` // open or closed
	Rate      int           `json:"rate,omitempty"`
	Duration  time.Duration `json:"duration_ns"`
	WarmUp    time.Duration `json:"warm_up_ns"`
	InFlight  int           `json:"in_flight"`
	Retries   int           `json:"retries"`
	Entities  int           `json:"entities"`
	Depth     int           `json:"depth,omitempty"` // 0: the user's own tree
	Skew      Skew          `json:"skew"`
	HotEvery  time.Duration `json:"hot_every_ns,omitempty"`
	Batch     int           `json:"batch,omitempty"`
	Ack       string        `json:"ack,omitempty"` // of ingests
	Endpoints int           `json:"endpoints"`
	Account   string        `json:"account"`
}

// KindReport is what the calls of one kind came to.
type KindReport struct {
	Kind      Kind           `json:"kind"`
	PerSecond float64        `json:"calls_per_second"`
	Decided   map[string]int `json:"decided"` // by code; "http_<status>" and "error": no decision
	Latency   Quantiles      `json:"latency"` // open loop: from the intended start
	Curve     []CurvePoint   `json:"curve"`
}

// report adds up a run.
func (r *loadRun) report(elapsed time.Duration, seconds []Second, g Generator) *LoadReport {
	rep := &LoadReport{
		Schema: loadSchema, Started: r.begin.UTC(), Settings: r.settings(), Errors: r.errors.Load(),
		Events: r.sent.Load() + int64(r.record.Stats().Accepted), Seconds: seconds, Generator: g, stats: r.stats,
	}
	for _, k := range kinds {
		s := r.stats[k]
		q := s.latency.Quantiles()
		if q.Count == 0 && !r.Workload.has(k) {
			continue
		}
		rep.Calls += q.Count
		rep.Retried += int64(s.retried)
		for code, n := range s.decided {
			granted := code == "ok" || code == "ungoverned" || code == accepted
			if !granted && !(outcome{code: code}).failed() {
				rep.Refused += int64(n)
			}
		}
		rep.Kinds = append(rep.Kinds, KindReport{
			Kind: k, PerSecond: float64(q.Count) / elapsed.Seconds(), Decided: s.decided, Latency: q, Curve: s.latency.Curve(),
		})
	}
	rep.PerSecond = float64(rep.Calls) / elapsed.Seconds()
	return rep
}

func (l *Load) settings() LoadSettings {
	s := LoadSettings{
		Workload: l.Workload.String(), Loop: "open", Rate: l.Rate, Duration: l.Duration, WarmUp: l.WarmUp, InFlight: l.InFlight, Retries: l.Retries,
		Entities: len(l.Callers), Skew: l.Skew, Endpoints: len(l.Endpoints), Account: l.Account,
	}
	if l.Rate == 0 {
		s.Loop = "closed"
	}
	if len(l.Callers) == 0 {
		s.Entities, s.Depth = l.Ladder.Entities, l.Ladder.Depth
	}
	if l.Skew == SkewHot {
		s.HotEvery = l.HotEvery
	}
	if l.Workload.has(KindIngest) {
		s.Batch, s.Ack = l.Batch, ackName(l.NodeAck)
	}
	return s
}

// Judge holds an objective against the report and keeps the verdicts in it. It
// reports whether all terms were met.
func (r *LoadReport) Judge(s SLO) bool {
	r.SLO = s.judge(r, func(k Kind, percent float64) time.Duration { return r.stats[k].latency.At(percent) })
	for _, v := range r.SLO {
		if !v.Met {
			return false
		}
	}
	return true
}

// WriteText writes the report as tables.
func (r *LoadReport) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\n\n", r.Settings)
	fmt.Fprint(tw, "latency (ms)\tcalls\tcalls/s\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, k := range r.Kinds {
		q := k.Latency
		fmt.Fprintf(tw, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t\n", k.Kind, q.Count, k.PerSecond, millis(q.P50), millis(q.P90), millis(q.P99), millis(q.P999), millis(q.Max))
	}
	fmt.Fprintln(tw)
	for _, k := range r.Kinds {
		for _, code := range sortedKeys(k.Decided) {
			fmt.Fprintf(tw, "%s: %s\t%d\t\n", k.Kind, strings.ReplaceAll(code, "_", " "), k.Decided[code])
		}
	}
	fmt.Fprintf(tw, "given to another node\t%d\t\n", r.Retried)
	if r.Local != nil {
		fmt.Fprintf(tw, "checks answered from memory\t%.3f %%\t\n", 100**r.Local)
	}
	if r.Events > 0 {
		fmt.Fprintf(tw, "events recorded\t%d\t\n", r.Events)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	r.Generator.writeText(w)
	if n := r.Generator.Lateness.Starved; n > 0 {
		fmt.Fprintf(w, "%d calls started late because all %d in flight were waiting for answers: the cluster did not keep up with the rate, or --in-flight is too small\n", n, r.Settings.InFlight)
	}
	if len(r.SLO) > 0 {
		fmt.Fprintln(w)
	}
	for _, v := range r.SLO {
		word := "met   "
		if !v.Met {
			word = "MISSED"
		}
		fmt.Fprintf(w, "%s %s  (%s)\n", word, v.Term, v.Got)
	}
	return nil
}

func (g *Generator) writeText(w io.Writer) {
	fmt.Fprintf(w, "\nthe generator used %.2f of %d processors", g.CPU, g.CPUs)
	if g.MachineBusy != nil {
		fmt.Fprintf(w, "; all programs of this machine %.0f %%", 100**g.MachineBusy)
	}
	if g.Lateness.Own.Count > 0 {
		fmt.Fprintf(w, "; it started calls late by %s ms (p50), %s (p99)", millis(g.Lateness.Own.P50), millis(g.Lateness.Own.P99))
	}
	fmt.Fprintln(w)
	for _, b := range g.Bottleneck {
		fmt.Fprintf(w, "THE GENERATOR WAS THE BOTTLENECK: %s\n", b)
	}
}

// String says in a line what was run.
func (s LoadSettings) String() string {
	var b strings.Builder
	if s.Loop == "closed" {
		fmt.Fprintf(&b, "%s, closed loop of %d", s.Workload, s.InFlight)
	} else {
		fmt.Fprintf(&b, "%s, open loop at %d calls a second", s.Workload, s.Rate)
	}
	fmt.Fprintf(&b, ", %s; %d callers (%s)", s.Duration, s.Entities, s.Skew)
	if s.Depth > 0 {
		fmt.Fprintf(&b, " in %d levels", s.Depth)
	}
	if s.Batch > 0 {
		fmt.Fprintf(&b, ", batches of %d (%s)", s.Batch, s.Ack)
	}
	fmt.Fprintf(&b, "; account %s", s.Account)
	return b.String()
}

// millis writes microseconds as milliseconds.
func millis(us int64) string { return strconv.FormatFloat(float64(us)/1000, 'f', 2, 64) }

func ackName(node bool) string {
	if node {
		return client.DurabilityNode
	}
	return client.DurabilityQuorum
}

package bench

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/bursar-dev/bursar/internal/pause"
)

// Overload finds what a cluster can do, by a closed loop, and then offers it fractions and multiples of that in an open one.
// A cluster in good health keeps its goodput beyond capacity, answers what it does not take with 429 at once, and does not let
// what it takes wait longer and longer.
type Overload struct {
	Load  Load      // workload, account, endpoints; its rate and duration are set here
	Steps []float64 // of capacity
	Each  time.Duration
	Say   func(format string, args ...any) // progress; may be nil
}

const (
	overloadCallers  = 64    // of the closed loop
	overloadInFlight = 4_096 // calls under way at most: beyond it the generator waits, which shows as latency
	overloadPause    = 2 * time.Second
)

// OverloadReport is what each step came to.
type OverloadReport struct {
	Workload string         `json:"workload"`
	Capacity float64        `json:"capacity_per_second"` // calls granted to 64 callers, each waiting for its answer
	Steps    []OverloadStep `json:"steps"`
}

// OverloadStep is one rate.
type OverloadStep struct {
	Offered    float64        `json:"offered_per_second"`
	Goodput    float64        `json:"granted_per_second"`
	Overloaded float64        `json:"overloaded_per_second"` // answered 429
	Failed     float64        `json:"failed_per_second"`     // any other answer that is no decision, or none
	Granted    int64          `json:"granted"`
	Codes      map[string]int `json:"codes"`
	Latency    Quantiles      `json:"latency"`         // of the slowest kind of calls, without those answered 429, from the intended start
	Turned     Quantiles      `json:"latency_of_429s"` // alike
	Generator  Generator      `json:"generator"`
}

// Validate names the flag that is wrong.
func (o *Overload) Validate() error {
	if o.Each < time.Second || o.Each > time.Minute {
		return fmt.Errorf("--each %s: want 1s to 1m", o.Each)
	}
	for _, s := range o.Steps {
		if s <= 0 || s > 10 {
			return fmt.Errorf("--steps %v: want more than 0 and at most 10 times the capacity", s)
		}
	}
	l := o.load(0)
	return l.Validate()
}

// load is one measurement; rate 0 is the closed loop.
func (o *Overload) load(rate int) *Load {
	l := o.Load
	l.Rate, l.Duration, l.WarmUp, l.Retries, l.InFlight = rate, o.Each, time.Second, 0, overloadInFlight
	if rate == 0 {
		l.InFlight = overloadCallers
	}
	return &l
}

// Run measures the capacity and then the steps.
func (o *Overload) Run(ctx context.Context) (*OverloadReport, error) {
	r := &OverloadReport{Workload: o.Load.Workload.String()}
	o.say("capacity of %s", r.Workload)
	closed, err := o.step(ctx, 0)
	if err != nil {
		return nil, err
	}
	if r.Capacity = closed.Goodput; r.Capacity < 1 {
		return nil, fmt.Errorf("nothing was granted: %v", closed.Codes)
	}
	for _, times := range o.Steps {
		if !pause.For(ctx, overloadPause) { // what the step before has left is worked off
			return nil, ctx.Err()
		}
		rate := min(max(1, int(times*r.Capacity)), maxRate)
		o.say("%s at %d/s, %.1f times the capacity", r.Workload, rate, times)
		step, err := o.step(ctx, rate)
		if err != nil {
			return nil, err
		}
		r.Steps = append(r.Steps, step)
	}
	return r, nil
}

func (o *Overload) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(format, args...)
	}
}

// step sends one rate.
func (o *Overload) step(ctx context.Context, rate int) (s OverloadStep, err error) {
	l := o.load(rate)
	rep, err := l.Run(ctx)
	if err != nil {
		return s, err
	}
	took := float64(rep.Calls) / max(rep.PerSecond, 1e-9)
	s = OverloadStep{Offered: float64(rate), Codes: map[string]int{}, Generator: rep.Generator}
	for _, k := range rep.Kinds {
		if taken := rep.stats[k.Kind].taken.Quantiles(); taken.P99 > s.Latency.P99 {
			s.Latency = taken
		}
		if turned := rep.stats[k.Kind].turned.Quantiles(); turned.P99 > s.Turned.P99 {
			s.Turned = turned
		}
		for code, n := range k.Decided {
			s.Codes[code] += n
			switch {
			case code == "ok" || code == "ungoverned" || code == accepted:
				s.Granted += int64(n)
			case code == turnedAway:
				s.Overloaded += float64(n) / took
			default:
				s.Failed += float64(n) / took
			}
		}
	}
	s.Goodput = float64(s.Granted) / took
	return s, nil
}

// WriteText writes the report for people.
func (r *OverloadReport) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s: capacity %.0f calls/s with %d callers that wait for their answers\n", r.Workload, r.Capacity, overloadCallers); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "offered/s\tgranted/s\t429/s\tfailed/s\tp50 ms\tp99 ms\tlongest ms\tp50 ms of 429\tp99 ms of 429\tcodes\t")
	for _, s := range r.Steps {
		ms := func(us int64) float64 { return float64(us) / 1000 }
		fmt.Fprintf(t, "%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%v\t\n", s.Offered, s.Goodput, s.Overloaded, s.Failed,
			ms(s.Latency.P50), ms(s.Latency.P99), ms(s.Latency.Max), ms(s.Turned.P50), ms(s.Turned.P99), s.Codes)
	}
	return t.Flush()
}

package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// CompareReport is what a Comparison came to. Figures of different runs, or
// machines, do not compare; the ratios within this one do.
type CompareReport struct {
	Rounds      int           `json:"rounds"`
	Each        time.Duration `json:"each_ns"`
	Connections int           `json:"connections"`
	Batch       int           `json:"batch"`
	Nodes       int           `json:"nodes"`
	Entities    int           `json:"entities"`
	Depth       int           `json:"depth"`
	Contenders  []Contender   `json:"contenders"`
	Missing     []string      `json:"missing,omitempty"` // what was not measured, and how to get it
}

// Contender is one thing that was measured, once a round.
type Contender struct {
	Name     string        `json:"name"`
	Bursar   bool          `json:"bursar"`
	Records  bool          `json:"records"` // batches of events; else decisions
	Measured []Measurement `json:"measured"`
}

// Measurement is one contender in one round.
type Measurement struct {
	PerSecond float64   `json:"per_second"` // decisions, or events
	Errors    int64     `json:"errors"`
	Latency   Quantiles `json:"latency"`
	Generator float64   `json:"generator_cpu"` // processors that the load generator used
}

// Ratio is how Bursar did against another, within each round.
type Ratio struct{ Median, Least, Most float64 }

// ratio takes figure(bursar) / figure(other) round by round.
func ratio(bursar, other *Contender, figure func(*Measurement) float64) Ratio {
	var all []float64
	for i := range bursar.Measured {
		if d := figure(&other.Measured[i]); d > 0 {
			all = append(all, figure(&bursar.Measured[i])/d)
		}
	}
	if len(all) == 0 {
		return Ratio{}
	}
	return Ratio{median(all), slices.Min(all), slices.Max(all)}
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// median of a figure over the rounds.
func (c *Contender) median(figure func(*Measurement) float64) float64 {
	var all []float64
	for i := range c.Measured {
		all = append(all, figure(&c.Measured[i]))
	}
	return median(all)
}

func perSecond(m *Measurement) float64 { return m.PerSecond }
func p50(m *Measurement) float64       { return float64(m.Latency.P50) }
func p99(m *Measurement) float64       { return float64(m.Latency.P99) }

// WriteText writes medians and, for every one of Bursar's operations, its ratio to each of the others.
func (r *CompareReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "closed loop of %d connections, %d rounds of %s each in alternating order; %d callers in %d levels; nodes of Bursar: %d\n",
		r.Connections, r.Rounds, r.Each, r.Entities, r.Depth, r.Nodes)
	for _, group := range []struct {
		title   string
		records bool
	}{{"decisions", false}, {fmt.Sprintf("events in batches of %d", r.Batch), true}} {
		fmt.Fprintf(w, "\n%s\n", group.title)
		if err := r.writeGroup(w, group.records); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "\nRatios are Bursar's figure over the other's within each round: median (least–most). More is better for a rate, less for a p99.\n")
	fmt.Fprint(w, "For a call Bursar charges two budgets a level, requests and tokens; Redis and PostgreSQL one.\n")
	for _, m := range r.Missing {
		fmt.Fprintf(w, "NOT MEASURED: %s\n", m)
	}
	return nil
}

func (r *CompareReport) writeGroup(w io.Writer, records bool) error {
	var mine, others []*Contender
	for i := range r.Contenders {
		c := &r.Contenders[i]
		switch {
		case c.Records != records:
		case c.Bursar:
			mine = append(mine, c)
		default:
			others = append(others, c)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "median of the rounds\tper second\tp50 ms\tp99 ms\terrors\tgenerator's processors\t\n")
	for _, c := range append(slices.Clone(mine), others...) {
		errors := int64(0)
		for _, m := range c.Measured {
			errors += m.Errors
		}
		fmt.Fprintf(tw, "%s\t%.0f\t%s\t%s\t%d\t%.2f\t\n", c.Name, c.median(perSecond), millis(int64(c.median(p50))), millis(int64(c.median(p99))), errors,
			c.median(func(m *Measurement) float64 { return m.Generator }))
	}
	fmt.Fprintln(tw)
	for _, b := range mine {
		fmt.Fprintf(tw, "%s against\trate\t\tp99\t\t\n", strings.TrimPrefix(b.Name, "Bursar "))
		for _, o := range others {
			rate, late := ratio(b, o, perSecond), ratio(b, o, p99)
			fmt.Fprintf(tw, "%s\t%.2f\t(%.2f–%.2f)\t%.2f\t(%.2f–%.2f)\t\n", o.Name, rate.Median, rate.Least, rate.Most, late.Median, late.Least, late.Most)
		}
	}
	return tw.Flush()
}

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"text/tabwriter"
)

// Diff compares two reports of the same load.
type Diff struct {
	Before *LoadReport `json:"before"`
	After  *LoadReport `json:"after"`
	Rows   []DiffRow   `json:"rows"`
	// Differ names the settings in which the two runs differ: such figures do not compare.
	Differ []string `json:"differ,omitempty"`
}

// DiffRow is one figure of both reports.
type DiffRow struct {
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	Ratio  float64 `json:"ratio"` // after / before; 0: there is nothing to divide by
}

// ReadLoadReport reads what `bench load` has written as JSON.
func ReadLoadReport(r io.Reader) (*LoadReport, error) {
	rep := new(LoadReport)
	if err := json.NewDecoder(r).Decode(rep); err != nil {
		return nil, err
	}
	if rep.Schema != loadSchema || len(rep.Kinds) == 0 {
		return nil, errors.New("this is no report that `bursar bench load` wrote as JSON")
	}
	return rep, nil
}

// Compare puts two reports side by side.
func Compare(before, after *LoadReport) *Diff {
	d := &Diff{Before: before, After: after}
	d.settings()
	d.row("all calls", "calls/s", before.PerSecond, after.PerSecond)
	d.row("all calls", "errors", float64(before.Errors), float64(after.Errors))
	d.row("generator", "processors", before.Generator.CPU, after.Generator.CPU)
	for _, b := range before.Kinds {
		for _, a := range after.Kinds {
			if a.Kind != b.Kind {
				continue
			}
			for _, q := range []struct {
				name          string
				before, after int64
			}{
				{"p50", b.Latency.P50, a.Latency.P50}, {"p90", b.Latency.P90, a.Latency.P90}, {"p99", b.Latency.P99, a.Latency.P99},
				{"p99.9", b.Latency.P999, a.Latency.P999}, {"max", b.Latency.Max, a.Latency.Max},
			} {
				d.row(string(b.Kind)+" "+q.name, "ms", float64(q.before)/1000, float64(q.after)/1000)
			}
		}
	}
	return d
}

func (d *Diff) row(what, unit string, before, after float64) {
	r := DiffRow{What: what, Unit: unit, Before: before, After: after}
	if before != 0 {
		r.Ratio = after / before
	}
	d.Rows = append(d.Rows, r)
}

// settings fills Differ. The account's name changes nothing.
func (d *Diff) settings() {
	before, after := reflect.ValueOf(d.Before.Settings), reflect.ValueOf(d.After.Settings)
	for i := range before.NumField() {
		name := before.Type().Field(i).Name
		if b, a := before.Field(i).Interface(), after.Field(i).Interface(); a != b && name != "Account" {
			d.Differ = append(d.Differ, fmt.Sprintf("%s: %v, then %v", name, b, a))
		}
	}
}

// WriteText writes the comparison as a table.
func (d *Diff) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "before: %s\nafter:  %s\n\n", d.Before.Settings, d.After.Settings)
	for _, s := range d.Differ {
		fmt.Fprintf(w, "THE RUNS DIFFER in %s\n", s)
	}
	for _, r := range []*LoadReport{d.Before, d.After} {
		for _, b := range r.Generator.Bottleneck {
			fmt.Fprintf(w, "THE GENERATOR WAS THE BOTTLENECK of one run: %s\n", b)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "\tunit\tbefore\tafter\tafter/before\t\n")
	for _, r := range d.Rows {
		ratio := "-"
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(tw, "%s\t%s\t%.2f\t%.2f\t%s\t\n", r.What, r.Unit, r.Before, r.After, ratio)
	}
	return tw.Flush()
}

package bench

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html.tmpl
var pageSource string

var page = template.Must(template.New("report").Parse(pageSource))

// pageData is what the page shows.
type pageData struct {
	Title string
	Text  string // the report as text
	Plots []plot
}

// WriteHTML writes the report as one page without anything from outside: the
// latency curve, the run second by second, and the text.
func (r *LoadReport) WriteHTML(w io.Writer) error {
	return writePage(w, "bursar bench load", r.WriteText, []plot{r.distributions(), r.timeline()})
}

// WriteHTML writes the comparison as one page, both runs' curves in one picture.
func (d *Diff) WriteHTML(w io.Writer) error {
	both := draw(curveTitle, curveCaption, append(d.Before.curves(" before"), d.After.curves(" after")...), nines)
	return writePage(w, "bursar bench diff", d.WriteText, []plot{both})
}

const (
	curveTitle   = "Latency by percentile"
	curveCaption = "How long the fastest part of the calls took at most. The further to the right, the rarer; a stall shows as a step."
)

func (r *LoadReport) curves(suffix string) (all []curve) {
	for _, k := range r.Kinds {
		all = append(all, distribution(string(k.Kind)+suffix, k.Curve))
	}
	return all
}

func (r *LoadReport) distributions() plot {
	return draw(curveTitle, curveCaption, r.curves(""), nines)
}

// timeline is the run second by second, all kinds together.
func (r *LoadReport) timeline() plot {
	p50, p99, worst := curve{name: "p50"}, curve{name: "p99"}, curve{name: "max"}
	for _, s := range r.Seconds {
		if s.Count == 0 {
			continue
		}
		for _, c := range []struct {
			to *curve
			us int64
		}{{&p50, s.P50}, {&p99, s.P99}, {&worst, s.Max}} {
			c.to.x, c.to.y = append(c.to.x, float64(s.At)), append(c.to.y, float64(c.us))
		}
	}
	return draw("Second by second", "All calls together.", []curve{p50, p99, worst}, secondTicks)
}

func writePage(w io.Writer, title string, text func(io.Writer) error, plots []plot) error {
	var b strings.Builder
	if err := text(&b); err != nil {
		return err
	}
	return page.Execute(w, pageData{Title: title, Text: b.String(), Plots: plots})
}

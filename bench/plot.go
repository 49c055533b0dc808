package bench

import (
	"fmt"
	"math"
	"strings"
)

// plot is a chart with a logarithmic y axis in milliseconds, drawn as SVG that
// needs nothing from outside.
type plot struct {
	Title, Caption string
	XTicks         []tick
	YTicks         []tick
	Lines          []line
}

// tick is a place on an axis, in pixels, and its label.
type tick struct {
	At    float64
	Label string
}

// line is one curve.
type line struct {
	Name  string
	Class string // of the style sheet
	Path  string // SVG path data
}

// Size of a plot's drawing area within its frame; the template has the same numbers.
const (
	plotLeft, plotTop    = 60, 10
	plotWide, plotHigh   = 820, 300
	plotRight, plotBelow = plotLeft + plotWide, plotTop + plotHigh
)

// curve is the input of a plot: points in any x, y in microseconds.
type curve struct {
	name string
	x, y []float64
}

// draw lays out curves between the least and the greatest of their values.
func draw(title, caption string, curves []curve, xTicks func(lo, hi float64) map[float64]string) plot {
	p := plot{Title: title, Caption: caption}
	xLo, xHi, yLo, yHi := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		for i := range c.x {
			xLo, xHi = min(xLo, c.x[i]), max(xHi, c.x[i])
			if c.y[i] > 0 {
				yLo, yHi = min(yLo, c.y[i]), max(yHi, c.y[i])
			}
		}
	}
	if xLo > xHi || yLo > yHi {
		return p // nothing to draw
	}
	low, high := math.Floor(math.Log10(yLo)), math.Ceil(math.Log10(yHi))
	high = max(high, low+1)
	x := func(v float64) float64 { return plotLeft + plotWide*(v-xLo)/max(xHi-xLo, math.SmallestNonzeroFloat32) }
	y := func(v float64) float64 {
		return plotBelow - plotHigh*(math.Log10(max(v, math.Pow(10, low)))-low)/(high-low)
	}
	for at, label := range xTicks(xLo, xHi) {
		p.XTicks = append(p.XTicks, tick{x(at), label})
	}
	for decade := low; decade <= high; decade++ {
		us := math.Pow(10, decade)
		p.YTicks = append(p.YTicks, tick{y(us), fmt.Sprintf("%g ms", us/1000)})
	}
	for i, c := range curves {
		var path strings.Builder
		for j := range c.x {
			verb := "L"
			if j == 0 {
				verb = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", verb, x(c.x[j]), y(c.y[j]))
		}
		p.Lines = append(p.Lines, line{Name: c.name, Class: fmt.Sprintf("l%d", i%plotColours), Path: path.String()})
	}
	return p
}

// plotColours is how many classes the style sheet has.
const plotColours = 6

// distribution turns a kind's curve into one over "nines": 0 is the median's
// side, 1 is 90 %, 2 is 99 %.
func distribution(name string, points []CurvePoint) curve {
	c := curve{name: name}
	for _, p := range points {
		c.x = append(c.x, -math.Log10(1-p.Percent/100))
		c.y = append(c.y, float64(p.Micros))
	}
	return c
}

// nines labels such an axis.
func nines(_, hi float64) map[float64]string {
	ticks := map[float64]string{0: "0 %"}
	for n := 1; float64(n) <= hi; n++ {
		label := "90 %"
		if n > 1 {
			label = fmt.Sprintf("%.*f %%", n-2, 100-100*math.Pow(10, -float64(n)))
		}
		ticks[float64(n)] = label
	}
	return ticks
}

// secondTicks labels an axis of seconds.
func secondTicks(lo, hi float64) map[float64]string {
	const most = 10
	step := max(1, math.Ceil((hi-lo)/most))
	ticks := map[float64]string{}
	for at := math.Ceil(lo/step) * step; at <= hi; at += step {
		ticks[at] = fmt.Sprintf("%g s", at)
	}
	return ticks
}

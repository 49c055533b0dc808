package bench

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms record microseconds up to a minute with three significant digits.
const (
	maxLatency       = time.Minute
	latencyPrecision = 3
)

// Latency is a histogram of durations, safe for concurrent use.
type Latency struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

// NewLatency returns an empty histogram.
func NewLatency() *Latency {
	return &Latency{h: hdrhistogram.New(1, maxLatency.Microseconds(), latencyPrecision)}
}

// Record adds a duration. Whatever is longer than a minute counts as a minute.
func (l *Latency) Record(d time.Duration) {
	us := min(max(d.Microseconds(), 1), maxLatency.Microseconds())
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.h.RecordValue(us) // in range by the line above
}

// Quantiles are a latency's figures, in microseconds.
type Quantiles struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_us"`
	P90   int64 `json:"p90_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p99_9_us"`
	Max   int64 `json:"max_us"`
}

// Quantiles returns the present figures.
func (l *Latency) Quantiles() Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quantiles()
}

func (l *Latency) quantiles() Quantiles {
	return Quantiles{
		Count: l.h.TotalCount(),
		P50:   l.h.ValueAtQuantile(50),
		P90:   l.h.ValueAtQuantile(90),
		P99:   l.h.ValueAtQuantile(99),
		P999:  l.h.ValueAtQuantile(99.9),
		Max:   l.h.Max(),
	}
}

// take returns the figures and begins anew.
func (l *Latency) take() Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.quantiles()
	l.h.Reset()
	return q
}

// At returns the latency that percent of all calls did not exceed.
func (l *Latency) At(percent float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.h.ValueAtQuantile(percent)) * time.Microsecond
}

// CurvePoint is one point of a latency's distribution.
type CurvePoint struct {
	Percent float64 `json:"percent"`
	Micros  int64   `json:"us"`
}

// curveSteps is how many points a curve has between one nine and the next.
const curveSteps = 8

// Curve returns the distribution, closer and closer points towards 100 %, and
// none beyond what the number of calls can say.
func (l *Latency) Curve() []CurvePoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	var points []CurvePoint
	for k := 0; ; k++ {
		rest := math.Pow(10, -float64(k)/curveSteps) // of the calls, beyond this point
		if rest*float64(l.h.TotalCount()) < 1 {
			return points
		}
		percent := 100 * (1 - rest)
		if k == 0 {
			points = append(points, CurvePoint{0, l.h.Min()})
			continue
		}
		points = append(points, CurvePoint{percent, l.h.ValueAtQuantile(percent)})
	}
}

package bench

import (
	"bytes"
	"strings"
	"testing"
)

func measured(rates ...float64) (all []Measurement) {
	for _, r := range rates {
		all = append(all, Measurement{PerSecond: r, Latency: Quantiles{P99: int64(1e6 / r)}})
	}
	return all
}

// Rounds differ by what else the machine does; ratios within them do not.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	bursar := &Contender{Measured: measured(100, 1000, 10)}
	other := &Contender{Measured: measured(50, 500, 4)}
	if got := ratio(bursar, other, perSecond); got != (Ratio{2, 2, 2.5}) {
		t.Errorf("%+v, want 2 (2–2.5)", got)
	}
	if got := ratio(bursar, &Contender{Measured: make([]Measurement, 3)}, perSecond); got != (Ratio{}) {
		t.Errorf("against nothing: %+v", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %v, want 2.5", got)
	}
}

func TestComparisonNamesRatiosAndWhatIsMissing(t *testing.T) {
	r := &CompareReport{
		Rounds: 2, Batch: 100, Missing: []string{"Redis: get it"},
		Contenders: []Contender{
			{Name: "Bursar check", Bursar: true, Measured: measured(90, 80)}, {Name: "floor", Measured: measured(100, 100)},
			{Name: "Bursar ingest", Bursar: true, Records: true, Measured: measured(500, 500)}, {Name: "PG", Records: true, Measured: measured(50, 50)},
		},
	}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.85", "(0.80–0.90)", "10.00", "NOT MEASURED: Redis: get it", "events in batches of 100"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

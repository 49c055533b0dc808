package bench

import (
	"strings"
	"testing"
)

func TestLocalityAddsUpWhatNodesSay(t *testing.T) {
	var l locality
	for _, page := range []string{
		"# TYPE bursar_checks_total counter\nbursar_checks_total{code=\"ok\"} 90\nbursar_checks_total{code=\"budget_exhausted\"} 10\nbursar_checks_local_total 99\n",
		"bursar_checks_total{code=\"ok\"} 1e+02\nbursar_checks_local_total 100\nother 5\n",
	} {
		if err := l.read(strings.NewReader(page)); err != nil {
			t.Fatal(err)
		}
	}
	if want := (locality{decided: 200, local: 199}); l != want {
		t.Errorf("%+v, want %+v", l, want)
	}
	if got := l.since(locality{decided: 150, local: 150}); got != (locality{decided: 50, local: 49}) {
		t.Errorf("since: %+v", got)
	}
}

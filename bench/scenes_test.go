package bench

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestScenesAreComparedWithinARound(t *testing.T) {
	s := SceneReport{Name: "backup", Rounds: []SceneRound{
		{Quiet: Quantiles{P50: 100, P99: 1_000}, During: Quantiles{P50: 110, P99: 1_500}},
		{Quiet: Quantiles{P50: 200, P99: 4_000}, During: Quantiles{P50: 200, P99: 4_000}, UndecidedDuring: 7},
		{Quiet: Quantiles{P50: 100, P99: 1_000}, During: Quantiles{P50: 90, P99: 3_000}},
	}}
	s.summarize()
	if want := (Ratio{1.5, 1, 3}); s.P99 != want {
		t.Errorf("p99 ratios %v, want %v", s.P99, want)
	}
	var b bytes.Buffer
	if err := (&ScenesReport{Rate: 500, Scenes: []SceneReport{s}}).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"at 500/s", "p99 1.50 (1.00–3.00)", "0, 7"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing:\n%s", want, b.String())
		}
	}
}

func TestScenesThatCannotBeMeasuredAreRefused(t *testing.T) {
	for _, wrong := range []*Scenes{{Rate: 1, Rounds: 1}, {Rate: 1, Each: time.Second}, {Rounds: 1, Each: time.Second}} {
		if err := wrong.Validate(); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	s := &Scenes{Rate: 1, Rounds: 1, Each: time.Second}
	none := errors.New("there is no follower")
	_, _, err := s.during(t.Context(), Scene{Begin: func(context.Context) (func() error, error) { return nil, none }})
	if !errors.Is(err, none) {
		t.Errorf("%v, want %v", err, none)
	}
}

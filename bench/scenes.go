package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Scene is something that goes on in a cluster and should slow no check on the other nodes.
type Scene struct {
	Name      string
	Endpoints []string // data plane base URLs of the nodes that are asked
	// Begin starts it; end ends it and waits until the cluster is as before.
	Begin func(ctx context.Context) (end func() error, err error)
}

// Scenes measures checks, with some ingests among them, at a fixed rate: in rounds, quiet and
// during each scene in turn. What counts is the ratio of the two in one round.
type Scenes struct {
	Load   Load // account, endpoints; its workload, rate and duration are set here
	Scenes []Scene
	Rate   int // calls a second
	Rounds int
	Each   time.Duration
	Say    func(format string, args ...any) // progress; may be nil
}

// scenesWorkload is what goes on besides: events keep followers, backups and disks at work.
const scenesWorkload = "check=20,ingest=1"

// ScenesReport is what the rounds came to.
type ScenesReport struct {
	Rate   int           `json:"calls_per_second"`
	Scenes []SceneReport `json:"scenes"`
}

// SceneReport is one scene. P99 are the ratios of its checks' p99 to the quiet one of the same round.
type SceneReport struct {
	Name   string       `json:"name"`
	Rounds []SceneRound `json:"rounds"`
	P50    Ratio        `json:"p50_ratio"`
	P99    Ratio        `json:"p99_ratio"`
}

// SceneRound is a scene and the quiet before or after it.
type SceneRound struct {
	Quiet  Quantiles `json:"quiet"` // of checks, from the intended start
	During Quantiles `json:"during"`
	// UndecidedQuiet and UndecidedDuring are checks that were not answered with a decision.
	UndecidedQuiet  int `json:"undecided_quiet"`
	UndecidedDuring int `json:"undecided_during"`
}

// Validate names the flag that is wrong.
func (s *Scenes) Validate() error {
	switch {
	case s.Each < time.Second || s.Each > time.Minute:
		return fmt.Errorf("--each %s: want 1s to 1m", s.Each)
	case s.Rounds < 1 || s.Rounds > 100:
		return fmt.Errorf("--rounds %d: want 1 to 100", s.Rounds)
	case s.Rate < 1 || s.Rate > maxRate:
		return fmt.Errorf("--rate %d: want 1 to %d", s.Rate, maxRate)
	}
	l, err := s.load(s.Load.Endpoints)
	if err != nil {
		return err
	}
	return l.Validate()
}

func (s *Scenes) load(endpoints []string) (*Load, error) {
	l := s.Load
	if err := l.Workload.UnmarshalText([]byte(scenesWorkload)); err != nil {
		return nil, err
	}
	l.Endpoints, l.Admins = endpoints, nil
	l.Rate, l.Duration, l.WarmUp, l.Retries, l.InFlight = s.Rate, s.Each, time.Second, 0, overloadInFlight
	return &l, nil
}

// Run measures all rounds.
func (s *Scenes) Run(ctx context.Context) (*ScenesReport, error) {
	r := &ScenesReport{Rate: s.Rate}
	for _, scene := range s.Scenes {
		r.Scenes = append(r.Scenes, SceneReport{Name: scene.Name})
	}
	for round := range s.Rounds {
		for i, scene := range s.Scenes {
			if s.Say != nil {
				s.Say("round %d of %d: %s", round+1, s.Rounds, scene.Name)
			}
			var one SceneRound
			quiet := func() (err error) {
				one.Quiet, one.UndecidedQuiet, err = s.measure(ctx, scene.Endpoints)
				return err
			}
			during := func() (err error) {
				one.During, one.UndecidedDuring, err = s.during(ctx, scene)
				return err
			}
			order := []func() error{quiet, during}
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, f := range order {
				if err := f(); err != nil {
					return nil, fmt.Errorf("%s: %w", scene.Name, err)
				}
			}
			r.Scenes[i].Rounds = append(r.Scenes[i].Rounds, one)
		}
	}
	for i := range r.Scenes {
		r.Scenes[i].summarize()
	}
	return r, nil
}

// during measures while the scene goes on, and ends it whatever comes of that.
func (s *Scenes) during(ctx context.Context, scene Scene) (q Quantiles, undecided int, err error) {
	end, err := scene.Begin(ctx)
	if err != nil {
		return q, 0, err
	}
	q, undecided, err = s.measure(ctx, scene.Endpoints)
	if ended := end(); err == nil {
		err = ended
	}
	return q, undecided, err
}

// measure returns the latency of checks, and how many were not decided.
func (s *Scenes) measure(ctx context.Context, endpoints []string) (q Quantiles, undecided int, err error) {
	l, err := s.load(endpoints)
	if err != nil {
		return q, 0, err
	}
	rep, err := l.Run(ctx)
	if err != nil {
		return q, 0, err
	}
	for _, k := range rep.Kinds {
		if k.Kind != KindCheck {
			continue
		}
		q = k.Latency
		for code, n := range k.Decided {
			if (outcome{code: code}).failed() {
				undecided += n
			}
		}
	}
	return q, undecided, nil
}

func (r *SceneReport) summarize() {
	var p50, p99 []float64
	for _, one := range r.Rounds {
		p50 = append(p50, float64(one.During.P50)/float64(max(1, one.Quiet.P50)))
		p99 = append(p99, float64(one.During.P99)/float64(max(1, one.Quiet.P99)))
	}
	r.P50, r.P99 = Ratio{median(p50), slices.Min(p50), slices.Max(p50)}, Ratio{median(p99), slices.Min(p99), slices.Max(p99)}
}

// WriteText writes the report for people.
func (r *ScenesReport) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "checks and ingests, 20 : 1, at %d/s; latencies are those of checks; median (least–most) of the ratios within a round\n", r.Rate); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scene\tround\tquiet p50 ms\tp99\tduring p50 ms\tp99\tundecided quiet, during\t")
	for _, s := range r.Scenes {
		for i, one := range s.Rounds {
			ms := func(us int64) float64 { return float64(us) / 1000 }
			fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%d, %d\t\n", s.Name, i+1, ms(one.Quiet.P50), ms(one.Quiet.P99), ms(one.During.P50), ms(one.During.P99),
				one.UndecidedQuiet, one.UndecidedDuring)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Scenes {
		if _, err := fmt.Fprintf(w, "%s / quiet: p50 %.2f (%.2f–%.2f), p99 %.2f (%.2f–%.2f)\n", s.Name, s.P50.Median, s.P50.Least, s.P50.Most, s.P99.Median, s.P99.Least, s.P99.Most); err != nil {
			return err
		}
	}
	return nil
}

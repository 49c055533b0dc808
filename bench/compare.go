package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/bench/baseline"
)

// Comparison measures a Bursar cluster and what people use in its place in one
// run: closed loops over the same connections, callers and chains, one after the
// other in every round, each round in the reverse order of the one before. What
// else happens on the machine meets all of them; a ratio is taken within a round.
type Comparison struct {
	Load   *Load            // Bursar: endpoints, token, account and Ladder
	Floor  string           // base URL of baseline.ServeFloor with Bursar's token
	Stores []baseline.Store // empty: Bursar against the floor alone

	Rounds      int
	Each        time.Duration // of one measurement
	Connections int
	Batch       int // events in one recording

	Progress func(round int, contender string)
}

// Limits of a comparison.
const (
	maxRounds      = 100
	maxConnections = 512
	compareWarmUp  = 300 * time.Millisecond // before each measurement
	compareHoldMS  = 1_000                  // reservations end by themselves: nothing settles them
)

// Validate names the flag that is wrong.
func (c *Comparison) Validate() error {
	switch {
	case c.Rounds < 2 || c.Rounds > maxRounds:
		return fmt.Errorf("--rounds %d: want 2 to %d, so that there is a spread", c.Rounds, maxRounds)
	case c.Each < 100*time.Millisecond || c.Each > maxDuration:
		return fmt.Errorf("--each %s: want 100ms to %s", c.Each, maxDuration)
	case c.Connections < 1 || c.Connections > maxConnections:
		return fmt.Errorf("--connections %d: want 1 to %d", c.Connections, maxConnections)
	case c.Batch < 1 || c.Batch > maxBatch:
		return fmt.Errorf("--batch %d: want 1 to %d events", c.Batch, maxBatch)
	}
	return c.Load.Ladder.Validate()
}

// contender is one thing that is measured.
type contender struct {
	name   string
	bursar bool
	record bool // it records batches; else it decides calls
	do     func(ctx context.Context, w *loadWorker, i int) error
	next   atomic.Int64 // numbers calls over all rounds, so that no event id comes twice
}

// Run measures everybody in every round.
func (c *Comparison) Run(ctx context.Context) (*CompareReport, error) {
	all, err := c.contenders(ctx)
	if err != nil {
		return nil, err
	}
	workers := make([]loadWorker, c.Connections)
	for w := range workers {
		seed := uint64(w)
		workers[w] = loadWorker{
			rng:  rand.New(rand.NewPCG(^c.Load.Seed, seed)),
			pick: newPicker(SkewUniform, c.Load.Ladder.Entities, time.Second, c.Load.Seed, seed),
		}
	}
	rep := &CompareReport{
		Rounds: c.Rounds, Each: c.Each, Connections: c.Connections, Batch: c.Batch, Nodes: len(c.Load.Endpoints),
		Entities: c.Load.Ladder.Entities, Depth: c.Load.Ladder.Depth,
	}
	for _, t := range all {
		rep.Contenders = append(rep.Contenders, Contender{Name: t.name, Bursar: t.bursar, Records: t.record})
	}
	for round := range c.Rounds {
		order := make([]int, len(all))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			if c.Progress != nil {
				c.Progress(round+1, all[i].name)
			}
			m, err := c.measure(ctx, all[i], workers)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, err)
			}
			rep.Contenders[i].Measured = append(rep.Contenders[i].Measured, m)
		}
	}
	return rep, nil
}

// measure runs one contender once.
func (c *Comparison) measure(ctx context.Context, t *contender, workers []loadWorker) (Measurement, error) {
	var (
		failed  atomic.Int64
		example atomic.Pointer[error]
		latency = NewLatency()
	)
	loop := func(last time.Duration) error {
		return closedLoop(ctx, len(workers), last, func(w, _ int, start time.Time) {
			if err := t.do(ctx, &workers[w], int(t.next.Add(1))); err != nil {
				failed.Add(1)
				example.Store(&err)
			}
			latency.Record(time.Since(start))
		})
	}
	if err := loop(compareWarmUp); err != nil {
		return Measurement{}, err
	}
	latency.take()
	failed.Store(0)
	usage, start := startUsage(), time.Now()
	if err := loop(c.Each); err != nil {
		return Measurement{}, err
	}
	q, elapsed := latency.Quantiles(), time.Since(start)
	m := Measurement{Latency: q, Errors: failed.Load(), PerSecond: float64(q.Count) / elapsed.Seconds(), Generator: usage.stop(Lateness{}, 0).CPU}
	if t.record {
		m.PerSecond *= float64(c.Batch)
	}
	if m.Errors == q.Count {
		return m, errors.Join(errors.New("no call succeeded"), *example.Load())
	}
	return m, nil
}

// contenders sets everybody up.
func (c *Comparison) contenders(ctx context.Context) ([]*contender, error) {
	l := c.Load
	l.InFlight = c.Connections
	callers, err := l.callers(ctx)
	if err != nil {
		return nil, err
	}
	bursar, err := newSender(l, callers)
	if err != nil {
		return nil, err
	}
	bursar.holdMS = compareHoldMS
	bare := *l
	bare.Endpoints = []string{c.Floor}
	floor, err := newSender(&bare, callers)
	if err != nil {
		return nil, err
	}
	all := []*contender{
		{name: "Bursar check", bursar: true, do: decide(bursar, KindCheck)},
		{name: "Bursar check + reserve", bursar: true, do: decide(bursar, KindReserve)},
		{name: "bare fasthttp handler (the floor)", do: decide(floor, KindCheck)},
	}
	tree := baseline.Tree{Chains: l.Ladder.chains(l.Account), Limit: ladderLimit}
	for _, s := range c.Stores {
		if err := s.Setup(ctx, tree); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		all = append(all, &contender{name: s.Name(), do: charge(s)})
	}
	run := ulid.Make().String()
	all = append(all, &contender{name: "Bursar ingest, quorum", bursar: true, record: true, do: func(_ context.Context, w *loadWorker, i int) error {
		bursar.ingest(&w.call, run, i*c.Batch, c.Batch, func() int { return w.pick.pick(0) })
		return granted(bursar.send(&w.call, KindIngest, i))
	}})
	for _, s := range c.Stores {
		all = append(all, &contender{name: s.Name(), record: true, do: c.recordTo(s, run)})
	}
	return all, nil
}

func decide(s *sender, kind Kind) func(context.Context, *loadWorker, int) error {
	return func(_ context.Context, w *loadWorker, i int) error {
		w.call.caller = w.pick.pick(0)
		s.check(&w.call, kind == KindReserve)
		return granted(s.send(&w.call, kind, i))
	}
}

func granted(o outcome) error {
	if o.code != "ok" && o.code != accepted {
		return fmt.Errorf("answered %s", o.code)
	}
	return nil
}

func charge(s baseline.Store) func(context.Context, *loadWorker, int) error {
	return func(ctx context.Context, w *loadWorker, i int) error {
		ok, err := s.Charge(ctx, baseline.Event{ID: "c" + strconv.Itoa(i), Caller: w.pick.pick(0), Amount: loadCallTokens})
		if err == nil && !ok {
			err = errors.New("refused")
		}
		return err
	}
}

func (c *Comparison) recordTo(s baseline.Store, run string) func(context.Context, *loadWorker, int) error {
	return func(ctx context.Context, w *loadWorker, i int) error {
		events := make([]baseline.Event, c.Batch)
		for e := range events {
			events[e] = baseline.Event{ID: run + strconv.Itoa(i*c.Batch+e), Caller: w.pick.pick(0), Amount: loadCallTokens / 2}
		}
		return s.Record(ctx, events)
	}
}

package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/bursar-dev/bursar/bench/baseline"
	"github.com/bursar-dev/bursar/client"
)

// Scale fills one account of a node of its own through the control plane, as users would, and holds
// what the node costs then against what it costs with a small account: memory, start, latency
// at random entities, pages of lists, and the turn of a period that every entity has a budget in.
//
// The two accounts have trees of as many levels. Every caller has three budgets, of requests a minute, tokens and usd a
// month, and every group has one of requests.
type Scale struct {
	Entities    int           // callers of the large account
	Small       int           // of the small one
	Each        time.Duration // how long one measurement of latency takes
	Rounds      int           // how often the accounts take turns
	Connections int

	Node  *baseline.Server
	Admin *client.Admin
	Data  *client.Client
	URL   string // of the control plane
	Token string
	Say   func(format string, args ...any) // progress; may be nil
}

// Limits of a Scale, and what it asks for.
const (
	scaleDepth      = 7
	scalePages      = 20
	scalePage       = 100
	scaleTrickle    = 50 // checks a second while the account is filled
	scaleTurnRate   = 500
	scaleTurnMargin = 8 * time.Second // before and after the turn of a minute
	maxScaleRounds  = 100
)

// Validate names the flag that is wrong.
func (s *Scale) Validate() error {
	switch {
	case s.Small < 1 || s.Entities < s.Small || s.Entities > maxCallers:
		return fmt.Errorf("--entities %d: want %d to %d, and --small %d of 1 to that", s.Entities, s.Small, maxCallers, s.Small)
	case s.Each < time.Second || s.Each > time.Minute:
		return fmt.Errorf("--each %s: want 1s to 1m", s.Each)
	case s.Rounds < 1 || s.Rounds > maxScaleRounds:
		return fmt.Errorf("--rounds %d: want 1 to %d", s.Rounds, maxScaleRounds)
	case s.Connections < 1 || s.Connections > maxInFlight:
		return fmt.Errorf("--connections %d: want 1 to %d", s.Connections, maxInFlight)
	}
	return nil
}

// ScaleReport is what a Scale found.
type ScaleReport struct {
	Entities    int `json:"entities"` // of the large account, groups included
	Assignments int `json:"assignments"`

	LoadSeconds  float64   `json:"load_seconds"`
	DuringLoad   Quantiles `json:"check_during_load"`
	Loaded       Memory    `json:"memory_loaded"`
	Restarted    Memory    `json:"memory_restarted"`
	Worked       Memory    `json:"memory_after_checks"`
	ReadySeconds float64   `json:"ready_seconds"` // from the start of the process

	Small ScaleSide `json:"small"`
	Large ScaleSide `json:"large"` // callers at random: while the account is far larger than a round, most call for the first time since the restart
	Again ScaleSide `json:"again"` // as many of the large account's callers as the small one has, from all over it, which have called before

	BeforeTurn Quantiles `json:"check_before_turn"` // worst second of those before the turn of the minute
	AtTurn     Quantiles `json:"check_at_turn"`     // worst of the two seconds around it
}

// Memory is what the system says of the node's process, in bytes. Zero: it does not say.
type Memory struct {
	Resident  int64 `json:"resident"`
	Anonymous int64 `json:"anonymous"` // the part that is not a mapped file
}

// ScaleSide is what one account's calls got.
type ScaleSide struct {
	Entities int       `json:"entities"`
	CheckP50 []int64   `json:"check_p50_us"` // by round
	CheckP99 []int64   `json:"check_p99_us"`
	NodeCPU  []float64 `json:"node_cpu_us_per_check"` // processor time of the node's process
	Pages    Pages     `json:"pages_p50_us"`
}

// Pages are medians of pages of 100, in microseconds, at places spread over the account.
type Pages struct {
	Entities    int64 `json:"entities"`
	Assignments int64 `json:"assignments"`
	OfOne       int64 `json:"assignments_of_one_entity"`
	Tree        int64 `json:"tree_by_id"`
}

// scaleAccount is one of the two accounts.
type scaleAccount struct {
	setup
	callers []string
}

// newScaleAccount lays an account out.
func newScaleAccount(id string, callers int) *scaleAccount {
	l := Ladder{Entities: callers, Depth: scaleDepth}
	a := &scaleAccount{setup: setup{
		account: id, types: []client.EntityType{{ID: typeGroup, Name: typeGroup}, {ID: typeCaller, Name: typeCaller}}, entities: l.entities(id),
	}}
	limit := int64(ladderLimit)
	budget := func(entity, capability, every string) {
		a.budgets = append(a.budgets, client.Assignment{Entity: entity, Capability: capability, Limit: &limit, Enforcement: "hard", Cadence: client.Cadence{Every: every}})
	}
	for i := range a.entities {
		e := &a.entities[i]
		if e.Type != typeCaller {
			budget(e.ID, "requests", "month")
			continue
		}
		a.callers = append(a.callers, e.ID)
		budget(e.ID, "requests", "minute")
		budget(e.ID, "tokens", "month")
		budget(e.ID, "usd", "month")
	}
	return a
}

// Run fills the accounts and measures.
func (s *Scale) Run(ctx context.Context) (*ScaleReport, error) {
	small, large := newScaleAccount("small", s.Small), newScaleAccount("large", s.Entities)
	r := &ScaleReport{Entities: len(large.entities), Assignments: len(large.budgets)}
	r.Small.Entities, r.Large.Entities = len(small.entities), len(large.entities)
	for _, step := range []func() error{
		func() error { return s.fill(ctx, small) },
		func() error { return s.fillUnderLoad(ctx, small, large, r) },
		func() error { return s.restart(ctx, r) },
		func() error { return s.pages(ctx, small, &r.Small) },
		func() error { return s.pages(ctx, large, &r.Large) },
		func() error { return s.checks(ctx, small, large, r) },
		func() error { return s.turn(ctx, large, r) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *Scale) say(format string, args ...any) {
	if s.Say != nil {
		s.Say(format, args...)
	}
}

// fill makes an account.
func (s *Scale) fill(ctx context.Context, a *scaleAccount) error {
	a.progress = func(done, all int) { s.say("filling account %s: %d of %d", a.account, done, all) }
	return a.createAccount(ctx, s.Admin)
}

// fillUnderLoad fills the large account while the small one's callers go on.
func (s *Scale) fillUnderLoad(ctx context.Context, small, large *scaleAccount, r *ScaleReport) error {
	latency := NewLatency()
	calls := s.load(small, scaleTrickle)
	checks, err := newSender(calls, small.callers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		gap := time.Second / scaleTrickle
		begin := time.Now()
		for i := 0; ; i++ {
			intended := begin.Add(time.Duration(i) * gap)
			if !pace(ctx, intended) {
				return
			}
			var c call
			c.caller = i * 7919 % len(small.callers)
			checks.check(&c, false)
			if checks.send(&c, KindCheck, 0).failed() {
				latency.Record(maxLatency)
				continue
			}
			latency.Record(time.Since(intended))
		}
	}()
	began := time.Now()
	err = s.fill(ctx, large)
	r.LoadSeconds = time.Since(began).Seconds()
	cancel()
	<-stopped
	r.DuringLoad, r.Loaded = latency.Quantiles(), readMemory(s.Node.PID())
	large.entities, large.budgets = nil, nil
	return err
}

// restart stops the node and starts it on what it has.
func (s *Scale) restart(ctx context.Context, r *ScaleReport) error {
	s.say("restarting the node")
	s.Node.Stop()
	began := time.Now()
	if err := s.Node.Start(ctx); err != nil {
		return err
	}
	r.ReadySeconds = time.Since(began).Seconds()
	r.Restarted = readMemory(s.Node.PID())
	return nil
}

// load is checks of an account's callers.
func (s *Scale) load(a *scaleAccount, rate int) *Load {
	l := &Load{
		Account: a.account, Callers: a.callers, Skew: SkewUniform, HotEvery: time.Hour, Batch: 1, Rate: rate, Duration: s.Each, WarmUp: time.Second,
		InFlight: s.Connections, Seed: 1, Endpoints: []string{s.Node.URL}, Token: s.Token, Data: s.Data, Admin: s.Admin,
	}
	_ = l.Workload.UnmarshalText([]byte(KindCheck)) // a kind is a workload
	return l
}

// checks measures the accounts in turn.
func (s *Scale) checks(ctx context.Context, small, large *scaleAccount, r *ScaleReport) error {
	again := &scaleAccount{setup: setup{account: large.account}, callers: spread(large.callers, len(small.callers))}
	r.Again.Entities = len(again.callers)
	s.say("one check of each of %d callers of account %s", len(again.callers), again.account)
	if err := s.callEach(ctx, again); err != nil {
		return err
	}
	for round := range s.Rounds {
		for _, side := range []struct {
			a    *scaleAccount
			into *ScaleSide
			what string
		}{{small, &r.Small, ""}, {large, &r.Large, ""}, {again, &r.Again, ", the same callers"}} {
			s.say("round %d of %d: checks of account %s%s", round+1, s.Rounds, side.a.account, side.what)
			before := processCPU(s.Node.PID())
			l := s.load(side.a, 0)
			l.Seed = uint64(round + 1)
			rep, err := l.Run(ctx)
			if err != nil {
				return err
			}
			if rep.Errors > 0 {
				return fmt.Errorf("%d of %d checks of account %s came to nothing: %v", rep.Errors, rep.Calls, side.a.account, rep.Kinds[0].Decided)
			}
			spent := processCPU(s.Node.PID()) - before
			all := rep.PerSecond * (s.Each + l.WarmUp).Seconds() // the warm-up's are not counted and cost as much
			side.into.CheckP50 = append(side.into.CheckP50, rep.Kinds[0].Latency.P50)
			side.into.CheckP99 = append(side.into.CheckP99, rep.Kinds[0].Latency.P99)
			side.into.NodeCPU = append(side.into.NodeCPU, math.Round(float64(spent.Microseconds())/all*10)/10)
		}
	}
	r.Worked = readMemory(s.Node.PID())
	return nil
}

// spread returns n of the callers, evenly.
func spread(callers []string, n int) []string {
	some := make([]string, n)
	for i := range some {
		some[i] = callers[i*len(callers)/n]
	}
	return some
}

// callEach lets every caller make one check.
func (s *Scale) callEach(ctx context.Context, a *scaleAccount) error {
	checks, err := newSender(s.load(a, 0), a.callers)
	if err != nil {
		return err
	}
	for i := range a.callers {
		c := call{caller: i}
		checks.check(&c, false)
		if checks.send(&c, KindCheck, 0).failed() {
			return fmt.Errorf("the first check of %s came to nothing", a.callers[i])
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// turn measures checks across the turn of a minute, when every caller's budget of requests begins anew.
func (s *Scale) turn(ctx context.Context, large *scaleAccount, r *ScaleReport) error {
	l := s.load(large, scaleTurnRate)
	l.Duration = 2 * scaleTurnMargin
	boundary := time.Now().Add(scaleTurnMargin + l.WarmUp + time.Second).Truncate(time.Minute).Add(time.Minute)
	s.say("checks across the turn of the minute at %s", boundary.Format(time.TimeOnly))
	if !pace(ctx, boundary.Add(-scaleTurnMargin-l.WarmUp)) {
		return ctx.Err()
	}
	rep, err := l.Run(ctx)
	if err != nil {
		return err
	}
	worst := func(a, b Quantiles) Quantiles {
		if b.P99 > a.P99 {
			return b
		}
		return a
	}
	at := int(scaleTurnMargin / time.Second)
	for _, second := range rep.Seconds {
		switch {
		case second.At <= 0 || second.At > at+2: // a second is named by its end
		case second.At <= at:
			r.BeforeTurn = worst(r.BeforeTurn, second.Quantiles)
		default:
			r.AtTurn = worst(r.AtTurn, second.Quantiles)
		}
	}
	return nil
}

// WriteText writes the report for people.
func (r *ScaleReport) WriteText(w io.Writer) error {
	mb := func(n int64) int64 { return n >> 20 }
	memory := func(m Memory) string {
		return fmt.Sprintf("%d MiB resident, %d MiB of it not mapped files", mb(m.Resident), mb(m.Anonymous))
	}
	_, err := fmt.Fprintf(w, `%d entities, %d assignments in one account
loaded in                 %.0f s; checks of another account meanwhile: p50 %d µs, p99 %d µs, longest %d µs
memory when loaded        %s
ready after a restart in  %.1f s
memory after a restart    %s
memory after the checks   %s

                          %15d entities %15d entities %10d of them again
check, p50 by round, µs   %24s %24s %24s
check, p99 by round, µs   %24s %24s %24s
node's CPU a check, µs    %24s %24s %24s
100 entities, µs          %24d %24d
100 assignments, µs       %24d %24d
one's assignments, µs     %24d %24d
100 rows of the tree, µs  %24d %24d

check at %d/s, worst second before the turn of a period of every entity: p99 %d µs; worst of the two seconds after it: p99 %d µs, longest %d µs
`, r.Entities, r.Assignments, r.LoadSeconds, r.DuringLoad.P50, r.DuringLoad.P99, r.DuringLoad.Max, memory(r.Loaded), r.ReadySeconds,
		memory(r.Restarted), memory(r.Worked), r.Small.Entities, r.Large.Entities, r.Again.Entities,
		rounds(r.Small.CheckP50), rounds(r.Large.CheckP50), rounds(r.Again.CheckP50),
		rounds(r.Small.CheckP99), rounds(r.Large.CheckP99), rounds(r.Again.CheckP99),
		rounds(r.Small.NodeCPU), rounds(r.Large.NodeCPU), rounds(r.Again.NodeCPU), r.Small.Pages.Entities, r.Large.Pages.Entities, r.Small.Pages.Assignments, r.Large.Pages.Assignments,
		r.Small.Pages.OfOne, r.Large.Pages.OfOne, r.Small.Pages.Tree, r.Large.Pages.Tree, scaleTurnRate, r.BeforeTurn.P99, r.AtTurn.P99, r.AtTurn.Max)
	return err
}

// rounds writes one figure a round.
func rounds[T int64 | float64](figures []T) string {
	words := make([]string, len(figures))
	for i, f := range figures {
		words[i] = fmt.Sprint(f)
	}
	return strings.Join(words, ", ")
}

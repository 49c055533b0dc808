package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/bench"
)

// benchLoadCmd is `bursar bench load`.
type benchLoadCmd struct {
	benchTarget
	AdminToken string   `help:"Access token for the control plane, if --token is a service token." placeholder:"bt_…"`
	Entity     []string `help:"Entities of an --account of your own that make the calls; nothing is set up there. Repeatable." placeholder:"ID"`
	Spend      bool     `help:"With --entity: write to that account's ledger and use up its budgets."`

	Workload bench.Workload `help:"check, reserve (settled by an event each), ingest, mixed, or weights: check=8,reserve=1,ingest=1." default:"check"`
	Rate     int            `help:"Calls a second, started whether or not earlier ones have been answered. 0: closed loop of --in-flight callers, each waiting for its answer." default:"1000"`
	Duration time.Duration  `help:"How long." default:"30s"`
	WarmUp   time.Duration  `help:"How long to send before counting." default:"2s"`
	Entities int            `help:"How many entities make calls." default:"1000"`
	Depth    int            `help:"Levels of the tree, the account's root being the first." default:"5"`
	Skew     bench.Skew     `help:"Who makes the calls: uniform, zipf, or hot (nine calls of ten from one caller in a hundred, moving on)." default:"uniform"`
	HotEvery time.Duration  `help:"How long a hot spot stays." default:"5s"`
	Batch    int            `help:"Events in one ingest." default:"100"`
	Ack      string         `help:"When an ingest is acknowledged: quorum or node." enum:"quorum,node" default:"quorum"`
	Retries  int            `help:"How often a call that a node could not take is given to another one." default:"1"`
	Seed     uint64         `help:"Chooses who makes which call." default:"1"`
	SLO      bench.SLO      `name:"slo" help:"Objective that decides the exit code: p99=1ms,p99.9=5ms,check.p50=500us,errors=0,refused=0.1%,rate=5000,local=99%." placeholder:"TERMS"`
	benchOutput
}

// Help implements kong's HelpProvider.
func (*benchLoadCmd) Help() string {
	return `Exit code: 0 the objective is met or none was given, 1 it is missed or the run failed, 2 wrong usage.

Latency counts from the moment at which a call was meant to start, so a cluster that stalls shows as latency and not
as fewer calls. The report says when this generator itself was the bottleneck.

Without --entity the run makes an account with a tree and budgets (a root or admin token) and leaves it there, with its
ledger lines and the entity types bench_group and bench_caller: accounts cannot be deleted, only frozen. Name it in
--account to use it again. With --account and --entity a service token is enough, and only --spend writes anything.`
}

// Run sends the load and judges it.
func (c *benchLoadCmd) Run(ctx context.Context, k *kong.Context) error {
	data, admin, err := c.connect(c.AdminToken)
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	token, err := c.secret()
	if err != nil {
		return usageError{err}
	}
	l := &bench.Load{
		Workload: c.Workload, Account: c.Account, Callers: c.Entity, Spend: c.Spend, Ladder: bench.Ladder{Entities: c.Entities, Depth: c.Depth},
		Skew: c.Skew, HotEvery: c.HotEvery, Batch: c.Batch, NodeAck: c.Ack == "node",
		Rate: c.Rate, Duration: c.Duration, WarmUp: c.WarmUp, InFlight: c.InFlight, Retries: c.Retries, Seed: c.Seed,
		Endpoints: c.Endpoint, Admins: c.Admin, Token: token, Data: data, Admin: admin,
	}
	if err := l.Validate(); err != nil {
		return usageError{err}
	}
	live := newBenchProgress(k.Stderr)
	l.Setup = func(done, all int) { live.step("making the account: %d of %d", done, all) }
	l.Progress = func(p bench.Progress) { live.step("%s", liveLine(p)) }
	rep, err := l.Run(ctx)
	live.done()
	if err != nil {
		return err
	}
	met := rep.Judge(c.SLO)
	if err := c.write(k.Stdout, rep); err != nil {
		return err
	}
	if !met {
		return errors.New("the objective was missed")
	}
	return nil
}

// liveLine is what a terminal shows of a load under way.
func liveLine(p bench.Progress) string {
	phase := ""
	if p.WarmingUp {
		phase = "warming up, "
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return fmt.Sprintf("%s%s of %s: %d calls/s, p50 %.2f ms, p99 %.2f ms, %d errors", phase,
		p.Elapsed.Round(time.Second), p.All, p.Last.Count, ms(p.Last.P50), ms(p.Last.P99), p.Last.Errors)
}

// benchDiffCmd is `bursar bench diff`.
type benchDiffCmd struct {
	Before string `arg:"" help:"Report that bench load --save wrote as JSON." type:"existingfile"`
	After  string `arg:"" help:"Another one." type:"existingfile"`
	benchOutput
}

// Run compares the reports.
func (c *benchDiffCmd) Run(k *kong.Context) error {
	before, err := readLoadReport(c.Before)
	if err != nil {
		return err
	}
	after, err := readLoadReport(c.After)
	if err != nil {
		return err
	}
	return c.write(k.Stdout, bench.Compare(before, after))
}

func readLoadReport(name string) (*bench.LoadReport, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := bench.ReadLoadReport(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

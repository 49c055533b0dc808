package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/bench"
)

// benchOverloadCmd is `bursar bench overload`.
type benchOverloadCmd struct {
	Nodes    int            `help:"Nodes to start for this run." default:"1"`
	Workload bench.Workload `help:"What calls do; see bench load." default:"check"`
	Steps    []float64      `help:"What is offered, in multiples of the capacity." default:"0.5,1,2,4" sep:","`
	Each     time.Duration  `help:"How long a step takes." default:"5s"`
	Entities int            `help:"How many entities make calls." default:"1000"`
	Depth    int            `help:"Levels of the tree, the account's root being the first." default:"5"`
	Batch    int            `help:"Events in one ingest." default:"100"`
	Scene    []string       `help:"Measure instead whether this slows checks on the other nodes: slow-follower, stopped-follower, backup. Needs --nodes 3." sep:"," enum:"slow-follower,stopped-follower,backup" placeholder:"NAME"`
	Rate     int            `help:"Calls a second, with --scene." default:"500"`
	Rounds   int            `help:"How often each scene is compared with quiet, with --scene." default:"3"`
	textOutput
}

// Help implements kong's HelpProvider.
func (*benchOverloadCmd) Help() string {
	return `Starts nodes on loopback, finds how many calls a second they grant to callers that wait for their answers, and offers them
fractions and multiples of that whether or not they answer. Nodes and generator share the machine's processors, so beyond
capacity the generator takes from the nodes what it needs itself. The nodes and all they have stored are removed at the end.

With --scene it measures checks at a fixed rate, in rounds, while nothing else happens and while
  slow-follower     a follower stands still nine tenths of the time (SIGSTOP, SIGCONT)
  stopped-follower  it stands still, and the cluster declares it dead
  backup            it sends one backup after the other
and gives the ratio of the p99 within each round. Calls go to the other nodes; during a backup to all.`
}

// Run starts the nodes, measures, and removes them.
func (c *benchOverloadCmd) Run(ctx context.Context, k *kong.Context) (err error) {
	if len(c.Scene) > 0 && c.Nodes < sceneNodes {
		return usageError{fmt.Errorf("--scene: a follower that stands still must leave a majority: want --nodes %d", sceneNodes)}
	}
	started := servers{}
	defer func() { err = errors.Join(err, started.close()) }()
	live := newBenchProgress(k.Stderr)
	defer live.done()
	target, err := started.startNodes(ctx, c.Nodes, live)
	if err != nil {
		return err
	}
	data, admin, err := target.connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	load := bench.Load{
		Workload: c.Workload, Account: target.Account, Ladder: bench.Ladder{Entities: c.Entities, Depth: c.Depth}, Skew: bench.SkewUniform,
		HotEvery: time.Hour, Batch: c.Batch, Seed: 1, Endpoints: target.Endpoint, Admins: target.Admin, Token: target.Token, Data: data, Admin: admin,
		Setup: func(done, all int) { live.step("making the account: %d of %d", done, all) },
	}
	say := func(format string, args ...any) { live.step(format, args...) }
	var rep textReport
	if len(c.Scene) > 0 {
		rep, err = c.scenes(ctx, load, target, started, say)
	} else {
		rep, err = c.steps(ctx, load, say)
	}
	live.done()
	if err != nil {
		return err
	}
	return c.write(k.Stdout, rep)
}

// steps offers multiples of the capacity.
func (c *benchOverloadCmd) steps(ctx context.Context, load bench.Load, say func(string, ...any)) (*bench.OverloadReport, error) {
	o := &bench.Overload{Load: load, Steps: c.Steps, Each: c.Each, Say: say}
	if err := o.Validate(); err != nil {
		return nil, usageError{err}
	}
	rep, err := o.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("bench overload: %w", err)
	}
	return rep, nil
}

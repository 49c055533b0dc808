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
	Output   string         `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

// Help implements kong's HelpProvider.
func (*benchOverloadCmd) Help() string {
	return `Starts nodes on loopback, finds how many calls a second they grant to callers that wait for their answers, and offers them
fractions and multiples of that whether or not they answer. Nodes and generator share the machine's processors, so beyond
capacity the generator takes from the nodes what it needs itself. The nodes and all they have stored are removed at the end.`
}

// Run starts the nodes, measures, and removes them.
func (c *benchOverloadCmd) Run(ctx context.Context, k *kong.Context) (err error) {
	started := servers{}
	defer func() { err = errors.Join(err, started.close()) }()
	live := newProgress(k.Stderr)
	defer live.done()
	own := benchCompareCmd{Nodes: c.Nodes}
	target, err := own.target(ctx, &started, live)
	if err != nil {
		return err
	}
	data, admin, err := target.connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	o := &bench.Overload{
		Load: bench.Load{
			Workload: c.Workload, Account: target.Account, Ladder: bench.Ladder{Entities: c.Entities, Depth: c.Depth}, Skew: bench.SkewUniform,
			HotEvery: time.Hour, Batch: c.Batch, Seed: 1, Endpoints: target.Endpoint, Admins: target.Admin, Token: target.Token, Data: data, Admin: admin,
			Setup: func(done, all int) { live.step("making the account: %d of %d", done, all) },
		},
		Steps: c.Steps, Each: c.Each, Say: func(format string, args ...any) { live.step(format, args...) },
	}
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	rep, err := o.Run(ctx)
	live.done()
	if err != nil {
		return fmt.Errorf("bench overload: %w", err)
	}
	if c.Output == outputJSON {
		return writeJSON(k.Stdout, rep)
	}
	return rep.WriteText(k.Stdout)
}

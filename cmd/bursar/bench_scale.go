package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/bench"
)

// benchScaleCmd is `bursar bench scale`.
type benchScaleCmd struct {
	Entities    int           `help:"Entities of the large account that make calls; each has three budgets." default:"1000000"`
	Small       int           `help:"Entities of the small account that it is compared with." default:"10000"`
	Each        time.Duration `help:"How long one measurement of latency takes." default:"5s"`
	Rounds      int           `help:"How often the two accounts take turns." default:"3"`
	Connections int           `help:"Connections, each waiting for its answer." default:"8"`
	textOutput
}

// Help implements kong's HelpProvider.
func (*benchScaleCmd) Help() string {
	return `Starts a node on loopback, fills an account through its control plane, and measures what the node costs and how it answers,
against a small account on the same node: memory, start, checks at random entities, pages, and the turn of a period. The
node and all it has stored are removed at the end. A million entities take some minutes, 2 GB of memory and 8 GB of disk.`
}

// Run starts the node, measures, and removes it.
func (c *benchScaleCmd) Run(ctx context.Context, k *kong.Context) (err error) {
	started := servers{}
	defer func() { err = errors.Join(err, started.close()) }()
	live := newBenchProgress(k.Stderr)
	defer live.done()
	target, err := started.startNodes(ctx, 1, live)
	if err != nil {
		return err
	}
	data, admin, err := target.connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	s := &bench.Scale{
		Entities: c.Entities, Small: min(c.Small, c.Entities), Each: c.Each, Rounds: c.Rounds, Connections: c.Connections,
		Node: started[0], Admin: admin, Data: data, URL: target.Admin[0], Token: target.Token,
		Say: func(format string, args ...any) { live.step(format, args...) },
	}
	if err := s.Validate(); err != nil {
		return usageError{err}
	}
	rep, err := s.Run(ctx)
	live.done()
	if err != nil {
		return fmt.Errorf("bench scale: %w", err)
	}
	return c.write(k.Stdout, rep)
}

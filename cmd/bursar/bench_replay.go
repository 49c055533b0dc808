package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/bench"
)

// benchReplayCmd is `bursar bench replay`.
type benchReplayCmd struct {
	benchTarget
	Projects int `help:"Projects in the generated tree." default:"2"`
	Teams    int `help:"Teams in each project." default:"3"`
	Users    int `help:"Users in each team." default:"10"`
	textOutput

	File          string        `arg:"" help:"CSV with the header TIMESTAMP,ContextTokens,GeneratedTokens. - reads standard input."`
	Speed         float64       `help:"How much faster than the trace: 60 sends an hour in a minute." default:"1"`
	Share         float64       `help:"Hard limits as a multiple of what the trace needs: below 1 some calls must be refused." default:"2"`
	ReserveOutput int64         `help:"Output tokens each call reserves, as max_tokens would. Default: the longest output in the trace." placeholder:"N"`
	Seed          uint64        `help:"Chooses who makes which call." default:"1"`
	Settle        time.Duration `help:"How long to wait for the last events before the books are compared." default:"15s"`
}

// Help implements kong's HelpProvider.
func (*benchReplayCmd) Help() string {
	return "The token must be a root token: the run makes an account and reads its ledger. The account stays."
}

// Run replays the trace. Books that do not agree are a failure.
func (c *benchReplayCmd) Run(ctx context.Context, k *kong.Context) error {
	calls, err := c.read()
	if err != nil {
		return err
	}
	data, admin, err := c.connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	r := &bench.Replay{
		Calls: calls, Account: c.Account, Shape: bench.Shape{Projects: c.Projects, Teams: c.Teams, Users: c.Users},
		Share: c.Share, ReserveOutput: c.ReserveOutput,
		Speed: c.Speed, InFlight: c.InFlight, Seed: c.Seed, Settle: c.Settle, Data: data, Admin: admin,
	}
	if err := r.Validate(); err != nil {
		return usageError{err}
	}
	bar, live := benchBar(k.Stderr, len(calls), "replaying"), newBenchProgress(k.Stderr)
	var done atomic.Int64
	r.Progress = func(n int) {
		if sum := done.Add(int64(n)); !live.terminal {
			live.step("replaying: %d of %d calls", sum, len(calls))
		}
		_ = bar.Add(n)
	}
	rep, err := r.Run(ctx)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	err = c.write(k.Stdout, rep)
	if err == nil && !rep.Proof.Holds() {
		err = errors.New("the books do not agree: see above")
	}
	return err
}

func (c *benchReplayCmd) read() ([]bench.TraceCall, error) {
	in, err := openInput(c.File)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	calls, err := bench.ReadTrace(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return calls, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/oklog/ulid/v2"
	"github.com/schollz/progressbar/v3"

	"github.com/bursar-dev/bursar/bench"
	"github.com/bursar-dev/bursar/client"
)

// benchCmd is `bursar bench`.
type benchCmd struct {
	Replay benchReplayCmd `cmd:"" help:"Replay a trace of model calls and prove that ledger, balances and trace agree."`
	Load   benchLoadCmd   `cmd:"" help:"Send checks at a fixed rate and report latencies."`
}

// benchTarget says where a load goes and what tree it is spread over.
type benchTarget struct {
	Endpoint []string `help:"Data plane base URLs." default:"http://127.0.0.1:7070" sep:","`
	Admin    []string `help:"Control plane base URLs." default:"http://127.0.0.1:7080" sep:","`
	Token    string   `help:"A root token: the run makes an account and reads its ledger." required:"" placeholder:"bt_…"`
	Account  string   `help:"Account to make for this run. Default: a new one." placeholder:"ID"`
	Projects int      `help:"Projects in the generated tree." default:"2"`
	Teams    int      `help:"Teams in each project." default:"3"`
	Users    int      `help:"Users in each team." default:"10"`
	InFlight int      `help:"Calls under way at once, at most." default:"256"`
	Output   string   `help:"text or json." enum:"text,json" default:"text"`
}

// benchReplayCmd is `bursar bench replay`.
type benchReplayCmd struct {
	benchTarget
	File          string        `arg:"" help:"CSV with the header TIMESTAMP,ContextTokens,GeneratedTokens. - reads standard input."`
	Speed         float64       `help:"How much faster than the trace: 60 sends an hour in a minute." default:"1"`
	Share         float64       `help:"Hard limits as a multiple of what the trace needs: below 1 some calls must be refused." default:"2"`
	ReserveOutput int64         `help:"Output tokens each call reserves, as max_tokens would. Default: the longest output in the trace." placeholder:"N"`
	Seed          uint64        `help:"Chooses who makes which call." default:"1"`
	Settle        time.Duration `help:"How long to wait for the last events before the books are compared." default:"15s"`
}

// benchLoadCmd is `bursar bench load`.
type benchLoadCmd struct {
	benchTarget
	Rate      int           `help:"Calls a second." default:"1000"`
	Duration  time.Duration `help:"How long." default:"30s"`
	CheckOnly bool          `help:"Check without reserving, and record nothing."`
}

// Run replays the trace. Books that do not agree are a failure.
func (c *benchReplayCmd) Run(ctx context.Context, k *kong.Context) error {
	calls, err := c.read()
	if err != nil {
		return err
	}
	data, admin, err := c.connect()
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	r := &bench.Replay{
		Calls: calls, Account: c.Account, Shape: c.shape(), Share: c.Share, ReserveOutput: c.ReserveOutput,
		Speed: c.Speed, InFlight: c.InFlight, Seed: c.Seed, Settle: c.Settle, Data: data, Admin: admin,
	}
	if err := r.Validate(); err != nil {
		return usageError{err}
	}
	bar := c.bar(k.Stderr, len(calls), "replaying")
	r.Progress = func(n int) { _ = bar.Add(n) }
	rep, err := r.Run(ctx)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if err := c.write(k.Stdout, rep, rep.WriteText); err != nil {
		return err
	}
	if !rep.Proof.Holds() {
		return errors.New("the books do not agree: see above")
	}
	return nil
}

func (c *benchReplayCmd) read() ([]bench.TraceCall, error) {
	if c.File == "-" {
		return bench.ReadTrace(os.Stdin)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	calls, err := bench.ReadTrace(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return calls, nil
}

// Run sends the load.
func (c *benchLoadCmd) Run(ctx context.Context, k *kong.Context) error {
	data, admin, err := c.connect()
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	l := &bench.Load{
		Account: c.Account, Shape: c.shape(), CheckOnly: c.CheckOnly, Rate: c.Rate, Duration: c.Duration, InFlight: c.InFlight,
		Endpoints: c.Endpoint, Admins: c.Admin, Token: c.Token, Data: data, Admin: admin,
	}
	if err := l.Validate(); err != nil {
		return usageError{err}
	}
	bar := c.bar(k.Stderr, int(float64(c.Rate)*c.Duration.Seconds()), "sending")
	l.Progress = func(n int) { _ = bar.Add(n) }
	rep, err := l.Run(ctx)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	return c.write(k.Stdout, rep, rep.WriteText)
}

// connect makes the clients and, if none is named, the account's id.
func (t *benchTarget) connect() (*client.Client, *client.Admin, error) {
	if t.Account == "" {
		t.Account = "bench-" + strings.ToLower(ulid.Make().String())
	}
	data, err := client.New(client.Options{Endpoints: t.Endpoint, Token: t.Token})
	if err != nil {
		return nil, nil, usageError{err}
	}
	admin, err := client.NewAdmin(t.Admin, t.Token)
	if err != nil {
		data.Close()
		return nil, nil, usageError{err}
	}
	return data, admin, nil
}

func (t *benchTarget) shape() bench.Shape {
	return bench.Shape{Projects: t.Projects, Teams: t.Teams, Users: t.Users}
}

// bar shows progress on a terminal and nothing in a pipe.
func (t *benchTarget) bar(w io.Writer, calls int, what string) *progressbar.ProgressBar {
	const refresh = 100 * time.Millisecond
	return progressbar.NewOptions(calls, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(refresh),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetVisibility(isTerminal(w)))
}

func (t *benchTarget) write(w io.Writer, report any, text func(io.Writer) error) error {
	if t.Output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	return text(w)
}

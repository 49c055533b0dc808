package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/bench"
	"github.com/bursar-dev/bursar/bench/baseline"
)

// benchCompareCmd is `bursar bench compare`.
type benchCompareCmd struct {
	Endpoint []string `help:"Data plane base URLs of a cluster of yours. Default: nodes started for this run." sep:"," placeholder:"URL"`
	Admin    []string `help:"Control plane base URLs of that cluster." sep:"," placeholder:"URL"`
	tokenFlags
	Nodes    int      `help:"Nodes to start when no --endpoint is given." default:"1"`
	Redis    []string `help:"Addresses of Redis servers. Default: two are started if redis-server is installed, with appendfsync always and everysec." sep:"," placeholder:"redis://HOST:PORT"`
	Postgres string   `help:"Address of a PostgreSQL server, where a schema is made and removed. Default: one is started if it is installed." placeholder:"URL"`

	Rounds      int           `help:"How often everybody is measured; the order is turned around each time." default:"5"`
	Each        time.Duration `help:"How long one measurement takes." default:"2s"`
	Connections int           `help:"Connections, each waiting for its answer." default:"32"`
	Entities    int           `help:"How many entities make calls." default:"1000"`
	Depth       int           `help:"Levels of the tree, the account's root being the first." default:"5"`
	Batch       int           `help:"Events in one recording." default:"100"`
	textOutput
}

// Help implements kong's HelpProvider.
func (*benchCompareCmd) Help() string {
	return `Measures Bursar, a bare HTTP handler that decides nothing (the floor), Redis with a check-and-charge in Lua, and PostgreSQL
with conditional updates in a transaction, over the same chains, one after the other in alternating order, and gives
Bursar's ratio to each with its spread. Servers are started on loopback, with their state in temporary directories
that are removed; what is not installed is named and left out.`
}

// Run starts what is needed, measures, and stops it.
func (c *benchCompareCmd) Run(ctx context.Context, k *kong.Context) (err error) {
	started := servers{}
	defer func() { err = errors.Join(err, started.close()) }()
	live := newBenchProgress(k.Stderr)
	defer live.done()
	target, err := c.target(ctx, &started, live)
	if err != nil {
		return err
	}
	data, admin, err := target.connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	token, err := target.secret()
	if err != nil {
		return usageError{err}
	}
	comparison := &bench.Comparison{
		Load: &bench.Load{
			Account: target.Account, Ladder: bench.Ladder{Entities: c.Entities, Depth: c.Depth}, Seed: 1,
			Endpoints: target.Endpoint, Token: token, Data: data, Admin: admin,
			Setup: func(done, all int) { live.step("making the account: %d of %d", done, all) },
		},
		Rounds: c.Rounds, Each: c.Each, Connections: c.Connections, Batch: c.Batch,
		Progress: func(round int, name string) { live.step("round %d of %d: %s", round, c.Rounds, name) },
	}
	if err := comparison.Validate(); err != nil {
		return usageError{err}
	}
	floor, err := startFloor(ctx, token)
	if err != nil {
		return fmt.Errorf("starting the floor: %w", err)
	}
	started = append(started, floor)
	comparison.Floor = floor.URL
	live.step("starting Redis and PostgreSQL")
	missing, err := c.stores(ctx, &started, comparison)
	if err != nil {
		return err
	}
	rep, err := comparison.Run(ctx)
	for _, s := range comparison.Stores {
		err = errors.Join(err, s.Close())
	}
	live.done()
	if err != nil {
		return err
	}
	rep.Missing = missing
	return c.write(k.Stdout, rep)
}

// target is the user's cluster, or one that is started.
func (c *benchCompareCmd) target(ctx context.Context, started *servers, live *progress) (*benchTarget, error) {
	if len(c.Endpoint) == 0 {
		return started.startNodes(ctx, c.Nodes, live)
	}
	if len(c.Admin) == 0 {
		return nil, usageError{errors.New("--admin is missing: an account is made for the run in the cluster of --endpoint")}
	}
	return &benchTarget{Endpoint: c.Endpoint, Admin: c.Admin, tokenFlags: c.tokenFlags}, nil
}

// startFloor runs the bare handler as a process of its own, as every other contender is one.
func startFloor(ctx context.Context, token string) (*baseline.Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return baseline.StartProgram(ctx, "/", func(_, addr string) *exec.Cmd {
		cmd := exec.Command(self, "bench", "floor", addr)
		cmd.Env = append(os.Environ(), "BURSAR_TOKEN="+token)
		return cmd
	})
}

// stores connects to, or starts, Redis and PostgreSQL. What is not installed is returned as sentences.
func (c *benchCompareCmd) stores(ctx context.Context, started *servers, to *bench.Comparison) (missing []string, err error) {
	name := "bursar_bench_" + strings.ToLower(ulid.Make().String())
	keep := func(s *baseline.Server, err error) (string, error) {
		if errors.Is(err, baseline.ErrNotInstalled) {
			missing = append(missing, err.Error())
			return "", nil
		}
		if err != nil {
			return "", err
		}
		*started = append(*started, s)
		return s.URL, nil
	}
	redis := c.Redis
	if len(redis) == 0 {
		for _, fsync := range []string{"always", "everysec"} {
			url, err := keep(baseline.StartRedis(ctx, fsync))
			if err != nil {
				return nil, fmt.Errorf("starting Redis: %w", err)
			}
			if url == "" {
				break // said once
			}
			redis = append(redis, url)
		}
	}
	for _, url := range redis {
		r, err := baseline.OpenRedis(ctx, url, name+":", c.Connections)
		if err != nil {
			return nil, fmt.Errorf("--redis: %w", err)
		}
		to.Stores = append(to.Stores, r)
	}
	postgres := c.Postgres
	if postgres == "" {
		if postgres, err = keep(baseline.StartPostgres(ctx, c.Connections)); err != nil {
			return nil, fmt.Errorf("starting PostgreSQL: %w", err)
		}
	}
	if postgres != "" {
		p, err := baseline.OpenPostgres(ctx, postgres, name, c.Connections)
		if err != nil {
			return nil, fmt.Errorf("--postgres: %w", err)
		}
		to.Stores = append(to.Stores, p)
	}
	return missing, nil
}

// benchFloorCmd is `bursar bench floor`, which `bench compare` starts.
type benchFloorCmd struct {
	Addr string `arg:"" help:"Loopback address to listen on."`
	tokenFlags
}

// Run answers until ctx ends.
func (c *benchFloorCmd) Run(ctx context.Context) error {
	token, err := c.secret()
	if err != nil {
		return usageError{err}
	}
	if !isLoopback(c.Addr) {
		return usageError{fmt.Errorf("%s is not a loopback address", c.Addr)}
	}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := baseline.ServeFloor(l, token); ctx.Err() == nil {
		return err
	}
	return nil
}

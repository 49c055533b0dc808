package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// buildAs builds the program with a version of its own. Where there is no Go toolchain the test is skipped.
func buildAs(t *testing.T, version string) (program string) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command to build another version with")
	}
	program = filepath.Join(t.TempDir(), "bursar-"+version)
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version="+version, "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// caller is an application that uses the SDK: reserve, work, commit. A call may be tried twice and no more.
type caller struct {
	*client.Client
	team string

	calls   atomic.Int64 // reserved and committed
	last    atomic.Int64 // when the latest was done, in Unix nanoseconds
	longest atomic.Int64 // time between two that were done, in nanoseconds
	failed  atomic.Int64
	mu      sync.Mutex
	first   []error // failures
}

const (
	sdkTries = 2 // a call and one retry
	sdkTry   = 4 * time.Second
	// maxGap is how long no call at all may be done. An election takes one to two
	// seconds where a leader dies; one that stops hands over.
	maxGap = 3 * time.Second
)

func newSDKCaller(t *testing.T, team, token string, endpoints ...string) *caller {
	t.Helper()
	c, err := client.New(client.Options{Endpoints: endpoints, Token: token, MaxTries: sdkTries,
		TryTimeout: sdkTry, IngestTryTimeout: sdkTry, Timeout: sdkTries * sdkTry, IngestTimeout: sdkTries * sdkTry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &caller{Client: c, team: team}
}

// run makes calls until ctx ends; those under way are finished.
func (c *caller) run(ctx context.Context, workers int) {
	var all sync.WaitGroup
	c.last.Store(time.Now().UnixNano())
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				c.call(context.WithoutCancel(ctx))
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

func (c *caller) call(ctx context.Context) {
	r, err := c.Reserve(ctx, client.CheckRequest{Account: testAccount, Entities: []string{c.team + "-user"}}, 30*time.Second)
	if err == nil {
		err = r.Commit(ctx, client.Usage{"requests": 1})
	}
	if err != nil {
		c.failed.Add(1)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.first) < maxWrong {
			c.first = append(c.first, fmt.Errorf("%s: %w", time.Now().UTC().Format(time.RFC3339Nano), err))
		}
		return
	}
	c.calls.Add(1)
	now := time.Now().UnixNano()
	if gap := now - c.last.Swap(now); gap > c.longest.Load() {
		c.longest.Store(gap)
	}
}

// judge fails the test for calls that failed, and for a time without any.
func (c *caller) judge(t *testing.T, who string) {
	t.Helper()
	gap := time.Duration(c.longest.Load())
	t.Logf("%s: %d calls, %d failed, at most %v between two", who, c.calls.Load(), c.failed.Load(), gap.Round(time.Millisecond))
	if c.calls.Load() == 0 {
		t.Errorf("%s: no call was made: the test shows nothing", who)
	}
	if err := errors.Join(c.first...); err != nil {
		t.Errorf("%s: %d calls failed twice: %v", who, c.failed.Load(), err)
	}
	if gap > maxGap {
		t.Errorf("%s: no call was done for %v, want less than %v", who, gap, maxGap)
	}
}

// replace stops node i in order and starts another build of the program in its place.
func (c *testCluster) replace(i int, program, version string) {
	c.t.Helper()
	node := c.nodes[i]
	if code := node.stop(syscall.SIGTERM, stopWithin); code != exitDone {
		c.t.Fatalf("%s stopped with code %d\n%s", node.name, code, node.tail())
	}
	before := len(node.logged())
	node.program = program
	c.start(i)
	c.waitReady(i)
	if said := node.logged()[before:]; !strings.Contains(said, `"version":"`+version+`"`) {
		c.t.Errorf("%s does not say that it is %s:\n%s", node.name, version, said)
	}
}

// Nodes are replaced by another version, one at a time, and one of them back
// again, while applications call: through the SDK with all nodes as endpoints, and
// through the load balancer where there is one. No call fails beyond a retry.
func TestRollingUpgradeFailsNoCall(t *testing.T) {
	notShort(t)
	t.Parallel()
	const (
		workers = 6
		team    = "team"
		limit   = 10_000_000
		older   = "v0.0.1"
		newer   = "v0.0.2"
	)
	programs := map[string]string{older: buildAs(t, older), newer: buildAs(t, newer)}
	c := startCluster(t, 3, func(n *testNode) {
		n.program = programs[older]
		n.extraArgs = []string{"--stop-delay", "1s"} // for load balancers to look away
	})
	c.makeTeam(team, limit)
	var endpoints []string
	for _, node := range c.nodes {
		endpoints = append(endpoints, "http://"+node.http)
	}
	callers := map[string]*caller{"SDK": newSDKCaller(t, team, c.token, endpoints...)}
	if _, err := exec.LookPath("haproxy"); err == nil {
		callers["SDK through haproxy"] = newSDKCaller(t, team, c.token, c.startBalancer())
	}
	calling, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for _, caller := range callers {
		all.Go(func() { caller.run(calling, workers) })
	}
	time.Sleep(time.Second)
	steps := []struct {
		node    int
		version string
	}{{0, newer}, {1, newer}, {2, newer}, {0, older}}
	if long() {
		for round := range 10 {
			version := older
			if round%2 == 1 {
				version = newer
			}
			for i := range c.nodes {
				steps = append(steps, struct {
					node    int
					version string
				}{i, version})
			}
		}
	}
	for _, s := range steps {
		c.replace(s.node, programs[s.version], s.version)
		time.Sleep(500 * time.Millisecond)
	}
	stop()
	all.Wait()
	var done int64
	for who, caller := range callers {
		caller.judge(t, who)
		done += caller.calls.Load()
	}
	c.settles(team, done, 20*time.Second)
	c.stopAll()
}

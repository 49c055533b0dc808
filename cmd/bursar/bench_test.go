package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/bench"
)

// bench runs `bursar bench` to its end and returns what it printed.
func (c *testCluster) bench(want int, args ...string) string {
	c.t.Helper()
	return runBench(c.t, []string{"BURSAR_TOKEN=" + c.token}, want, args...)
}

func runBench(t *testing.T, env []string, want int, args ...string) string {
	t.Helper()
	const within = 2 * time.Minute
	p := launch(t, filepath.Join(t.TempDir(), "bench.log"), env, append([]string{"bench"}, args...)...)
	if got := p.wait(within); got != want {
		t.Errorf("bench %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, p.stdout, p.logged())
	}
	return p.stdout.String() + p.logged()
}

// TestLoadIsJudgedByItsObjective runs the harness as a user would, on an account of its own and on one that exists.
func TestLoadIsJudgedByItsObjective(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	dir := t.TempDir()
	load := func(args ...string) []string {
		return append([]string{"load", "--endpoint", c.nodes[0].http, "--admin", c.nodes[0].admin, "--account", "bench-own",
			"--entities", "25", "--depth", "4", "--duration", "1s", "--warm-up", "1s", "--rate", "100"}, args...)
	}
	saved := filepath.Join(dir, "mixed.json")
	c.bench(exitDone, load("--workload", "mixed", "--batch", "10", "--skew", "hot", "--slo", "p50=30s,errors=0,refused=0,rate=10,local=1%", "--save", saved)...)
	c.bench(exitFailed, load("--slo", "p50=1ns")...) // the account of before, used again
	c.bench(exitFailed, load("--entities", "26")...)
	c.bench(exitUsage, load("--slo", "p50")...)
	c.bench(exitUsage, load("--entity", "caller-1", "--workload", "ingest")...)
	c.bench(exitDone, load("--entity", "caller-1", "--workload", "check", "--rate", "0", "--in-flight", "2", "--slo", "errors=0")...)

	data, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.ReadLoadReport(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kinds) != 3 || r.Errors != 0 || r.Events < 10 || len(r.Seconds) == 0 || r.Settings.Depth != 4 {
		t.Errorf("report %+v: want three kinds, events and seconds, no errors", r)
	}
	page := filepath.Join(dir, "diff.html")
	if out := c.bench(exitDone, "diff", saved, saved, "--save", page); !strings.Contains(out, "after/before") {
		t.Errorf("diff printed %s", out)
	}
	if info, err := os.Stat(page); err != nil || info.Size() == 0 {
		t.Errorf("the page: %v, %v", info, err)
	}
}

// TestComparisonStartsWhatItNeedsAndNamesWhatIsMissing runs where neither Redis nor PostgreSQL can be found.
func TestComparisonStartsWhatItNeedsAndNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	env := []string{"PATH=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	out := runBench(t, env, exitDone, "compare", "--rounds", "2", "--each", "200ms", "--connections", "4", "--entities", "10", "--batch", "5")
	for _, want := range []string{"Bursar check + reserve", "the floor", "Bursar ingest", "NOT MEASURED: redis-server is not installed", "NOT MEASURED: initdb is not installed"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	left, err := os.ReadDir(strings.TrimPrefix(env[1], "TMPDIR="))
	if err != nil || len(left) != 0 {
		t.Errorf("%d entries are left in the temporary directory, error %v", len(left), err)
	}
	runBench(t, env, exitUsage, "compare", "--rounds", "1")
}

// TestBenchmarksOfTheirOwnNodesEndByThemselves runs those that start nodes, and the one that waits for the turn of a minute if long variants are wanted.
func TestBenchmarksOfTheirOwnNodesEndByThemselves(t *testing.T) {
	notShort(t)
	t.Parallel()
	out := runBench(t, nil, exitDone, "overload", "--entities", "10", "--each", "1s", "--steps", "0.2,0.5")
	if !strings.Contains(out, "check: capacity") {
		t.Error(out)
	}
	runBench(t, nil, exitUsage, "overload", "--steps", "20")
	runBench(t, nil, exitUsage, "overload", "--scene", "backup")
	runBench(t, nil, exitUsage, "scale", "--entities", "5000000")
	if long() {
		out = runBench(t, nil, exitDone, "overload", "--nodes", "3", "--scene", "slow-follower,stopped-follower,backup", "--entities", "10", "--each", "1s", "--rounds", "1")
		if !strings.Contains(out, "stopped-follower / quiet: p50") {
			t.Error(out)
		}
		out = runBench(t, nil, exitDone, "scale", "--entities", "200", "--small", "20", "--each", "1s", "--rounds", "1")
		for _, want := range []string{"ready after a restart", "100 rows of the tree", "check at 500/s"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	}
}

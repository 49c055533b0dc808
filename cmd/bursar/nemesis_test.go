package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Bounds that the faults are measured against; the nodes run with their defaults.
const (
	deadAfter    = time.Second      // silence after which a node counts as dead
	stalenessFor = 10 * time.Second // silence after which a node stops deciding
)

// fault is one thing that goes wrong, for a while: it strikes, the nemesis waits, it ends.
type fault struct {
	name   string
	lasts  func() time.Duration
	strike func(n *nemesis) (end func())
}

// nemesis does faults to a cluster of processes.
type nemesis struct {
	c    *testCluster
	net  *peerNet
	disk string // the small disk that the last node lives on; empty: it has none
	done map[string]int
}

func within(from, to time.Duration) func() time.Duration {
	return func() time.Duration { return from + rand.N(to-from) }
}

// faults are all that the nemesis knows. The first round does each of them once.
var faults = []fault{
	{"kill -9 of the leader", within(0, 1500*time.Millisecond), func(n *nemesis) func() { return n.kill(n.c.leader()) }},
	{"kill -9 of any node", within(0, 3*time.Second), func(n *nemesis) func() { return n.kill(n.any()) }},
	{"kill -9 of all nodes", within(0, time.Second), func(n *nemesis) func() { return n.kill(0, 1, 2) }},
	{"stop of the leader, longer than it takes to be dead", within(2*deadAfter, 3*deadAfter), func(n *nemesis) func() { return n.pause(n.c.leader()) }},
	{"stop of any node, for a moment", within(50*time.Millisecond, deadAfter), func(n *nemesis) func() { return n.pause(n.any()) }},
	{"the leader cut off", within(2*time.Second, 4*time.Second), func(n *nemesis) func() { return n.isolate(n.c.leader()) }},
	{"a node cut off", within(time.Second, 4*time.Second), func(n *nemesis) func() { return n.isolate(n.any()) }},
	{"the leader heard by nobody", within(2*time.Second, 4*time.Second), func(n *nemesis) func() {
		return n.weather(condition{silent: true}, outOf(n.name(n.c.leader())))
	}},
	{"the leader hearing nobody", within(2*time.Second, 4*time.Second), func(n *nemesis) func() {
		return n.weather(condition{silent: true}, into(n.name(n.c.leader())))
	}},
	{"a node hearing nobody", within(time.Second, 4*time.Second), func(n *nemesis) func() {
		return n.weather(condition{silent: true}, into(n.name(n.any())))
	}},
	{"everything late", within(2*time.Second, 3*time.Second), func(n *nemesis) func() {
		return n.weather(condition{delay: 20*time.Millisecond + rand.N(100*time.Millisecond)}, func(_, _ string) bool { return true })
	}},
	{"no disk space", within(time.Second, 3*time.Second), (*nemesis).fillDisk},
}

// longStop stops a node for longer than its staleness bound: when it goes on, it must not decide by what it knew.
var longStop = fault{"stop of any node, longer than the staleness bound", within(stalenessFor+time.Second, stalenessFor+2*time.Second),
	func(n *nemesis) func() { return n.pause(n.any()) }}

func (n *nemesis) any() int          { return rand.IntN(len(n.c.nodes)) }
func (n *nemesis) name(i int) string { return n.c.nodes[i].name }

// kill kills nodes at once; the end starts them again.
func (n *nemesis) kill(victims ...int) func() {
	for _, i := range victims {
		n.c.nodes[i].kill()
	}
	return func() {
		for _, i := range victims {
			n.c.start(i)
		}
	}
}

// pause stops a process as a debugger, a hypervisor or a full swap would.
func (n *nemesis) pause(i int) func() {
	p := n.c.nodes[i].cmd.Process
	p.Signal(syscall.SIGSTOP)
	return func() { p.Signal(syscall.SIGCONT) }
}

func (n *nemesis) isolate(i int) func() { return n.weather(condition{cut: true}, between(n.name(i))) }

func (n *nemesis) weather(is condition, chosen func(from, to string) bool) func() {
	n.net.set(is, chosen)
	return n.net.heal
}

// fillDisk leaves the last node not a byte of its disk. It may end by that, as it should when it cannot write its log.
func (n *nemesis) fillDisk() func() {
	if n.disk == "" {
		return nil
	}
	ballast := filepath.Join(n.disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		n.c.t.Error(err)
		return nil
	}
	defer f.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := f.Write(piece); err != nil {
			piece = piece[:len(piece)/2]
		}
	}
	return func() {
		os.Remove(ballast)
		last := len(n.c.nodes) - 1
		time.Sleep(100 * time.Millisecond) // a node that is on its way out is out
		if !n.c.nodes[last].running() {
			n.c.start(last)
		}
	}
}

// do does one fault and waits until every node decides again.
func (n *nemesis) do(f fault) {
	end := f.strike(n)
	if end == nil {
		return
	}
	time.Sleep(f.lasts())
	end()
	n.done[f.name]++
	for i := range n.c.nodes {
		n.recovered(i, f.name)
	}
}

// recovered waits until node i decides. The disk may end a node later than its ballast went.
func (n *nemesis) recovered(i int, after string) {
	n.c.t.Helper()
	eventually(n.c.t, readyWithin, func() error {
		if node := n.c.nodes[i]; !node.running() {
			if after != "no disk space" {
				n.c.t.Fatalf("after %q %s has ended with code %d\n%s", after, node.name, node.cmd.ProcessState.ExitCode(), node.tail())
			}
			n.c.start(i)
		}
		return n.c.ready(i)
	})
}

// smallDisk mounts a file system of its own size at dir, or returns false where that is not allowed.
func smallDisk(t *testing.T, dir string, mib int) bool {
	if os.Geteuid() != 0 || os.MkdirAll(dir, modeDir) != nil {
		return false
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("no small disk: %s", out)
		return false
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %s", dir, out)
		}
	})
	return true
}

// Whatever goes wrong: while clients call, nodes are killed, stopped, cut off from
// one another in one or both directions, slowed, and left without disk space.
// Then every acknowledged event is in every ledger once, no other is, the balances
// of all nodes say so, nothing is in doubt, and the rest is spendable to exactly the limit.
func TestNothingIsLostOrOverspentWhateverGoesWrong(t *testing.T) {
	notShort(t)
	const (
		clients = 12
		team    = "team"
		limit   = 2_400
		most    = limit * 2 / 3    // granted while things go wrong: so many events may come after their holds expired, and still fit
		ttl     = 10 * time.Second // of a hold; one whose answer a fault swallowed ends by expiring
		diskMiB = 512
	)
	t.Parallel()
	trouble := 24 * time.Second
	if long() {
		trouble = 5 * time.Minute
	}
	n := &nemesis{net: newPeerNet(t), done: map[string]int{}}
	n.c = startCluster(t, 3, func(node *testNode) {
		n.net.before(node)
		if node.name == "node-3" && smallDisk(t, node.dir, diskMiB) {
			n.disk = node.dir
		}
	})
	c := n.c
	c.makeTeam(team, limit)
	l := &load{c: c, team: team, limit: limit}
	l.pick = l.anyNode

	finishing, giveUp := context.WithTimeout(t.Context(), trouble+2*time.Minute)
	defer giveUp()
	began, seen := time.Now(), func() int64 { return 0 }
	l.during(finishing, callers{clients, most, ttl, 40*time.Millisecond + trouble/500}, func(calling context.Context) {
		seen = c.watchBooks(calling, team, limit)
		todo := append(slices.Clone(faults), longStop)
		rand.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
		for len(todo) > 0 && time.Since(began) < trouble {
			n.do(todo[0])
			todo = todo[1:]
		}
		for time.Since(began) < trouble {
			n.do(faults[rand.IntN(len(faults))])
		}
	})
	for _, name := range slices.Sorted(maps.Keys(n.done)) {
		t.Logf("%3d × %s", n.done[name], name)
	}
	if n.disk == "" {
		t.Log("  0 × no disk space: this user may not mount a small one")
	}
	t.Logf("%v in %v; the books were read %d times from outside", l, time.Since(began).Round(time.Second), seen())
	l.closeBooks(finishing, clients, ttl)
}

// watchBooks reads balances from any node until ctx ends, whatever it says of
// its freshness: at no moment may more be used than the limit. It returns how to learn how often that was seen.
func (c *testCluster) watchBooks(ctx context.Context, team string, limit int64) (seen func() int64) {
	var reads atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			b, err := c.balance(rand.IntN(len(c.nodes)), team)
			if err == nil {
				reads.Add(1)
				if b.Used > limit || b.Used+b.InDoubt > limit {
					c.t.Errorf("a node shows %d used and %d in doubt of %d", b.Used, b.InDoubt, limit)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return func() int64 { <-done; return reads.Load() }
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// Sizes of the small file systems that hold a node's data directory, in bytes.
const (
	smallDiskBytes  = diskFreeBack + 128<<20 // a new node's files and the room that brings a node back
	frozenDiskBytes = diskFreeBack + 192<<20 // the same below ext4's own metadata; a sparse file
)

// A node whose disk is nearly full goes out of service with a reason and comes
// back by itself; one whose disk is full to the last byte ends, says what to do,
// is refused a start until that is done, and has lost and doubled nothing. The
// other two go on all the while.
func TestFullDiskTakesOneNodeOutAndLosesNothing(t *testing.T) {
	notShort(t)
	const victim = 1
	var filler string
	c := startCluster(t, 3, func(node *testNode) {
		if node.name == "node-2" {
			disk := mountTmpfs(t, smallDiskBytes)
			node.dir, filler = filepath.Join(disk, "data"), filepath.Join(disk, "filler")
		}
	})
	node := c.nodes[victim]
	l := callDuring(t, c)

	fill(t, filler, diskFreeMin-diskFreeMin/8)
	c.waitOutOfService(victim, node.dir)
	l.othersGoOn(victim)
	empty(t, filler)
	c.waitReady(victim)

	keepFull(t, filler, node)
	if code := node.wait(readyWithin); code != exitFailed {
		t.Errorf("with a full disk the node ended with code %d, want %d\n%s", code, exitFailed, node.tail())
	}
	c.saysWhatToDo(victim, syscall.ENOSPC.Error())
	l.othersGoOn(victim)
	refused := len(node.logged())
	c.start(victim)
	if code := node.wait(readyWithin); code != exitFailed {
		t.Errorf("started on a full disk the node ended with code %d, want %d\n%s", code, exitFailed, node.tail())
	}
	if said := node.logged()[refused:]; !strings.Contains(said, node.dir) || !strings.Contains(said, "make room") {
		t.Errorf("started on a full disk the node says nothing of %s and of making room:\n%s", node.dir, said)
	}
	empty(t, filler)
	c.start(victim)
	c.waitReady(victim)
	l.endsExact()
	c.stopAll()
}

// A node whose file system hangs, here an ext4 that is frozen, leaves service
// within the bound of its watchdogs, although it leads: it refuses connections, and
// the other two go on. Once the file system answers again the node starts, and has
// lost and doubled nothing.
func TestStalledDiskEndsOneNodeAndLosesNothing(t *testing.T) {
	notShort(t)
	const victim = 1
	var disk string
	c := startCluster(t, 3, func(node *testNode) {
		if node.name == "node-2" {
			disk = mountExt4(t, frozenDiskBytes)
			node.dir = filepath.Join(disk, "data")
		}
	})
	node := c.nodes[victim]
	l := callDuring(t, c)

	if err := c.call(http.MethodPost, "http://"+node.admin+"/v1/cluster/transfer-leadership", client.TransferLeadership{To: node.name}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, readyWithin, func() error {
		if leader := c.leader(); leader != victim {
			return fmt.Errorf("%s leads, not %s", c.nodes[leader].name, node.name)
		}
		return nil
	})
	thaw := freeze(t, disk)
	began := time.Now()
	eventually(t, diskStallLimit+diskCheckInterval, func() error {
		conn, err := (&http.Client{Timeout: time.Second}).Get("http://" + node.http + pathReady)
		if err == nil {
			conn.Body.Close()
			return fmt.Errorf("/readyz of the stalled node says %s", conn.Status)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		return nil
	})
	t.Logf("out of service after %v", time.Since(began).Round(time.Millisecond))
	c.saysWhatToDo(victim, "does not answer")
	l.othersGoOn(victim)
	thaw()
	if code := node.wait(readyWithin); code != exitFailed {
		t.Errorf("with a stalled disk the node ended with code %d, want %d\n%s", code, exitFailed, node.tail())
	}
	c.start(victim)
	c.waitReady(victim)
	l.endsExact()
	c.stopAll()
}

// diskLoad is callers that reserve and ingest on all nodes until told to stop.
type diskLoad struct {
	*load
	stop func() // ends the callers
}

const (
	diskLoadTeam    = "team"
	diskLoadLimit   = 20_000
	diskLoadCallers = 8
	diskLoadTTL     = 8 * time.Second
)

// callDuring starts callers; while they run they spend at most half the limit.
func callDuring(t *testing.T, c *testCluster) *diskLoad {
	t.Helper()
	c.makeTeam(diskLoadTeam, diskLoadLimit)
	l := &diskLoad{load: &load{c: c, team: diskLoadTeam, limit: diskLoadLimit}}
	l.pick = l.anyNode
	calling, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range diskLoadCallers {
		all.Go(func() {
			for calling.Err() == nil && l.allowed.Load() < diskLoadLimit/2 {
				if reservation, ok := l.reserve(calling, diskLoadTTL, false); ok {
					l.ingest(t.Context(), "evt-"+ulid.Make().String(), reservation)
				}
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			}
		})
	}
	l.stop = func() { stop(); all.Wait() }
	t.Cleanup(l.stop)
	return l
}

// othersGoOn waits until every node but the victim has granted a call and
// acknowledged its event since now.
func (l *diskLoad) othersGoOn(victim int) {
	l.c.t.Helper()
	for i := range l.c.nodes {
		if i == victim {
			continue
		}
		var only load
		only.c, only.team, only.limit, only.pick = l.c, l.team, l.limit, func() int { return i }
		ctx, cancel := context.WithTimeout(l.c.t.Context(), callTimeout)
		reservation, ok := only.reserve(ctx, diskLoadTTL, false)
		if !ok {
			l.c.t.Fatalf("%s grants nothing while %s is out of service", l.c.nodes[i].name, l.c.nodes[victim].name)
		}
		only.ingest(ctx, "evt-"+ulid.Make().String(), reservation)
		cancel()
		if only.settled.Load() != 1 {
			l.c.t.Fatalf("%s acknowledges nothing while %s is out of service", l.c.nodes[i].name, l.c.nodes[victim].name)
		}
		l.allowed.Add(1)
		l.settled.Add(1)
		l.mu.Lock()
		l.acked = append(l.acked, only.acked...)
		l.wrong = append(l.wrong, only.wrong...)
		l.mu.Unlock()
	}
}

// endsExact ends the callers, proves the books on every node, and spends the
// rest to exactly the limit.
func (l *diskLoad) endsExact() {
	c, t := l.c, l.c.t
	t.Helper()
	l.stop()
	t.Logf("%v", l)
	spent := l.settled.Load()
	if spent == 0 {
		t.Fatal("nothing was spent: the test shows nothing")
	}
	c.checkLedger(l.load)
	c.settles(l.team, spent, diskLoadTTL+20*time.Second) // holds whose answer was never seen end by expiring
	l.allowed.Store(spent)
	limit := spent + 300 // a cut, so that the end is near
	c.makeTeam(l.team, limit)
	l.limit = limit
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l.spend(ctx, diskLoadCallers, 0)
	l.faults()
	if total := l.settled.Load(); total != limit {
		t.Errorf("%d were spent in all, want %d", total, limit)
	}
	c.settles(l.team, limit, 20*time.Second)
	c.checkLedger(l.load)
}

// waitOutOfService waits until node i is red on /readyz for its disk and refuses calls, and has logged why.
func (c *testCluster) waitOutOfService(i int, dir string) {
	c.t.Helper()
	eventually(c.t, readyWithin, func() error {
		status, body, err := c.do(c.t.Context(), http.MethodGet, "http://"+c.nodes[i].http+pathReady, nil)
		if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(string(body), dir)) {
			err = fmt.Errorf("/readyz says %d %s, want 503 that names %s", status, body, dir)
		}
		return err
	})
	if status, _ := c.checkOn(i, diskLoadTeam); status != http.StatusServiceUnavailable {
		c.t.Errorf("a check on the node out of service answers %d, want 503", status)
	}
	c.saysWhatToDo(i, "nearly full")
}

// saysWhatToDo fails the test unless one line of node i's log is an error that
// contains what, names the data directory and says what to do.
func (c *testCluster) saysWhatToDo(i int, what string) {
	c.t.Helper()
	node := c.nodes[i]
	for line := range strings.Lines(node.logged()) {
		if strings.Contains(line, `"ERROR"`) && strings.Contains(line, what) && strings.Contains(line, node.dir) &&
			(strings.Contains(line, "make room") || strings.Contains(line, "then start the node again")) {
			return
		}
	}
	c.t.Errorf("no error of %s says %q, names %s and says what to do\n%s", node.name, what, node.dir, node.tail())
}

// fill makes a file that takes what the file system has, but for rest bytes.
func fill(t *testing.T, path string, rest uint64) {
	t.Helper()
	free, err := freeBytes(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if free > rest {
		_, err = io.CopyN(f, zeros{}, int64(free-rest))
	}
	for block := make([]byte, os.Getpagesize()); rest == 0 && err == nil; {
		_, err = f.Write(block) // what was freed meanwhile
	}
	if err != nil && !(rest == 0 && errors.Is(err, syscall.ENOSPC)) {
		t.Fatal(err)
	}
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// keepFull fills again what comes free until the node has ended.
func keepFull(t *testing.T, path string, node *testNode) {
	t.Helper()
	eventually(t, readyWithin, func() error {
		fill(t, path, 0)
		if node.running() {
			return fmt.Errorf("%s runs on a full disk\n%s", node.name, node.tail())
		}
		return nil
	})
	fill(t, path, 0) // what its end has freed
}

// empty makes room again.
func empty(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// mountTmpfs mounts a file system of size bytes for the time of the test and
// returns where. Where that is not allowed the test is skipped.
func mountTmpfs(t *testing.T, size int64) string {
	t.Helper()
	return mount(t, "-t", "tmpfs", "-o", fmt.Sprintf("mode=0700,size=%d", size), "tmpfs")
}

// mountExt4 does the same with an ext4 in a sparse file.
func mountExt4(t *testing.T, size int64) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "ext4")
	if err := errors.Join(os.WriteFile(image, nil, modePrivate), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("this test needs mkfs.ext4: %v %s", err, out)
	}
	return mount(t, "-o", "loop", image)
}

func mount(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("this test mounts a file system of its own, which needs root: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v %s", dir, err, out)
		}
	})
	return dir
}

// freeze lets every write to the file system hang until thaw is called, or the
// test ends, or the test binary dies: then the shell below reads the end of its input.
func freeze(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	shell := exec.Command("sh", "-c", `fsfreeze -f "$1" && echo frozen && read _; fsfreeze -u "$1"`, "sh", dir)
	input, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() { input.Close(); shell.Wait() })
	t.Cleanup(thaw)
	if n, _ := io.ReadFull(output, make([]byte, len("frozen"))); n == 0 {
		t.Skip("this test needs fsfreeze and the right to use it")
	}
	return thaw
}

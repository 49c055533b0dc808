package enforcer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
)

// shipTest is a shipper whose leader the test plays.
type shipTest struct {
	s *shipper

	mu     sync.Mutex
	parts  []*fsm.Part
	answer func(try int) (uint64, error) // log index or error of the try-th part
	index  uint64                        // of the replica
	known  map[string]bool
	heard  time.Time // a leader
	silent bool      // it is not heard any more
}

func (st *shipTest) Reconcile(_ context.Context, part *fsm.Part) (*ReconcileReply, error) {
	st.mu.Lock()
	st.parts = append(st.parts, part)
	try, answer := len(st.parts), st.answer
	st.mu.Unlock()
	index, err := answer(try)
	return &ReconcileReply{Index: index}, err
}

func (st *shipTest) Call(context.Context, fsm.NodeNum, Method, any, any) error { return ErrUnreachable }

// HeardLeader is now, until silent.
func (st *shipTest) HeardLeader() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.silent {
		st.heard = time.Now()
	}
	return st.heard
}

func (st *shipTest) sent() (parts, events int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, p := range st.parts {
		events += len(p.Events)
	}
	return len(st.parts), events
}

func openShipTest(t *testing.T, fs vfs.FS, known ...string) *shipTest {
	st := &shipTest{known: map[string]bool{}, answer: func(int) (uint64, error) { return 1, nil }, index: 10}
	for _, id := range known {
		st.known[id] = true
	}
	s, err := openShipper(shipConfig{
		log: quiet, fs: fs, dir: "outbox", node: 1, peers: st,
		session: func() *fsm.Part { return &fsm.Part{Node: 1, Boot: 5} },
		index:   func() uint64 { st.mu.Lock(); defer st.mu.Unlock(); return st.index },
		begun:   func() bool { return true },
		known:   func(_, id string) (bool, error) { return st.known[id], nil },
	})
	mustDo(t, err)
	st.s = s
	return st
}

// admitBatch begins a batch of n events.
func admitBatch(t *testing.T, s *shipper, n int) *shipBatch {
	t.Helper()
	admitted, err := s.admit(n, shareSettling)
	mustDo(t, err)
	return &shipBatch{stored: make(chan struct{}), admission: admitted}
}

// put claims and stores events, as one batch.
func (st *shipTest) put(t *testing.T, ids ...string) []*shipment {
	t.Helper()
	b := admitBatch(t, st.s, len(ids))
	var shs []*shipment
	for _, id := range ids {
		sh, other := st.s.claim(&fsm.Event{Account: "acme", ID: id, ReceivedAt: 1}, b)
		if other != nil {
			t.Fatal(id, other)
		}
		shs = append(shs, sh)
	}
	mustDo(t, st.s.store(shs, false))
	close(b.stored)
	return shs
}

func (st *shipTest) see(id string, outcome fsm.EventOutcome) bool {
	_, ok := st.s.applied(&fsm.EventApplied{Account: "acme", ID: id, Node: 1, Outcome: outcome})
	st.s.complete()
	return ok
}

// run runs the shipper in a bubble of virtual time while f plays.
func (st *shipTest) run(f func()) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { st.s.run(ctx); close(done) }()
	f()
	stop()
	<-done
}

func TestShippingStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		st.run(func() {
			at := time.Now()
			st.put(t, "a", "b")
			synctest.Wait()
			if parts, events := st.sent(); parts != 1 || events != 2 || time.Since(at) > 2*time.Millisecond {
				t.Errorf("%d parts, %d events after %v", parts, events, time.Since(at))
			}
			if p := st.parts[0]; p.Node != 1 || p.Boot != 5 || p.Events[0].ID != "a" {
				t.Errorf("%+v", p)
			}
			time.Sleep(450 * time.Millisecond)
			if parts, _ := st.sent(); parts != 1 {
				t.Error("sent again too early")
			}
			time.Sleep(200 * time.Millisecond)
			if _, events := st.sent(); events != 4 {
				t.Errorf("not sent again after %v unseen: %d events", resendAfter, events)
			}
			if !st.see("a", fsm.Duplicate) || !st.see("b", fsm.Duplicate) || st.see("b", fsm.Duplicate) {
				t.Error("seen is not taken for its own")
			}
			time.Sleep(2 * time.Second)
			if _, events := st.sent(); events != 4 {
				t.Error("sent again after it was settled")
			}
		})
		mustDo(t, st.s.close())
	})
}

func TestWhatALeaderHasIsNotSentAgainWhileTheReplicaIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		st.answer = func(int) (uint64, error) { return 99, nil }
		st.run(func() {
			st.put(t, "a")
			time.Sleep(3 * time.Second)
			if parts, _ := st.sent(); parts != 1 {
				t.Errorf("%d parts", parts)
			}
			st.mu.Lock()
			st.index = 99 // passed, and not seen: a snapshot came between
			st.mu.Unlock()
			time.Sleep(time.Second)
			if parts, _ := st.sent(); parts < 2 {
				t.Error("never sent again")
			}
		})
		mustDo(t, st.s.close())
	})
}

func TestWithoutALeaderShippingBacksOffAndKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		var back atomic.Bool
		st.answer = func(int) (uint64, error) {
			if !back.Load() {
				return 0, ErrNoLeader
			}
			return 1, nil
		}
		st.run(func() {
			st.put(t, "a")
			time.Sleep(10 * time.Second)
			st.mu.Lock()
			tries := len(st.parts)
			st.mu.Unlock()
			back.Store(true)
			if tries < 10 || tries > 40 {
				t.Errorf("%d tries in 10 s", tries)
			}
			time.Sleep(maxShipBackoff + 2*shipTick)
			if parts, _ := st.sent(); parts != tries+1 {
				t.Errorf("%d parts after the leader came back", parts-tries)
			}
			sh := st.s.events[eventKey{"acme", "a"}]
			if sh.sends != 1 {
				t.Errorf("%d sends, want 1: none of the others had an outcome", sh.sends)
			}
		})
		mustDo(t, st.s.close())
	})
}

func TestPartsAreBoundedAndSeveralAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		block := make(chan struct{})
		st.answer = func(int) (uint64, error) { <-block; return 1, nil }
		var ids []string
		for i := range maxPartEvents*maxPartsSent + 10 {
			ids = append(ids, fmt.Sprint(i))
		}
		st.put(t, ids...)
		st.run(func() {
			synctest.Wait()
			if parts, events := st.sent(); parts != maxPartsSent || events != maxPartEvents*maxPartsSent {
				t.Errorf("%d parts with %d events", parts, events)
			}
			close(block)
			time.Sleep(10 * time.Millisecond)
			if _, events := st.sent(); events != len(ids) {
				t.Errorf("%d of %d events sent", events, len(ids))
			}
		})
		mustDo(t, st.s.close())
	})
}

func TestALargeEventTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		b := admitBatch(t, st.s, 3)
		var shs []*shipment
		for i := range 3 {
			sh, _ := st.s.claim(&fsm.Event{Account: "acme", ID: fmt.Sprint(i), Model: strings.Repeat("x", maxPartBytes/2+i)}, b)
			shs = append(shs, sh)
		}
		mustDo(t, st.s.store(shs, false))
		st.run(func() {
			time.Sleep(10 * time.Millisecond)
			if parts, events := st.sent(); parts != 3 || events != 3 {
				t.Errorf("%d parts, %d events", parts, events)
			}
		})
		mustDo(t, st.s.close())
	})
}

func TestOnlyItsOwnCopySettlesAnEvent(t *testing.T) {
	st := openShipTest(t, vfs.NewMem())
	sh := st.put(t, "a")[0]
	if _, ok := st.s.applied(&fsm.EventApplied{Account: "acme", ID: "a", Node: 2, Outcome: fsm.Settled}); ok {
		t.Error("another node's copy was taken for its own")
	}
	if _, ok := st.s.applied(&fsm.EventApplied{Account: "other", ID: "a", Node: 1, Outcome: fsm.Settled}); ok {
		t.Error("another account's event was taken for its own")
	}
	seen := st.s.watch([]*shipment{sh})
	own, ok := st.s.applied(&fsm.EventApplied{Account: "acme", ID: "a", Node: 1, Outcome: fsm.IDConflict})
	if !ok || own != sh.ev {
		t.Fatal("its own was not found")
	}
	select {
	case <-seen:
		t.Error("who waits is told before the slots show it")
	default:
	}
	st.s.complete()
	<-seen
	if got := st.s.result(sh); got != fsm.IDConflict {
		t.Errorf("outcome %d", got)
	}
	<-st.s.watch([]*shipment{sh}) // of what is done: at once
	mustDo(t, st.s.drained(t.Context()), st.s.close())
}

// An event that was acknowledged by this node alone and then refused must not vanish in silence; who still waits hears it in the answer, and only there.
func TestARefusalThatNoAnswerTellsIsReported(t *testing.T) {
	st := openShipTest(t, vfs.NewMem())
	var heard []string
	st.s.refused = func(unheard []*shipment) {
		if !st.s.mu.TryLock() {
			t.Error("it is called with the lock held")
		} else {
			st.s.mu.Unlock()
		}
		for _, sh := range unheard {
			heard = append(heard, fmt.Sprint(sh.ev.ID, " ", sh.outcome))
		}
	}
	all := st.put(t, "settled", "duplicate", "old", "conflict", "gone", "waited")
	seen := st.s.watch(all)
	for _, sh := range all[:5] { // their callers have given up waiting
		if got := st.s.result(sh); got != 0 {
			t.Fatalf("outcome %d before any", got)
		}
	}
	for i, outcome := range []fsm.EventOutcome{fsm.Settled, fsm.Duplicate, fsm.TooOld, fsm.IDConflict, fsm.Dropped, fsm.TooOld} {
		st.s.applied(&fsm.EventApplied{Account: "acme", ID: all[i].ev.ID, Node: 1, Outcome: outcome})
	}
	st.s.complete()
	st.s.complete()
	<-seen
	if got := st.s.result(all[5]); got != fsm.TooOld {
		t.Errorf("who waited is told %d", got)
	}
	want := []string{fmt.Sprint("old ", fsm.TooOld), fmt.Sprint("conflict ", fsm.IDConflict), fmt.Sprint("gone ", fsm.Dropped)}
	if !slices.Equal(heard, want) {
		t.Errorf("reported %q, want %q", heard, want)
	}
	mustDo(t, st.s.close())
}

func TestDrainingSaysWhatIsLeft(t *testing.T) {
	st := openShipTest(t, vfs.NewMem())
	st.put(t, "a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := st.s.drained(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 events") {
		t.Error(err)
	}
	mustDo(t, st.s.close())
}

func TestARestartTakesUpWhatIsNotSettled(t *testing.T) {
	fs := vfs.NewMem()
	st := openShipTest(t, fs)
	st.put(t, "a")
	st.put(t, "b", "c", "d")
	st.see("a", fsm.Settled)
	mustDo(t, st.s.close())
	st = openShipTest(t, fs, "c") // the replica has c, although nobody was told
	pending := map[string]bool{}
	st.s.pending(func(ev *fsm.Event) { pending[ev.ID] = true })
	if d := cmp.Diff(map[string]bool{"b": true, "d": true}, pending); d != "" {
		t.Error(d)
	}
	if next := st.put(t, "e")[0]; next.record.seq <= 2 {
		t.Errorf("sequence %d was given before", next.record.seq)
	}
	mustDo(t, st.s.close())
}

func TestAnOutboxOfAnotherReleaseIsRefused(t *testing.T) {
	for _, value := range [][]byte{{}, {outboxVersion + 1}, {outboxVersion, 0xc1}} {
		fs := vfs.NewMem()
		db, err := pebble.Open("outbox", &pebble.Options{FS: fs, Logger: pebbleLog{quiet, "outbox"}})
		mustDo(t, err, db.Set(outboxKey(1, false), value, pebble.Sync), db.Close())
		if _, _, err := openOutbox(fs, "outbox", quiet); !errors.Is(err, errOutboxFormat) {
			t.Errorf("%x: %v", value, err)
		}
	}
}

// diskFS says how much room there is.
type diskFS struct {
	vfs.FS
	free uint64
}

func (d *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free}, nil
}

func TestANearlyFullDiskTakesIngestOutOfService(t *testing.T) {
	fs := &diskFS{FS: vfs.NewMem(), free: minFreeDisk}
	st := openShipTest(t, fs)
	st.s.checkDisk()
	mustDo(t, st.s.health())
	fs.free--
	st.s.checkDisk()
	if err := st.s.health(); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	fs.free = minFreeDisk
	st.s.checkDisk()
	mustDo(t, st.s.health(), st.s.close())
}

const outboxChildDir = "BURSAR_TEST_OUTBOX_CHILD"

// TestOutboxChild is the process that TestOutboxSurvivesKill kills.
func TestOutboxChild(t *testing.T) {
	dir := os.Getenv(outboxChildDir)
	if dir == "" {
		t.Skip("started by TestOutboxSurvivesKill")
	}
	box, _, err := openOutbox(vfs.Default, dir, quiet)
	mustDo(t, err)
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := c; ; i += 4 {
				id := fmt.Sprintf("%d-%d", os.Getpid(), i)
				if err := box.add([]*outboxEntry{{ev: &fsm.Event{Account: "acme", ID: id}}}); err != nil {
					fmt.Println("failed", err)
					return
				}
				fmt.Println(id)
			}
		})
	}
	wg.Wait()
}

func TestOutboxSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for range 2 {
		child := exec.Command(os.Args[0], "-test.run=^TestOutboxChild$", "-test.v=false")
		child.Env = append(os.Environ(), outboxChildDir+"="+dir)
		out, err := child.StdoutPipe()
		mustDo(t, err, child.Start())
		in := bufio.NewReader(out)
		for range 200 {
			line, err := in.ReadString('\n')
			mustDo(t, err)
			acked[strings.TrimSpace(line)] = true
		}
		mustDo(t, child.Process.Kill())
		rest, _ := io.ReadAll(in)
		for _, line := range strings.SplitAfter(string(rest), "\n") {
			if id, whole := strings.CutSuffix(line, "\n"); whole {
				acked[id] = true
			}
		}
		_ = child.Wait()
	}
	box, entries, err := openOutbox(vfs.Default, dir, quiet)
	mustDo(t, err)
	defer box.close()
	seqs := map[uint64]bool{}
	for _, e := range entries {
		delete(acked, e.ev.ID)
		seqs[e.record.seq] = true
	}
	if len(acked) > 0 || len(seqs) != len(entries) {
		t.Errorf("%d acknowledged events are gone; %d sequences for %d events", len(acked), len(seqs), len(entries))
	}
}

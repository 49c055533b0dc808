package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
)

// filled returns a rig with something in every table.
func filled(t testing.TB) *rig {
	r := newRig(t)
	a := r.assign(1000)
	k := r.period(a)
	e := r.event("e1", k, 10, 10, 1)
	e.Reservation = "rsv_1"
	r.must(settle(1, e))
	r.must(release(2, Release{Seq: 3, Budget: k, Amount: 10}))
	r.must(PutToken{Token{ID: "tok_1", Name: "ci", Role: RoleRoot, Digest: [32]byte{1}}})
	r.must(PutCapabilities{[]Capability{{ID: "images", Unit: "image"}}})
	if _, err := r.m.Apply([]Entry{r.entry("cmd-1", DeadNode{Node: 3})}); err != nil {
		t.Fatal(err)
	}
	return r
}

func snapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	var b bytes.Buffer
	index, err := m.WriteSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if applied, _ := m.Applied(); index != applied {
		t.Fatalf("snapshot is of index %d, applied is %d", index, applied)
	}
	return b.Bytes()
}

func TestInstalledSnapshotIsTheSameState(t *testing.T) {
	from, to := filled(t), newRig(t)
	stream := snapshot(t, from.m)
	to.seen = nil
	if err := to.m.InstallSnapshot(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if len(to.seen) != 1 || !to.seen[0].Full || to.seen[0].Index != from.index {
		t.Errorf("observer was told %+v, want once Full at %d", to.seen, from.index)
	}
	compare := func(when string) {
		t.Helper()
		if diff := cmp.Diff(dump(t, from.m), dump(t, to.m)); diff != "" {
			t.Fatalf("%s stores differ (-from +to):\n%s", when, diff)
		}
		if s1, s2 := fmt.Sprint(from.m.Checksum()), fmt.Sprint(to.m.Checksum()); s1 != s2 {
			t.Fatalf("%s checksums %s and %s", when, s1, s2)
		}
	}
	compare("installed")
	next := []Entry{from.entry("", Reconcile{}), from.entry("cmd-1", BootNode{1, 9}), from.entry("cmd-2", BootNode{1, 10})}
	for _, r := range []*rig{from, to} {
		if _, err := r.m.Apply(next); err != nil {
			t.Fatal(err)
		}
	}
	compare("after more entries")
	to.reopen()
	compare("reopened")
	if names, err := to.fs.List("state"); err != nil || len(names) != 2 {
		t.Errorf("the state directory holds %v (%v), want CURRENT and one store", names, err)
	}
}

// blockingWriter lets the writer of a snapshot be overtaken.
type blockingWriter struct {
	bytes.Buffer
	onWrite func()
}

func (w *blockingWriter) Write(p []byte) (int, error) {
	w.onWrite()
	return w.Buffer.Write(p)
}

func TestSnapshotIsConsistentWhileApplyingGoesOn(t *testing.T) {
	r := filled(t)
	want := dump(t, r.m)
	at := r.index
	w := &blockingWriter{onWrite: func() { r.must(BootNode{Node: 1, Boot: r.index}) }}
	if index, err := r.m.WriteSnapshot(w); err != nil || index != at {
		t.Fatalf("index %d (%v), want %d", index, err, at)
	}
	to := emptyRig(t, vfs.NewMem())
	if err := to.m.InstallSnapshot(bytes.NewReader(w.Bytes())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, dump(t, to.m)); diff != "" {
		t.Errorf("(-at the start +installed):\n%s", diff)
	}
}

func TestDamagedSnapshotIsRefusedAndLeavesTheState(t *testing.T) {
	stream := snapshot(t, filled(t).m)
	to := newRig(t)
	want := dump(t, to.m)
	refuse := func(what string, stream []byte) {
		t.Helper()
		if err := to.m.InstallSnapshot(bytes.NewReader(stream)); err == nil {
			t.Fatalf("%s: installed", what)
		}
	}
	step := max(1, len(stream)/150)
	for i := 0; i < len(stream); i += step {
		bad := bytes.Clone(stream)
		bad[i] ^= 0x10
		refuse(fmt.Sprintf("byte %d flipped", i), bad)
		refuse(fmt.Sprintf("cut to %d bytes", i), stream[:i])
	}
	refuse("another file", []byte(strings.Repeat("x", 1000)))
	if err := to.m.InstallSnapshot(io.MultiReader(bytes.NewReader(stream[:100]), brokenReader{})); !errors.Is(err, errBroken) {
		t.Errorf("broken connection: %v, want %v", err, errBroken)
	}
	if diff := cmp.Diff(want, dump(t, to.m)); diff != "" {
		t.Errorf("the state changed:\n%s", diff)
	}
	to.must(BootNode{Node: 1, Boot: 2})
	to.reopen()
	if names, err := to.fs.List("state"); err != nil || len(names) != 2 {
		t.Errorf("the state directory holds %v (%v), want CURRENT and one store", names, err)
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// A crash before any file operation of an install, losing all or some of what was not
// synced, leaves the old state or the new one.
func TestCrashWhileInstallingLeavesOneOfTheStates(t *testing.T) {
	stream := snapshot(t, filled(t).m)
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex // the old store is deleted by a goroutine of its own
	var crashes []*vfs.MemFS
	installing := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if installing && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{}))
		}
		return nil
	}))
	r := emptyRig(t, fs)
	r.must(Init{ClusterID: "old", Shares: 5, MaxStalenessMS: 10_000})
	if err := r.m.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	installing = true
	mu.Unlock()
	if err := r.m.InstallSnapshot(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	r.m.retiring.Wait()
	mu.Lock()
	installing = false
	crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{}))
	mu.Unlock()

	got := map[string]int{}
	last := ""
	for i, fs := range crashes {
		m, err := Open("state", Options{FS: fs, Logger: quiet()})
		if err != nil {
			t.Fatalf("crash %d of %d: %v", i, len(crashes), err)
		}
		m.View(func(v *View) {
			s, _ := v.Settings()
			last = s.ClusterID
		})
		got[last]++
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got["old"] == 0 || got["test"] == 0 || len(got) != 2 || last != "test" {
		t.Errorf("states after %d crashes: %v, the last %q; want some old, then some new", len(crashes), got, last)
	}
}

func TestSnapshotReplacesTheStoreUnderAReader(t *testing.T) {
	from, to := filled(t), newRig(t)
	stream := snapshot(t, from.m)
	lower, upper := tableRange(tableNode)
	installed := false
	n := 0
	err := to.m.scan(lower, upper, false, func(_, _ []byte) (bool, error) {
		n++
		if !installed {
			installed = true
			if err := to.m.InstallSnapshot(bytes.NewReader(stream)); err != nil {
				t.Fatal(err)
			}
		}
		return true, nil
	})
	if err != nil || n != 3 {
		t.Errorf("the scan saw %d nodes (%v), want the old state's 3", n, err)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(snapshot(f, filled(f).m))
	f.Add(snapshot(f, emptyRig(f, vfs.NewMem()).m))
	f.Fuzz(func(t *testing.T, stream []byte) {
		size := 0
		_, err := readSnapshot(bytes.NewReader(stream), func(k, v []byte) error {
			size += len(k) + len(v)
			return nil
		})
		if size > len(stream) {
			t.Fatalf("%d bytes of pairs out of a stream of %d", size, len(stream))
		}
		if err == nil && len(stream) < 36+20 {
			t.Fatal("a stream without an end was accepted")
		}
	})
}

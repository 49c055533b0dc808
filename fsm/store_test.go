package fsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestOpenRefusesWhatIsNotItsState(t *testing.T) {
	write := func(t *testing.T, fs vfs.FS, name, text string) {
		t.Helper()
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	state := func(t *testing.T, fs vfs.FS) {
		if err := emptyRig(t, fs).m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, fs vfs.FS)
		says    string
	}{
		"another program's files": {func(t *testing.T, fs vfs.FS) {
			_ = fs.MkdirAll("state", 0o700)
			write(t, fs, "state/photo.jpg", "x")
		}, "choose an empty data directory"},
		"another CURRENT": {func(t *testing.T, fs vfs.FS) {
			_ = fs.MkdirAll("state", 0o700)
			write(t, fs, "state/CURRENT", "MANIFEST-000001\n")
		}, "is not that of a Bursar state directory"},
		"a lost CURRENT": {func(t *testing.T, fs vfs.FS) {
			state(t, fs)
			_ = fs.Remove("state/CURRENT")
		}, "but no CURRENT"},
		"a lost store": {func(t *testing.T, fs vfs.FS) {
			state(t, fs)
			_ = fs.RemoveAll("state/store-000001")
		}, "which is missing"},
		"a newer format": {func(t *testing.T, fs vfs.FS) {
			state(t, fs)
			raw(t, fs, func(db *pebble.DB) error { return db.Set(keyFormat, []byte{0, 0, 0, 9}, pebble.Sync) })
		}, "start the release that wrote it"},
		"another database": {func(t *testing.T, fs vfs.FS) {
			state(t, fs)
			raw(t, fs, func(db *pebble.DB) error {
				return errors.Join(db.Delete(keyFormat, pebble.Sync), db.Set([]byte("x"), nil, pebble.Sync))
			})
		}, "another program"},
		"a damaged value": {func(t *testing.T, fs vfs.FS) {
			state(t, fs)
			raw(t, fs, func(db *pebble.DB) error { return db.Set(keySettings, []byte{77}, pebble.Sync) })
		}, "value has version 77"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			tc.prepare(t, fs)
			_, err := Open("state", Options{FS: fs, Logger: quiet()})
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want something that says %q", err, tc.says)
			}
		})
	}
}

// raw changes the store of a closed machine behind its back.
func raw(t *testing.T, fs vfs.FS, f func(db *pebble.DB) error) {
	t.Helper()
	st, err := openStore(fs, "state/store-000001", newFailure(quiet()), true)
	if err == nil {
		err = errors.Join(f(st.db), st.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecondOpenOfADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	m, err := Open(dir, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := Open(dir, Options{Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v, want a question about another process", err)
	}
}

// newRigOnDisk returns a machine that has begun, on a disk in memory that fails as it is told to.
func newRigOnDisk(t *testing.T, fails errorfs.InjectorFunc) *rig {
	r := emptyRig(t, errorfs.Wrap(vfs.NewMem(), fails))
	r.must(Init{ClusterID: "test", Shares: DefaultShares, MaxStalenessMS: DefaultMaxStaleness.Milliseconds()})
	return r
}

// A disk that fails must stop the node with an error: no exit, no panic, no silence.
func TestFailedDiskIsAnErrorOfApply(t *testing.T) {
	var broken atomic.Bool
	r := newRigOnDisk(t, func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errors.New("no space left on device")
		}
		return nil
	})
	broken.Store(true)
	var err error
	for range 200_000 {
		if _, err = r.m.Apply([]Entry{r.entry("", PutAccount{ID: fmt.Sprintf("acme-%d", r.index), Name: strings.Repeat("x", 200)})}); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("a disk that takes no writes was never noticed")
	}
	if _, again := r.m.Apply([]Entry{{Index: r.index + 1, Term: 1}}); again == nil {
		t.Error("the failed machine applied again")
	}
	if wait := r.m.WaitApplied(context.Background(), r.index+10); wait == nil {
		t.Error("waiting on a failed machine did not end with its error")
	}
	if r.m.Flush() == nil {
		t.Error("a failed machine was flushed")
	}
}

// Pebble is not told that its log has failed (see walfs), and goes on; the machine does not.
func TestAFailedLogIsAnErrorOfApply(t *testing.T) {
	const entries = 1000 // far fewer than fill a memtable, whose flush would tell, too
	var broken atomic.Bool
	r := newRigOnDisk(t, func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})
	broken.Store(true)
	for range entries {
		if _, err := r.m.Apply([]Entry{r.entry("", PutAccount{ID: fmt.Sprintf("acme-%d", r.index)})}); err != nil {
			if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "the store's log") {
				t.Errorf("%v, want the cause, and what has failed", err)
			}
			return
		}
		time.Sleep(time.Millisecond) // Pebble writes its log beside
	}
	t.Errorf("%d entries were applied to a store whose log cannot be written", entries)
}

// Pebble tries to write its memtables out for ever where the disk takes nothing.
func TestFlushToADiskThatTakesNothingFails(t *testing.T) {
	for _, files := range []string{".sst", ".log"} {
		t.Run(files, func(t *testing.T) {
			var broken atomic.Bool
			r := newRigOnDisk(t, func(op errorfs.Op) error {
				if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, files) {
					return syscall.ENOSPC
				}
				return nil
			})
			broken.Store(true)
			if err := r.m.Flush(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Flush() = %v, want %v", err, syscall.ENOSPC)
			}
			if err := r.m.Close(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Close() = %v, want %v", err, syscall.ENOSPC)
			}
		})
	}
}

// Pebble's Close waits for work that does not end once it has failed.
func TestClosingAStoreWhoseWorkFailsEnds(t *testing.T) {
	var armed atomic.Bool
	reached, gate := make(chan struct{}, 1), make(chan struct{})
	r := newRigOnDisk(t, func(op errorfs.Op) error {
		if !armed.Load() || op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		select {
		case reached <- struct{}{}:
		default:
		}
		<-gate
		return syscall.ENOSPC
	})
	armed.Store(true)
	if _, err := r.m.store.db.AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	<-reached
	closed := make(chan error, 1)
	go func() { closed <- r.m.store.close() }()
	time.Sleep(10 * time.Millisecond) // it waits; if not yet, the test is easier to pass, and no less true
	close(gate)
	if err := <-closed; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close() = %v, want %v", err, syscall.ENOSPC)
	}
	r.m.mu.Lock() // as whoever hangs in the store holds it
	defer r.m.mu.Unlock()
	if err := r.m.AwaitFailure(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("AwaitFailure() = %v, want %v", err, syscall.ENOSPC)
	}
}

// Pebble's Open tries to write out its log for ever where the disk takes nothing.
func TestOpenOnADiskThatTakesNothingFails(t *testing.T) {
	mem := vfs.NewCrashableMem()
	r := newRig(t)
	r.m.Close()
	r.fs, r.index, r.seen = mem, 0, nil
	r.open()
	for range 1000 {
		r.must(PutAccount{ID: "acme", Name: strings.Repeat("x", 200)})
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	full := errorfs.Wrap(crashed, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	}))
	m, err := Open("state", Options{FS: full, Logger: quiet()})
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Open() = %v, want %v", err, syscall.ENOSPC)
	}
}

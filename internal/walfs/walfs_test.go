package walfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// quiet is a logger of Pebble's. Of what is no log Pebble must be told, and for that of its background it has this.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) { runtime.Goexit() }

func open(t *testing.T, fs vfs.FS) *pebble.DB {
	db, err := pebble.Open("db", &pebble.Options{
		FS: fs, Logger: quiet{}, MemTableSize: 64 << 10, MemTableStopWritesThreshold: 100, WALBytesPerSync: 4 << 10,
		// Pebble tries a flush that fails again without end.
		EventListener: &pebble.EventListener{BackgroundError: func(error) { runtime.Goexit() }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// Whichever operation on a log or a directory is the first to fail, Pebble goes on, the failure is told once, and what a
// crash then leaves is every row up to some row: all that were synced before the failure, none after a hole.
func TestEveryFailureIsToldAndLeavesAPrefix(t *testing.T) {
	const rows = 200 // over several logs
	kinds := map[string]func(op errorfs.Op) bool{
		"begin": func(op errorfs.Op) bool {
			return isLog(op.Path) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		},
		"write": func(op errorfs.Op) bool { return isLog(op.Path) && op.Kind == errorfs.OpFileWrite },
		"sync":  func(op errorfs.Op) bool { return isLog(op.Path) && op.Kind == errorfs.OpFileSyncData },
		"sync directory": func(op errorfs.Op) bool {
			return op.Path == "db" && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		},
	}
	for name, is := range kinds {
		t.Run(name, func(t *testing.T) {
			reached := 0
			for failAt(t, is, int64(reached+1), rows) {
				reached++
			}
			t.Logf("%d points of failure", reached)
			if reached < 5 {
				t.Error("too few: the test tests next to nothing")
			}
		})
	}
}

// failAt lets the nth operation that is says fail, and all such after it, and reports whether there were as many.
func failAt(t *testing.T, is func(errorfs.Op) bool, n int64, rows int) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var (
		armed atomic.Bool
		count atomic.Int64
		told  atomic.Int64
		image = make(chan *vfs.MemFS, 60) // what a crash at the moment of the failure would leave at best
	)
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && is(op) && count.Add(1) >= n {
			return syscall.EIO
		}
		return nil
	}))
	all := func() *vfs.MemFS {
		return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	db := open(t, Wrap(disk, func(err error) {
		told.Add(1)
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "db") {
			t.Errorf("told %q, want the cause and the file", err)
		}
		image <- all()
	}))
	armed.Store(true)
	synced, after := -1, 0
	for i := range rows {
		sync := pebble.NoSync
		if i%7 == 0 {
			sync = pebble.Sync
		}
		if err := db.Set(binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, 4<<10), sync); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		if told.Load() > 0 {
			if after++; after > 40 { // through the next logs
				break
			}
		} else if sync == pebble.Sync {
			synced = i
		}
	}
	armed.Store(false) // closing after a failure waits for what does not end
	if told.Load() == 0 {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		return false
	}
	if told.Load() != 1 {
		t.Errorf("failure %d was told %d times", n, told.Load())
	}
	for what, crashed := range map[string]*vfs.MemFS{
		"everything then": <-image,
		"everything now":  all(),
		"what is synced":  mem.CrashClone(vfs.CrashCloneCfg{}),
	} {
		if last, err := prefix(open(t, crashed)); err != nil || last < synced {
			t.Errorf("failure %d, %s: rows up to %d (%v), want at least those up to %d", n, what, last, err, synced)
		}
	}
	return true
}

// prefix returns the last row, and an error if one before it is missing.
func prefix(db *pebble.DB) (last int, err error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close(), db.Close()) }()
	last = -1
	for ok := it.First(); ok; ok = it.Next() {
		row := int(binary.BigEndian.Uint32(it.Key()))
		if row != last+1 {
			return last, fmt.Errorf("row %d follows row %d", row, last)
		}
		last = row
	}
	return last, it.Error()
}

// A directory that somebody has removed is a failure like another.
func TestALogThatCannotBeBegunIsToldOf(t *testing.T) {
	var told error
	fs := Wrap(vfs.Default, func(err error) { told = err })
	f, err := fs.Create(filepath.Join(t.TempDir(), "gone", "000001.log"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("Create shows %v", err)
	}
	if !errors.Is(told, os.ErrNotExist) {
		t.Errorf("told %v, want %v", told, os.ErrNotExist)
	}
	_, stat := f.Stat()
	if _, err := f.Write([]byte("row")); errors.Join(err, stat, f.Sync(), f.Close()) != nil {
		t.Errorf("%v, %v", err, stat)
	}
}

// Nobody takes a failure as hidden before it has been told: what is written until then is written, or waits.
func TestNothingIsHiddenBeforeItIsTold(t *testing.T) {
	mem := vfs.NewMem()
	var other vfs.File
	fs := Wrap(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && op.Path == "000001.log" {
			return syscall.EIO
		}
		return nil
	})), func(error) {
		if _, err := other.Write([]byte("row")); err != nil {
			t.Error(err)
		}
		if info, err := mem.Stat("000002.log"); err != nil || info.Size() != 3 {
			t.Errorf("a log seems to be written and has %v, %v", info, err)
		}
	})
	first, err := fs.Create("000001.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if other, err = fs.Create("000002.log", vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Write([]byte("row")); err != nil {
		t.Error(err)
	}
}

// Nothing is written, made or removed after the failure.
func TestAFailureFreezesTheDisk(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewMem()
	fs := Wrap(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileWrite && isLog(op.Path) {
			return syscall.ENOSPC
		}
		return nil
	})), func(error) {})
	must := func(f vfs.File, err error) vfs.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	log := must(fs.Create("000001.log", vfs.WriteCategoryUnspecified))
	table := must(fs.Create("000002.sst", vfs.WriteCategoryUnspecified))
	if _, err := log.Write([]byte("row")); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if n, err := log.Write([]byte("row")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v on a log of a full disk, want it hidden", n, err)
	}
	broken.Store(false)
	next := must(fs.Create("000003.log", vfs.WriteCategoryUnspecified))
	reused := must(fs.ReuseForWrite("000001.log", "000004.log", vfs.WriteCategoryUnspecified))
	for _, f := range []vfs.File{log, next, reused} {
		_, stat := f.Stat()
		n, err := f.Write([]byte("row"))
		if n != 3 || errors.Join(err, stat, f.Sync(), f.SyncData(), f.Close()) != nil {
			t.Errorf("a log shows its failure: %d, %v, %v", n, err, stat)
		}
	}
	_, written := table.Write([]byte("row"))
	_, created := fs.Create("000005.sst", vfs.WriteCategoryUnspecified)
	for what, err := range map[string]error{
		"write": written, "create": created, "sync": table.Sync(), "rename": fs.Rename("000002.sst", "x"), "remove": fs.Remove("000002.sst"),
		"remove all": fs.RemoveAll("000002.sst"), "link": fs.Link("000002.sst", "x"), "make directory": fs.MkdirAll("x", 0o700),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s after the failure: %v, want %v", what, err, syscall.ENOSPC)
		}
	}
	names, err := mem.List("")
	slices.Sort(names)
	if err != nil || strings.Join(names, " ") != "000001.log 000002.sst" {
		t.Errorf("the disk has %v (%v)", names, err)
	}
	for name, size := range map[string]int64{"000001.log": 3, "000002.sst": 0} {
		if info, err := mem.Stat(name); err != nil || info.Size() != size {
			t.Errorf("%s: %v, %v, want %d bytes", name, info, err, size)
		}
	}
}

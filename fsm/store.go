package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/internal/walfs"
)

// The directory of a Machine:
//
//	CURRENT        text: what this is, and the name of the store in use
//	store-000001   a Pebble database
//
// A snapshot is installed as the next store-N; replacing CURRENT, one rename,
// makes it the store in use. Whatever CURRENT does not name is debris of a crash
// and is deleted at the next Open.
const (
	currentFile  = "CURRENT"
	currentTemp  = "CURRENT.new"
	currentTitle = "bursar state 1"
	storePattern = "store-%06d"
)

// storeFormat numbers the layout of keys and values. A store of a lower number is
// converted by the release that raises it, or refused with the name of the last release that reads it.
const storeFormat = 1

// Sizes of one node's store, in bytes: three nodes share a machine in development.
const (
	storeMemTableSize = 32 << 20 // several tails; of half the size each would be a file in level 0, see TestTailsShareAMemtable
	storeBlockCache   = 32 << 20
	storeCacheSize    = storeBlockCache + 3*storeMemTableSize // Pebble takes the memtables, those being written, flushed and reused, out of its cache
	storeBlockSize    = 16 << 10
	storeMaxOpenFiles = 512
	storeWALSyncEvery = 512 << 10 // start writing back early, so that a flush finds little left
	storeL0Sublevels  = 8         // of files over one another, before they are merged: Pebble's 4 costs a seventh more processor time for an event
	storeL0Stop       = 24        // of them before writing waits
	storeBaseBytes    = 256 << 20 // in the level below: one fewer to pass through on the way down
	filterBitsPerKey  = 10        // false positives ~1 %; Get passes over the filters of the lowest level
)

// store is one Pebble database, kept open while anyone reads it.
type store struct {
	db    *pebble.DB
	dir   string
	fail  *failure
	users sync.WaitGroup
}

// pebbleOptions returns the options of a store. wal is off only while a
// snapshot is loaded, which ends with a flush.
func pebbleOptions(fs vfs.FS, f *failure, wal bool) *pebble.Options {
	if wal {
		fs = walfs.Wrap(fs, f.logFailed)
	}
	o := &pebble.Options{
		FS:                 fs,
		CacheSize:          storeCacheSize,
		DisableWAL:         !wal,
		FormatMajorVersion: pebble.FormatValueSeparation,
		MemTableSize:       storeMemTableSize,
		LBaseMaxBytes:      storeBaseBytes,
		MaxOpenFiles:       storeMaxOpenFiles,
		WALBytesPerSync:    storeWALSyncEvery,

		L0CompactionThreshold: storeL0Sublevels,
		L0StopWritesThreshold: storeL0Stop,

		Logger:        storeLogger{f},
		EventListener: f.listener(),
		CompactionConcurrencyRange: func() (lower, upper int) {
			return 1, 2
		},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = storeBlockSize
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBitsPerKey)
	}
	return o
}

// openStore opens or creates the database in dir.
//
// Pebble writes out what its log holds before Open returns, and where that fails,
// as on a full disk, it tries again without end. Then the failure it has reported is
// returned, and its goroutine left behind: the process is about to end. A store whose log
// failed without Pebble's knowledge (see walfs) is left likewise.
func openStore(fs vfs.FS, dir string, f *failure, wal bool) (*store, error) {
	s := &store{dir: dir, fail: f}
	err := s.unlessFailed(func() (err error) {
		s.db, err = pebble.Open(dir, pebbleOptions(fs, f, wal))
		return err
	})
	if err == nil {
		err = f.err()
	}
	if err != nil {
		return nil, fmt.Errorf("open the store in %s (is another process using it?): %w", dir, err)
	}
	return s, nil
}

// flush has Pebble write its memtables out.
func (s *store) flush() error { return s.unlessFailed(s.db.Flush) }

// close closes the store, unless it has failed, which has been told.
func (s *store) close() error {
	if err := s.fail.err(); err != nil && !errors.Is(err, ErrClosed) {
		return nil
	}
	return s.unlessFailed(s.db.Close)
}

// unlessFailed calls f, which waits for Pebble's background work. That does not end where it fails; then the failure that Pebble has
// told of is returned, and f's goroutine left behind: the process is about to end.
func (s *store) unlessFailed(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the store has panicked")
		defer func() { done <- err }()
		defer guard(&err)
		err = f()
	}()
	select {
	case err := <-done:
		return err
	case <-s.fail.ended:
	}
	if err := s.fail.err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return <-done // the machine is closed: f's work ends, failed or not
}

// checkFormat marks an empty store with the format this release writes, and
// refuses one that it cannot read.
func (s *store) checkFormat() error {
	v, closer, err := s.db.Get(keyFormat)
	if errors.Is(err, pebble.ErrNotFound) {
		empty := true
		if err := scan(s.db, nil, nil, false, func(_, _ []byte) (bool, error) { empty = false; return false, nil }); err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%s is a database of another program: choose another data directory", s.dir)
		}
		return s.db.Set(keyFormat, binary.BigEndian.AppendUint32(nil, storeFormat), pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if len(v) != 4 {
		return fmt.Errorf("the format number of %s is damaged: restore the node by removing it and joining it anew", s.dir)
	}
	if format := binary.BigEndian.Uint32(v); format != storeFormat {
		return fmt.Errorf("%s has state format %d and this release reads format %d: start the release that wrote it", s.dir, format, storeFormat)
	}
	return nil
}

// currentStore returns the name of the store in use in dir, creating dir and
// CURRENT at first, and deletes what a crash has left behind.
func currentStore(fs vfs.FS, dir string) (string, error) {
	if err := makeDir(fs, dir); err != nil {
		return "", fmt.Errorf("create the state directory: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return "", fmt.Errorf("read the state directory: %w", err)
	}
	if !slices.Contains(names, currentFile) {
		return firstStore(fs, dir, names)
	}
	name, err := readCurrent(fs, dir)
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, name) {
		return "", fmt.Errorf("%s names %s, which is missing: restore it, or remove the node and join it anew", fs.PathJoin(dir, currentFile), name)
	}
	for _, n := range names {
		if n != name && n != currentFile && debris(n) {
			if err := fs.RemoveAll(fs.PathJoin(dir, n)); err != nil {
				return "", fmt.Errorf("delete what a crash left behind: %w", err)
			}
		}
	}
	return name, nil
}

// firstStore begins a new state directory. What a crash in the middle of that
// may have left is overwritten; anything else is not ours.
func firstStore(fs vfs.FS, dir string, names []string) (string, error) {
	name := fmt.Sprintf(storePattern, 1)
	for _, n := range names {
		if !debris(n) {
			return "", fmt.Errorf("%s holds %q, which is not Bursar state: choose an empty data directory", dir, n)
		}
		if n == currentTemp {
			continue
		}
		if inside, err := fs.List(fs.PathJoin(dir, n)); err != nil || n != name || len(inside) > 0 {
			return "", fmt.Errorf("%s holds %s but no %s: restore that file, or remove the node and join it anew with an empty data directory", dir, n, currentFile)
		}
	}
	if err := fs.MkdirAll(fs.PathJoin(dir, name), 0o700); err != nil {
		return "", err
	}
	return name, writeCurrent(fs, dir, name)
}

// debris reports whether a file of this name may be left behind by a crash of ours.
func debris(name string) bool {
	if name == currentTemp {
		return true
	}
	var n int
	_, err := fmt.Sscanf(name, storePattern, &n)
	return err == nil && name == fmt.Sprintf(storePattern, n)
}

// nextStore returns the name of the store after name.
func nextStore(name string) string {
	var n int
	_, _ = fmt.Sscanf(name, storePattern, &n) // readCurrent has checked it
	return fmt.Sprintf(storePattern, n+1)
}

func readCurrent(fs vfs.FS, dir string) (string, error) {
	p := fs.PathJoin(dir, currentFile)
	f, err := fs.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return "", err
	}
	title, name, _ := strings.Cut(string(text), "\n")
	name = strings.TrimSuffix(name, "\n")
	if title != currentTitle || !debris(name) {
		return "", fmt.Errorf("%s is not that of a Bursar state directory of this release", p)
	}
	return name, nil
}

// writeCurrent makes name the store in use, durably and at once or not at all.
func writeCurrent(fs vfs.FS, dir, name string) error {
	temp := fs.PathJoin(dir, currentTemp)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, currentTitle+"\n"+name+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := syncDir(fs, dir); err != nil { // the store's own name must not be younger than CURRENT
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, currentFile)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// makeDir creates dir and what is missing above it, so that a crash does not
// take the names away again.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// scan iterates over [lower, upper) of a database, a snapshot of it, or an indexed batch.
func scan(r pebble.Reader, lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		more, err := f(it.Key(), v)
		if err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// getFrom reads one value of a database or a snapshot of it.
func getFrom(r pebble.Reader, key []byte, into any) (bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err = decodeValue(v, into); err != nil {
		err = fmt.Errorf("key %q: %w", key, err)
	}
	err = errors.Join(err, closer.Close())
	return err == nil, err
}

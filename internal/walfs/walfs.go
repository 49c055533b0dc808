package walfs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Wrap returns fs for one Pebble database. failed is called once, on whatever goroutine met the failure, and before Pebble sees any
// operation succeed that has not: a failed that does not return ends it all.
func Wrap(fs vfs.FS, failed func(error)) vfs.FS {
	return &fileSystem{FS: fs, state: &state{failed: failed}}
}

// state is whether the logs have failed. It is safe for concurrent use.
type state struct {
	once   sync.Once
	first  atomic.Pointer[error] // set once failed has returned: nobody takes a failure as hidden before it is told
	failed func(error)
}

// err returns the failure, or nil.
func (s *state) err() error {
	if p := s.first.Load(); p != nil {
		return *p
	}
	return nil
}

// unless calls f unless the logs have failed.
func (s *state) unless(f func() error) error {
	if err := s.err(); err != nil {
		return err
	}
	return f()
}

// hide takes the outcome of an operation that Pebble must believe was done.
func (s *state) hide(what, name string, err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("%s %s: %w", what, name, err)
	s.once.Do(func() { // whoever fails meanwhile waits
		s.failed(err)
		s.first.Store(&err)
	})
}

type fileSystem struct {
	vfs.FS
	state *state
}

// isLog reports whether name is that of a log of Pebble's.
func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Unwrap implements vfs.FS.
func (s *fileSystem) Unwrap() vfs.FS { return s.FS }

// Create implements vfs.FS.
func (s *fileSystem) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.create(name, func() (vfs.File, error) { return s.FS.Create(name, category) })
}

// ReuseForWrite implements vfs.FS.
func (s *fileSystem) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.create(name, func() (vfs.File, error) { return s.FS.ReuseForWrite(old, name, category) })
}

// OpenReadWrite implements vfs.FS.
func (s *fileSystem) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return s.create(name, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, category, options...) })
}

func (s *fileSystem) create(name string, open func() (vfs.File, error)) (vfs.File, error) {
	err := s.state.err()
	var f vfs.File
	if err == nil {
		f, err = open()
	}
	switch {
	case err == nil && isLog(name):
		return &logFile{File: f, name: name, state: s.state}, nil
	case err == nil:
		return &file{File: f, state: s.state}, nil
	case isLog(name):
		s.state.hide("begin the log", name, err)
		return &logFile{File: nowhere{}, name: name, state: s.state}, nil
	}
	return nil, err
}

// OpenDir implements vfs.FS.
func (s *fileSystem) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &logFile{File: f, name: name, state: s.state}, nil
}

// Link implements vfs.FS.
func (s *fileSystem) Link(old, name string) error {
	return s.state.unless(func() error { return s.FS.Link(old, name) })
}

// Remove implements vfs.FS.
func (s *fileSystem) Remove(name string) error {
	return s.state.unless(func() error { return s.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (s *fileSystem) RemoveAll(name string) error {
	return s.state.unless(func() error { return s.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (s *fileSystem) Rename(old, name string) error {
	return s.state.unless(func() error { return s.FS.Rename(old, name) })
}

// MkdirAll implements vfs.FS.
func (s *fileSystem) MkdirAll(name string, perm os.FileMode) error {
	return s.state.unless(func() error { return s.FS.MkdirAll(name, perm) })
}

// file is any file that is written and no log.
type file struct {
	vfs.File
	state *state
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	if err := f.state.err(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	if err := f.state.err(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.state.unless(f.File.Sync) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.state.unless(f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (full bool, err error) {
	if err := f.state.err(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

// logFile is a log, or a directory: what is done to it seems to succeed.
type logFile struct {
	vfs.File
	name  string
	state *state
}

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
	f.do("write", func() error {
		_, err := f.File.Write(p)
		return err
	})
	return len(p), nil
}

// WriteAt implements vfs.File.
func (f *logFile) WriteAt(p []byte, at int64) (int, error) {
	f.do("write", func() error {
		_, err := f.File.WriteAt(p, at)
		return err
	})
	return len(p), nil
}

// Sync implements vfs.File.
func (f *logFile) Sync() error {
	f.do("sync", f.File.Sync)
	return nil
}

// SyncData implements vfs.File.
func (f *logFile) SyncData() error {
	f.do("sync", f.File.SyncData)
	return nil
}

// SyncTo implements vfs.File.
func (f *logFile) SyncTo(length int64) (full bool, err error) {
	f.do("sync", func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, nil
}

// Stat implements vfs.File.
func (f *logFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		f.state.hide("look at", f.name, err)
		return nowhere{}.Stat()
	}
	return info, nil
}

// Close implements vfs.File.
func (f *logFile) Close() error {
	f.state.hide("close", f.name, f.File.Close())
	return nil
}

// do does what changes the disk, unless the logs have failed.
func (f *logFile) do(what string, op func() error) {
	if f.state.err() == nil {
		f.state.hide(what, f.name, op())
	}
}

// nowhere is the file of a log that could not be begun. Nothing is written to it, and nobody reads logs but Open.
type nowhere struct{}

var _ vfs.File = nowhere{}

func (nowhere) Close() error                           { return nil }
func (nowhere) Read([]byte) (int, error)               { return 0, io.EOF }
func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nowhere) Write(p []byte) (int, error)            { return len(p), nil }
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Preallocate(int64, int64) error         { return nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) SyncTo(int64) (bool, error)             { return true, nil }
func (nowhere) SyncData() error                        { return nil }
func (nowhere) Prefetch(int64, int64) error            { return nil }
func (nowhere) Fd() uintptr                            { return vfs.InvalidFd }
func (nowhere) Stat() (vfs.FileInfo, error) {
	f, err := vfs.NewMem().Create("nowhere", vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

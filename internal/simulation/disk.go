package simulation

import (
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is one process's view of its machine's disk: a crashable file system in
// memory and the raft log. Faults reach the writes that somebody waits for: of raft's
// log, of the reservation journal, and of the outbox's write-ahead log.
//
// Those writes wait in virtual time without a lock of ours or Pebble's held, which
// is what makes them fit for it: a bubble's clock stands still while a goroutine
// waits for a mutex. What is written under a lock (metadata of snapshots, the
// node's identity, the state store's log when it is changed) is neither slowed nor refused.
type disk struct {
	mem *vfs.MemFS
	log *raftLog

	mu     sync.Mutex
	slow   time.Duration // of each write and sync
	hung   chan struct{} // not nil: writes wait for its end
	full   bool          // writes fail
	failed bool          // it has hung or been full
	dies   func(string)  // ends the process: what a failed Pebble write does
}

func newDisk() *disk {
	d := &disk{mem: vfs.NewCrashableMem()}
	d.log = newRaftLog(d.writeLog)
	return d
}

// crash returns the disk as a new process finds it after this one has ended. lost:
// the machine has ended too, and of what was not synced each block and each
// name is there or not, by the throw of a coin with the given percentage.
func (d *disk) crash(lost bool, kept int, seed uint64) *disk {
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: 100}
	if lost {
		cfg.UnsyncedDataPercent = kept
	}
	cfg.RNG = rand.New(rand.NewPCG(seed, streamDisk))
	next := &disk{mem: d.mem.CrashClone(cfg)}
	next.log = d.log.crash(next.writeLog)
	return next
}

// lift ends every fault. What hung goes through.
func (d *disk) lift() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow, d.full = 0, false
	if d.hung != nil {
		close(d.hung)
		d.hung = nil
	}
}

func (d *disk) setSlow(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = by
}

func (d *disk) setHung() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = true
	if d.hung == nil {
		d.hung = make(chan struct{})
	}
}

func (d *disk) setFull(dies func(string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.failed, d.dies = true, true, dies
}

// errFull is what a write to a full disk says.
var errFull = syscall.ENOSPC

// troubled reports whether the disk gave its process a reason to fail.
func (d *disk) troubled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// touch waits as the disk makes a write wait, and says whether it is full.
func (d *disk) touch() error {
	d.mu.Lock()
	slow, hung, full := d.slow, d.hung, d.full
	d.mu.Unlock()
	if hung != nil {
		<-hung
	}
	if slow > 0 {
		time.Sleep(slow)
	}
	if full {
		return errFull
	}
	return nil
}

// write is touch for a write of a kind. Only the journal lives on after a failed
// one. raft panics where it cannot store its vote, and Pebble ends the process
// where it cannot write its log; here the process ends at once, and the write with it.
func (d *disk) write(kind fileKind) error {
	err := d.touch()
	if err == nil || kind == journalFile {
		return err
	}
	d.mu.Lock()
	dies := d.dies
	d.mu.Unlock()
	dies("its disk is full")
	return nil
}

// writeLog is write for raft's log.
func (d *disk) writeLog() error { return d.write(raftFile) }

type fileKind int

const (
	plainFile fileKind = iota
	journalFile
	walFile
	raftFile
)

func kindOf(path string) fileKind {
	switch {
	case strings.Contains(path, "/journal/") && strings.HasSuffix(path, ".journal"):
		return journalFile
	case strings.HasSuffix(path, ".log") && strings.Contains(path, "/outbox/"):
		return walFile
	}
	return plainFile
}

// faultFS is the file system of one process over its disk.
type faultFS struct {
	vfs.FS
	d *disk
}

func (d *disk) fs() vfs.FS { return &faultFS{d.mem, d} }

func (f *faultFS) Unwrap() vfs.FS { return f.FS }

func (f *faultFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	kind := kindOf(name)
	if err != nil || kind == plainFile {
		return file, err
	}
	return &faultFile{file, f.d, kind}, nil
}

// Create implements vfs.FS.
func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

// ReuseForWrite implements vfs.FS.
func (f *faultFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.wrap(name, file, err)
}

// OpenReadWrite implements vfs.FS.
func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(name, file, err)
}

type faultFile struct {
	vfs.File
	d    *disk
	kind fileKind
}

func (f *faultFile) Write(p []byte) (int, error) {
	if f.kind == journalFile { // a log's write waits in its sync, if anybody waits for it
		if err := f.d.write(f.kind); err != nil {
			return 0, err
		}
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.d.write(f.kind); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.d.write(f.kind); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *faultFile) SyncTo(length int64) (bool, error) {
	if err := f.d.write(f.kind); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

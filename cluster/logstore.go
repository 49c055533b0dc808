package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// The hazard: a leader whose disk hangs stops the whole cluster. Its heartbeats
// leave from memory, so nobody stands for election, and its log appends nothing,
// so nothing is committed. Raft does not notice. So every write to its stores is
// timed, and one that takes longer than the bound, or fails, ends the node.

// ErrDiskStalled is in the chain of the failure of a node whose disk hangs.
var ErrDiskStalled = errors.New("the disk does not answer")

// RaftStores is where raft keeps its log, its term and its vote.
type RaftStores interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// boltOpenTimeout bounds the wait for the file's lock, which another process holds.
const boltOpenTimeout = time.Second

// openStores opens raft's stores in dir, with sums of what is in them.
func (c *Config) openStores(dir string) (RaftStores, error) {
	s, err := c.Tuning.OpenStores(dir)
	if err != nil {
		return nil, err
	}
	return sealed{s}, nil
}

// openBolt opens raft's stores in dir, on the real file system.
func openBolt(dir string) (RaftStores, error) {
	path := filepath.Join(dir, "raft.db")
	if err := checkBolt(path); err != nil {
		return nil, err
	}
	s, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		// The freelist is rebuilt when the file is opened: writing it with every
		// commit costs more the larger the log has been.
		BoltOptions: &bbolt.Options{
			Timeout:        boltOpenTimeout,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("%s is locked: another process uses this data directory", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft's log %s: %w", path, err)
	}
	return s, nil
}

// watchdog wraps raft's stores. When a write takes longer than stall or fails, or what is
// read is damaged, it calls failed once and refuses every later write. raft panics where it cannot
// store its vote; by then the process is on its way out.
type watchdog struct {
	RaftStores
	stall  time.Duration
	failed func(error)

	once sync.Once
	err  atomic.Pointer[error]
}

func newWatchdog(s RaftStores, stall time.Duration, failed func(error)) *watchdog {
	return &watchdog{RaftStores: s, stall: stall, failed: failed}
}

// watched runs one write under the clock.
func (w *watchdog) watched(what string, write func() error) error {
	if err := w.err.Load(); err != nil {
		return *err
	}
	timer := AfterAwake(w.stall, func() {
		w.trip(fmt.Errorf("raft's log: %s: %w within %v", what, ErrDiskStalled, w.stall))
	})
	err := write()
	timer.Stop()
	if err != nil {
		w.trip(fmt.Errorf("raft's log: %s: %w", what, err))
	}
	return err
}

func (w *watchdog) trip(err error) {
	w.once.Do(func() {
		w.err.Store(&err)
		w.failed(err)
	})
}

// GetLog implements raft.LogStore.
func (w *watchdog) GetLog(index uint64, l *raft.Log) error {
	err := w.RaftStores.GetLog(index, l)
	if errors.Is(err, ErrDamaged) {
		w.trip(err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (w *watchdog) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (w *watchdog) StoreLogs(logs []*raft.Log) error {
	return w.watched("append", func() error { return w.RaftStores.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (w *watchdog) DeleteRange(lo, hi uint64) error {
	return w.watched("truncate", func() error { return w.RaftStores.DeleteRange(lo, hi) })
}

// Set implements raft.StableStore.
func (w *watchdog) Set(key, val []byte) error {
	return w.watched("store vote", func() error { return w.RaftStores.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (w *watchdog) SetUint64(key []byte, val uint64) error {
	return w.watched("store term", func() error { return w.RaftStores.SetUint64(key, val) })
}

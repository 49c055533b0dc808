package simulation

import (
	"errors"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// raftLog is where raft keeps its log, its term and its vote: durable when a
// write returns, all or none of it, as a database file with a synced write-ahead
// log is. It stands on no file system; the faults of the machine's disk reach it by
// touch, which each write passes before it takes effect.
type raftLog struct {
	touch func() error // waits, or says why nothing can be written

	mu          sync.Mutex
	first, last uint64 // 0: empty
	logs        map[uint64]*raft.Log
	values      map[string][]byte
	numbers     map[string]uint64
}

func newRaftLog(touch func() error) *raftLog {
	return &raftLog{touch: touch, logs: map[uint64]*raft.Log{}, values: map[string][]byte{}, numbers: map[string]uint64{}}
}

// crash returns what a process that starts on the machine finds. What the old
// process still writes does not reach it.
func (l *raftLog) crash(touch func() error) *raftLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &raftLog{
		touch: touch, first: l.first, last: l.last,
		logs: maps.Clone(l.logs), values: maps.Clone(l.values), numbers: maps.Clone(l.numbers),
	}
}

// FirstIndex implements raft.LogStore.
func (l *raftLog) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, nil
}

// LastIndex implements raft.LogStore.
func (l *raftLog) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, nil
}

// GetLog implements raft.LogStore.
func (l *raftLog) GetLog(index uint64, into *raft.Log) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.logs[index]
	if entry == nil {
		return raft.ErrLogNotFound
	}
	*into = *entry
	return nil
}

// StoreLog implements raft.LogStore.
func (l *raftLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *raftLog) StoreLogs(entries []*raft.Log) error {
	if err := l.touch(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		copied := *e
		l.logs[e.Index] = &copied
		if l.first == 0 || e.Index < l.first {
			l.first = e.Index
		}
		l.last = max(l.last, e.Index)
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (l *raftLog) DeleteRange(lo, hi uint64) error {
	if err := l.touch(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := lo; i <= hi; i++ {
		delete(l.logs, i)
	}
	if lo <= l.first {
		l.first = hi + 1
	}
	if hi >= l.last {
		l.last = lo - 1
	}
	if l.first > l.last {
		l.first, l.last = 0, 0
	}
	return nil
}

var errNoValue = errors.New("not found") // raft compares the text

// Set implements raft.StableStore.
func (l *raftLog) Set(key, value []byte) error {
	if err := l.touch(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values[string(key)] = append([]byte(nil), value...)
	return nil
}

// Get implements raft.StableStore.
func (l *raftLog) Get(key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.values[string(key)]; ok {
		return append([]byte(nil), v...), nil
	}
	return nil, errNoValue
}

// SetUint64 implements raft.StableStore.
func (l *raftLog) SetUint64(key []byte, value uint64) error {
	if err := l.touch(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbers[string(key)] = value
	return nil
}

// GetUint64 implements raft.StableStore.
func (l *raftLog) GetUint64(key []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.numbers[string(key)]; ok {
		return v, nil
	}
	return 0, errNoValue
}

// Close implements cluster.RaftStores.
func (l *raftLog) Close() error { return nil }

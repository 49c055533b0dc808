package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure Open.
type Options struct {
	FS       vfs.FS       // nil: the real file system
	Logger   *slog.Logger // nil: slog.Default()
	Observer Observer     // nil: nobody is told; see SetObserver
}

func (o *Options) defaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Machine is the replicated state machine: a state in memory, durable in a
// Pebble store with the index it has applied. One goroutine applies; any number read.
type Machine struct {
	fs       vfs.FS
	dir      string
	log      *slog.Logger
	observer Observer

	mu    sync.RWMutex // guards what follows against readers; only the apply goroutine writes
	s     *state
	store *store
	tail  *tail // of store
	sums  checksums

	told     atomic.Uint64 // index the observer has been told of
	waiters  waiters
	retiring sync.WaitGroup // stores that a snapshot replaced, until their last reader is done
	fail     *failure
	books    books // compiled versions of the price book
}

// Open opens or creates the store in dir and loads the hot state. It needs no
// quorum and no log. Its errors say what the operator can do.
func Open(dir string, o Options) (*Machine, error) {
	o.defaults()
	m := &Machine{fs: o.FS, dir: dir, log: o.Logger, observer: o.Observer, fail: newFailure(o.Logger)}
	name, err := currentStore(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if m.store, err = openStore(o.FS, o.FS.PathJoin(dir, name), m.fail, true); err != nil {
		return nil, err
	}
	if err = m.store.checkFormat(); err == nil {
		m.s, err = loadState(m.store)
	}
	if err == nil {
		err = m.fail.err()
	}
	if err != nil {
		return nil, errors.Join(err, m.store.close())
	}
	m.tail = newTail(m.store, m.s)
	m.sums.add(m.s.index, m.s.sum)
	m.told.Store(m.s.index)
	m.log.Info("state opened", "dir", dir, "index", m.s.index, "term", m.s.term,
		"accounts", len(m.s.accounts), "assignments", m.s.records.count)
	return m, nil
}

// Close flushes and closes the store. Apply and InstallSnapshot must not be
// running; readers that are may finish first.
func (m *Machine) Close() error {
	if errors.Is(m.fail.err(), ErrClosed) {
		return nil
	}
	if failed := m.fail.err(); failed != nil {
		m.waiters.release(failed)
		return failed // a store that failed may hang on closing; the process is about to end
	}
	if err := m.Flush(); err != nil {
		m.waiters.release(err)
		return err
	}
	m.mu.Lock()
	m.fail.set(ErrClosed) // under the lock: nobody acquires the store from here on
	m.mu.Unlock()
	m.waiters.release(ErrClosed)
	m.retiring.Wait()
	m.store.users.Wait()
	return m.store.close()
}

// AwaitFailure waits until the machine can apply no more, and returns why: ErrClosed, or that its store has failed. It
// returns ctx's error if that ends first. It takes no lock: an Apply or a read may hang in a store that has failed.
func (m *Machine) AwaitFailure(ctx context.Context) error {
	select {
	case <-m.fail.ended:
		return m.fail.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetObserver sets who is told of changes. Call it before the first Apply.
func (m *Machine) SetObserver(o Observer) { m.observer = o }

// Applied returns the index and term of the last entry applied.
func (m *Machine) Applied() (index, term uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.s.index, m.s.term
}

// WaitApplied waits until index is applied, the observer having been told. It
// returns ctx's error, or why the machine can apply no more.
func (m *Machine) WaitApplied(ctx context.Context, index uint64) error {
	if m.told.Load() >= index {
		return nil
	}
	ch, stop := m.waiters.add(index)
	defer stop()
	if m.told.Load() >= index { // it may have been applied before the waiter was there
		return nil
	}
	if err := m.fail.err(); err != nil {
		return err
	}
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for index %d: %w", index, ctx.Err())
	}
}

// Flush makes everything applied durable, so that the log up to there may be truncated.
func (m *Machine) Flush() error {
	err := m.read(func(st *store) error { return st.flush() })
	if err != nil && m.fail.err() == nil {
		m.fail.set(fmt.Errorf("flush the store: %w", err))
	}
	return m.fail.err()
}

// DiskUsage returns how many bytes the store takes on this node's disk; 0 if it cannot be told.
func (m *Machine) DiskUsage() (bytes int64) {
	_ = m.read(func(st *store) error {
		bytes = int64(st.db.Metrics().DiskSpaceUsage())
		return nil
	})
	return bytes
}

// read calls f with the store in use, which has everything that was applied before the call and stays open until f returns, even if
// a snapshot replaces it meanwhile.
func (m *Machine) read(f func(st *store) error) (err error) {
	st, err := m.pin(nil)
	if err != nil {
		return err
	}
	defer st.users.Done()
	defer guard(&err)
	return f(st)
}

// pin returns the store in use with everything that was applied, to be read until the caller calls users.Done. With it goes
// what note, if not nil, notes of the state at the same index; note's error is pin's.
func (m *Machine) pin(note func(s *state) error) (st *store, err error) {
	m.mu.RLock()
	if !m.tail.empty() {
		m.mu.RUnlock()
		err = m.commit(func() error {
			st, err = m.pinLocked(note)
			return err
		})
		return st, err
	}
	defer m.mu.RUnlock()
	return m.pinLocked(note)
}

func (m *Machine) pinLocked(note func(s *state) error) (*store, error) {
	if err := m.fail.err(); err != nil {
		return nil, err
	}
	if note != nil {
		if err := note(m.s); err != nil {
			return nil, err
		}
	}
	m.store.users.Add(1)
	return m.store, nil
}

// Commit gives the store what entries have written. Whoever reads the store does so first; call it now and then besides, so
// that a crash of the process leaves little to be applied again. An error is a failed store.
func (m *Machine) Commit() error { return m.commit(nil) }

// commit gives the store what entries have written, and calls then with the state locked.
func (m *Machine) commit(then func() error) error {
	if m.tailSize() >= syncFirstBytes {
		if err := m.latched("commit", m.syncLog()); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.latched("commit", m.commitLocked()); err != nil {
		return err
	}
	if then != nil {
		return then()
	}
	return nil
}

func (m *Machine) commitLocked() (err error) {
	if err := m.fail.err(); err != nil {
		return err
	}
	defer guard(&err)
	return m.tail.commit()
}

// latched returns the error that the store failed with, which is err if it is the first.
func (m *Machine) latched(what string, err error) error {
	if err != nil {
		m.fail.set(fmt.Errorf("%s: %w", what, err))
		m.waiters.release(m.fail.err())
	}
	return m.fail.err()
}

func (m *Machine) tailSize() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.tail.size()
}

// syncFirstBytes is the size of a tail before which the store's log is synced. Where the tail does not fit into the memtable Pebble
// begins another log and syncs the one before, with the state locked: it should find little to do.
const syncFirstBytes = 256 << 10

func (m *Machine) syncLog() (err error) {
	m.mu.RLock()
	st := m.store
	st.users.Add(1)
	m.mu.RUnlock()
	defer st.users.Done()
	defer guard(&err)
	return st.db.LogData(nil, pebble.Sync)
}

// scan calls f for the keys in [lower, upper) at a consistent point, until it
// returns false. Key and value are valid during the call only. Applying goes on meanwhile.
func (m *Machine) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	return m.read(func(st *store) error { return scan(st.db, lower, upper, reverse, f) })
}

// get reads one value of a store that the caller has pinned, which is done with it then.
func (s *store) get(key []byte, into any) (ok bool, err error) {
	defer s.users.Done()
	defer guard(&err)
	return getFrom(s.db, key, into)
}

// get reads one stored value.
func (m *Machine) get(key []byte, into any) (ok bool, err error) {
	err = m.read(func(st *store) error {
		ok, err = getFrom(st.db, key, into)
		return err
	})
	return ok, err
}

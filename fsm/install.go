package fsm

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// installBatchBytes bounds the memory of loading a snapshot.
const installBatchBytes = 4 << 20

// InstallSnapshot reads what WriteSnapshot wrote beside the present state,
// verifies it and swaps it in. On any error the present state stays, unless the error
// is that of a failed store. The observer is told with Full. Not concurrently with Apply.
//
// A crash leaves either state: the one rename of CURRENT decides (see store.go).
func (m *Machine) InstallSnapshot(r io.Reader) error {
	if err := m.fail.err(); err != nil {
		return err
	}
	name := nextStore(m.fs.PathBase(m.store.dir))
	dir := m.fs.PathJoin(m.dir, name)
	st, s, err := m.buildStore(dir, r)
	if err == nil {
		if err = writeCurrent(m.fs, m.dir, name); err != nil {
			// The rename may or may not be on disk: which store is in use can
			// only be told by opening the directory again.
			m.fail.set(fmt.Errorf("switch to the installed snapshot: %w", err))
			return m.fail.err()
		}
		m.swap(st, s)
		return nil
	}
	if st != nil {
		err = errors.Join(err, st.close())
	}
	return fmt.Errorf("install snapshot: %w", errors.Join(err, m.fs.RemoveAll(dir)))
}

// buildStore writes the snapshot into a new store in dir and loads its state. A
// store that is returned with an error is still open.
func (m *Machine) buildStore(dir string, r io.Reader) (st *store, s *state, err error) {
	defer guard(&err)
	if err := m.fs.RemoveAll(dir); err != nil { // debris of an install that failed
		return nil, nil, err
	}
	if err := m.fs.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if st, err = openStore(m.fs, dir, m.fail, false); err != nil {
		return nil, nil, err
	}
	h, err := st.fill(r)
	if err != nil {
		return st, nil, err
	}
	if err := st.flush(); err != nil {
		return st, nil, err
	}
	if err := st.close(); err != nil {
		return nil, nil, err
	}
	if st, err = openStore(m.fs, dir, m.fail, true); err != nil {
		return nil, nil, err
	}
	if err := st.checkFormat(); err != nil {
		return st, nil, err
	}
	if s, err = loadState(st); err != nil {
		return st, nil, err
	}
	if s.index != h.Index || s.term != h.Term || s.sum != h.Sum {
		return st, nil, badSnapshot("its header is of index %d and its content of index %d", h.Index, s.index)
	}
	return st, s, m.fail.err()
}

// fill writes a snapshot's pairs into an empty store.
func (st *store) fill(r io.Reader) (snapshotHeader, error) {
	batch := st.db.NewBatch()
	defer func() { _ = batch.Close() }()
	h, err := readSnapshot(r, func(key, value []byte) error {
		if err := batch.Set(key, value, nil); err != nil {
			return err
		}
		if batch.Len() < installBatchBytes {
			return nil
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
		batch.Reset()
		return nil
	})
	if err != nil {
		return h, err
	}
	return h, batch.Commit(pebble.NoSync)
}

// swap puts the installed store in the place of the present one, which is closed
// and deleted once its last reader is done.
func (m *Machine) swap(st *store, s *state) {
	m.mu.Lock()
	old := m.store
	if err := m.tail.drop(); err != nil {
		m.log.Warn("what the replaced state had not committed was not freed", "error", err)
	}
	m.store, m.s, m.tail = st, s, newTail(st, s)
	m.sums = checksums{}
	m.sums.add(s.index, s.sum)
	m.mu.Unlock()
	m.retiring.Go(func() { m.retire(old) })
	m.log.Info("snapshot installed", "index", s.index, "term", s.term)
	m.tell(&Changes{Index: s.index, Full: true})
}

// retire closes and deletes a store that is no longer in use.
func (m *Machine) retire(st *store) {
	st.users.Wait()
	if err := errors.Join(st.close(), m.fs.RemoveAll(st.dir)); err != nil {
		m.log.Warn("the replaced state could not be deleted; the next start will", "dir", st.dir, "error", err)
	}
}

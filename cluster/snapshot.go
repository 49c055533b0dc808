package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// The state machine is durable by itself, so a snapshot that raft takes of it is
// only metadata: "everything up to this index is in the store, on disk". Two things
// follow.
//
// A follower that needs the state is streamed the machine as it is at that moment,
// which may be ahead of the metadata. The entries between are committed, and
// the follower's machine skips them when raft replays them.
//
// A snapshot that was received is on disk in full before raft hears that it
// is, and only becomes metadata once the machine has installed it. If the process dies
// between, the next start installs it before raft starts: raft would otherwise
// count entries as applied that the machine never saw.
const (
	snapshotsDir      = "snapshots" // below raftDir
	localMetaFile     = "local.json"
	receivedMetaFile  = "received.json"
	receivedStateFile = "received.state"
	outgoingPrefix    = "outgoing-"
)

// snapshotStore implements raft.SnapshotStore.
type snapshotStore struct {
	fs      vfs.FS
	dir     string
	machine *fsm.Machine
	log     *slog.Logger

	mu       sync.Mutex
	local    *raft.SnapshotMeta // nil: none yet
	received *raft.SnapshotMeta // not installed yet; nil: none
	spools   int
}

// openSnapshots opens the store, removes what a crash left unfinished, and
// installs what it left received and not installed.
func openSnapshots(fs vfs.FS, dir string, m *fsm.Machine, log *slog.Logger) (*snapshotStore, error) {
	s := &snapshotStore{fs: fs, dir: dir, machine: m, log: log}
	if err := makeDir(fs, dir); err != nil {
		return nil, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, outgoingPrefix) || strings.HasSuffix(name, ".tmp") {
			if err := fs.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if s.local, err = s.readMeta(localMetaFile); err != nil {
		return nil, err
	}
	if s.received, err = s.readMeta(receivedMetaFile); err != nil {
		return nil, err
	}
	if err := s.installReceived(); err != nil {
		return nil, err
	}
	if applied, _ := m.Applied(); s.local != nil && applied < s.local.Index {
		return nil, fmt.Errorf("the state holds entries up to %d, but the log begins after %d: the state directory is damaged or of another time; remove this node, empty its data directory and let it join anew", applied, s.local.Index)
	}
	return s, nil
}

func (s *snapshotStore) installReceived() error {
	if s.received == nil {
		return nil
	}
	if applied, _ := s.machine.Applied(); applied < s.received.Index {
		f, err := s.fs.Open(filepath.Join(s.dir, receivedStateFile))
		if err != nil {
			return fmt.Errorf("open the received snapshot: %w", err)
		}
		defer f.Close()
		if err := s.machine.InstallSnapshot(f); err != nil {
			return fmt.Errorf("install the received snapshot: %w", err)
		}
	}
	return s.installed()
}

// installed makes the received snapshot local metadata, now that the machine holds its state.
func (s *snapshotStore) installed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == nil {
		return nil
	}
	meta := *s.received
	meta.ID, meta.Size = snapshotID("local", &meta), 0
	if err := s.writeMeta(localMetaFile, &meta); err != nil {
		return err
	}
	s.local, s.received = &meta, nil
	if err := s.fs.Remove(filepath.Join(s.dir, receivedMetaFile)); err != nil {
		return err
	}
	return s.fs.Remove(filepath.Join(s.dir, receivedStateFile))
}

func snapshotID(kind string, m *raft.SnapshotMeta) string {
	return fmt.Sprintf("%s-%d-%d", kind, m.Term, m.Index)
}

func (s *snapshotStore) readMeta(name string) (*raft.SnapshotMeta, error) {
	b, err := readFile(s.fs, filepath.Join(s.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(raft.SnapshotMeta)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s in %s is damaged: %w", name, s.dir, err)
	}
	return m, nil
}

func (s *snapshotStore) writeMeta(name string, m *raft.SnapshotMeta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replaceFile(s.fs, s.dir, name, b)
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var metas []*raft.SnapshotMeta
	for _, m := range []*raft.SnapshotMeta{s.received, s.local} {
		if m != nil {
			meta := *m
			metas = append(metas, &meta)
		}
	}
	return metas, nil
}

// Open implements raft.SnapshotStore: a received snapshot for the machine to
// install, or the machine's present state for a follower. The latter is
// spooled to disk, because raft announces the size before the content.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	var meta raft.SnapshotMeta
	switch {
	case s.received != nil && s.received.ID == id:
		meta = *s.received
		s.mu.Unlock()
		f, err := s.fs.Open(filepath.Join(s.dir, receivedStateFile))
		return &meta, f, err
	case s.local != nil && s.local.ID == id:
		meta = *s.local
	default:
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("there is no snapshot %q", id)
	}
	s.spools++
	path := filepath.Join(s.dir, fmt.Sprintf("%s%d", outgoingPrefix, s.spools))
	s.mu.Unlock()
	f, size, err := s.spool(path)
	if err != nil {
		s.fs.Remove(path)
		return nil, nil, err
	}
	meta.Size = size
	return &meta, f, nil
}

func (s *snapshotStore) spool(path string) (io.ReadCloser, int64, error) {
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, err
	}
	w := &fileWriter{file: f}
	index, err := s.machine.WriteSnapshot(w)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, fmt.Errorf("write the state for a follower: %w", err)
	}
	s.log.Info("streaming the state to a follower", "index", index, "bytes", w.n)
	r, err := s.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, 0, err
	}
	return &spoolReader{File: r, remove: func() error { return s.fs.Remove(path) }}, w.n, nil
}

// fileWriter is an io.Writer to a vfs.File, which may change the bytes it is given.
type fileWriter struct {
	file vfs.File
	buf  []byte
	n    int64 // bytes written
}

func (w *fileWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf[:0], p...)
	n, err := w.file.Write(w.buf)
	w.n += int64(n)
	return n, err
}

// spoolReader removes its file when closed.
type spoolReader struct {
	vfs.File
	remove func() error
}

func (r *spoolReader) Close() error { return errors.Join(r.File.Close(), r.remove()) }

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("unsupported snapshot version %d", version)
	}
	meta := raft.SnapshotMeta{Version: version, Index: index, Term: term, Configuration: configuration, ConfigurationIndex: configurationIndex}
	meta.ID = snapshotID("local", &meta)
	return &snapshotSink{store: s, meta: meta}, nil
}

// snapshotSink takes a snapshot: nothing at all is written of a local one, the
// whole state of one that a leader sends.
type snapshotSink struct {
	store *snapshotStore
	meta  raft.SnapshotMeta
	file  *fileWriter // of a received one
	done  bool
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.meta.ID }

// Write implements raft.SnapshotSink.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.file == nil {
		f, err := k.store.fs.Create(filepath.Join(k.store.dir, receivedStateFile+".tmp"), vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, err
		}
		k.file = &fileWriter{file: f}
		k.meta.ID = snapshotID("received", &k.meta)
	}
	n, err := k.file.Write(p)
	k.meta.Size = k.file.n
	return n, err
}

// Close implements raft.SnapshotSink: the snapshot is complete.
func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	s := k.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.file == nil {
		if err := s.writeMeta(localMetaFile, &k.meta); err != nil {
			return err
		}
		s.local = &k.meta
		return nil
	}
	err := k.file.file.Sync()
	if err = errors.Join(err, k.file.file.Close()); err != nil {
		return err
	}
	// An earlier received snapshot loses its metadata before its content, and the new
	// one gains its content before its metadata: whichever metadata exists has its content.
	if s.received != nil {
		s.received = nil
		if err := s.fs.Remove(filepath.Join(s.dir, receivedMetaFile)); err != nil {
			return err
		}
	}
	path := filepath.Join(s.dir, receivedStateFile)
	if err := s.fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	if err := s.writeMeta(receivedMetaFile, &k.meta); err != nil {
		return err
	}
	s.received = &k.meta
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.done || k.file == nil {
		k.done = true
		return nil
	}
	k.done = true
	return errors.Join(k.file.file.Close(), k.store.fs.Remove(filepath.Join(k.store.dir, receivedStateFile+".tmp")))
}

package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/fsm"
)

// Restored says what Restore made.
type Restored struct {
	From, Cluster string    // ids of the cluster that was backed up, and of the new one
	Index         uint64    // of the backup
	DoubtUntil    time.Time // when the former nodes' leases are freed; zero: that is done
}

// Restore makes an empty data directory that of the first node of a new cluster,
// with the state of the backup that r streams, which becomes that of m, an empty
// machine. The caller closes m. Of Config it needs Name, DataDir, FS and Logger.
//
// What it leaves is what a node has that was its cluster's only voter when it
// stopped: the state, one entry after the backup's, and raft's metadata of a
// snapshot at that entry. raft's log is empty and begins behind it. A node that
// joins is streamed the state, as one that has been away for too long is.
//
// node.json, which says whose the directory is, is written last: a directory whose
// restoring was cut short is refused at the next start, because its state has no log.
func Restore(c Config, m *fsm.Machine, r io.Reader, inDoubt fsm.InDoubt) (*Restored, error) {
	c = c.withDefaults()
	cluster, err := newClusterID()
	if err != nil {
		return nil, err
	}
	if index, _ := m.Applied(); index != 0 {
		return nil, fmt.Errorf("%s holds a state already: restore into an empty directory", c.DataDir)
	}
	if err := m.InstallSnapshot(r); err != nil {
		return nil, err
	}
	out := &Restored{Cluster: cluster, From: readMembers(m).settings.ClusterID}
	out.Index, _ = m.Applied()
	if err := applyNext(m, c.Name, fsm.Restore{ClusterID: cluster, Node: c.Name, InDoubt: inDoubt}); err != nil {
		return nil, err
	}
	if err := m.Flush(); err != nil {
		return nil, err
	}
	if until := readMembers(m).settings.DoubtUntil; until != 0 {
		out.DoubtUntil = time.UnixMilli(until)
	}
	if err := beginLog(&c, m); err != nil {
		return nil, err
	}
	id, err := openIdentity(c.FS, c.DataDir, c.Name)
	if err != nil {
		return nil, err
	}
	return out, id.update(func(v *identityFields) { v.Cluster = cluster })
}

// beginLog makes raft's directory for a log that begins behind what m has applied.
// raft goes on in the term of the last entry, so that terms never fall.
func beginLog(c *Config, m *fsm.Machine) error {
	index, term := m.Applied()
	base := filepath.Join(c.DataDir, raftDir)
	if err := makeDir(c.FS, base); err != nil {
		return err
	}
	stores, err := c.openStores(base)
	if err != nil {
		return err
	}
	if err := errors.Join(stores.SetUint64(keyCurrentTerm, term), stores.Close()); err != nil {
		return fmt.Errorf("begin raft's log: %w", err)
	}
	dir := filepath.Join(base, snapshotsDir)
	if err := makeDir(c.FS, dir); err != nil {
		return err
	}
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(c.Name), Address: unknownAddr}
	s := &snapshotStore{fs: c.FS, dir: dir}
	meta := &raft.SnapshotMeta{
		Version: 1, Index: index, Term: term, ConfigurationIndex: index,
		Configuration: raft.Configuration{Servers: []raft.Server{self}},
	}
	meta.ID = snapshotID("local", meta)
	return s.writeMeta(localMetaFile, meta)
}

var (
	// keyCurrentTerm is where raft keeps its term.
	keyCurrentTerm = []byte("CurrentTerm")
	// unknownAddr stands for the node's own address, which its first start fills in.
	unknownAddr = raft.ServerAddress("restored.invalid:1")
)

// newClusterID makes an id that no other cluster has.
func newClusterID() (string, error) {
	id, err := ulid.New(ulid.Now(), rand.Reader)
	if err != nil {
		return "", err
	}
	return "clu_" + id.String(), nil
}

// watchDoubt frees what the nodes of a restored cluster's forerunner hold, once
// its time has come.
func (l *leadership) watchDoubt() {
	tick := time.NewTicker(doubtPoll)
	defer tick.Stop()
	for {
		s := l.n.members.Load().settings
		if s.DoubtUntil == 0 {
			return
		}
		if l.n.cfg.Wall(time.Now()) > s.DoubtUntil {
			_, err := l.commit(l.ctx, &fsm.Command{ID: newCommandID(), Actor: l.n.actor(), Body: fsm.EndDoubt{}})
			l.n.log.Info("what the nodes of the cluster that was backed up held is free", "error", err)
		}
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
	}
}

// doubtPoll is how often a leader looks whether the doubt is over: an hour's wait needs no finer clock.
const doubtPoll = time.Second

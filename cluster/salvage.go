package cluster

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// Salvaged says what Salvage found in a data directory.
type Salvaged struct {
	Cluster string // its cluster's id
	State   uint64 // index that the state had applied
	Log     uint64 // index that raft's log ends with
	Index   uint64 // of the backup
	Events  int    // recorded here and, as far as this directory knows, not settled
}

// salvageBatch is how many log entries are applied at once.
const salvageBatch = 512

// Salvage writes a backup of what a stopped node has on disk: when so many nodes
// are lost that nobody can lead, a new cluster is made from it.
//
// m is the machine of the data directory, which is only read; scratch is an empty
// one, which Salvage builds the backup in. It applies
//
//   - all of raft's log: its tail may never have been committed, but what was
//     committed is in the log of a majority, and so in that of the node whose log is longest;
//   - events, those that the node had recorded and not seen settled: an event that is in the
//     ledger by now counts once all the same;
//   - an entry that puts the backup on record at the present time, from which Restore counts how long
//     reservations of the old nodes may live. So all old nodes must have stopped deciding by now.
func Salvage(c Config, m, scratch *fsm.Machine, events []fsm.Event, w io.Writer) (*Salvaged, error) {
	c = c.withDefaults()
	if err := copyMachine(scratch, m); err != nil {
		return nil, err
	}
	out := &Salvaged{Events: len(events)}
	out.State, _ = scratch.Applied()
	var err error
	if out.Log, err = replay(&c, scratch); err != nil {
		return nil, err
	}
	if out.Cluster = readMembers(scratch).settings.ClusterID; out.Cluster == "" {
		return nil, fmt.Errorf("%s holds no cluster's state: it never joined one", c.DataDir)
	}
	for i := range events {
		part := fsm.Part{Node: events[i].Node, Events: events[i : i+1]}
		if err := applyNext(scratch, c.Name, fsm.Reconcile{Parts: []fsm.Part{part}}); err != nil {
			return nil, fmt.Errorf("event %q of account %q: %w", events[i].ID, events[i].Account, err)
		}
	}
	if err := applyNext(scratch, c.Name, fsm.Backup{}); err != nil {
		return nil, err
	}
	out.Index, err = scratch.WriteSnapshot(w)
	return out, err
}

// LogEnd returns the index that a stopped node's disk ends with, applied to m or only
// in raft's log, and the id of its cluster, "" if it never joined one.
func LogEnd(c Config, m *fsm.Machine) (index uint64, cluster string, err error) {
	c = c.withDefaults()
	stores, err := c.openStores(filepath.Join(c.DataDir, raftDir))
	if err != nil {
		return 0, "", err
	}
	last, err := stores.LastIndex()
	if err = errors.Join(err, stores.Close()); err != nil {
		return 0, "", fmt.Errorf("read raft's log: %w", err)
	}
	applied, _ := m.Applied()
	cluster = readMembers(m).settings.ClusterID
	if cluster == "" { // that may be in raft's log only
		cluster, err = rememberedCluster(c.FS, c.DataDir)
	}
	return max(applied, last), cluster, err
}

// copyMachine makes to's state that of from.
func copyMachine(to, from *fsm.Machine) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := from.WriteSnapshot(w)
		w.CloseWithError(err)
		written <- err
	}()
	err := to.InstallSnapshot(r)
	r.CloseWithError(errors.New("the copy has ended"))
	if failed := <-written; err == nil {
		err = failed
	}
	return err
}

// replay applies to m what raft's log in the data directory has behind it, and
// returns the index of the log's end.
func replay(c *Config, m *fsm.Machine) (last uint64, err error) {
	stores, err := c.openStores(filepath.Join(c.DataDir, raftDir))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	first, err := stores.FirstIndex()
	if err == nil {
		last, err = stores.LastIndex()
	}
	if err != nil {
		return 0, fmt.Errorf("read raft's log: %w", err)
	}
	applied, _ := m.Applied()
	if last <= applied {
		return last, nil
	}
	if first > applied+1 {
		return 0, fmt.Errorf("raft's log begins at index %d and the state ends at %d: entries between them are missing here; use the directory of another node", first, applied)
	}
	entries := make([]fsm.Entry, 0, salvageBatch)
	for i := applied + 1; i <= last; i++ {
		var l raft.Log
		if err := stores.GetLog(i, &l); err != nil {
			return 0, fmt.Errorf("read entry %d of raft's log: %w", i, err)
		}
		e := fsm.Entry{Index: l.Index, Term: l.Term}
		if l.Type == raft.LogCommand {
			e.Data = l.Data
		}
		if entries = append(entries, e); len(entries) == salvageBatch || i == last {
			if _, err := m.Apply(entries); err != nil {
				return 0, err
			}
			entries = entries[:0]
		}
	}
	return last, nil
}

// applyNext applies a command behind all that m has applied, as one that name proposed just now.
func applyNext(m *fsm.Machine, name string, body fsm.Body) error {
	data, err := fsm.Encode(&fsm.Command{
		ID: newCommandID(), At: time.Now().UnixMilli(), Actor: fsm.Actor{Type: "node", ID: name, Name: name}, Body: body,
	})
	if err != nil {
		return err
	}
	index, term := m.Applied()
	outcomes, err := m.Apply([]fsm.Entry{{Index: index + 1, Term: term, Data: data}})
	if err == nil && outcomes[0].Err != nil {
		err = outcomes[0].Err
	}
	return err
}

package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/invariants"
)

// stateMachine is fsm.Machine as raft sees it.
type stateMachine struct {
	machine    *fsm.Machine
	snapshots  *snapshotStore
	changed    func()                   // called after every batch and every installed snapshot
	committed  func()                   // called before every batch is applied: raft knows that it is committed
	configured func(raft.Configuration) // called for every committed configuration
	failed     func(error)
	size       *logSize

	broken atomic.Bool // the store failed: nothing more is applied
}

// notApplied answers for entries that a failed store did not take. The entry is
// committed all the same: it will be applied by the other replicas, and by this one after a restart.
type notApplied struct{ err error }

// Apply implements raft.FSM.
func (s *stateMachine) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. The answer to each entry is its
// fsm.Outcome, or notApplied. Configurations come here too; like the empty
// command that begins a leader's term they only move the applied index.
func (s *stateMachine) ApplyBatch(logs []*raft.Log) []any {
	s.committed()
	s.size.add(logs)
	answers := make([]any, len(logs))
	if s.broken.Load() {
		for i := range answers {
			answers[i] = notApplied{ErrStopped}
		}
		return answers
	}
	entries := make([]fsm.Entry, len(logs))
	for i, l := range logs {
		entries[i] = fsm.Entry{Index: l.Index, Term: l.Term}
		invariants.Check(i == 0 || l.Index > logs[i-1].Index, "entry %d does not come before this one", l.Index)
		switch l.Type {
		case raft.LogCommand:
			entries[i].Data = l.Data
		case raft.LogConfiguration:
			s.configured(raft.DecodeConfiguration(l.Data))
		}
	}
	outcomes, err := s.machine.Apply(entries)
	if err != nil {
		s.broken.Store(true)
		s.failed(fmt.Errorf("apply entries %d to %d: %w", entries[0].Index, entries[len(entries)-1].Index, err))
	}
	for i := range answers {
		if err != nil {
			answers[i] = notApplied{err}
		} else {
			answers[i] = outcomes[i]
		}
	}
	s.changed()
	return answers
}

// Snapshot implements raft.FSM. It is quick: the flush is Persist's.
func (s *stateMachine) Snapshot() (raft.FSMSnapshot, error) {
	if s.broken.Load() {
		return nil, ErrStopped
	}
	return flushSnapshot{s.machine}, nil
}

// flushSnapshot makes what is applied durable, so that the log up to the
// snapshot's index may be truncated. It writes nothing to the sink.
type flushSnapshot struct{ machine *fsm.Machine }

// Persist implements raft.FSMSnapshot.
func (f flushSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := f.machine.Flush(); err != nil {
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (flushSnapshot) Release() {}

// Restore implements raft.FSM for a snapshot that a leader sent. (At start raft
// restores nothing: the machine is durable.) One that is older than the
// machine, because the machine ran ahead of the log, leaves it as it is. raft closes r.
func (s *stateMachine) Restore(r io.ReadCloser) error {
	s.snapshots.mu.Lock()
	received := s.snapshots.received
	s.snapshots.mu.Unlock()
	if received == nil {
		return errors.New("there is no received snapshot to restore")
	}
	if applied, _ := s.machine.Applied(); applied < received.Index {
		if err := s.machine.InstallSnapshot(r); err != nil {
			return err
		}
	} else if err := s.machine.Flush(); err != nil { // the log is truncated up to there
		return err
	}
	s.changed()
	return s.snapshots.installed()
}

package fsm

import "fmt"

// Entry is one committed log entry. Empty Data is an entry without a command
// (a membership change, a barrier): it only moves the applied index.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte
}

const (
	// maxCommandTime is the last time a command may bear, in Unix milliseconds: the end of
	// the year 9999, as in RFC 3339. It keeps sums of times far from overflow.
	maxCommandTime = int64(253402300799999)
)

// Apply applies entries in order and returns one outcome for each. Entries at or
// below the applied index are skipped (a replay after a crash) with a zero
// Outcome. An error is a failed store: the node must stop.
func (m *Machine) Apply(entries []Entry) ([]Outcome, error) {
	if err := m.fail.err(); err != nil {
		return nil, err
	}
	if m.tailSize() >= maxTailBytes {
		if err := m.Commit(); err != nil {
			return nil, err
		}
	}
	outcomes := make([]Outcome, len(entries))
	changes, err := m.applyAll(entries, outcomes)
	if err == nil {
		err = m.fail.err() // Pebble's background work may have failed meanwhile
	}
	if err != nil {
		return nil, m.latched("apply", err)
	}
	if changes != nil {
		m.tell(changes)
	}
	return outcomes, nil
}

// LogVersion returns the highest version of a packed entry that was applied, 0 if none was: a
// replica that reads lower ones only cannot follow this log.
func (m *Machine) LogVersion() uint8 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.s.version
}

// tell tells the observer and then wakes who waited for it.
func (m *Machine) tell(c *Changes) {
	if m.observer != nil {
		m.observer.Applied(c)
	}
	m.told.Store(c.Index)
	m.waiters.wake(c.Index)
}

// applyAll applies entries to the state and adds what they write to the tail. It
// returns nil changes if there was nothing new.
func (m *Machine) applyAll(entries []Entry, outcomes []Outcome) (c *Changes, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		if err != nil { // before the lock goes: nobody commits an entry that was applied by half
			m.fail.set(fmt.Errorf("apply: %w", err))
		}
	}()
	defer guard(&err)
	p := &pending{}
	m.s.calls++
	for i, e := range entries {
		if e.Index <= m.s.index {
			continue
		}
		indexed := !eventsOnly(e.Data)
		if !m.tail.fits(indexed) {
			if err := m.commitLocked(); err != nil {
				return nil, err
			}
		}
		m.tail.begin(indexed)
		if outcomes[i], err = m.s.apply(e, m.tail, p); err != nil {
			return nil, err
		}
		m.sums.add(m.s.index, m.s.sum)
		p.entries++
	}
	if m.tail.indexed { // the rare kind, which a crash of the process alone should not take
		if err := m.commitLocked(); err != nil {
			return nil, err
		}
	}
	if p.entries == 0 {
		return nil, nil
	}
	return p.finish(m.s.index), nil
}

// eventsOnly reports whether an entry is of the kind that makes up nearly all of a log and reads nothing that
// the tail has not at hand; see tail.
func eventsOnly(data []byte) bool {
	return len(data) == 0 || len(data) > 2 && data[1] >= packedFrom && kind(data[2]) == kindReconcile
}

// apply applies one entry.
func (s *state) apply(e Entry, tail *tail, p *pending) (Outcome, error) {
	s.index, s.term = e.Index, e.Term
	o := Outcome{Index: e.Index}
	if len(e.Data) == 0 {
		return o, nil
	}
	s.scratch.command.reset()
	cmd, err := decodeCommand(e.Data, &s.scratch.command)
	if err == nil {
		err = cmd.check()
	}
	if err != nil {
		o.Err = err.(*Error) // Decode and check return no other
		return o, nil
	}
	before := s.now
	s.now = max(s.now, cmd.At)
	t := &txn{s: s, cmd: cmd, version: e.Data[1], index: e.Index, clockBefore: before, tail: tail, changes: p, roster: s.proposerRoster(cmd.Leader)}
	t.sum.begin(s.sum, s.now)
	if t.packs() && t.version > s.version {
		s.version = t.version
		t.put(keyVersion, s.version)
	}
	if r := s.memory.byID[cmd.ID]; r != nil {
		o = r.outcome()
	} else {
		o.Grants, o.Err = t.dispatch()
	}
	t.finish(o)
	s.sum = t.sum.h.Sum64()
	return o, t.err
}

// check reports a command that no leader of ours would propose.
func (c *Command) check() error {
	switch {
	case c.At < 0 || c.At > maxCommandTime:
		return corrupt("its time %d is out of range", c.At)
	case len(c.ID) > MaxIDBytes:
		return corrupt("its id has %d bytes", len(c.ID))
	}
	return nil
}

// proposerRoster returns the roster for an entry that leader proposed. A budget
// is never consolidated on a node that is not live, whatever the entry says.
func (s *state) proposerRoster(leader NodeNum) Roster {
	r := s.roster(leader)
	for _, n := range r.Live {
		if n == leader {
			return r
		}
	}
	r.Leader = 0
	if len(r.Live) > 0 {
		r.Leader = r.Live[0]
	}
	return r
}

// dispatch applies the entry's command.
func (t *txn) dispatch() ([][]Grant, *Error) {
	switch c := t.cmd.Body.(type) {
	case Init:
		return nil, t.applyInit(c)
	case PutAccount:
		return nil, t.applyPutAccount(c)
	case FreezeAccount:
		return nil, t.applyFreezeAccount(c)
	case PutEntityTypes:
		return nil, t.applyPutEntityTypes(c)
	case PutCapabilities:
		return nil, t.applyPutCapabilities(c)
	case PutEntities:
		return nil, t.applyPutEntities(c)
	case ArchiveEntity:
		return nil, t.applyArchiveEntity(c)
	case MoveEntity:
		return nil, t.applyMoveEntity(c)
	case PutAssignments:
		return nil, t.applyPutAssignments(c)
	case DeleteAssignment:
		return nil, t.applyDeleteAssignment(c)
	case PutToken:
		return nil, t.applyPutToken(c)
	case DeleteToken:
		return nil, t.applyDeleteToken(c)
	case Reconcile:
		return t.applyReconcile(c), nil
	case AdmitNode:
		return nil, t.applyAdmitNode(c)
	case RemoveNode:
		return nil, t.applyRemoveNode(c)
	case BootNode:
		return nil, t.applyBootNode(c)
	case DeadNode:
		return nil, t.applyDeadNode(c)
	case RecoverNode:
		return nil, t.applyRecoverNode(c)
	case DrainNode:
		return nil, t.applyDrainNode(c)
	case Forfeit:
		return nil, t.applyForfeit(c)
	case Backup:
		return nil, t.applyBackup()
	case Restore:
		return nil, t.applyRestore(c)
	case EndDoubt:
		return nil, t.applyEndDoubt()
	case PutPrices:
		return nil, t.applyPutPrices(c)
	case Correct:
		return nil, t.applyCorrect(c)
	case FinalizeStatement:
		return nil, t.applyFinalizeStatement(c)
	case PutInvoice:
		return nil, t.applyPutInvoice(c)
	case SetRetention:
		return nil, t.applySetRetention(c)
	case MarkExported:
		return nil, t.applyMarkExported(c)
	case DropLines:
		return nil, t.applyDropLines(c)
	}
	return nil, corrupt("it has no body that this release knows")
}

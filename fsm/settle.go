package fsm

import "slices"

// dedup is what is kept of an event id: enough to tell a duplicate from a conflict.
type dedup struct {
	Hash [32]byte `msgpack:"h"`
	Seq  uint64   `msgpack:"s"` // of its ledger line
}

// Reservations that were settled are remembered by the hour, so that forgetting
// them is one deletion an hour. settledHours is how many hours are kept, the
// present one included: a reservation lives at most MaxReserveTTL after its last
// extension, so its journal entry is moot by the time its marker goes.
const settledHours = 4

func hourOf(ms int64) uint32 { return uint32(ms / hourMS) } // maxCommandTime keeps it in range

// applyEvent settles one event that node's part carried, at every level at once.
func (t *txn) applyEvent(node NodeNum, e *Event) {
	applied := EventApplied{Account: e.Account, ID: e.ID, Node: node, Reservation: e.Reservation}
	applied.Outcome, applied.Lines = t.settleEvent(e)
	t.changes.c.Events = append(t.changes.c.Events, applied)
}

func (t *txn) settleEvent(e *Event) (EventOutcome, []Line) {
	tenant := t.s.accounts[e.Account]
	if tenant == nil || e.ID == "" || len(e.ID) > MaxIDBytes {
		return Dropped, nil
	}
	if outcome := t.knownAs(e); outcome != 0 {
		return outcome, nil
	}
	if tenant.closed(e.At) {
		return TooOld, nil
	}
	line := &t.s.scratch.line
	*line = LedgerLine{Kind: KindUsage, Index: t.index, Settled: t.s.now, Event: *e}
	lines := t.changes.lines.take(len(e.Lines))[:0]
	for i := range e.Lines {
		lines = append(lines, e.Lines[i])
		l := &lines[len(lines)-1]
		b := t.settleLine(e, l)
		if b == nil {
			lines = lines[:len(lines)-1]
			continue
		}
		line.Overage = line.Overage || (!b.Unlimited && b.Used > b.Limit)
		line.Late = line.Late || b.end <= t.s.now
	}
	if len(lines) == 0 {
		lines = nil
	}
	line.Event.Lines = lines
	t.appendLine(tenant, line)
	t.rollUp(tenant, &line.Event, 1)
	t.putEventID(e, line.Seq)
	if e.Reservation != "" && len(e.Reservation) <= MaxIDBytes {
		t.markSettled(e.Account, e.Reservation)
	}
	return Settled, lines
}

// knownAs returns what an event is of which the ledger has the id, and 0 of one that is new. Where the
// store fails the whole Apply call does.
func (t *txn) knownAs(e *Event) EventOutcome {
	w := &t.s.scratch
	w.known = dedup{}
	switch ok, err := t.tail.event(eventName{e.Account, e.ID}, &w.known); {
	case err != nil:
		t.fail(err)
		return Dropped
	case !ok:
		return 0
	case w.known.Hash != e.Hash:
		return IDConflict
	}
	return Duplicate
}

// putEventID remembers an event's id with the number of its line.
func (t *txn) putEventID(e *Event, seq uint64) {
	w := &t.s.scratch
	w.key = appendEventKey(w.key[:0], e.Account, e.ID)
	w.known = dedup{Hash: e.Hash, Seq: seq}
	if !t.packs() {
		t.put(w.key, &w.known)
		return
	}
	w.value = w.known.append(w.value[:0])
	if t.tail.indexed {
		t.set(w.key, w.value)
		return
	}
	t.tail.events[eventName{e.Account, e.ID}] = w.known
	t.sum.write(opPut, w.key, w.value)
}

// appendLine gives a line the next number of its account's ledger and writes it where queries find it.
func (t *txn) appendLine(tn *tenant, l *LedgerLine) {
	tn.ledgerSeq++
	l.Seq = tn.ledgerSeq
	t.chainLine(tn, l)
	w := &t.s.scratch
	w.key = appendLedgerKey(w.key[:0], tn.ID, l.Seq)
	switch {
	case t.packs():
		w.value = appendLedgerLine(w.value[:0], &w.packer, l)
		t.set(w.key, w.value)
	case l.Hash == [32]byte{}:
		t.put(w.key, l.unchained())
	default:
		t.put(w.key, l)
	}
	t.indexLine(tn, l)
}

// settleLine charges one line of e and returns the budget charged, or nil if the
// line names none of the account's: its assignment is gone. It corrects a line
// that says it drew more than it used.
func (t *txn) settleLine(e *Event, l *Line) *cachedBudget {
	r := t.s.records.get(l.Budget.Assignment)
	if r == nil || r.account() != e.Account || l.Amount < 0 {
		return nil
	}
	b := t.budget(r, l.Budget)
	if b == nil {
		return nil
	}
	l.Drawn = min(max(0, l.Drawn), l.Amount)
	if b.Leased {
		t.noteDrawn(b, l.On, l.Amount, min(l.Drawn, b.LeaseOf(l.On)))
	}
	if b.ownLeases != t.s.calls { // an observer or a view may have the slice as it is
		b.ownLeases = t.s.calls
		b.Leases = slices.Clone(b.Leases)
	}
	b.settle(*l, t.roster)
	t.touchCached(b)
	return b
}

// markSettled remembers that a reservation was settled by an event of account,
// and forgets those of the hour that has just gone out of reach.
func (t *txn) markSettled(account, reservation string) {
	hour := hourOf(t.s.now)
	t.put(reservationKey(hour, marker(account, reservation)), t.s.now)
	if hour >= t.s.settledFrom+settledHours {
		from := hour - settledHours + 1
		t.delRange([]byte{tableReservation}, reservationKey(from, ""))
		t.s.settledFrom = from
		t.putCounters()
	}
}

// marker names a settled reservation. An event ends only the holds of its own account; no account's id has a slash.
func marker(account, reservation string) string { return account + "/" + reservation }

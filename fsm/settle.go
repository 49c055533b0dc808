package fsm

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
	var known dedup
	key := eventKey(e.Account, e.ID)
	if ok, err := t.get(key, &known); err != nil {
		return Dropped, nil // the whole Apply call fails
	} else if ok {
		if known.Hash != e.Hash {
			return IDConflict, nil
		}
		return Duplicate, nil
	}
	line := LedgerLine{Kind: KindUsage, Index: t.index, Settled: t.s.now, Event: *e}
	line.Event.Lines = nil
	for _, l := range e.Lines {
		if b := t.settleLine(e, &l); b != nil {
			line.Event.Lines = append(line.Event.Lines, l)
			line.Overage = line.Overage || (!b.Unlimited && b.Used > b.Limit)
			line.Late = line.Late || b.end <= t.s.now
		}
	}
	t.appendLine(tenant, &line)
	t.rollUp(tenant, &line.Event, 1)
	t.put(key, dedup{Hash: e.Hash, Seq: line.Seq})
	if e.Reservation != "" && len(e.Reservation) <= MaxIDBytes {
		t.markSettled(e.Account, e.Reservation)
	}
	return Settled, line.Event.Lines
}

// appendLine gives a line the next number of its account's ledger and writes it where queries find it.
func (t *txn) appendLine(tn *tenant, l *LedgerLine) {
	tn.ledgerSeq++
	l.Seq = tn.ledgerSeq
	t.chainLine(tn, l)
	t.put(ledgerKey(tn.ID, l.Seq), l)
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
	b.settle(*l, t.roster)
	t.touch(&b.Budget)
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

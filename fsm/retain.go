package fsm

import (
	"encoding/binary"
	"fmt"
)

// Retention drops the oldest lines of an account's ledger once they are older than the account wants, are in
// a finalized statement and, if the account says so, have been exported. The leader proposes it, a block
// range at a time; applying decides, from the log alone.
//
// What goes: lines, in ranges; their part of the ledger's index; the ids of their events and corrections. What
// stays: balances and sums of usage, which still answer for them; statements; the hash of the last line dropped, from which
// the chain goes on; and the latest time of an event dropped. An event at or before that time whose id is not known may be one
// that was dropped, so it is refused: none counts twice. See docs/ledger.md for what that means to callers.

// The bounds of retention.
const (
	MinRetentionDays = 30     // longer than any event is on its way
	MaxRetentionDays = 36_500 // a hundred years
	maxDropLines     = 4096   // of one entry: applying reads each of them
)

// Retention is how long an account's ledger lines are kept.
type Retention struct {
	Days          int  `msgpack:"d,omitempty"` // since they were settled; 0: for ever
	RequireExport bool `msgpack:"x,omitempty"` // only lines that MarkExported has acknowledged are dropped
}

// SetRetention sets how long an account's ledger lines are kept.
type SetRetention struct {
	Account   string    `msgpack:"a"`
	Retention Retention `msgpack:"r"`
}

// MarkExported says that all lines up to Through have been copied elsewhere. The hash of that line, which only
// who has it can know, proves it; it is not looked at if the line is older than the chain.
type MarkExported struct {
	Account string   `msgpack:"a"`
	Through uint64   `msgpack:"t"`
	Hash    [32]byte `msgpack:"h"`
}

// DropLines drops an account's lines up to Through, the last of a block, if they may go. What may not is a rejection that changes nothing.
type DropLines struct {
	Account string `msgpack:"a"`
	Through uint64 `msgpack:"t"`
}

func (SetRetention) kind() kind { return kindSetRetention }
func (MarkExported) kind() kind { return kindMarkExported }
func (DropLines) kind() kind    { return kindDropLines }

func (t *txn) applySetRetention(c SetRetention) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	if d := c.Retention.Days; d != 0 && (d < MinRetentionDays || d > MaxRetentionDays) {
		return invalid("days", "is %d; use %d to %d, or null to keep lines for ever", d, MinRetentionDays, MaxRetentionDays)
	}
	if tn.mark.Retention == c.Retention {
		return nil
	}
	from := tn.mark.Retention.document()
	tn.mark.Retention = c.Retention
	t.s.retain(tn)
	t.putMark(tn)
	t.audit(actionLedgerPrefix+"retention", tn.ID, tn.ID, from, c.Retention.document())
	return nil
}

func (t *txn) applyMarkExported(c MarkExported) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	if c.Through <= max(tn.mark.Exported, tn.mark.Dropped) {
		return nil
	}
	var line LedgerLine
	ok, bad := t.get(ledgerKey(tn.ID, c.Through), &line)
	switch {
	case bad != nil:
		return nil // the whole Apply call fails
	case !ok:
		return conflict("the ledger of account %q has no line %d", tn.ID, c.Through)
	case line.Hash != c.Hash:
		return conflict("line %d of account %q has another hash: the export is not of this ledger", c.Through, tn.ID)
	}
	from := exportedDocument{tn.mark.Exported}
	tn.mark.Exported = c.Through
	t.putMark(tn)
	t.audit(actionLedgerPrefix+"exported", tn.ID, tn.ID, from, exportedDocument{c.Through})
	return nil
}

func (t *txn) putMark(tn *tenant) { t.put(ledgerMarkKey(tn.ID), &tn.mark) }

type retentionDocument struct {
	Days          int  `json:"days"`
	RequireExport bool `json:"require_export"`
}

func (r Retention) document() any { return retentionDocument(r) }

type exportedDocument struct {
	Through uint64 `json:"through_seq"`
}

// retain keeps account of whose lines are dropped some day.
func (s *state) retain(tn *tenant) {
	delete(s.retained, tn.ID)
	if tn.mark.Retention.Days > 0 {
		s.retained[tn.ID] = struct{}{}
	}
}

func (t *txn) applyDropLines(c DropLines) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	if c.Through&(blockLines-1) != 0 || c.Through <= tn.mark.Dropped || c.Through > tn.ledgerSeq || c.Through-tn.mark.Dropped > maxDropLines {
		return conflict("lines up to %d of account %q cannot be dropped now: those up to %d are gone", c.Through, tn.ID, tn.mark.Dropped)
	}
	d := retiring{account: tn.ID, mark: tn.mark, now: t.s.now, last: tn.ledgerSeq}
	bad := d.open(t)
	var going []LedgerLine
	if bad == nil && c.Through <= d.limit {
		going, bad = d.read(t, c.Through)
	}
	if bad != nil {
		t.fail(bad)
		return nil
	}
	if uint64(len(going)) != c.Through-tn.mark.Dropped {
		return conflict("lines up to %d of account %q may not be dropped yet", c.Through, tn.ID)
	}
	from := droppedDocument{Through: tn.mark.Dropped}
	for i := range going {
		t.forget(tn, &going[i])
	}
	t.dropRanges(tn.ID, c.Through)
	last := &going[len(going)-1]
	tn.mark.Dropped, tn.mark.DroppedHash, tn.mark.DroppedLast = last.Seq, last.Hash, d.mark.DroppedLast
	t.putMark(tn)
	t.audit(actionLedgerPrefix+"drop", tn.ID, tn.ID, from, droppedDocument{Through: tn.mark.Dropped, Until: timestamp(tn.mark.DroppedLast)})
	return nil
}

type droppedDocument struct {
	Through uint64 `json:"through_seq"`
	Until   string `json:"until,omitempty"`
}

// forget deletes what stands elsewhere about one line.
func (t *txn) forget(tn *tenant, l *LedgerLine) {
	if l.Kind == KindUsage {
		t.del(eventKey(tn.ID, l.Event.ID))
	} else {
		t.del(correctionIDKey(tn.ID, l.Correction))
	}
	eachIndexed(&l.Event, func(dimension byte, value string) {
		t.del(binary.BigEndian.AppendUint64(indexPrefix(tn.ID, dimension, value), blockOf(l.Seq)))
	})
}

// dropRanges deletes the lines up to one, what leads from them to corrections, and the times of their
// strides. The times of a level are needed until the stride above them is complete.
func (t *txn) dropRanges(account string, through uint64) {
	t.delRange(ledgerKey(account, 0), ledgerKey(account, through+1))
	t.delRange(correctionPrefix(account, 1), correctionPrefix(account, through+1))
	for level := range spanLevels {
		n := through >> (blockShift * (level + 1))
		if level < spanLevels-1 {
			n &^= blockLines - 1
		}
		if n > 0 {
			t.delRange(timesKey(account, level, 0), timesKey(account, level, n))
		}
	}
}

// retiring decides how far an account's lines may go. It is a function of what is in the log.
type retiring struct {
	account string
	mark    ledgerMark
	now     int64
	last    uint64 // line
	limit   uint64 // by statement and export
	before  int64  // only events before this time are in a statement
	cutoff  int64  // only lines settled by then are old enough
}

// open finds the limits.
func (d *retiring) open(r reader) error {
	if d.mark.Retention.Days == 0 {
		return nil
	}
	d.cutoff = d.now - int64(d.mark.Retention.Days)*dayMS
	latest, err := latestStatement(r, d.account)
	if err != nil || latest == nil {
		return err
	}
	d.before = latest.To
	d.limit = min(latest.Through, d.last)
	if d.mark.Retention.RequireExport {
		d.limit = min(d.limit, d.mark.Exported)
	}
	return nil
}

// read returns the lines after those that are gone, up to one that must be the last of a block, or to the
// last whole block that may go before. mark.DroppedLast becomes the latest time of an event that goes or is gone.
func (d *retiring) read(r reader, through uint64) (lines []LedgerLine, err error) {
	last := d.mark.DroppedLast
	whole, wholeLast := 0, last
	if d.mark.Dropped == 0 {
		last = minTime
	}
	err = r.scan(ledgerKey(d.account, d.mark.Dropped+1), ledgerKey(d.account, through+1), false, func(_, value []byte) (bool, error) {
		var l LedgerLine
		if err := decodeValue(value, &l); err != nil {
			return false, err
		}
		if l.Settled > d.cutoff || l.Event.At >= d.before {
			return false, nil
		}
		last = max(last, l.Event.At)
		if lines = append(lines, l); l.Seq&(blockLines-1) == 0 {
			whole, wholeLast = len(lines), last
		}
		return true, nil
	})
	d.mark.DroppedLast = wholeLast
	return lines[:whole], err
}

// RetentionDue returns the accounts whose lines are dropped some day, in no order.
func (v *View) RetentionDue() []string {
	out := make([]string, 0, len(v.s.retained))
	for id := range v.s.retained {
		out = append(out, id)
	}
	return out
}

// NextDrop returns the DropLines that an account's ledger is due for at a time, or nil. Propose it, and ask again.
func (m *Machine) NextDrop(account string, now int64) (*DropLines, error) {
	d := retiring{account: account, now: now}
	m.mu.RLock()
	if tn := m.s.accounts[account]; tn != nil {
		d.mark, d.last = tn.mark, tn.ledgerSeq
	}
	m.mu.RUnlock()
	if err := d.open(m); err != nil {
		return nil, err
	}
	through := min(d.limit, d.mark.Dropped+maxDropLines) &^ (blockLines - 1)
	if through <= d.mark.Dropped {
		return nil, nil
	}
	lines, err := d.read(m, through)
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	return &DropLines{Account: account, Through: lines[len(lines)-1].Seq}, nil
}

// RetentionState is how far an account's lines have been dropped.
type RetentionState struct {
	Retention
	Last         uint64 // the ledger's last line
	Exported     uint64 // lines up to this one were said to be exported
	Dropped      uint64 // lines up to this one are gone
	DroppedUntil int64  // the latest time of an event that is gone, Unix milliseconds; meaningless if none is
}

// Retention returns an account's retention, or ErrNotFound.
func (v *View) Retention(account string) (RetentionState, error) {
	tn := v.s.accounts[account]
	if tn == nil {
		return RetentionState{}, notFound("no account is called %q", account)
	}
	return RetentionState{
		Retention: tn.mark.Retention, Last: tn.ledgerSeq, Exported: tn.mark.Exported, Dropped: tn.mark.Dropped, DroppedUntil: tn.mark.DroppedLast,
	}, nil
}

// Closed reports whether retention has dropped events of a time as late as at: a new one of that time is refused.
func (v *View) Closed(account string, at int64) bool {
	tn := v.s.accounts[account]
	return tn != nil && tn.closed(at)
}

func (t *tenant) closed(at int64) bool { return t.mark.Dropped > 0 && at <= t.mark.DroppedLast }

// noEvent says that an event is not in the ledger, and why that may be.
func (t *tenant) noEvent(id string) *Error {
	if t.mark.Dropped == 0 {
		return notFound("the ledger of account %q has no event %q", t.ID, id)
	}
	return notFound("the ledger of account %q has no event %q; lines up to %d, of events until %s, were dropped by retention and cannot be corrected any more",
		t.ID, id, t.mark.Dropped, timestamp(t.mark.DroppedLast))
}

// LedgerBytes is about how much of a node's disk an account's ledger takes, or all ledgers, in bytes.
type LedgerBytes struct {
	Lines  uint64
	Index  uint64 // by which queries find lines
	Events uint64 // ids by which events and corrections count once
	Sums   uint64 // of usage
}

// LedgerDisk estimates what an account's ledger takes on this node's disk, that of all accounts together for "". What was written
// or dropped lately is not in it yet.
func (m *Machine) LedgerDisk(account string) (b LedgerBytes, err error) {
	parts := []struct {
		table byte
		into  *uint64
	}{
		{tableLedger, &b.Lines}, {tableIndex, &b.Index}, {tableTimes, &b.Index}, {tableEvent, &b.Events}, {tableCorrectionID, &b.Events},
		{tableCorrection, &b.Index}, {tableRollup, &b.Sums},
	}
	err = m.read(func(st *store) error {
		for _, p := range parts {
			lower, upper := tableRange(p.table)
			if account != "" {
				lower, upper = prefixRange(accountPrefix(p.table, account))
			}
			n, err := st.db.EstimateDiskUsage(lower, upper)
			if err != nil {
				return fmt.Errorf("size of table %c: %w", p.table, err)
			}
			*p.into += n
		}
		return nil
	})
	return b, err
}

package fsm

import (
	"encoding/binary"
	"fmt"
)

// historyCheck compares the rows by which events and corrections are found, and
// count once, with the lines.
type historyCheck struct{ v *verifier }

func newHistoryCheck(v *verifier) *historyCheck { return &historyCheck{v} }

// line looks up the rows of one line.
func (h *historyCheck) line(seq uint64, l *LedgerLine) error {
	if l.Kind == KindUsage {
		return h.event(seq, &l.Event)
	}
	return h.correction(seq, l)
}

func (h *historyCheck) event(seq uint64, e *Event) error {
	v := h.v
	var row dedup
	ok, err := v.get(eventKey(v.account, e.ID), &row)
	bad := LedgerFault{Kind: FaultEvent, Seq: seq, EventID: e.ID, Where: "the row of the event id", Want: fmt.Sprintf("line %d, body %x", seq, e.Hash)}
	switch {
	case isStore(err):
		return err
	case err != nil:
		bad.Found = err.Error()
	case !ok:
		bad.Found = "none: the event would count again"
	case row.Seq != seq && h.records(row.Seq, e.ID):
		bad.Kind, bad.Where = FaultDouble, "two lines of one event"
		bad.Want, bad.Found = fmt.Sprintf("line %d only", row.Seq), fmt.Sprintf("lines %d and %d", row.Seq, seq)
	case row.Seq != seq || row.Hash != e.Hash:
		bad.Found = fmt.Sprintf("line %d, body %x", row.Seq, row.Hash)
	default:
		return nil
	}
	v.fault(bad)
	return nil
}

// records reports whether a line records the event.
func (h *historyCheck) records(seq uint64, id string) bool {
	var l LedgerLine
	ok, err := h.v.get(ledgerKey(h.v.account, seq), &l)
	return err == nil && ok && l.Kind == KindUsage && l.Event.ID == id
}

func (h *historyCheck) correction(seq uint64, l *LedgerLine) error {
	v := h.v
	bad := func(where, want, found string) {
		v.fault(LedgerFault{Kind: FaultCorrection, Seq: seq, EventID: l.Event.ID, Where: where, Want: want, Found: found})
	}
	var row corrected
	switch ok, err := v.get(correctionIDKey(v.account, l.Correction), &row); {
	case isStore(err):
		return err
	case err != nil:
		bad(fmt.Sprintf("the row of correction %q", l.Correction), fmt.Sprintf("line %d", seq), err.Error())
	case !ok || row.Seq != seq:
		bad(fmt.Sprintf("the row of correction %q", l.Correction), fmt.Sprintf("line %d", seq), fmt.Sprintf("line %d, stored %v", row.Seq, ok))
	}
	if l.Corrects <= v.mark.Dropped {
		return nil // the event's line is gone, and what led from it here
	}
	var link bool
	switch ok, err := v.get(correctionKey(v.account, l.Corrects, seq), &link); {
	case isStore(err):
		return err
	case err != nil || !ok:
		bad(fmt.Sprintf("the row that leads from line %d to its correction", l.Corrects), "a row", "none")
	}
	if !h.records(l.Corrects, l.Event.ID) {
		bad("the line that is corrected", fmt.Sprintf("line %d of event %q", l.Corrects, l.Event.ID), "another or none")
	}
	return nil
}

// compare finds rows that lead to lines that are not there.
func (h *historyCheck) compare(events, corrections uint64) error {
	v := h.v
	found, err := h.countEvents(false)
	if err != nil {
		return err
	}
	v.out.Events = found
	if found != events {
		if _, err := h.countEvents(true); err != nil {
			return err
		}
	}
	var links uint64
	lower, upper := correctionPrefix(v.account, v.mark.Dropped+1), correctionPrefix(v.account, ^uint64(0))
	err = v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		links++
		by, of := binary.BigEndian.Uint64(key[len(key)-8:]), binary.BigEndian.Uint64(key[len(key)-16:])
		var l LedgerLine
		ok, err := v.get(ledgerKey(v.account, by), &l)
		if isStore(err) {
			return false, err
		}
		if !ok || err != nil || l.Corrects != of {
			v.fault(LedgerFault{Kind: FaultCorrection, Seq: by, Where: fmt.Sprintf("the row that leads from line %d to its correction, line %d", of, by), Want: "a correction of it", Found: "another line, or none"})
		}
		return true, v.step()
	})
	return err
}

// countEvents counts the rows of events whose lines have not been dropped. With name, those that lead to another line are faults.
func (h *historyCheck) countEvents(name bool) (n uint64, err error) {
	v := h.v
	lower, upper := prefixRange(accountPrefix(tableEvent, v.account))
	return n, v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		var row dedup
		id := string(key[len(lower):])
		if err := decodeValue(value, &row); err != nil {
			if name {
				v.fault(LedgerFault{Kind: FaultEvent, EventID: id, Where: "the row of the event id", Found: err.Error()})
			}
			return true, v.step()
		}
		n++
		if name && !h.records(row.Seq, id) {
			v.fault(LedgerFault{Kind: FaultEvent, Seq: row.Seq, EventID: id, Where: "the row of the event id", Want: "a line that records it", Found: fmt.Sprintf("line %d, which does not, or is missing", row.Seq)})
		}
		return true, v.step()
	})
}

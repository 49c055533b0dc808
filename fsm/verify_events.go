package fsm

import (
	"encoding/binary"
	"fmt"
)

// historyCheck compares the rows by which events and corrections are found, and
// count once, with the lines.
type historyCheck struct {
	v    *verifier
	rows *rowCheck // told of the events
}

// line checks the rows of one line.
func (h *historyCheck) line(seq uint64, l *LedgerLine) error {
	switch {
	case l.Kind == KindUsage:
		return h.rows.event(seq, &l.Event)
	case h.rows.naming:
		return nil
	}
	return h.correction(seq, l)
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
	if !v.records(l.Corrects, l.Event.ID) {
		bad("the line that is corrected", fmt.Sprintf("line %d of event %q", l.Corrects, l.Event.ID), "another or none")
	}
	return nil
}

// links finds rows that lead to corrections that are not there.
func (h *historyCheck) links() error {
	v := h.v
	lower, upper := correctionPrefix(v.account, v.mark.Dropped+1), correctionPrefix(v.account, ^uint64(0))
	return v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
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
}

// records reports whether a line records the event.
func (v *verifier) records(seq uint64, id string) bool {
	var l LedgerLine
	ok, err := v.get(ledgerKey(v.account, seq), &l)
	return err == nil && ok && l.Kind == KindUsage && l.Event.ID == id
}

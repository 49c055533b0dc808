package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// rowCheck compares the rows of the ledger's index and those of event ids with the rows that the lines want. By their
// fingerprints first; if those differ, in a second pass over the lines that names each row that is missing or too many.
type rowCheck struct {
	v      *verifier
	d      *printer
	want   struct{ index, events print }
	naming bool

	indexed uint64 // rows of the index that are wanted and there, when naming
	value   [40]byte
}

func newRowCheck(v *verifier) *rowCheck { return &rowCheck{v: v, d: newPrinter()} }

// index is told of a row of the index that ought to be there. name is its dimension and value.
func (c *rowCheck) index(key []byte, name string, block uint64) error {
	if !c.naming {
		c.want.index.add(c.d.pair(key, nil))
		return nil
	}
	there := false
	err := c.v.scan(key, after(key), false, func(_, _ []byte) (bool, error) { there = true; return false, nil })
	switch {
	case err != nil:
		return err
	case there:
		c.indexed++
	default:
		c.v.fault(LedgerFault{Kind: FaultIndex, Seq: firstOf(block), Where: fmt.Sprintf("block %d under %c %q", block, name[0], name[1:]), Want: "a row", Found: "none"})
	}
	return nil
}

// event is told of an event whose id ought to lead to a line.
func (c *rowCheck) event(seq uint64, e *Event) error {
	if !c.naming {
		c.want.events.add(c.d.pair([]byte(e.ID), c.leads(seq, &e.Hash)))
		return nil
	}
	v := c.v
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
	case row.Seq != seq && v.records(row.Seq, e.ID):
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

// leads returns what an id leads to as the value of a fingerprint, good until the next.
func (c *rowCheck) leads(seq uint64, body *[32]byte) []byte {
	return append(binary.BigEndian.AppendUint64(c.value[:0], seq), body[:]...)
}

// compare compares the rows, after all lines.
func (c *rowCheck) compare() error {
	index, err := c.storedIndex()
	if err != nil {
		return err
	}
	events, err := c.storedEvents()
	if err != nil || index == c.want.index && events == c.want.events {
		return err
	}
	return c.name()
}

// storedIndex returns the fingerprint of the index.
func (c *rowCheck) storedIndex() (p print, err error) {
	return p, c.eachIndexRow(func(key []byte, _ uint64) error {
		c.v.out.IndexRows++
		p.add(c.d.pair(key, nil))
		return nil
	})
}

// eachIndexRow calls f with the rows of blocks of which lines are there.
func (c *rowCheck) eachIndexRow(f func(key []byte, block uint64) error) error {
	v := c.v
	live := blockOf(v.mark.Dropped + 1)
	lower, upper := prefixRange(accountPrefix(tableIndex, v.account))
	return v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		if block := binary.BigEndian.Uint64(key[len(key)-8:]); block >= live {
			if err := f(key, block); err != nil {
				return false, err
			}
		}
		return true, v.step()
	})
}

// storedEvents returns the fingerprint of the event ids.
func (c *rowCheck) storedEvents() (p print, err error) {
	return p, c.eachEventRow(func(id []byte, row *dedup, damage error) {
		if damage != nil { // no line leads to none
			p.add(c.d.pair(id, nil))
			return
		}
		c.v.out.Events++
		p.add(c.d.pair(id, c.leads(row.Seq, &row.Hash)))
	})
}

func (c *rowCheck) eachEventRow(f func(id []byte, row *dedup, damage error)) error {
	lower, upper := prefixRange(accountPrefix(tableEvent, c.v.account))
	return c.v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		var row dedup
		err := decodeValue(value, &row)
		f(key[len(lower):], &row, err)
		return true, c.v.step()
	})
}

// name compares row by row.
func (c *rowCheck) name() error {
	v := c.v
	c.naming = true
	blocks, err := newBlockCheck(v, c)
	if err != nil {
		return err
	}
	history := &historyCheck{v: v, rows: c}
	err = v.eachLine(nil, func(seq uint64, l *LedgerLine) error { return errors.Join(blocks.add(seq, l), history.line(seq, l)) })
	if err = errors.Join(err, blocks.flush()); err != nil {
		return err
	}
	if c.indexed != v.out.IndexRows {
		if err := c.eachIndexRow(c.unwanted); err != nil {
			return err
		}
	}
	return c.eachEventRow(func(id []byte, row *dedup, damage error) {
		switch {
		case damage != nil:
			v.fault(LedgerFault{Kind: FaultEvent, EventID: string(id), Where: "the row of the event id", Found: damage.Error()})
		case !v.records(row.Seq, string(id)):
			v.fault(LedgerFault{Kind: FaultEvent, Seq: row.Seq, EventID: string(id), Where: "the row of the event id", Want: "a line that records it", Found: fmt.Sprintf("line %d, which does not, or is missing", row.Seq)})
		}
	})
}

// unwanted names a row of the index that no line of its block accounts for.
func (c *rowCheck) unwanted(key []byte, block uint64) error {
	v := c.v
	name := key[len(accountPrefix(tableIndex, v.account)) : len(key)-9]
	found := false
	var line packedLine
	err := v.scan(ledgerKey(v.account, firstOf(block)), ledgerKey(v.account, firstOf(block+1)), false, func(_, value []byte) (bool, error) {
		if l, err := line.decode(value); err == nil {
			eachIndexed(&l.Event, func(dimension byte, value string) {
				found = found || len(name) > 0 && dimension == name[0] && bytes.Equal([]byte(value), name[1:])
			})
		}
		return !found, nil
	})
	if err == nil && !found {
		v.fault(LedgerFault{Kind: FaultIndex, Seq: firstOf(block), Where: fmt.Sprintf("block %d under %q", block, name), Want: "no row", Found: "a row"})
	}
	return err
}

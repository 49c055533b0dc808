package fsm

import (
	"encoding/binary"
	"fmt"
)

// blockCheck follows the blocks of the ledger's index: which rows there ought to be, and the times of strides.
type blockCheck struct {
	v      *verifier
	rows   *rowCheck // told of the rows
	from   uint64    // first block of the index
	known  bool      // there is an index
	block  uint64    // under way
	names  map[string]struct{}
	key    []byte
	times  [spanLevels]timeSpan
	starts [spanLevels]bool // the stride under way was read from its first line
}

func newBlockCheck(v *verifier, rows *rowCheck) (b *blockCheck, err error) {
	b = &blockCheck{v: v, rows: rows, names: map[string]struct{}{}}
	for level := range b.times {
		b.times[level] = noTimes
		b.starts[level] = v.mark.Dropped&(1<<(blockShift*(level+1))-1) == 0
	}
	b.known, err = v.get(indexFromKey(v.account), &b.from)
	return b, err
}

// add files a line, and compares the times of the strides that it completes.
func (b *blockCheck) add(seq uint64, l *LedgerLine) error {
	block := blockOf(seq)
	if !b.known || block < b.from {
		return nil
	}
	if block != b.block {
		if err := b.flush(); err != nil {
			return err
		}
		b.block = block
	}
	eachIndexed(&l.Event, func(dimension byte, value string) {
		b.key = append(append(b.key[:0], dimension), value...)
		if _, known := b.names[string(b.key)]; !known {
			b.names[string(b.key)] = struct{}{}
		}
	})
	for level := range b.times {
		b.times[level] = b.times[level].with(timeSpan{l.Event.At, l.Event.At})
	}
	for level := range b.times {
		if seq&(1<<(blockShift*(level+1))-1) != 0 {
			return nil
		}
		if err := b.span(level, block>>(blockShift*level)); err != nil {
			return err
		}
		b.times[level], b.starts[level] = noTimes, true
	}
	return nil
}

// span compares the times of a stride that is complete.
func (b *blockCheck) span(level int, stride uint64) error {
	if b.rows.naming || !b.starts[level] || stride<<(blockShift*level) < b.from {
		return nil
	}
	var found timeSpan
	ok, err := b.v.get(timesKey(b.v.account, level, stride), &found)
	if isStore(err) {
		return err
	}
	if !ok || err != nil || found != b.times[level] {
		b.v.fault(LedgerFault{Kind: FaultIndex, Where: fmt.Sprintf("times of stride %d of level %d", stride, level),
			Want: fmt.Sprintf("%+v", b.times[level]), Found: fmt.Sprintf("%+v, stored %v", found, ok)})
	}
	return nil
}

// flush tells of the rows of the block that has been read.
func (b *blockCheck) flush() (err error) {
	for name := range b.names {
		b.key = append(append(appendAccount(b.key[:0], tableIndex, b.v.account), name...), 0)
		b.key = binary.BigEndian.AppendUint64(b.key, b.block)
		if err = b.rows.index(b.key, name, b.block); err != nil {
			break
		}
	}
	clear(b.names)
	return err
}

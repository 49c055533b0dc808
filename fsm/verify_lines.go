package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// lineCheck reads the lines in order, checks what is about each of them, and
// hands them on to what adds them up.
type lineCheck struct {
	v       *verifier
	silent  bool // only hand them on
	next    uint64
	prev    [32]byte
	linked  bool // prev is the hash of the line before
	scratch chainScratch
	block   blockCheck

	events, corrections uint64 // lines of each sort
}

func (c *lineCheck) run() error {
	v := c.v
	c.next, c.prev, c.linked = v.mark.Dropped+1, v.mark.DroppedHash, true
	if !c.silent {
		if err := c.block.open(v); err != nil {
			return err
		}
	}
	lower, upper := prefixRange(accountPrefix(tableLedger, v.account))
	var line LedgerLine
	err := v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		if err := v.step(); err != nil {
			return false, err
		}
		line = LedgerLine{}
		seq := binary.BigEndian.Uint64(key[len(key)-8:])
		if err := decodeValue(value, &line); err != nil {
			c.unreadable(seq, err)
			return true, nil
		}
		return true, c.line(seq, &line)
	})
	if err != nil || c.silent {
		return err
	}
	v.out.Head = c.prev
	if err := c.block.close(); err != nil {
		return err
	}
	return v.history.compare(c.events, c.corrections)
}

func (c *lineCheck) unreadable(seq uint64, err error) {
	if !c.silent {
		c.v.fault(LedgerFault{Kind: FaultUnreadable, Seq: seq, Where: fmt.Sprintf("line %d", seq), Found: err.Error()})
	}
	c.next, c.linked = seq+1, false
}

// line checks one line and hands it on.
func (c *lineCheck) line(seq uint64, l *LedgerLine) error {
	v := c.v
	if c.silent {
		return c.handOn(seq, l)
	}
	if v.out.First == 0 {
		v.out.First = seq
	}
	v.out.Lines++
	v.out.Last = seq
	c.number(seq, l)
	if l.Event.Account != v.account {
		v.fault(LedgerFault{Kind: FaultOther, Seq: seq, EventID: l.Event.ID, Where: fmt.Sprintf("line %d", seq), Want: v.account, Found: l.Event.Account})
	}
	c.chain(seq, l)
	if err := c.block.add(seq, l); err != nil {
		return err
	}
	if l.Kind == KindUsage {
		c.events++
	} else {
		c.corrections++
	}
	if err := v.history.line(seq, l); err != nil {
		return err
	}
	return c.handOn(seq, l)
}

func (c *lineCheck) handOn(seq uint64, l *LedgerLine) error {
	if seq < c.v.mark.ChainFrom || c.v.mark.ChainFrom == 0 {
		c.v.unsure = max(c.v.unsure, l.Event.At)
	}
	if err := c.v.budgets.line(l); err != nil {
		return err
	}
	return c.v.sums.line(l)
}

// number checks that a line has the number that is next.
func (c *lineCheck) number(seq uint64, l *LedgerLine) {
	v := c.v
	if seq > c.next {
		where := fmt.Sprintf("line %d", c.next)
		if seq > c.next+1 {
			where = fmt.Sprintf("lines %d to %d", c.next, seq-1)
		}
		v.fault(LedgerFault{Kind: FaultMissing, Seq: c.next, Where: where, Want: "a line for each number", Found: fmt.Sprintf("line %d follows line %d", seq, c.next-1)})
		c.linked = false
	}
	if seq < c.next { // retention has dropped it, and it is there
		v.fault(LedgerFault{Kind: FaultMark, Seq: seq, EventID: l.Event.ID, Where: fmt.Sprintf("line %d", seq), Want: fmt.Sprintf("no line up to %d", v.mark.Dropped), Found: "a line"})
		c.linked = false
	}
	if l.Seq != seq {
		v.fault(LedgerFault{Kind: FaultHash, Seq: seq, EventID: l.Event.ID, Where: fmt.Sprintf("line %d", seq), Want: fmt.Sprintf("seq %d", seq), Found: fmt.Sprintf("seq %d", l.Seq)})
	}
	c.next = seq + 1
}

// chain checks a line's hash. Where the line before is not there, the one behind the gap cannot be checked.
func (c *lineCheck) chain(seq uint64, l *LedgerLine) {
	from := c.v.mark.ChainFrom
	zero := l.Hash == [32]byte{}
	switch {
	case from == 0 || seq < from:
		if !zero {
			c.v.fault(LedgerFault{Kind: FaultMark, Seq: seq, EventID: l.Event.ID, Where: "the beginning of the chain", Want: fmt.Sprintf("line %d", seq), Found: fmt.Sprintf("line %d", from)})
		}
		return
	case seq == from:
		c.prev, c.linked = [32]byte{}, true
	}
	if want := c.scratch.hash(&c.prev, l); c.linked && want != l.Hash {
		c.v.fault(LedgerFault{Kind: FaultHash, Seq: seq, EventID: l.Event.ID, Where: fmt.Sprintf("line %d, or line %d before it, was changed", seq, seq-1),
			Want: fmt.Sprintf("hash %x", want), Found: fmt.Sprintf("hash %x", l.Hash)})
	}
	c.prev, c.linked = l.Hash, true
}

// blockCheck compares the ledger's index with the lines, block by block.
type blockCheck struct {
	v      *verifier
	from   uint64 // first block of the index
	known  bool   // there is an index
	block  uint64 // under way
	lines  int    // of it
	names  map[string]struct{}
	times  [spanLevels]timeSpan
	starts [spanLevels]bool // the stride under way was read from its first line
	rows   uint64           // that there ought to be
}

func (b *blockCheck) open(v *verifier) (err error) {
	*b = blockCheck{v: v, names: map[string]struct{}{}}
	for level := range b.times {
		b.times[level] = noTimes
		b.starts[level] = v.mark.Dropped&(1<<(blockShift*(level+1))-1) == 0
	}
	b.known, err = v.get(indexFromKey(v.account), &b.from)
	return err
}

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
	b.lines++
	eachIndexed(&l.Event, func(dimension byte, value string) { b.names[string(dimension)+value] = struct{}{} })
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
	if !b.starts[level] || stride<<(blockShift*level) < b.from {
		return nil
	}
	var found timeSpan
	ok, err := b.v.get(timesKey(b.v.account, level, stride), &found)
	if err != nil {
		return err
	}
	if !ok || found != b.times[level] {
		b.v.fault(LedgerFault{Kind: FaultIndex, Where: fmt.Sprintf("times of stride %d of level %d", stride, level),
			Want: fmt.Sprintf("%+v", b.times[level]), Found: fmt.Sprintf("%+v, stored %v", found, ok)})
	}
	return nil
}

// flush compares the rows of the block that has been read.
func (b *blockCheck) flush() error {
	for _, name := range slices.Sorted(keysOf(b.names)) {
		key := binary.BigEndian.AppendUint64(indexPrefix(b.v.account, name[0], name[1:]), b.block)
		there := false
		err := b.v.scan(key, after(key), false, func(_, _ []byte) (bool, error) { there = true; return false, nil })
		if err != nil {
			return err
		}
		if !there {
			b.v.fault(LedgerFault{Kind: FaultIndex, Seq: firstOf(b.block), Where: fmt.Sprintf("block %d under %c %q", b.block, name[0], name[1:]), Want: "a row", Found: "none"})
			continue
		}
		b.rows++
	}
	clear(b.names)
	b.lines = 0
	return nil
}

// close compares the last block, and finds rows that no line accounts for.
func (b *blockCheck) close() error {
	if !b.known {
		return nil
	}
	if err := b.flush(); err != nil {
		return err
	}
	b.v.out.IndexRows = b.rows
	var found uint64
	lower, upper := prefixRange(accountPrefix(tableIndex, b.v.account))
	live := blockOf(b.v.mark.Dropped + 1)
	err := b.v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		if binary.BigEndian.Uint64(key[len(key)-8:]) >= live {
			found++
		}
		return true, b.v.step()
	})
	if err != nil || found == b.rows {
		return err
	}
	return b.v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		block := binary.BigEndian.Uint64(key[len(key)-8:])
		if block < live {
			return true, b.v.step()
		}
		named, err := b.accounted(key[len(lower):len(key)-9], block)
		if err == nil && !named {
			b.v.fault(LedgerFault{Kind: FaultIndex, Seq: firstOf(block), Where: fmt.Sprintf("block %d under %q", block, key[len(lower):len(key)-9]), Want: "no row", Found: "a row"})
		}
		return err == nil, err
	})
}

// accounted reports whether a line of the block has the dimension and value of name.
func (b *blockCheck) accounted(name []byte, block uint64) (found bool, err error) {
	if err := b.v.step(); err != nil {
		return false, err
	}
	err = b.v.scan(ledgerKey(b.v.account, firstOf(block)), ledgerKey(b.v.account, firstOf(block+1)), false, func(_, value []byte) (bool, error) {
		var l LedgerLine
		if decodeValue(value, &l) == nil {
			eachIndexed(&l.Event, func(dimension byte, value string) { found = found || string(dimension)+value == string(name) })
		}
		return !found, nil
	})
	return found, err
}

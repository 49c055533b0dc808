package fsm

import "fmt"

// lineCheck checks what is about each line by itself and the line before it.
type lineCheck struct {
	v       *verifier
	next    uint64
	prev    [32]byte
	linked  bool // prev is the hash of the line before
	scratch chainScratch
}

func newLineCheck(v *verifier) *lineCheck {
	return &lineCheck{v: v, next: v.mark.Dropped + 1, prev: v.mark.DroppedHash, linked: true}
}

func (c *lineCheck) unreadable(seq uint64, err error) {
	c.v.fault(LedgerFault{Kind: FaultUnreadable, Seq: seq, Where: fmt.Sprintf("line %d", seq), Found: err.Error()})
	c.next, c.linked = seq+1, false
}

// line checks the line that comes next.
func (c *lineCheck) line(seq uint64, l *LedgerLine) {
	v := c.v
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

package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Packed values of the store, each after the byte packedVersion:
//
//	line     flags | [kind] | sequence | index | settled at | [corrects | correction | reason] | [hash, 32 bytes] | event (see codec_event.go)
//	event id hash, 32 bytes | sequence of its line
//	budget   flags | assignment | start | limit | used | [forfeited] | mean | holder | generation | leases: node, amount | acknowledgements: node

// packedVersion is the first byte of a packed value. What is written by entries
// of packedFrom and later is packed; earlier ones leave msgpack, as the release did that wrote them.
const packedVersion = 2

// The flags of a line.
const (
	lineOverage byte = 1 << iota
	lineLate
	lineOfKind  // other than usage
	lineCorrect // it has a corrected line, a correction or a reason
	lineHash
)

// The flags of a budget.
const (
	budgetUnlimited byte = 1 << iota
	budgetLeased
	budgetForfeited
)

const (
	minLeaseBytes = 2
	minAckBytes   = 1
)

// appendLedgerLine appends a ledger line as it is stored.
func appendLedgerLine(b []byte, p *eventPacker, l *LedgerLine) []byte {
	var flags byte
	set := func(flag byte, is bool) {
		if is {
			flags |= flag
		}
	}
	set(lineOverage, l.Overage)
	set(lineLate, l.Late)
	set(lineOfKind, l.Kind != KindUsage)
	set(lineCorrect, l.Corrects != 0 || l.Correction != "" || l.Reason != "")
	set(lineHash, l.Hash != [32]byte{})
	b = append(b, packedVersion, flags)
	if flags&lineOfKind != 0 {
		b = appendString(b, l.Kind)
	}
	b = binary.AppendUvarint(b, l.Seq)
	b = binary.AppendUvarint(b, l.Index)
	b = binary.AppendVarint(b, l.Settled)
	if flags&lineCorrect != 0 {
		b = appendString(appendString(binary.AppendUvarint(b, l.Corrects), l.Correction), l.Reason)
	}
	if flags&lineHash != 0 {
		b = append(b, l.Hash[:]...)
	}
	p.tables, p.near.n, p.start, p.received = nil, 0, 0, 0
	return p.event(b, &l.Event)
}

// unchainedLine is LedgerLine as entries of version 1 leave it in msgpack: without its hash.
type unchainedLine struct {
	Seq     uint64 `msgpack:"seq"`
	Kind    string `msgpack:"kind"`
	Index   uint64 `msgpack:"index"`
	Settled int64  `msgpack:"settled"`
	Overage bool   `msgpack:"overage,omitempty"`
	Late    bool   `msgpack:"late,omitempty"`
	Event   Event  `msgpack:"event"`

	Corrects   uint64 `msgpack:"corrects,omitempty"`
	Correction string `msgpack:"correction,omitempty"`
	Reason     string `msgpack:"reason,omitempty"`
}

// unchained returns what is stored of a line that has no hash.
func (l *LedgerLine) unchained() *unchainedLine {
	return &unchainedLine{l.Seq, l.Kind, l.Index, l.Settled, l.Overage, l.Late, l.Event, l.Corrects, l.Correction, l.Reason}
}

// unpackHead takes what comes before a line's event.
func (l *LedgerLine) unpackHead(u *unpacker) {
	flags := u.flags(lineOverage | lineLate | lineOfKind | lineCorrect | lineHash)
	l.Overage, l.Late = flags&lineOverage != 0, flags&lineLate != 0
	l.Kind = KindUsage
	if flags&lineOfKind != 0 {
		l.Kind = u.string()
		u.must(l.Kind != KindUsage)
	}
	l.Seq, l.Index, l.Settled = u.uvarint(), u.uvarint(), u.varint()
	if flags&lineCorrect != 0 {
		l.Corrects, l.Correction, l.Reason = u.uvarint(), u.string(), u.string()
		u.must(l.Corrects != 0 || l.Correction != "" || l.Reason != "")
	}
	if flags&lineHash != 0 {
		l.Hash = u.hash()
		u.must(l.Hash != [32]byte{})
	}
}

func (l *LedgerLine) unpack(u *unpacker) {
	l.unpackHead(u)
	x := eventUnpacker{unpacker: u, mem: &unpackMemory{}, near: &near{}}
	x.event(&l.Event)
}

func (d *dedup) append(b []byte) []byte {
	return binary.AppendUvarint(append(append(b, packedVersion), d.Hash[:]...), d.Seq)
}

func (d *dedup) unpack(u *unpacker) { d.Hash, d.Seq = u.hash(), u.uvarint() }

func (b *Budget) append(dst []byte) []byte {
	var flags byte
	if b.Unlimited {
		flags |= budgetUnlimited
	}
	if b.Leased {
		flags |= budgetLeased
	}
	if b.Forfeited != 0 {
		flags |= budgetForfeited
	}
	dst = appendBudgetKey(append(dst, packedVersion, flags), b.Key)
	dst = binary.AppendVarint(dst, b.Limit)
	dst = binary.AppendVarint(dst, b.Used)
	if b.Forfeited != 0 {
		dst = binary.AppendVarint(dst, b.Forfeited)
	}
	dst = binary.AppendVarint(dst, b.Avg)
	dst = binary.AppendUvarint(dst, uint64(b.Holder))
	dst = binary.AppendUvarint(dst, uint64(b.Gen))
	dst = binary.AppendUvarint(dst, uint64(len(b.Leases)))
	for _, l := range b.Leases {
		dst = binary.AppendVarint(binary.AppendUvarint(dst, uint64(l.Node)), l.Amount)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Acks)))
	for _, n := range b.Acks {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func (b *Budget) unpack(u *unpacker) {
	flags := u.flags(budgetUnlimited | budgetLeased | budgetForfeited)
	b.Unlimited, b.Leased = flags&budgetUnlimited != 0, flags&budgetLeased != 0
	b.Key = u.budgetKey()
	b.Limit, b.Used, b.Forfeited = u.varint(), u.varint(), 0
	if flags&budgetForfeited != 0 {
		b.Forfeited = u.varint()
		u.must(b.Forfeited != 0)
	}
	b.Avg = u.varint()
	b.Holder, b.Gen = NodeNum(u.number(16)), uint32(u.number(32))
	n := u.count(minLeaseBytes)
	b.Leases = slices.Grow(b.Leases[:0], n)[:n] // what the lists had room for is used again
	for i := range b.Leases {
		b.Leases[i] = Lease{Node: NodeNum(u.number(16)), Amount: u.varint()}
	}
	n = u.count(minAckBytes)
	b.Acks = slices.Grow(b.Acks[:0], n)[:n]
	for i := range b.Acks {
		b.Acks[i] = NodeNum(u.number(16))
	}
}

// packable is a value that has a packed form.
type packable interface{ unpack(u *unpacker) }

// unpackValue decodes a packed value. It keeps nothing of v.
func unpackValue(v []byte, into any) error {
	p, ok := into.(packable)
	if !ok {
		return fmt.Errorf("stored value is packed, and %T is not read so", into)
	}
	u := &unpacker{b: v, pos: 1}
	if _, numbers := into.(*dedup); !numbers {
		u.text = string(v)
	}
	p.unpack(u)
	if !u.done() {
		return fmt.Errorf("stored value of %d bytes is damaged", len(v))
	}
	return nil
}

// packedLine is the memory that a lineReader reads packed lines into.
type packedLine struct {
	unpacker
	mem  unpackMemory
	near near
	line LedgerLine
}

// readPacked is read of a packed line.
func (l *lineReader) readPacked(value []byte) error {
	if l.packed == nil {
		l.packed = &packedLine{}
	}
	p := l.packed
	p.unpacker = unpacker{b: value, pos: 1, text: view(value)}
	p.line.unpackHead(&p.unpacker)
	p.mem.reset()
	p.near.n = 0
	x := eventUnpacker{unpacker: &p.unpacker, mem: &p.mem, near: &p.near, passMetadata: true}
	head, e := &p.line, &p.line.Event
	x.event(e)
	if !p.done() {
		return errLine
	}
	l.settled, l.at, l.chain, l.usage = head.Settled, e.At, e.Chain, e.Usage
	l.model, l.key, l.member, l.unattributed = e.Model, e.Key, e.Member, e.Unattributed
	l.unpriced = e.Pricing != nil && e.Pricing.Unpriced
	return nil
}

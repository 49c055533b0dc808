package fsm

import (
	"encoding/binary"
	"fmt"
)

// A packed part, and the packed body of a Reconcile:
//
//	part     node | boot | release floor | blocks of events, each after its length in bytes (see codec_event.go)
//	         | releases: sequence, budget, amount, flags, generation | asks: budget, least need, all need, want | exits: budget, generation
//	body     id | at | leader | actor: type, id, name, ip | parts, each after its length in bytes
//
// A part is complete in itself: a leader puts the bytes that a node has sent into its entry.

const releaseFinal byte = 1

// The least that elements of lists take.
const (
	minBlockBytes   = 1 + 3 + minEventBytes
	minReleaseBytes = 6
	minAskBytes     = 5
	minExitBytes    = 3
	minPartBytes    = 8
)

// maxBlockEvents is how many events a part's events are packed by.
const maxBlockEvents = 1024

// PackedPart is a part as it stands in the log.
type PackedPart []byte

// Pack packs a part.
func (p *Part) Pack() PackedPart { return appendPart(make([]byte, 0, 256+160*len(p.Events)), p) }

func appendPart(b []byte, p *Part) []byte {
	b = binary.AppendUvarint(b, uint64(p.Node))
	b = binary.AppendUvarint(b, p.Boot)
	b = binary.AppendUvarint(b, p.ReleaseFloor)
	b = appendBlocks(b, p.Events)
	b = binary.AppendUvarint(b, uint64(len(p.Releases)))
	for i := range p.Releases {
		r := &p.Releases[i]
		b = appendBudgetKey(binary.AppendUvarint(b, r.Seq), r.Budget)
		var flags byte
		if r.Final {
			flags = releaseFinal
		}
		b = binary.AppendUvarint(append(binary.AppendVarint(b, r.Amount), flags), uint64(r.Gen))
	}
	b = binary.AppendUvarint(b, uint64(len(p.Asks)))
	for i := range p.Asks {
		a := &p.Asks[i]
		b = appendBudgetKey(b, a.Budget)
		b = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, a.NeedMin), a.NeedSum), a.Want)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Exits)))
	for i := range p.Exits {
		b = binary.AppendUvarint(appendBudgetKey(b, p.Exits[i].Budget), uint64(p.Exits[i].Gen))
	}
	return b
}

// appendBlocks packs events, maxBlockEvents at a time.
func appendBlocks(b []byte, events []Event) []byte {
	b = binary.AppendUvarint(b, uint64((len(events)+maxBlockEvents-1)/maxBlockEvents))
	var block []byte
	for len(events) > 0 {
		n := min(len(events), maxBlockEvents)
		pointers := make([]*Event, n)
		for i := range pointers {
			pointers[i] = &events[i]
		}
		block = AppendEvents(block[:0], pointers)
		b = append(binary.AppendUvarint(b, uint64(len(block))), block...)
		events = events[n:]
	}
	return b
}

func appendBudgetKey(b []byte, k BudgetKey) []byte {
	return binary.AppendVarint(binary.AppendUvarint(b, k.Assignment), k.Start)
}

func (u *unpacker) budgetKey() BudgetKey { return BudgetKey{u.uvarint(), u.varint()} }

// Unpack unpacks a part. The error is an *Error with CodeCorrupt.
func (b PackedPart) Unpack() (*Part, error) {
	u := &unpacker{b: b, text: string(b)}
	p := new(Part)
	unpackPart(u, &unpackMemory{}, p)
	if !u.done() {
		return nil, &Error{Code: CodeCorrupt, Message: fmt.Sprintf("%d bytes are no part", len(b))}
	}
	return p, nil
}

// Head returns whose part it is, whether it carries events, and whether it carries nothing at all. It
// looks no further than that. The error is an *Error with CodeCorrupt.
func (b PackedPart) Head() (node NodeNum, events, empty bool, err error) {
	u := &unpacker{b: b}
	node = NodeNum(u.number(16))
	u.uvarint()
	u.uvarint()
	rest := u.b[u.pos:]
	if u.bad || len(rest) < 4 {
		return 0, false, false, &Error{Code: CodeCorrupt, Message: fmt.Sprintf("%d bytes are no part", len(b))}
	}
	return node, rest[0] != 0, len(rest) == 4 && string(rest) == "\x00\x00\x00\x00", nil
}

// unpackPart takes a part that reaches to the end of u, and fills every field of p.
func unpackPart(u *unpacker, m *unpackMemory, p *Part) {
	p.Node = NodeNum(u.number(16))
	p.Boot = u.uvarint()
	p.ReleaseFloor = u.uvarint()
	p.Events = nil
	for n := u.count(minBlockBytes); n > 0 && !u.bad; n-- {
		block := u.within()
		events := unpackBlock(&block, m)
		u.must(block.done())
		if p.Events == nil {
			p.Events = events
		} else {
			p.Events = append(p.Events, events...) // of full capacity: it is copied
		}
	}
	p.Releases = m.releases.take(u.count(minReleaseBytes))
	for i := range p.Releases {
		p.Releases[i] = Release{
			Seq: u.uvarint(), Budget: u.budgetKey(), Amount: u.varint(), Final: u.flags(releaseFinal) != 0, Gen: uint32(u.number(32)),
		}
	}
	p.Asks = m.asks.take(u.count(minAskBytes))
	for i := range p.Asks {
		p.Asks[i] = Ask{Budget: u.budgetKey(), NeedMin: u.varint(), NeedSum: u.varint(), Want: u.varint()}
	}
	p.Exits = m.exits.take(u.count(minExitBytes))
	for i := range p.Exits {
		p.Exits[i] = Exit{Budget: u.budgetKey(), Gen: uint32(u.number(32))}
	}
}

// within takes a length and returns what reads that many bytes.
func (u *unpacker) within() unpacker {
	n := u.count(1)
	inner := unpacker{b: u.b[:u.pos+n], pos: u.pos, text: u.text, bad: u.bad}
	u.pos += n
	return inner
}

// appendReconcile packs the body of a Reconcile. Without parts of its own it gets the packed ones.
func appendReconcile(b []byte, c *Command, body *Reconcile, packed []PackedPart) []byte {
	b = appendString(b, c.ID)
	b = binary.AppendVarint(b, c.At)
	b = binary.AppendUvarint(b, uint64(c.Leader))
	for _, s := range [...]string{c.Actor.Type, c.Actor.ID, c.Actor.Name, c.Actor.IP} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(body.Parts)+len(packed)))
	var part []byte
	for i := range body.Parts {
		part = appendPart(part[:0], &body.Parts[i])
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	for _, p := range packed {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

// unpackReconcile reads what appendReconcile has written. The command lives in m.
func unpackReconcile(data []byte, m *unpackMemory) (*Command, bool) {
	u := &unpacker{b: data, text: string(data)}
	c := &Command{ID: u.string(), At: u.varint(), Leader: NodeNum(u.number(16))}
	c.Actor = Actor{Type: u.string(), ID: u.string(), Name: u.string(), IP: u.string()}
	parts := m.parts.take(u.count(minPartBytes))
	for i := range parts {
		part := u.within()
		unpackPart(&part, m, &parts[i])
		u.must(part.done())
	}
	c.Body = Reconcile{Parts: parts}
	return c, u.done()
}

package enforcer

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/bursar-dev/bursar/fsm"
)

// reservationRecord is a reservation as the journal keeps it.
type reservationRecord struct {
	ID      resID
	Account string
	Expires int64 // Unix milliseconds
	Holds   []heldLine
}

// drawRecord is a draw held here for another node's reservation.
type drawRecord struct {
	ID     resID
	Origin fsm.NodeNum
	Boot   uint64 // the origin's session
	Holds  []Hold
	// Expires is when the reservation has ended by this node's clock, for the watermark. It is not written.
	Expires int64
}

// liveReservation is a reservation as it stands in a journal's file. Most of what is
// read has ended further on, so the rest is decoded when it is asked for.
type liveReservation struct {
	expires int64
	rest    []byte // account and holds, checked; it points into the file
}

// liveRecords is what a sequence of records leaves standing. It keeps the files' bytes alive.
type liveRecords struct {
	reservations map[resID]liveReservation
	draws        map[resID]*drawRecord
	clean        bool  // the last record was an orderly stop
	torn         int   // bytes dropped at the end of the file read last
	doubt        int64 // the latest of the headers
}

func newLiveRecords() *liveRecords {
	return &liveRecords{reservations: map[resID]liveReservation{}, draws: map[resID]*drawRecord{}}
}

// apply takes one record in. It reports whether the payload could be read.
func (l *liveRecords) apply(kind recordKind, payload []byte) bool {
	l.clean = kind == recordClean
	c := cursor{b: payload}
	switch kind {
	case recordReserve:
		id, expires := c.id(), c.int64()
		r := liveReservation{expires: expires, rest: c.b}
		c.take(int(c.uint8()))
		c.take(c.count(reserveHoldBytes) * reserveHoldBytes)
		if c.done() {
			l.reservations[id] = r
		}
	case recordExtend:
		id, expires := c.id(), c.int64()
		if r, ok := l.reservations[id]; ok && c.done() {
			r.expires = expires
			l.reservations[id] = r
		}
	case recordEnd:
		delete(l.reservations, c.id())
	case recordDraw:
		d := &drawRecord{ID: c.id(), Origin: fsm.NodeNum(c.uint16()), Boot: uint64(c.int64())}
		d.Holds = make([]Hold, c.count(drawHoldBytes))
		for i := range d.Holds {
			d.Holds[i] = Hold{Budget: c.budget(), Amount: c.int64()}
		}
		if c.done() {
			l.draws[d.ID] = d
		}
	case recordEndDraw:
		delete(l.draws, c.id())
	}
	return c.done()
}

func (r liveReservation) decode(id resID) reservationRecord {
	c := cursor{b: r.rest}
	d := reservationRecord{ID: id, Expires: r.expires, Account: string(c.take(int(c.uint8())))}
	d.Holds = make([]heldLine, c.count(reserveHoldBytes))
	for i := range d.Holds {
		d.Holds[i] = heldLine{Budget: c.budget(), Amount: c.int64(), On: fsm.NodeNum(c.uint16())}
	}
	return d
}

// sorted returns what stands, by id.
func (l *liveRecords) sorted() (reservations []reservationRecord, draws []drawRecord) {
	for id, r := range l.reservations {
		reservations = append(reservations, r.decode(id))
	}
	for _, d := range l.draws {
		draws = append(draws, *d)
	}
	slices.SortFunc(reservations, func(a, b reservationRecord) int { return a.ID.compare(b.ID) })
	slices.SortFunc(draws, func(a, b drawRecord) int { return a.ID.compare(b.ID) })
	return reservations, draws
}

// compare orders ids by node, session and sequence: by age on one node.
func (id resID) compare(o resID) int {
	return cmp.Or(cmp.Compare(id.node, o.node), cmp.Compare(id.boot, o.boot),
		cmp.Compare(id.seq, o.seq), cmp.Compare(id.rnd, o.rnd))
}

// cursor reads a payload. Reading past its end gives zeros and makes done false.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.short = nil, true
		return nil
	}
	head := c.b[:n]
	c.b = c.b[n:]
	return head
}

func (c *cursor) uint8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) int64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (c *cursor) id() resID {
	return resID{node: fsm.NodeNum(c.uint16()), boot: c.uint32(), seq: uint64(c.int64()), rnd: c.uint32()}
}

func (c *cursor) budget() fsm.BudgetKey {
	return fsm.BudgetKey{Assignment: uint64(c.int64()), Start: c.int64()}
}

// count reads a number of items of size bytes each. A number that the rest
// cannot hold is an error, and no items.
func (c *cursor) count(size int) int {
	n := int(c.uint16())
	if n*size > len(c.b) {
		c.b, c.short = nil, true
		return 0
	}
	return n
}

// done reports whether the payload was read to its end and not beyond.
func (c *cursor) done() bool { return !c.short && len(c.b) == 0 }

package fsm

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"
)

// lineReader reads the part of stored ledger lines that a backfill or a filter needs and skips the
// rest in place, many times faster than decoding them: applying waits for the one, and the other passes over most.
// What it holds points into the value and is valid until the next read. It reads
// what encodeValue writes; anything else is an error or nonsense, never a panic.
type lineReader struct {
	settled int64
	at      int64
	chain   []string
	usage   []Quantity
	model   string
	key     string
	member  string

	unattributed, unpriced bool

	// Of a line in msgpack.
	rest     []byte // of the value
	bad      bool   // the value ended too soon, or held something unexpected
	chainOwn []string
	usageOwn []Quantity

	packed *packedLine // what packed lines are read into
}

var errLine = errors.New("a ledger line is damaged")

func (l *lineReader) read(value []byte) error {
	if len(value) > 0 && value[0] == packedVersion {
		return l.readPacked(value)
	}
	if len(value) == 0 || value[0] != valueVersion {
		return errLine
	}
	l.settled, l.at, l.chain, l.usage = 0, 0, l.chainOwn[:0], l.usageOwn[:0]
	l.model, l.key, l.member, l.unattributed, l.unpriced = "", "", "", false, false
	l.rest, l.bad = value[1:], false
	for n := l.length(0x80, 0xde); n > 0 && !l.bad; n-- {
		switch string(l.text()) {
		case "settled":
			l.settled = l.number()
		case "event":
			l.readEvent()
		default:
			l.skip()
		}
	}
	l.chainOwn, l.usageOwn = l.chain, l.usage
	if l.bad {
		return errLine
	}
	return nil
}

// decode decodes a stored line of either form. The line is good until the next; its texts are good for ever.
func (p *packedLine) decode(value []byte) (*LedgerLine, error) {
	p.line = LedgerLine{}
	if len(value) == 0 || value[0] != packedVersion {
		return &p.line, decodeValue(value, &p.line)
	}
	p.unpacker = unpacker{b: value, pos: 1, text: string(value)}
	p.line.unpackHead(&p.unpacker)
	p.mem.reset()
	p.near.n = 0
	x := eventUnpacker{unpacker: &p.unpacker, mem: &p.mem, near: &p.near}
	x.event(&p.line.Event)
	if !p.done() {
		return nil, errLine
	}
	return &p.line, nil
}

// view returns b as a text that shares its memory: it is good as long as b is not written to.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (l *lineReader) readEvent() {
	for n := l.length(0x80, 0xde); n > 0 && !l.bad; n-- {
		switch string(l.text()) {
		case "at":
			l.at = l.number()
		case "ch":
			for n := l.length(0x90, 0xdc); n > 0 && !l.bad; n-- {
				l.chain = append(l.chain, view(l.text()))
			}
		case "us":
			for n := l.length(0x90, 0xdc); n > 0 && !l.bad; n-- {
				l.usage = append(l.usage, l.readUsage())
			}
		case "mo":
			l.model = view(l.text())
		case "ky":
			l.key = view(l.text())
		case "me":
			l.member = view(l.text())
		case "un":
			l.unattributed = l.flag()
		case "pr":
			l.readPricing()
		default:
			l.skip()
		}
	}
}

func (l *lineReader) readPricing() {
	for n := l.length(0x80, 0xde); n > 0 && !l.bad; n-- {
		if string(l.text()) == "u" {
			l.unpriced = l.flag()
		} else {
			l.skip()
		}
	}
}

func (l *lineReader) readUsage() (q Quantity) {
	for n := l.length(0x80, 0xde); n > 0 && !l.bad; n-- {
		switch string(l.text()) {
		case "c":
			q.Capability = view(l.text())
		case "a":
			q.Amount = l.number()
		default:
			l.skip()
		}
	}
	return q
}

// The rest is msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md

// take takes n bytes.
func (l *lineReader) take(n uint64) []byte {
	if n > uint64(len(l.rest)) {
		l.bad, l.rest = true, nil
		return nil
	}
	b := l.rest[:n]
	l.rest = l.rest[n:]
	return b
}

// code takes the byte that says what follows; nil if there is none.
func (l *lineReader) code() byte {
	if b := l.take(1); b != nil {
		return b[0]
	}
	return 0xc0
}

// unsigned takes a number of 1, 2, 4 or 8 bytes.
func (l *lineReader) unsigned(size uint64) uint64 {
	var full [8]byte
	copy(full[8-size:], l.take(size))
	return binary.BigEndian.Uint64(full[:])
}

// length takes the head of a map or a list: fix is the code of an empty short
// one, wide that of one with a length of 16 bits; 32 bits come next. Nil is empty.
func (l *lineReader) length(fix, wide byte) uint64 {
	switch c := l.code(); {
	case c&0xf0 == fix:
		return uint64(c & 0x0f)
	case c == wide:
		return l.unsigned(2)
	case c == wide+1:
		return l.unsigned(4)
	case c != 0xc0:
		l.bad = true
	}
	return 0
}

func (l *lineReader) text() []byte {
	switch c := l.code(); {
	case c&0xe0 == 0xa0:
		return l.take(uint64(c & 0x1f))
	case c >= 0xd9 && c <= 0xdb:
		return l.take(l.unsigned(1 << (c - 0xd9)))
	}
	l.bad = true
	return nil
}

func (l *lineReader) flag() bool {
	c := l.code()
	l.bad = l.bad || c != 0xc2 && c != 0xc3
	return c == 0xc3
}

func (l *lineReader) number() int64 {
	switch c := l.code(); {
	case c < 0x80, c >= 0xe0:
		return int64(int8(c))
	case c >= 0xcc && c <= 0xcf:
		if n := l.unsigned(1 << (c - 0xcc)); n <= math.MaxInt64 {
			return int64(n)
		}
	case c >= 0xd0 && c <= 0xd3:
		size := uint64(1) << (c - 0xd0)
		shift := 64 - 8*size
		return int64(l.unsigned(size)<<shift) >> shift
	}
	l.bad = true
	return 0
}

// skip takes one value of any kind, with everything in it.
func (l *lineReader) skip() {
	for todo := uint64(1); todo > 0 && !l.bad; todo-- {
		switch c := l.code(); {
		case c < 0x80, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // small numbers, nil, booleans
		case c < 0x90:
			todo += 2 * uint64(c&0x0f)
		case c < 0xa0:
			todo += uint64(c & 0x0f)
		case c < 0xc0:
			l.take(uint64(c & 0x1f))
		case c >= 0xc4 && c <= 0xc6: // bytes
			l.take(l.unsigned(1 << (c - 0xc4)))
		case c == 0xca || c == 0xcb: // floating point
			l.take(4 << (c - 0xca))
		case c >= 0xcc && c <= 0xcf:
			l.take(1 << (c - 0xcc))
		case c >= 0xd0 && c <= 0xd3:
			l.take(1 << (c - 0xd0))
		case c >= 0xd9 && c <= 0xdb: // text
			l.take(l.unsigned(1 << (c - 0xd9)))
		case c == 0xdc || c == 0xdd: // list
			todo += l.unsigned(2 << (c - 0xdc))
		case c == 0xde || c == 0xdf: // map
			todo += 2 * l.unsigned(2<<(c-0xde))
		default: // extensions, which nothing stored has
			l.bad = true
		}
	}
}

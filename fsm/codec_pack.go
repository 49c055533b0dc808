package fsm

import (
	"encoding/binary"
	"math/bits"
)

// What is hot in the log, in the store and in an outbox is packed by hand:
//
//	number   varint of encoding/binary, in its shortest form; signed ones zigzag
//	text     length, bytes
//	flags    u8; a flag that is set announces a field that is not zero
//	list     number of elements, elements
//
// Equal values have equal bytes, and nothing else is accepted: whatever decodes
// encodes to the same bytes again. So replicas agree on what is damaged, and a test
// can compare bytes.

// unpacker takes a packed value apart, front to back. After the first thing that
// is not as a packer writes it everything reads as zero, and bad is set: the caller looks
// once, at the end. Lengths are checked against what is left before anything is
// made of them, so memory is bounded by the input's size.
type unpacker struct {
	b    []byte // all of it
	pos  int    // what comes next
	text string // a copy of b that texts are cut out of; empty: of callers that take bytes
	bad  bool
}

// fail notes damage and makes everything that follows read as zero.
func (u *unpacker) fail() {
	u.bad = true
	u.pos = len(u.b)
}

// left returns how many bytes are not read yet.
func (u *unpacker) left() int { return len(u.b) - u.pos }

func (u *unpacker) uvarint() uint64 {
	if u.pos < len(u.b) && u.b[u.pos] < 0x80 { // nearly all
		u.pos++
		return uint64(u.b[u.pos-1])
	}
	n, size := binary.Uvarint(u.b[u.pos:])
	if size <= 0 || size != uvarintBytes(n) {
		u.fail()
		return 0
	}
	u.pos += size
	return n
}

// uvarintBytes is the length of a number's shortest form.
func uvarintBytes(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

func (u *unpacker) varint() int64 {
	n := u.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacker) byte() byte {
	if u.pos >= len(u.b) {
		u.fail()
		return 0
	}
	u.pos++
	return u.b[u.pos-1]
}

// flags takes a set of flags, of which only known ones may be set.
func (u *unpacker) flags(known byte) byte {
	f := u.byte()
	if f&^known != 0 {
		u.fail()
		return 0
	}
	return f
}

// number takes a number that fits in bits.
func (u *unpacker) number(width int) uint64 {
	n := u.uvarint()
	if n>>width != 0 {
		u.fail()
		return 0
	}
	return n
}

// count takes the length of a list whose elements take at least size bytes each.
func (u *unpacker) count(size int) int {
	n := u.uvarint()
	if n > uint64(u.left()/size) {
		u.fail()
		return 0
	}
	return int(n)
}

// take takes n bytes; they are part of the input.
func (u *unpacker) take(n int) []byte {
	if n > u.left() {
		u.fail()
		return nil
	}
	u.pos += n
	return u.b[u.pos-n : u.pos : u.pos]
}

// cut takes n bytes as a text that shares the copy's memory.
func (u *unpacker) cut(n int) string {
	if n > u.left() {
		u.fail()
		return ""
	}
	u.pos += n
	return u.text[u.pos-n : u.pos]
}

func (u *unpacker) string() string { return u.cut(u.count(1)) }

func (u *unpacker) hash() (h [32]byte) {
	copy(h[:], u.take(len(h)))
	return h
}

// must fails unless ok holds.
func (u *unpacker) must(ok bool) {
	if !ok {
		u.fail()
	}
}

// done reports whether all of the input was read and sound.
func (u *unpacker) done() bool { return !u.bad && u.left() == 0 }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// nearTexts is how many texts of a value of its own are remembered, to be
// referred to where they are repeated: as an account is, which its own root and most chains name.
const nearTexts = 32

// near are the first texts of a value, in order of their appearance. A text is
//
//	number   2 · length, bytes        of one that is not among them
//	number   2 · index + 1            of one that is
type near struct {
	n    int
	list [nearTexts]string
}

func (t *near) find(s string) (index int, found bool) {
	for i := range t.list[:t.n] {
		if t.list[i] == s {
			return i, true
		}
	}
	return 0, false
}

func (t *near) add(s string) {
	if t.n < nearTexts {
		t.list[t.n] = s
		t.n++
	}
}

// append appends s, in full or as a reference.
func (t *near) append(b []byte, s string) []byte {
	if i, found := t.find(s); found {
		return binary.AppendUvarint(b, uint64(i)<<1|1)
	}
	t.add(s)
	return append(binary.AppendUvarint(b, uint64(len(s))<<1), s...)
}

// take takes what append wrote.
func (t *near) take(u *unpacker) string {
	head := u.uvarint()
	if head&1 == 1 {
		if head>>1 >= uint64(t.n) {
			u.fail()
			return ""
		}
		return t.list[head>>1]
	}
	if head>>1 > uint64(u.left()) {
		u.fail()
		return ""
	}
	s := u.cut(int(head >> 1))
	if _, found := t.find(s); found {
		u.fail() // it would have been a reference
		return ""
	}
	t.add(s)
	return s
}

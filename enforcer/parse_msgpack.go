package enforcer

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// The msgpack that requests may use: nil, bool, integers, strings, arrays, and
// maps with string keys. Floats are read as numbers that are no integers. Binary
// and extension types are refused: no field is one.
//
// parseMsgpack checks a document once; the other functions then walk it by its
// type bytes and trust them.
const (
	msgpackNil     = 0xc0
	msgpackFalse   = 0xc2
	msgpackTrue    = 0xc3
	msgpackFloat32 = 0xca
	msgpackFloat64 = 0xcb
	msgpackUint8   = 0xcc
	msgpackUint64  = 0xcf
	msgpackInt8    = 0xd0
	msgpackInt64   = 0xd3
	msgpackStr8    = 0xd9
	msgpackStr16   = 0xda
	msgpackStr32   = 0xdb
	msgpackArray16 = 0xdc
	msgpackArray32 = 0xdd
	msgpackMap16   = 0xde
	msgpackMap32   = 0xdf
)

// parseMsgpack reads a msgpack document with nothing after it.
func parseMsgpack(body []byte) (value, error) {
	rest, err := checkMsgpack(body, 0)
	if err != nil {
		return value{}, err
	}
	if len(rest) > 0 {
		return value{}, fmt.Errorf("%w: %d bytes follow the document", errMalformed, len(rest))
	}
	return value{msgpack: body}, nil
}

// checkMsgpack checks the value that b begins with and returns what follows it.
func checkMsgpack(b []byte, depth int) (rest []byte, err error) {
	head := msgpackHead(b)
	if head == 0 || len(b) < head {
		return nil, fmt.Errorf("%w: it ends within a value, or has a type that no field is", errMalformed)
	}
	switch msgpackKind(b) {
	case kindString:
		n, after := msgpackLen(b)
		if n > len(after) || n < 0 {
			return nil, fmt.Errorf("%w: a string is longer than the body", errMalformed)
		}
		if !utf8.Valid(after[:n]) {
			return nil, fmt.Errorf("%w: a string is not valid UTF-8", errMalformed)
		}
		return after[n:], nil
	case kindArray, kindObject:
		if depth++; depth > maxBodyDepth {
			return nil, fmt.Errorf("%w: it is nested more than %d levels deep", errMalformed, maxBodyDepth)
		}
		n, after := msgpackLen(b)
		for range n {
			if msgpackKind(b) == kindObject {
				if len(after) == 0 || msgpackKind(after) != kindString {
					return nil, fmt.Errorf("%w: the key of a map must be a string", errMalformed)
				}
				if after, err = checkMsgpack(after, depth); err != nil {
					return nil, err
				}
			}
			if after, err = checkMsgpack(after, depth); err != nil {
				return nil, err
			}
		}
		return after, nil
	default:
		return b[head:], nil
	}
}

// msgpackHead returns the bytes before a value's content; scalars are all head.
// 0: no value of ours begins with this.
func msgpackHead(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch c := b[0]; {
	case c <= 0xbf || c >= 0xe0, c == msgpackNil, c == msgpackFalse, c == msgpackTrue:
		return 1
	case c == msgpackFloat32:
		return 5
	case c == msgpackFloat64:
		return 9
	case c >= msgpackUint8 && c <= msgpackUint64:
		return 1 + 1<<(c-msgpackUint8)
	case c >= msgpackInt8 && c <= msgpackInt64:
		return 1 + 1<<(c-msgpackInt8)
	case c == msgpackStr8:
		return 2
	case c == msgpackStr16, c == msgpackArray16, c == msgpackMap16:
		return 3
	case c == msgpackStr32, c == msgpackArray32, c == msgpackMap32:
		return 5
	}
	return 0
}

func msgpackKind(b []byte) valueKind {
	switch c := b[0]; {
	case c == msgpackNil:
		return kindNull
	case c == msgpackFalse, c == msgpackTrue:
		return kindBool
	case c&0xe0 == 0xa0, c >= msgpackStr8 && c <= msgpackStr32:
		return kindString
	case c&0xf0 == 0x90, c == msgpackArray16, c == msgpackArray32:
		return kindArray
	case c&0xf0 == 0x80, c == msgpackMap16, c == msgpackMap32:
		return kindObject
	default:
		return kindNumber
	}
}

// msgpackLen returns the length of a string, array or map, and what follows its head.
func msgpackLen(b []byte) (n int, after []byte) {
	switch c := b[0]; {
	case c&0xe0 == 0xa0:
		return int(c & 0x1f), b[1:]
	case c <= 0x9f:
		return int(c & 0x0f), b[1:]
	case c == msgpackStr8:
		return int(b[1]), b[2:]
	case c == msgpackStr16, c == msgpackArray16, c == msgpackMap16:
		return int(binary.BigEndian.Uint16(b[1:])), b[3:]
	default:
		return int(binary.BigEndian.Uint32(b[1:])), b[5:]
	}
}

// msgpackString returns a string and what follows it.
func msgpackString(b []byte) (s, after []byte) {
	n, after := msgpackLen(b)
	return after[:n], after[n:]
}

// msgpackSkip returns what follows a value.
func msgpackSkip(b []byte) []byte {
	switch msgpackKind(b) {
	case kindString:
		_, after := msgpackString(b)
		return after
	case kindArray, kindObject:
		n, after := msgpackLen(b)
		if msgpackKind(b) == kindObject {
			n *= 2
		}
		for range n {
			after = msgpackSkip(after)
		}
		return after
	default:
		return b[msgpackHead(b):]
	}
}

// msgpackInteger returns a number's value; whole is false for floats and for what int64 does not hold.
func msgpackInteger(b []byte) (n int64, whole bool) {
	switch c := b[0]; {
	case c <= 0x7f:
		return int64(c), true
	case c >= 0xe0:
		return int64(int8(c)), true
	case c == msgpackFloat32, c == msgpackFloat64:
		return 0, false
	default:
		size := msgpackHead(b) - 1
		var raw [8]byte
		copy(raw[8-size:], b[1:1+size])
		u := binary.BigEndian.Uint64(raw[:])
		if c >= msgpackInt8 {
			shift := 64 - 8*size
			return int64(u<<shift) >> shift, true
		}
		return int64(u), u <= 1<<63-1
	}
}

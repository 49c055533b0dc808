package enforcer

import "github.com/valyala/fastjson"

// value is one value of a request body, in either encoding. It is checked
// already: walking it cannot fail.
type value struct {
	json    *fastjson.Value
	msgpack []byte // begins with the value, if json is nil
}

// valueKind is what a value is.
type valueKind uint8

const (
	kindNull valueKind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func (v value) kind() valueKind {
	if v.json == nil {
		return msgpackKind(v.msgpack)
	}
	switch v.json.Type() {
	case fastjson.TypeNull:
		return kindNull
	case fastjson.TypeTrue, fastjson.TypeFalse:
		return kindBool
	case fastjson.TypeNumber:
		return kindNumber
	case fastjson.TypeString:
		return kindString
	case fastjson.TypeArray:
		return kindArray
	default:
		return kindObject
	}
}

// bool returns a bool's value.
func (v value) bool() bool {
	if v.json == nil {
		return v.msgpack[0] == msgpackTrue
	}
	return v.json.Type() == fastjson.TypeTrue
}

// bytes returns a string's bytes. They live as long as the body and its parser.
func (v value) bytes() []byte {
	if v.json == nil {
		s, _ := msgpackString(v.msgpack)
		return s
	}
	s, _ := v.json.StringBytes()
	return s
}

// integer returns a number's value, and whether it is an integer that int64 holds,
// written without fraction and exponent. -0 is 0.
func (v value) integer(scratch *[]byte) (n int64, whole bool) {
	if v.kind() != kindNumber {
		return 0, false
	}
	if v.json == nil {
		return msgpackInteger(v.msgpack)
	}
	*scratch = v.json.MarshalTo((*scratch)[:0])
	return parseInteger(*scratch)
}

// len returns how many items an array or fields an object has.
func (v value) len() int {
	if v.json == nil {
		n, _ := msgpackLen(v.msgpack)
		return n
	}
	if v.json.Type() == fastjson.TypeArray {
		return len(v.json.GetArray())
	}
	return v.json.GetObject().Len()
}

// items calls f for each item of an array.
func (v value) items(f func(i int, item value)) {
	if v.json == nil {
		n, rest := msgpackLen(v.msgpack)
		for i := range n {
			f(i, value{msgpack: rest})
			rest = msgpackSkip(rest)
		}
		return
	}
	for i, item := range v.json.GetArray() {
		f(i, value{json: item})
	}
}

// fields calls f for each field of an object, in order.
func (v value) fields(f func(name []byte, field value)) {
	if v.json == nil {
		n, rest := msgpackLen(v.msgpack)
		for range n {
			var name []byte
			name, rest = msgpackString(rest)
			f(name, value{msgpack: rest})
			rest = msgpackSkip(rest)
		}
		return
	}
	v.json.GetObject().Visit(func(name []byte, field *fastjson.Value) { f(name, value{json: field}) })
}

// parseInteger reads [-]digits. It returns false for what does not fit or is not that.
func parseInteger(s []byte) (n int64, whole bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	const maxDigits = 18 // more cannot overflow unnoticed: the 19th is checked below
	if len(s) == 0 || len(s) > maxDigits+1 {
		return 0, false
	}
	var u uint64
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	if u > 1<<63-1 {
		return 0, false
	}
	if negative {
		return -int64(u), true
	}
	return int64(u), true
}

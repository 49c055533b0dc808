package fsm

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// valueVersion is the first byte of a stored value in msgpack; packed ones have packedVersion. A change of a struct
// that msgpack cannot read into the new one gets a new version and a case in decodeValue.
const valueVersion = 1

// encoder pairs a msgpack encoder with its buffer. Maps are written in key
// order and integers in their shortest form: equal values have equal bytes on every replica.
type encoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.enc = msgpack.NewEncoder(&e.buf)
	return e
}}

// appendMsgpack appends v to dst.
func appendMsgpack(dst []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.buf.Reset()
	e.enc.Reset(&e.buf)
	e.enc.SetSortMapKeys(true)
	e.enc.UseCompactInts(true)
	if err := e.enc.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, e.buf.Bytes()...), nil
}

// encodeValue encodes a stored value.
func encodeValue(v any) ([]byte, error) { return appendMsgpack([]byte{valueVersion}, v) }

// decodeValue decodes a stored value into the struct that into points to. It keeps nothing of v.
func decodeValue(v []byte, into any) error {
	if len(v) == 0 {
		return fmt.Errorf("stored value is empty")
	}
	switch v[0] {
	case valueVersion:
		return msgpack.Unmarshal(v[1:], into)
	case packedVersion:
		return unpackValue(v, into)
	}
	return fmt.Errorf("stored value has version %d, this release reads up to %d", v[0], packedVersion)
}

package enforcer

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/bursar-dev/bursar/fsm"
)

// resID names a reservation. Any node can tell from it which node and which of
// its sessions gave it out; rnd makes it hard to guess.
type resID struct {
	node fsm.NodeNum
	boot uint32
	seq  uint64
	rnd  uint32
}

// The text form is resPrefix and the fields in big-endian order as lower-case hex.
const (
	resPrefix   = "rsv_"
	resRawBytes = 2 + 4 + 8 + 4
	resTextLen  = len(resPrefix) + 2*resRawBytes // = MaxReservationID
)

// parseResID reads the text form. There is exactly one text for an id.
func parseResID(text []byte) (id resID, ok bool) {
	if len(text) != resTextLen || string(text[:len(resPrefix)]) != resPrefix {
		return resID{}, false
	}
	for _, c := range text[len(resPrefix):] {
		if c >= 'A' && c <= 'F' {
			return resID{}, false
		}
	}
	var raw [resRawBytes]byte
	if _, err := hex.Decode(raw[:], text[len(resPrefix):]); err != nil {
		return resID{}, false
	}
	return resID{
		node: fsm.NodeNum(binary.BigEndian.Uint16(raw[0:])),
		boot: binary.BigEndian.Uint32(raw[2:]),
		seq:  binary.BigEndian.Uint64(raw[6:]),
		rnd:  binary.BigEndian.Uint32(raw[14:]),
	}, true
}

// appendText appends the text form, which is MaxReservationID bytes long.
func (id resID) appendText(b []byte) []byte {
	var raw [resRawBytes]byte
	binary.BigEndian.PutUint16(raw[0:], uint16(id.node))
	binary.BigEndian.PutUint32(raw[2:], id.boot)
	binary.BigEndian.PutUint64(raw[6:], id.seq)
	binary.BigEndian.PutUint32(raw[14:], id.rnd)
	b = append(b, resPrefix...)
	return hex.AppendEncode(b, raw[:])
}

func (id resID) String() string { return string(id.appendText(nil)) }

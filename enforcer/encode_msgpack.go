package enforcer

import "encoding/binary"

// appendMsgpackHead begins a map or array whose count is set when it is known:
// always the 16-bit form, so that nothing has to be moved.
func appendMsgpackHead(b []byte, object bool) []byte {
	if object {
		return append(b, msgpackMap16, 0, 0)
	}
	return append(b, msgpackArray16, 0, 0)
}

func setMsgpackCount(head []byte, n int) { binary.BigEndian.PutUint16(head[1:], uint16(n)) }

func appendMsgpackString(b []byte, s string) []byte {
	return append(appendMsgpackStringHead(b, len(s)), s...)
}

func appendMsgpackStringHead(b []byte, n int) []byte {
	switch {
	case n < 32:
		return append(b, 0xa0|byte(n))
	case n < 1<<8:
		return append(b, msgpackStr8, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, msgpackStr16), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, msgpackStr32), uint32(n))
	}
}

func appendMsgpackInt(b []byte, n int64) []byte {
	switch {
	case n >= 0 && n < 1<<7, n < 0 && n >= -32:
		return append(b, byte(n))
	case n >= -1<<31 && n < 1<<31:
		return binary.BigEndian.AppendUint32(append(b, msgpackInt8+2), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, msgpackInt64), uint64(n))
	}
}

func appendMsgpackBool(b []byte, v bool) []byte {
	if v {
		return append(b, msgpackTrue)
	}
	return append(b, msgpackFalse)
}

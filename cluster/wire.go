package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// The request protocol is a sequence of frames in each direction of a connection:
//
//	length  u32  bytes that follow it
//	call    u64  chosen by the caller; the answer carries the same
//	kind    u8   request, reply or error
//	method  u8   of a request; 0 otherwise
//	timeout u32  of a request: milliseconds the caller will wait; 0 otherwise
//	payload      msgpack
//
// All integers are big-endian. Many calls share a connection, and answers come
// in any order. Both sides bound a frame: what is larger breaks the connection.
const (
	frameLengthBytes = 4
	frameHeaderBytes = frameLengthBytes + 8 + 1 + 1 + 4
	// maxPayloadBytes bounds a frame's payload: the largest command and what goes with it.
	maxPayloadBytes = fsm.MaxCommandBytes + 64<<10
	// maxFrameTimeout bounds what a caller may ask a peer to spend on one request.
	maxFrameTimeout = 2 * time.Minute
)

type frameKind uint8

const (
	frameRequest frameKind = iota + 1
	frameReply
	frameError // payload: wireError
)

// frame is one message of the request protocol.
type frame struct {
	call    uint64
	kind    frameKind
	method  method
	timeout time.Duration // of a request, in whole milliseconds
	payload []byte
}

var (
	errFrameTooLarge = errors.New("frame is larger than allowed")
	errFrameInvalid  = errors.New("frame is malformed")
)

// appendFrame appends the encoding of f to b.
func appendFrame(b []byte, f *frame) ([]byte, error) {
	if len(f.payload) > maxPayloadBytes {
		return b, fmt.Errorf("%w: %d bytes of payload", errFrameTooLarge, len(f.payload))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(frameHeaderBytes-frameLengthBytes+len(f.payload)))
	b = binary.BigEndian.AppendUint64(b, f.call)
	b = append(b, byte(f.kind), byte(f.method))
	b = binary.BigEndian.AppendUint32(b, uint32(f.timeout.Milliseconds()))
	return append(b, f.payload...), nil
}

// readFrame reads one frame. io.EOF means that the stream ended between frames.
// The payload is the caller's to keep.
func readFrame(r io.Reader) (frame, error) {
	var h [frameHeaderBytes]byte
	if _, err := io.ReadFull(r, h[:frameLengthBytes]); err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(h[:])
	if length < frameHeaderBytes-frameLengthBytes {
		return frame{}, fmt.Errorf("%w: length %d", errFrameInvalid, length)
	}
	payload := length - (frameHeaderBytes - frameLengthBytes)
	if payload > maxPayloadBytes {
		return frame{}, fmt.Errorf("%w: %d bytes of payload", errFrameTooLarge, payload)
	}
	if _, err := io.ReadFull(r, h[frameLengthBytes:]); err != nil {
		return frame{}, noEOF(err)
	}
	f := frame{
		call:    binary.BigEndian.Uint64(h[4:]),
		kind:    frameKind(h[12]),
		method:  method(h[13]),
		timeout: time.Duration(binary.BigEndian.Uint32(h[14:])) * time.Millisecond,
	}
	switch {
	case f.kind < frameRequest || f.kind > frameError:
		return frame{}, fmt.Errorf("%w: kind %d", errFrameInvalid, f.kind)
	case f.kind == frameRequest && (f.timeout <= 0 || f.timeout > maxFrameTimeout):
		return frame{}, fmt.Errorf("%w: timeout %v", errFrameInvalid, f.timeout)
	case f.kind != frameRequest && (f.timeout != 0 || f.method != 0):
		return frame{}, fmt.Errorf("%w: an answer with a method or a timeout", errFrameInvalid)
	}
	f.payload = make([]byte, payload)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, noEOF(err)
	}
	return f, nil
}

// noEOF turns the end of a stream inside a frame into an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A snapshot is every key and value of the store at one applied index, as a
// stream of numbers in big-endian:
//
//	"BURSNAP1" | format u32 | index u64 | term u64 | checksum u64
//	frame:  length u32 > 0 | length bytes of: key length uvarint, key, value length uvarint, value
//	…
//	end:    0 u32 | pairs u64 | xxhash64 of all that precedes it
//
// Keys ascend. Frames keep the reader's memory bounded; the end tells a stream
// that was cut from one that is whole.
const snapshotMagic = "BURSNAP1"

const (
	frameTarget = 256 << 10           // bytes after which a frame is closed
	frameMax    = 2 * MaxCommandBytes // bytes; the largest value is a ledger line, smaller than the command that brought it
)

// ErrSnapshot is what every error about a damaged snapshot wraps.
var ErrSnapshot = errors.New("the snapshot is damaged")

func badSnapshot(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
}

// snapshotHeader is what a snapshot says of itself.
type snapshotHeader struct {
	Format           uint32
	Index, Term, Sum uint64
}

// WriteSnapshot streams a consistent copy of the state, with its applied index,
// while applying goes on. Its memory does not grow with the state.
func (m *Machine) WriteSnapshot(w io.Writer) (index uint64, err error) {
	err = m.read(func(st *store) (err error) {
		snap := st.db.NewSnapshot()
		defer func() { err = errors.Join(err, snap.Close()) }()
		at := new(state)
		if err := at.loadAppliedMark(snap); err != nil {
			return err
		}
		index = at.index
		sw := newSnapshotWriter(w, snapshotHeader{storeFormat, at.index, at.term, at.sum})
		if err := scan(snap, nil, nil, false, sw.pair); err != nil {
			return err
		}
		return sw.end()
	})
	return index, err
}

// snapshotWriter writes pairs as frames.
type snapshotWriter struct {
	w     io.Writer
	sum   hash.Hash64
	frame []byte
	pairs uint64
	err   error // the first; nothing is written after it
}

func newSnapshotWriter(w io.Writer, h snapshotHeader) *snapshotWriter {
	s := &snapshotWriter{sum: xxhash.New()}
	s.w = io.MultiWriter(w, s.sum)
	head := binary.BigEndian.AppendUint32([]byte(snapshotMagic), h.Format)
	for _, n := range []uint64{h.Index, h.Term, h.Sum} {
		head = binary.BigEndian.AppendUint64(head, n)
	}
	s.write(head)
	return s
}

func (s *snapshotWriter) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
}

// pair adds a pair. It has the signature of a scan's callback.
func (s *snapshotWriter) pair(key, value []byte) (bool, error) {
	for _, b := range [][]byte{key, value} {
		s.frame = binary.AppendUvarint(s.frame, uint64(len(b)))
		s.frame = append(s.frame, b...)
	}
	s.pairs++
	if len(s.frame) >= frameTarget {
		s.flush()
	}
	return true, s.err
}

func (s *snapshotWriter) flush() {
	if len(s.frame) == 0 {
		return
	}
	s.write(binary.BigEndian.AppendUint32(nil, uint32(len(s.frame))))
	s.write(s.frame)
	s.frame = s.frame[:0]
}

func (s *snapshotWriter) end() error {
	s.flush()
	s.write(binary.BigEndian.AppendUint64(make([]byte, 4), s.pairs))
	s.write(binary.BigEndian.AppendUint64(nil, s.sum.Sum64()))
	return s.err
}

// readSnapshot decodes a stream and calls pair for each pair, in order. Only when it
// returns nil was the stream whole; what pair was given before is void otherwise.
// Key and value are valid during the call only.
func readSnapshot(r io.Reader, pair func(key, value []byte) error) (h snapshotHeader, err error) {
	sr := snapshotReader{r: r, sum: xxhash.New()}
	if h, err = sr.header(); err != nil {
		return h, err
	}
	for {
		frame, err := sr.frame()
		if err != nil {
			return h, err
		}
		if frame == nil {
			return h, sr.trailer()
		}
		if err := sr.split(frame, pair); err != nil {
			return h, err
		}
	}
}

// SnapshotInfo says what a snapshot is of.
type SnapshotInfo struct {
	Index uint64 // applied
	Pairs uint64 // keys with their values
	Bytes int64
}

// CheckSnapshot reads what WriteSnapshot wrote to its end and reports whether it is
// whole: an error wraps ErrSnapshot, or is that of a format this release does not
// read, or of r. Its memory does not grow with the snapshot. Bytes after the end are damage too.
func CheckSnapshot(r io.Reader) (info SnapshotInfo, err error) {
	h, err := readSnapshot(io.TeeReader(r, (*byteCount)(&info.Bytes)), func(_, _ []byte) error {
		info.Pairs++
		return nil
	})
	if err != nil {
		return info, err
	}
	info.Index = h.Index
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return info, badSnapshot("it goes on after its end")
	} else if !errors.Is(err, io.EOF) {
		return info, fmt.Errorf("read snapshot: %w", err)
	}
	return info, nil
}

// byteCount counts what is written to it.
type byteCount int64

func (c *byteCount) Write(b []byte) (int, error) {
	*c += byteCount(len(b))
	return len(b), nil
}

// snapshotReader reads a stream, summing as it goes.
type snapshotReader struct {
	r     io.Reader
	sum   hash.Hash64
	buf   bytes.Buffer
	last  []byte // key
	pairs uint64
}

// read returns the next n bytes, valid until the next read. It allocates as
// data comes, so that a damaged length costs nothing.
func (s *snapshotReader) read(n int64) ([]byte, error) {
	s.buf.Reset()
	if _, err := io.CopyN(&s.buf, s.r, n); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, badSnapshot("it ends early")
		}
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	_, _ = s.sum.Write(s.buf.Bytes())
	return s.buf.Bytes(), nil
}

func (s *snapshotReader) header() (h snapshotHeader, err error) {
	b, err := s.read(int64(len(snapshotMagic)) + 4 + 3*8)
	if err != nil {
		return h, err
	}
	if string(b[:len(snapshotMagic)]) != snapshotMagic {
		return h, badSnapshot("it does not begin like one")
	}
	b = b[len(snapshotMagic):]
	h.Format = binary.BigEndian.Uint32(b)
	h.Index, h.Term, h.Sum = binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint64(b[20:])
	if h.Format != storeFormat {
		return h, fmt.Errorf("the snapshot has state format %d and this release reads format %d: run the same release on every node", h.Format, storeFormat)
	}
	return h, nil
}

// frame returns the next frame's bytes, or nil at the end.
func (s *snapshotReader) frame() ([]byte, error) {
	b, err := s.read(4)
	if err != nil {
		return nil, err
	}
	switch n := binary.BigEndian.Uint32(b); {
	case n == 0:
		return nil, nil
	case n > frameMax:
		return nil, badSnapshot("a frame claims %d bytes", n)
	default:
		return s.read(int64(n))
	}
}

func (s *snapshotReader) split(frame []byte, pair func(key, value []byte) error) error {
	for len(frame) > 0 {
		key, rest, ok := cutUvarint(frame)
		if !ok {
			return badSnapshot("a key is longer than its frame")
		}
		value, rest, ok := cutUvarint(rest)
		if !ok {
			return badSnapshot("a value is longer than its frame")
		}
		if s.pairs > 0 && bytes.Compare(s.last, key) >= 0 {
			return badSnapshot("its keys do not ascend")
		}
		if err := pair(key, value); err != nil {
			return err
		}
		s.last = append(s.last[:0], key...)
		s.pairs++
		frame = rest
	}
	return nil
}

// cutUvarint cuts a length-prefixed string off b.
func cutUvarint(b []byte) (head, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

func (s *snapshotReader) trailer() error {
	b, err := s.read(8)
	if err != nil {
		return err
	}
	if n := binary.BigEndian.Uint64(b); n != s.pairs {
		return badSnapshot("it has %d pairs and says %d", s.pairs, n)
	}
	want := s.sum.Sum64()
	if b, err = s.read(8); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(b) != want {
		return badSnapshot("its checksum does not match")
	}
	return nil
}

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

func TestFramesSurviveTheWire(t *testing.T) {
	frames := []frame{
		{call: 1, kind: frameRequest, method: methodJoin, timeout: time.Second, payload: []byte("hello")},
		{call: 1<<64 - 1, kind: frameReply, payload: []byte{}},
		{call: 7, kind: frameError, payload: bytes.Repeat([]byte{0xff}, 100_000)},
		{call: 8, kind: frameRequest, method: 255, timeout: maxFrameTimeout, payload: []byte{}},
	}
	var b []byte
	var err error
	for i := range frames {
		if b, err = appendFrame(b, &frames[i]); err != nil {
			t.Fatal(err)
		}
	}
	r := bytes.NewReader(b)
	for i, want := range frames {
		got, err := readFrame(r)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); d != "" {
			t.Errorf("frame %d (-want +got):\n%s", i, d)
		}
	}
	if _, err := readFrame(r); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestBadFramesAreRefused(t *testing.T) {
	good, err := appendFrame(nil, &frame{call: 1, kind: frameRequest, method: methodJoin, timeout: time.Second, payload: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	with := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"cut in the length", good[:2], io.ErrUnexpectedEOF},
		{"cut in the header", good[:10], io.ErrUnexpectedEOF},
		{"cut in the payload", good[:len(good)-1], io.ErrUnexpectedEOF},
		{"shorter than a header", with(func(b []byte) { binary.BigEndian.PutUint32(b, 13) }), errFrameInvalid},
		{"larger than allowed", with(func(b []byte) { binary.BigEndian.PutUint32(b, maxPayloadBytes+15) }), errFrameTooLarge},
		{"no kind", with(func(b []byte) { b[12] = 0 }), errFrameInvalid},
		{"unknown kind", with(func(b []byte) { b[12] = 4 }), errFrameInvalid},
		{"no timeout", with(func(b []byte) { binary.BigEndian.PutUint32(b[14:], 0) }), errFrameInvalid},
		{"endless timeout", with(func(b []byte) { binary.BigEndian.PutUint32(b[14:], 1<<31) }), errFrameInvalid},
		{"reply with a method", with(func(b []byte) { b[12] = byte(frameReply); binary.BigEndian.PutUint32(b[14:], 0) }), errFrameInvalid},
	} {
		if _, err := readFrame(bytes.NewReader(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := appendFrame(nil, &frame{kind: frameReply, payload: make([]byte, maxPayloadBytes+1)}); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("writing a frame that is too large: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	seed, _ := appendFrame(nil, &frame{call: 3, kind: frameRequest, method: methodReconcile, timeout: time.Minute, payload: []byte("abc")})
	f.Add(seed)
	f.Add(seed[:12])
	f.Add([]byte{0, 0, 0, 14})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readFrame(bytes.NewReader(in))
		if err != nil {
			return
		}
		again, err := appendFrame(nil, &got)
		if err != nil {
			t.Fatalf("a frame that was read cannot be written: %v", err)
		}
		if !bytes.Equal(again, in[:len(again)]) {
			t.Fatalf("read %x, written again %x", in[:len(again)], again)
		}
	})
}

func FuzzReadGreeting(f *testing.F) {
	var b bytes.Buffer
	writeGreeting(&b, byte(forRaft), &hello{Name: "n1", Run: "r", Addr: "a:1", Cluster: "c", Want: "n2"})
	f.Add(b.Bytes())
	f.Add([]byte{'P', helloVersion, 0, 1, 0x80})
	f.Add([]byte{'P', helloVersion, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		var h hello
		if _, err := readGreeting(bytes.NewReader(in), &h); err != nil {
			return
		}
		if len(h.Name) > maxHelloBytes {
			t.Fatalf("a name of %d bytes", len(h.Name))
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	b, _ := encodeMeta(gossipMeta{Addr: "127.0.0.1:7000", Cluster: "clu_x", Fresh: true})
	f.Add(b)
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, in []byte) {
		if m, err := decodeMeta(in); err == nil && len(m.Addr) > len(in) {
			t.Fatalf("an address of %d bytes out of %d", len(m.Addr), len(in))
		}
	})
}

func TestGossipMetadataFitsOrIsRefused(t *testing.T) {
	if _, err := encodeMeta(gossipMeta{Addr: strings.Repeat("x", 300), Cluster: strings.Repeat("c", 128)}); err != nil {
		t.Errorf("long but possible metadata: %v", err)
	}
	if _, err := encodeMeta(gossipMeta{Addr: strings.Repeat("x", 600)}); err == nil {
		t.Error("metadata beyond memberlist's limit was accepted")
	}
}

func TestErrorsMeanTheSameOnBothSides(t *testing.T) {
	for _, s := range sentinels {
		w := toWire(s.err)
		if w.Code != s.code {
			t.Errorf("%v has code %d, want %d", s.err, w.Code, s.code)
		}
	}
	for _, err := range []error{ErrNotLeader, ErrStopped, errNotMember, errOverloaded, errRefused, errRejoin, errRemoved, enforcer.ErrUnknownOutcome} {
		got := toWire(err).fromWire("n1")
		if !errors.Is(got, err) || !saidByPeer(got, err) {
			t.Errorf("%v arrives as %v", err, got)
		}
		if saidByPeer(err, err) {
			t.Errorf("%v of this side counts as a peer's", err)
		}
	}
	rejection := &fsm.Error{Code: fsm.CodeConflict, Message: "m", Fields: []fsm.FieldError{{Field: "f", Message: "x"}}, Numbers: map[string]int64{"limit": 7}}
	var got *fsm.Error
	if !errors.As(toWire(rejection).fromWire("n1"), &got) || !cmp.Equal(got, rejection) {
		t.Errorf("a rejection arrives as %v", got)
	}
	if notDone(toWire(errors.New("disk on fire")).fromWire("n1")) {
		t.Error("an unknown error counts as proof that nothing was done")
	}
}

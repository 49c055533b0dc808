package client

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnEventReadsBackInEitherEncoding(t *testing.T) {
	e := Event{
		ID: "evt-1", Account: "acme", Entities: []string{"alice", "bob"}, Key: "bk_x", Usage: Usage{"usd": 1_000_000_000_000_000_000, "requests": 0},
		Model: "gpt-4o", Member: "alice@acme.test", At: time.Date(2026, 11, 22, 10, 0, 0, 123_000_000, time.UTC), Reservation: "rsv_1",
		Metadata: map[string]string{"trace": "<&>"},
	}
	for _, encoding := range []Encoding{JSON, MsgPack} {
		for _, want := range []Event{e, {ID: "evt-2", Usage: Usage{}}} {
			b, err := encoding.marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var req IngestRequest
			if err := unmarshal(encoding.contentType(), encoding.events([][]byte{b, b}), &req); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Event{want, want}, req.Events); diff != "" {
				t.Errorf("encoding %d (-want +got):\n%s", encoding, diff)
			}
		}
	}
}

func TestEventsOverheadIsABound(t *testing.T) {
	for _, encoding := range []Encoding{JSON, MsgPack} {
		for _, n := range []int{1, 15, 16, 1_000} {
			encoded := make([][]byte, n)
			for i := range encoded {
				encoded[i] = []byte("xx")
			}
			if got, most := len(encoding.events(encoded)), 2*n+eventsOverhead(n); got > most {
				t.Errorf("encoding %d: %d events make %d bytes, bound %d", encoding, n, got, most)
			}
		}
	}
}

// FuzzUnmarshal reads answers from a node that may send anything. What it reads
// it can write and read again.
func FuzzUnmarshal(f *testing.F) {
	for _, d := range []CheckResponse{
		{},
		{Allowed: true, Code: CodeOK, Remaining: Usage{"usd": 1 << 60}, Index: 1 << 63},
		{Code: CodeBudgetExhausted, DeniedBy: &Denial{Entity: "a", Scope: []string{"b"}, Limit: 1}},
	} {
		for _, e := range []Encoding{JSON, MsgPack} {
			b, err := e.marshal(d)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, e == MsgPack)
		}
	}
	f.Add([]byte("\x81\xaaexpires_at\xb42030-01-01T00:00:00Z"), true)
	f.Fuzz(func(t *testing.T, data []byte, packed bool) {
		contentType := typeJSON
		if packed {
			contentType = typeMsgPack
		}
		var d CheckResponse
		if unmarshal(contentType, data, &d) != nil {
			return
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("read %+v, which cannot be written: %v", d, err)
		}
		var e CheckResponse
		if err := unmarshal(typeJSON, again, &e); err != nil {
			t.Fatalf("wrote %s, which cannot be read: %v", again, err)
		}
	})
}

package enforcer

import (
	"bytes"
	"errors"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// What an outbox holds is events or is refused, and what was read is written as it was meant.
func FuzzDecodeOutboxEvents(f *testing.F) {
	event := fsm.Event{
		Account: "acme", ID: "evt-1", Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 7}}, At: 1, ReceivedAt: 2, Node: 3, Reservation: "rsv_x",
		Lines: []fsm.Line{{Budget: fsm.BudgetKey{Assignment: 1}, Amount: 7, Drawn: 5, On: 2}}, Metadata: map[string]string{"k": "v"},
	}
	single, err := msgpack.Marshal(&event)
	if err != nil {
		f.Fatal(err)
	}
	sound := appendOutboxEvents(nil, []*outboxEntry{{ev: &event}, {ev: &event}})
	f.Add(sound)
	f.Add(sound[:len(sound)/2])
	f.Add(append([]byte{outboxVersion + 1}, sound[1:]...))
	f.Add(append([]byte{outboxSingle}, single...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := decodeOutboxEvents(data)
		if err != nil {
			if !errors.Is(err, errOutboxFormat) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(events) == 0 {
			t.Fatal("a record without an event")
		}
		entries := make([]*outboxEntry, len(events))
		for i := range events {
			entries[i] = &outboxEntry{ev: &events[i]}
		}
		once := appendOutboxEvents(nil, entries)
		if data[0] == outboxVersion && !bytes.Equal(once, data) {
			t.Fatalf("%x was read, and is written as %x", data, once)
		}
		again, err := decodeOutboxEvents(once)
		if err != nil {
			t.Fatal(err)
		}
		for i := range again {
			entries[i].ev = &again[i]
		}
		if twice := appendOutboxEvents(nil, entries); !bytes.Equal(once, twice) {
			t.Fatalf("%x was read, and %x of it is left", once, twice)
		}
	})
}

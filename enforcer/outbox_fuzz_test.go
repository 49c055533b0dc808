package enforcer

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// What an outbox holds is an event or is refused, and what was read is written as it was meant.
func FuzzDecodeOutboxEvent(f *testing.F) {
	sound, err := encodeOutboxEvent(&fsm.Event{
		Account: "acme", ID: "evt-1", Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 7}}, At: 1, ReceivedAt: 2, Node: 3, Reservation: "rsv_x",
		Lines: []fsm.Line{{Budget: fsm.BudgetKey{Assignment: 1}, Amount: 7, Drawn: 5, On: 2}}, Metadata: map[string]string{"k": "v"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound)
	f.Add(sound[:len(sound)/2])
	f.Add(append([]byte{outboxVersion + 1}, sound[1:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		ev, err := decodeOutboxEvent(data)
		if err != nil {
			if !errors.Is(err, errOutboxFormat) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		once, err := encodeOutboxEvent(ev)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeOutboxEvent(once)
		if err != nil {
			t.Fatal(err)
		}
		// Maps have no order: compare what a second round keeps of the first, without the metadata.
		ev.Metadata, again.Metadata = nil, nil
		a, _ := encodeOutboxEvent(ev)
		b, _ := encodeOutboxEvent(again)
		if !bytes.Equal(a, b) {
			t.Fatalf("%x was read, and %x of it is left", a, b)
		}
	})
}

package enforcer

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

func idsOf(entries []outboxEntry) (ids []string) {
	for _, e := range entries {
		ids = append(ids, e.ev.ID)
	}
	return ids
}

// What is stored together stands until all of it is settled, in order, and is gone then.
func TestRecordStandsUntilAllOfItIsSettled(t *testing.T) {
	fs := vfs.NewMem()
	reopen := func(box *outbox) (*outbox, []outboxEntry) {
		t.Helper()
		if box != nil {
			mustDo(t, box.close())
		}
		box, entries, err := openOutbox(fs, "outbox", quiet)
		mustDo(t, err)
		return box, entries
	}
	box, _ := reopen(nil)
	var added []*outboxEntry
	var all []string
	for i := range 2*maxRecordEvents + 1 {
		id := fmt.Sprint("evt-", i)
		all = append(all, id)
		added = append(added, &outboxEntry{ev: &fsm.Event{Account: "acme", ID: id, Chain: []string{"acme"}}})
	}
	mustDo(t, box.add(added))
	for i, e := range added {
		if e.size <= 0 || e.record.left == 0 || (e.record == added[0].record) != (i < maxRecordEvents) {
			t.Fatalf("event %d: size %d, record %+v", i, e.size, e.record)
		}
	}
	box, entries := reopen(box)
	if d := cmp.Diff(all, idsOf(entries)); d != "" {
		t.Fatalf("(-stored +read):\n%s", d)
	}
	// All but one of the first record, and the whole second one.
	mustDo(t, box.remove(entries[1:maxRecordEvents]), box.remove(entries[maxRecordEvents:2*maxRecordEvents]))
	box, entries = reopen(box)
	if want := append(all[:maxRecordEvents:maxRecordEvents], all[2*maxRecordEvents]); cmp.Diff(want, idsOf(entries)) != "" {
		t.Fatalf("(-want +read):\n%s", cmp.Diff(want, idsOf(entries)))
	}
	mustDo(t, box.remove(entries))
	box, entries = reopen(box)
	if len(entries) != 0 {
		t.Fatalf("left: %q", idsOf(entries))
	}
	mustDo(t, box.close())
}

// An outbox that an earlier release left is read and emptied.
func TestOutboxOfTheFirstReleaseIsRead(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("outbox", &pebble.Options{FS: fs, Logger: pebbleLog{quiet, "outbox"}})
	mustDo(t, err)
	for i, undrawn := range []bool{false, true, false} {
		value, err := msgpack.Marshal(&fsm.Event{Account: "acme", ID: fmt.Sprint("evt-", i), Chain: []string{"acme"}})
		mustDo(t, err, db.Set(outboxKey(uint64(i+1), undrawn), append([]byte{outboxSingle}, value...), pebble.Sync))
	}
	mustDo(t, db.Close())
	box, entries, err := openOutbox(fs, "outbox", quiet)
	mustDo(t, err)
	if d := cmp.Diff([]string{"evt-0", "evt-1", "evt-2"}, idsOf(entries)); d != "" || !entries[1].undrawn || entries[0].undrawn {
		t.Fatalf("%+v\n%s", entries, d)
	}
	mustDo(t, box.redraw([]*outboxEntry{&entries[1]}))
	entries[1].undrawn = false
	mustDo(t, box.remove(entries), box.close())
	if box, entries, err = openOutbox(fs, "outbox", quiet); err != nil || len(entries) != 0 {
		t.Fatalf("left: %q, %v", idsOf(entries), err)
	}
	mustDo(t, box.close())
}

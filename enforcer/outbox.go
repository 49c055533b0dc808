package enforcer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/walfs"
)

// outbox keeps accepted events on this node's disk until they are settled. An
// event is durable (fsync) before it is acknowledged.
//
//	key    'e', or 'u' while the event's lines are undrawn (see early.go), sequence u64 big endian
//	value  2, block of events (see fsm.AppendEvents); or 1, msgpack of one fsm.Event, as earlier releases wrote it
//
// What is accepted together is one record, which stands until all of it is settled: a crash
// may bring settled events back, which is harmless, see remove. Undrawn events have a record each, because each is replaced
// when it is drawn. Sequences are given in the order of acceptance and not reused while a record stands.
type outbox struct {
	db   *pebble.DB
	next atomic.Uint64 // the sequence last given
}

// outboxRecord is what was stored together.
type outboxRecord struct {
	seq  uint64
	left int // events that are not removed
}

// outboxEntry is an event in the outbox.
type outboxEntry struct {
	record *outboxRecord
	size   int // its share of the value's bytes
	ev     *fsm.Event
	// undrawn: it stands there without its draws. It must not be sent like that.
	undrawn bool
}

const (
	outboxPrefix   = 'e'
	undrawnPrefix  = 'u'
	outboxKeyBytes = 9
	outboxVersion  = 2
	outboxSingle   = 1 // version of a record of one event in msgpack

	// maxRecordEvents bounds what one event that is not settled keeps on disk.
	maxRecordEvents = maxPartEvents

	// maxOutboxEvents and maxOutboxBytes bound what waits to be settled: minutes
	// of full load without a leader. Beyond either, ingest answers ErrOverloaded.
	maxOutboxEvents = 200_000
	maxOutboxBytes  = 256 << 20

	outboxMemTableBytes = 8 << 20
)

// errOutboxFormat is returned for an outbox that this release cannot read.
var errOutboxFormat = errors.New("the outbox cannot be read")

// openOutbox opens or creates the outbox in dir and returns what stands in it, oldest first.
func openOutbox(fs vfs.FS, dir string, log *slog.Logger) (*outbox, []outboxEntry, error) {
	own := pebbleLog{log, dir}
	db, err := pebble.Open(dir, &pebble.Options{
		FS: walfs.Wrap(fs, func(err error) { own.Fatalf("%v", err) }), MemTableSize: outboxMemTableBytes, Logger: own,
		FormatMajorVersion: pebble.FormatNewest,
		// Pebble tries a flush that fails again without end, in Open before it returns.
		EventListener: &pebble.EventListener{BackgroundError: func(err error) { own.Fatalf("%v", err) }},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open outbox %s: %w", dir, err)
	}
	o := &outbox{db: db}
	entries, err := o.load()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open outbox %s: %w", dir, err), db.Close())
	}
	slices.SortStableFunc(entries, func(a, b outboxEntry) int { return cmp.Compare(a.record.seq, b.record.seq) })
	if n := len(entries); n > 0 {
		o.next.Store(entries[n-1].record.seq)
	}
	return o, entries, nil
}

func (o *outbox) load() (entries []outboxEntry, err error) {
	it, err := o.db.NewIter(&pebble.IterOptions{LowerBound: []byte{outboxPrefix}, UpperBound: []byte{undrawnPrefix + 1}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != outboxKeyBytes {
			return nil, fmt.Errorf("%w: a key of %d bytes", errOutboxFormat, len(it.Key()))
		}
		record := &outboxRecord{seq: binary.BigEndian.Uint64(it.Key()[1:])}
		events, err := decodeOutboxEvents(it.Value())
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", record.seq, err)
		}
		record.left = len(events)
		for i := range events {
			entries = append(entries, outboxEntry{
				record: record, size: len(it.Value()) / len(events), ev: &events[i], undrawn: it.Key()[0] == undrawnPrefix,
			})
		}
	}
	return entries, it.Error()
}

// add makes events durable, all or none, and gives them their records and sizes. All or none are undrawn.
func (o *outbox) add(entries []*outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	most := maxRecordEvents
	if entries[0].undrawn {
		most = 1
	}
	var value []byte
	for together := range slices.Chunk(entries, most) {
		value = appendOutboxEvents(value[:0], together)
		record := &outboxRecord{seq: o.next.Add(1), left: len(together)}
		for _, e := range together {
			e.record, e.size = record, len(value)/len(together)
		}
		if err := b.Set(outboxKey(record.seq, entries[0].undrawn), value, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// redraw replaces undrawn events by what they are with their draws, durably, all or none.
func (o *outbox) redraw(entries []*outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	for i, e := range entries {
		value := appendOutboxEvents(nil, entries[i:i+1])
		if err := errors.Join(b.Delete(outboxKey(e.record.seq, true), nil), b.Set(outboxKey(e.record.seq, false), value, nil)); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// remove forgets settled events, each once. It is not made durable: an event that comes
// back after a crash is found settled when it is looked up, or sent again, or both. One call at a time.
func (o *outbox) remove(entries []outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	for _, e := range entries {
		if e.record.left--; e.record.left > 0 {
			continue
		}
		if err := b.Delete(outboxKey(e.record.seq, e.undrawn), nil); err != nil {
			return err
		}
	}
	if b.Empty() {
		return nil
	}
	return b.Commit(pebble.NoSync)
}

func (o *outbox) close() error { return o.db.Close() }

func outboxKey(seq uint64, undrawn bool) []byte {
	prefix := byte(outboxPrefix)
	if undrawn {
		prefix = undrawnPrefix
	}
	return binary.BigEndian.AppendUint64([]byte{prefix}, seq)
}

// appendOutboxEvents appends the value of a record.
func appendOutboxEvents(value []byte, entries []*outboxEntry) []byte {
	events := make([]*fsm.Event, len(entries))
	for i, e := range entries {
		events[i] = e.ev
	}
	return fsm.AppendEvents(append(value, outboxVersion), events)
}

// decodeOutboxEvents returns the events of a record, at least one.
func decodeOutboxEvents(value []byte) (events []fsm.Event, err error) {
	if len(value) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errOutboxFormat)
	}
	switch value[0] {
	case outboxVersion:
		events, err = fsm.DecodeEvents(value[1:])
	case outboxSingle:
		events = make([]fsm.Event, 1)
		err = msgpack.Unmarshal(value[1:], &events[0])
	default:
		return nil, fmt.Errorf("%w: it has version %d, this release reads up to %d", errOutboxFormat, value[0], outboxVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOutboxFormat, err)
	}
	return events, nil
}

// pebbleLog lets Pebble's own messages through: routine ones as debug.
type pebbleLog struct {
	log *slog.Logger
	dir string // of the store
}

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("outbox store", "msg", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("outbox store", "msg", fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble cannot go on without risking what it has stored,
// as after a failed write of its log. It must not return.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.log.Error("outbox store failed: the node ends; see to its disk (is it full?), then start the node again",
		"dir", l.dir, "msg", fmt.Sprintf(format, args...))
	os.Exit(1)
}

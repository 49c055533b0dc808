package enforcer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// outbox keeps accepted events on this node's disk until they are settled. An
// event is durable (fsync) before it is acknowledged.
//
//	key    'e', or 'u' while the event's lines are undrawn (see early.go), sequence u64 big endian
//	value  version u8, msgpack of fsm.Event
//
// Sequences are given in the order of acceptance and not reused while an entry stands.
type outbox struct {
	db   *pebble.DB
	log  pebbleLog
	next atomic.Uint64 // the sequence last given
}

// outboxEntry is an event in the outbox.
type outboxEntry struct {
	seq  uint64
	size int // bytes of the value
	ev   *fsm.Event
	// undrawn: it stands there without its draws. It must not be sent like that.
	undrawn bool
}

const (
	outboxPrefix   = 'e'
	undrawnPrefix  = 'u'
	outboxKeyBytes = 9
	outboxVersion  = 1

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
		FS: fs, MemTableSize: outboxMemTableBytes, Logger: own,
		FormatMajorVersion: pebble.FormatNewest,
		// Pebble tries a flush that fails again without end, in Open before it returns.
		EventListener: &pebble.EventListener{BackgroundError: func(err error) { own.Fatalf("%v", err) }},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open outbox %s: %w", dir, err)
	}
	o := &outbox{db: db, log: own}
	entries, err := o.load()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open outbox %s: %w", dir, err), db.Close())
	}
	slices.SortFunc(entries, func(a, b outboxEntry) int { return cmp.Compare(a.seq, b.seq) })
	if n := len(entries); n > 0 {
		o.next.Store(entries[n-1].seq)
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
		e := outboxEntry{
			seq: binary.BigEndian.Uint64(it.Key()[1:]), size: len(it.Value()), undrawn: it.Key()[0] == undrawnPrefix,
		}
		if e.ev, err = decodeOutboxEvent(it.Value()); err != nil {
			return nil, fmt.Errorf("event %d: %w", e.seq, err)
		}
		entries = append(entries, e)
	}
	return entries, it.Error()
}

// add makes events durable, all or none, and gives them their sequences and sizes.
func (o *outbox) add(entries []*outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	for _, e := range entries {
		value, err := encodeOutboxEvent(e.ev)
		if err != nil {
			return err
		}
		e.seq, e.size = o.next.Add(1), len(value)
		if err := b.Set(outboxKey(e.seq, e.undrawn), value, nil); err != nil {
			return err
		}
	}
	return o.commit(b, pebble.Sync)
}

// redraw replaces undrawn events by what they are with their draws, durably, all or none.
func (o *outbox) redraw(entries []*outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	for _, e := range entries {
		value, err := encodeOutboxEvent(e.ev)
		if err != nil {
			return err
		}
		if err := errors.Join(b.Delete(outboxKey(e.seq, true), nil), b.Set(outboxKey(e.seq, false), value, nil)); err != nil {
			return err
		}
	}
	return o.commit(b, pebble.Sync)
}

// remove forgets settled events. It is not made durable: an event that comes
// back after a crash is found settled when it is looked up, or sent again, or both.
func (o *outbox) remove(entries []outboxEntry) error {
	b := o.db.NewBatch()
	defer b.Close()
	for _, e := range entries {
		if err := b.Delete(outboxKey(e.seq, e.undrawn), nil); err != nil {
			return err
		}
	}
	return o.commit(b, pebble.NoSync)
}

// commit commits b. Where Pebble cannot write its log it panics with the error and
// keeps its commit lock, so that every later commit would hang: the process ends,
// as it does where Pebble calls Fatalf for the same cause.
func (o *outbox) commit(b *pebble.Batch, how *pebble.WriteOptions) error {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err, isError := p.(error)
		if _, bug := p.(runtime.Error); bug || !isError {
			panic(p)
		}
		o.log.Fatalf("%v", err)
	}()
	return b.Commit(how)
}

func (o *outbox) close() error { return o.db.Close() }

func outboxKey(seq uint64, undrawn bool) []byte {
	prefix := byte(outboxPrefix)
	if undrawn {
		prefix = undrawnPrefix
	}
	return binary.BigEndian.AppendUint64([]byte{prefix}, seq)
}

func encodeOutboxEvent(ev *fsm.Event) ([]byte, error) {
	body, err := msgpack.Marshal(ev)
	if err != nil {
		return nil, err
	}
	return append([]byte{outboxVersion}, body...), nil
}

func decodeOutboxEvent(value []byte) (*fsm.Event, error) {
	if len(value) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errOutboxFormat)
	}
	if value[0] != outboxVersion {
		return nil, fmt.Errorf("%w: it has version %d, this release reads %d", errOutboxFormat, value[0], outboxVersion)
	}
	ev := new(fsm.Event)
	if err := msgpack.Unmarshal(value[1:], ev); err != nil {
		return nil, fmt.Errorf("%w: %w", errOutboxFormat, err)
	}
	return ev, nil
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

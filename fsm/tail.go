package fsm

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// tail is what applied entries have written and the store has not been given yet. Writing it takes several times
// less for many entries together than for each: a budget or a sum is written once, however many events went into
// it, and keys that are given to Pebble in order cost it a fraction.
//
// Invariant, under Machine.mu: the state in memory is that of the store with the tail added, at one index. So whoever
// reads the store commits the tail first (Machine.pin), and nobody sees one without the other. A crash loses the
// tail as it loses what Pebble had not synced: the log has it, and is not truncated before a Flush.
//
// A tail is of one of two kinds. Entries of events, by far the most, read nothing of what others wrote but event ids, and
// budgets and sums that are in memory: their tail is a plain batch and lists beside it. All other entries may read what they like:
// theirs is an indexed batch, which is committed with the last of them in an Apply call.
type tail struct {
	db      *pebble.DB
	batch   *pebble.Batch // nil: there is nothing
	indexed bool          // the batch: reads see it, and everything but budgets and sums is in it

	rows *pebble.Batch // rows of budgets that the store has had and that stay seeds; older than what batch has; nil: none

	events    map[eventName]dedup // of a tail that is not indexed
	marks     marks               // likewise
	unwritten []*cachedBudget     // changed since the last commit
	s         *state              // which entries have changed

	ids     *pebble.Iterator // over event ids in the store, until the next commit
	key     []byte           // scratch
	value   []byte           // scratch
	ordered []eventName      // scratch
}

// maxTailBytes is the size at which a tail is committed: some thousand events. It bounds what is applied again after a
// crash of the process, and for how long the state is locked.
const maxTailBytes = 4 << 20

// tailEventBytes is about what an event id takes.
const tailEventBytes = 128

// eventName names an event.
type eventName struct{ account, id string }

func newTail(st *store, s *state) *tail {
	return &tail{db: st.db, s: s, events: map[eventName]dedup{}}
}

// reader is what an entry reads: the store, and if the tail is indexed, what is in it.
func (t *tail) reader() pebble.Reader {
	if t.indexed {
		return t.batch
	}
	return t.db
}

// begin makes the tail one that an entry can write to.
func (t *tail) begin(indexed bool) {
	if t.batch != nil {
		return
	}
	t.indexed = indexed
	if indexed {
		t.batch = t.db.NewIndexedBatch()
	} else {
		t.batch = t.db.NewBatch()
	}
}

func (t *tail) empty() bool { return t.batch == nil }

// fits reports whether an entry of that kind can be added to what is there. Apply has seen to it that there was room before the first.
func (t *tail) fits(indexed bool) bool {
	return t.batch == nil || t.indexed == indexed && t.size() < 4*maxTailBytes
}

func (t *tail) size() int {
	if t.batch == nil {
		return 0
	}
	size := t.batch.Len() + len(t.marks.bytes) + len(t.events)*tailEventBytes
	if t.rows != nil {
		size += t.rows.Len()
	}
	return size
}

// commit gives the store everything.
func (t *tail) commit() error {
	if t.batch == nil {
		return nil
	}
	err := errors.Join(t.writeEvents(), t.marks.write(t.batch), t.writeBudgets(), t.s.rollups.write(t.reader(), t.batch), t.batch.Set(keyApplied, t.s.appliedMark(), nil))
	all := t.batch
	if t.rows != nil {
		err = errors.Join(err, t.rows.Apply(t.batch, nil))
		all = t.rows
	}
	if err == nil {
		err = all.Commit(pebble.NoSync)
	}
	if err == nil {
		for _, b := range t.unwritten {
			b.unwritten = false
			t.s.rest(b)
		}
	}
	return errors.Join(err, t.drop())
}

// drop forgets everything.
func (t *tail) drop() error {
	if t.batch == nil {
		return nil
	}
	err := t.batch.Close()
	t.batch = nil
	if t.rows != nil {
		err = errors.Join(err, t.rows.Close())
		t.rows = nil
	}
	clear(t.events)
	clear(t.unwritten)
	t.unwritten = t.unwritten[:0]
	t.marks.reset()
	if t.ids != nil {
		err = errors.Join(err, t.ids.Close())
		t.ids = nil
	}
	return err
}

// event returns what the tail and the store know of an event id.
func (t *tail) event(name eventName, into *dedup) (known bool, err error) {
	if d, ok := t.events[name]; ok {
		*into = d
		return true, nil
	}
	t.key = appendEventKey(t.key[:0], name.account, name.id)
	if t.indexed {
		return getFrom(t.batch, t.key, into)
	}
	if t.ids == nil {
		// Most ids are new. Get would look into a block of the lowest level for each of them.
		lower, upper := tableRange(tableEvent)
		if t.ids, err = t.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: true}); err != nil {
			return false, err
		}
	}
	if !t.ids.SeekPrefixGE(t.key) || !bytes.Equal(t.ids.Key(), t.key) {
		return false, t.ids.Error()
	}
	v, err := t.ids.ValueAndErr()
	if err != nil {
		return false, err
	}
	return true, decodeValue(v, into)
}

// writeEvents puts the event ids into the batch, in order.
func (t *tail) writeEvents() error {
	t.ordered = t.ordered[:0]
	for name := range t.events {
		t.ordered = append(t.ordered, name)
	}
	slices.SortFunc(t.ordered, func(a, b eventName) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.id, b.id))
	})
	for _, name := range t.ordered {
		known := t.events[name]
		t.key = appendEventKey(t.key[:0], name.account, name.id)
		t.value = known.append(t.value[:0])
		if err := t.batch.Set(t.key, t.value, nil); err != nil {
			return err
		}
	}
	clear(t.ordered) // their texts keep whole entries in memory
	return nil
}

// changed notes that the store has an older b, if any. It stays in memory until the tail is committed.
func (t *tail) changed(b *cachedBudget) {
	b.batched = false
	if !b.unwritten {
		b.unwritten = true
		t.unwritten = append(t.unwritten, b)
	}
}

// batches notes that the batch has b as it is: nothing older may follow, and nothing does, because there is one b of its key until it
// is written: memory forgets none, and makes none a seed.
func (t *tail) batches(b *cachedBudget) {
	t.changed(b)
	b.batched = true
}

// rowBytes is about what a row of a budget as it was born takes.
const rowBytes = 72

// row writes the row of a budget that stays a seed, one of about n in this entry. They come by the million: no index is made of them,
// nothing reads them before they are committed, and what the tail has of a budget that is changed after that is written after it.
func (t *tail) row(key, value []byte, n int) error {
	if t.rows == nil {
		t.rows = t.db.NewBatchWithSize(min(n*rowBytes, maxRowBytes))
	}
	return t.rows.Set(key, value, nil)
}

// maxRowBytes is what memory for rows is asked for at once at most.
const maxRowBytes = 256 << 20

// deleted notes that an assignment's budgets are gone.
func (t *tail) deleted(num uint64) {
	t.unwritten = slices.DeleteFunc(t.unwritten, func(b *cachedBudget) bool {
		gone := b.Key.Assignment == num
		b.unwritten = b.unwritten && !gone
		return gone
	})
}

// writeBudgets puts the changed budgets into the batch, in order.
func (t *tail) writeBudgets() error {
	slices.SortFunc(t.unwritten, func(a, b *cachedBudget) int { return compareKeys(a.Key, b.Key) })
	for _, b := range t.unwritten {
		if b.batched {
			continue
		}
		t.key, t.value = appendBudgetRow(t.key[:0], b.Key), b.Budget.append(t.value[:0])
		if err := t.batch.Set(t.key, t.value, nil); err != nil {
			return err
		}
	}
	return nil
}

// marks are keys that say all by themselves, of which each is there once.
type marks struct {
	bytes []byte
	keys  []struct{ from, to int } // in bytes
}

func (m *marks) add(key []byte) {
	from := len(m.bytes)
	m.bytes = append(m.bytes, key...)
	m.keys = append(m.keys, struct{ from, to int }{from, len(m.bytes)})
}

func (m *marks) reset() { m.bytes, m.keys = m.bytes[:0], m.keys[:0] }

// write puts them into a batch, in order.
func (m *marks) write(batch *pebble.Batch) error {
	slices.SortFunc(m.keys, func(a, b struct{ from, to int }) int {
		return bytes.Compare(m.bytes[a.from:a.to], m.bytes[b.from:b.to])
	})
	for _, k := range m.keys {
		if err := batch.Set(m.bytes[k.from:k.to], nil, nil); err != nil {
			return err
		}
	}
	return nil
}

package fsm

import "fmt"

// txn is one log entry being applied: it changes the state and collects the same
// changes as store writes and for the observer. Nothing is changed before the
// command has been validated, so a rejection leaves no trace but its outcome.
type txn struct {
	s       *state
	cmd     *Command
	version uint8 // of the command's encoding in the log
	index   uint64
	tail    *tail    // of this entry and those before that the store does not have
	changes *pending // of the whole Apply call
	roster  Roster   // as of this entry; its Leader is the command's, if live

	touched []touched                 // changed by this entry, in order; written at its end
	before  map[BudgetKey]*obligation // with invariants: what budgets were and what they may become
	sum     sumWrites
	err     error // the store failed, and with it the whole Apply call

	clockBefore int64 // the clock as of the entry before
}

// packs reports whether the entry leaves packed values. Every replica must write the same bytes for
// an entry, so what it was encoded as decides, and not what this release would rather write.
func (t *txn) packs() bool { return t.version >= packedFrom }

// put writes a value.
func (t *txn) put(key []byte, value any) {
	v, err := encodeValue(value)
	if err != nil {
		t.fail(fmt.Errorf("encode value of key %q: %w", key, err))
		return
	}
	t.set(key, v)
}

// set writes an encoded value. Key and value are the caller's again.
func (t *txn) set(key, value []byte) {
	t.fail(t.tail.batch.Set(key, value, nil))
	t.sum.write(opPut, key, value)
}

// del deletes a key.
func (t *txn) del(key []byte) {
	t.fail(t.tail.batch.Delete(key, nil))
	t.sum.write(opDelete, key, nil)
}

// delRange deletes the keys in [lower, upper).
func (t *txn) delRange(lower, upper []byte) {
	t.fail(t.tail.batch.DeleteRange(lower, upper, nil))
	t.sum.write(opDeleteRange, lower, upper)
}

// get reads a value as of this entry, or for an entry of events, as of the store. An error is a failed store, which fails
// the whole Apply call; a caller may treat it as absence and return.
func (t *txn) get(key []byte, into any) (bool, error) {
	ok, err := getFrom(t.tail.reader(), key, into)
	t.fail(err)
	return ok, err
}

// scan calls f for the keys in [lower, upper) as get reads them, until it
// returns false. Key and value are valid during the call only.
func (t *txn) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	err := scan(t.tail.reader(), lower, upper, reverse, f)
	t.fail(err)
	return err
}

// fail records a failed store.
func (t *txn) fail(err error) {
	if err != nil && t.err == nil {
		t.err = err
	}
}

// nextAssignment gives out an assignment number.
func (t *txn) nextAssignment() uint64 {
	num := t.s.nextAssignment
	t.s.nextAssignment++
	t.putCounters()
	return num
}

func (t *txn) putCounters() {
	t.put(keyCounters, counters{NextAssignment: t.s.nextAssignment, SettledFrom: t.s.settledFrom})
}

// putBudget writes a budget as the entry leaves it. The checksum covers that for each entry; the
// store gets what the last entry of the tail leaves.
func (t *txn) putBudget(b *cachedBudget) {
	if !t.packs() {
		t.put(budgetKey(b.Key), &b.Budget)
		t.tail.batches(b)
		return
	}
	w := &t.s.scratch
	w.key, w.value = appendBudgetRow(w.key[:0], b.Key), b.Budget.append(w.value[:0])
	t.sum.write(opPut, w.key, w.value)
	t.tail.changed(b)
}

// putSeed writes what r's seed stands for. No budget by itself has that key in this tail: one becomes a seed when the tail is committed.
func (t *txn) putSeed(r *record) {
	w := &t.s.scratch
	r.bornInto(&w.born)
	w.key = appendBudgetRow(w.key[:0], w.born.Key)
	if t.packs() {
		w.value = w.born.append(w.value[:0])
	} else {
		v, err := encodeValue(&w.born)
		t.fail(err)
		w.value = append(w.value[:0], v...)
	}
	t.sum.write(opPut, w.key, w.value)
	t.fail(t.tail.row(w.key, w.value, len(t.touched)))
}

// finish writes the entry's budgets, remembers its outcome and drops what memory no longer needs.
func (t *txn) finish(o Outcome) {
	t.checkInvariants()
	for _, c := range t.touched {
		if c.b == nil {
			t.putSeed(c.r)
			continue
		}
		t.putBudget(c.b)
		t.changes.budget(c.b)
		t.s.hold(c.b)
	}
	t.learn(o)
	t.s.evict()
}

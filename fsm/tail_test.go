package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// stored returns the index that the store itself has.
func stored(t *testing.T, m *Machine) uint64 {
	t.Helper()
	s := new(state)
	if err := s.loadAppliedMark(m.store.db); err != nil {
		t.Fatal(err)
	}
	return s.index
}

// Event ids are looked up for every event, so that must not commit the tail; whatever else reads the store has to.
func TestReadersSeeWhatTheStoreDoesNotHaveYet(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(100))
	if err := r.m.Commit(); err != nil {
		t.Fatal(err)
	}
	before := stored(t, r.m)
	r.must(settle(1, r.event("e1", k, 7, 0, 1)))
	if _, _, known, err := r.m.Event("acme", "e1"); !known || err != nil {
		t.Errorf("Event() = %v, %v of an event that was applied", known, err)
	}
	if _, _, known, err := r.m.Event("acme", "e2"); known || err != nil {
		t.Errorf("Event() = %v, %v of an event that was not", known, err)
	}
	again := r.event("e1", k, 7, 0, 1)
	other := r.event("e1", k, 7, 0, 1)
	other.Hash[31]++
	r.must(settle(2, again, other))
	for i, want := range []EventOutcome{Duplicate, IDConflict} {
		if got := r.last().Events[i].Outcome; got != want {
			t.Errorf("the event once more: %v, want %v", got, want)
		}
	}
	if at := stored(t, r.m); at != before {
		t.Fatalf("the store is at index %d: the tail of these events was committed, from index %d on", at, before)
	}
	lines, _, err := r.m.ListLedger("acme", LedgerFilter{}, 0, 10)
	if err != nil || len(lines) != 1 || stored(t, r.m) != r.index {
		t.Errorf("%d lines, %v, the store at index %d; want one line, and the store at %d", len(lines), err, stored(t, r.m), r.index)
	}
	if _, _, known, err := r.m.Event("acme", "e1"); !known || err != nil {
		t.Errorf("Event() = %v, %v after the commit", known, err)
	}
}

// A crash takes the tail, and the log gives it back.
func TestACrashTakesWhatTheLogGivesBack(t *testing.T) {
	mem := vfs.NewCrashableMem()
	r := newRig(t)
	log := r.log
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	r.fs, r.log, r.index, r.seen = mem, nil, 0, nil
	r.open()
	if _, err := r.m.Apply(log); err != nil {
		t.Fatal(err)
	}
	r.log, r.index = log, log[len(log)-1].Index
	k := r.period(r.assign(1000))
	for i := range 10 {
		r.must(settle(1, r.event(fmt.Sprint("before-", i), k, 1, 0, 1)))
	}
	if err := r.m.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed := r.index
	for i := range 10 {
		r.must(settle(1, r.event(fmt.Sprint("after-", i), k, 1, 0, 1)))
	}
	_, sum := r.m.Checksum()
	crashed, err := Open("state", Options{FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer crashed.Close()
	if at, _ := crashed.Applied(); at != flushed {
		t.Fatalf("index %d after the crash, want %d: there was no tail", at, flushed)
	}
	if _, err := crashed.Apply(r.log); err != nil {
		t.Fatal(err)
	}
	if at, again := crashed.Checksum(); at != r.index || again != sum {
		t.Errorf("index %d, sum %x; want %d, %x", at, again, r.index, sum)
	}
	lines, _, err := crashed.ListLedger("acme", LedgerFilter{}, 0, 100)
	if err != nil || len(lines) != 20 {
		t.Errorf("%d lines, %v; want 20", len(lines), err)
	}
}

// Nobody reads, and the tail is committed all the same.
func TestTheTailIsBounded(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(MaxAmount))
	before := stored(t, r.m)
	for i := 0; i < 20_000; i += 500 {
		var events []Event
		for n := range 500 {
			events = append(events, r.event(fmt.Sprint(i+n), k, 1, 0, 1))
		}
		r.must(settle(1, events...))
		if size := r.m.tail.size(); size > maxTailBytes+1<<20 {
			t.Fatalf("the tail has %d bytes", size)
		}
	}
	if at := stored(t, r.m); at == before {
		t.Error("20,000 events were applied and none is in the store")
	}
}

// An entry that fails in the middle must not reach the disk as if it had been applied, whoever commits next.
func TestAnEntryAppliedByHalfIsNotCommitted(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(100))
	if err := committed(t, r.m).Set(eventKey("acme", "bad"), []byte("damaged"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	before := r.index
	e := r.entry("", settle(1, r.event("good", k, 1, 0, 1), r.event("bad", k, 1, 0, 1)))
	if _, err := r.m.applyAll([]Entry{e}, make([]Outcome, 1)); err == nil {
		t.Fatal("a damaged value was read")
	}
	if err := r.m.Commit(); err == nil {
		t.Error("what had failed was committed")
	}
	if at := stored(t, r.m); at != before {
		t.Errorf("the store is at index %d, want %d", at, before)
	}
}

// A budget that is changed and deleted before the tail is committed must not keep the others in memory.
func TestDeletedBudgetsLeaveTheExpiryQueue(t *testing.T) {
	r := newRig(t)
	gone, kept := r.assign(100, per(EveryMinute)), r.assign(100, per(EveryHour))
	r.must(settle(1, r.event("e1", r.period(gone), 1, 0, 1), r.event("e2", r.period(kept), 1, 0, 1)))
	if err := r.m.Commit(); err != nil {
		t.Fatal(err)
	}
	r.apply(DrainNode{Node: 2, Boot: 1}, DeleteAssignment{Account: "acme", ID: gone.ID})
	for i := range 5 {
		r.now += budgetKeep
		r.must(settle(1, r.event(fmt.Sprint("later-", i), r.period(kept), 1, 0, 1)))
		if err := r.m.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	r.must(Reconcile{})
	if n := len(r.m.s.expiry); n > 2 {
		t.Errorf("%d budgets wait to be forgotten", n)
	}
}

// Memory keeps a budget, and does not make it a seed, until the store has it: of two that are one in the store, either might be written last.
func TestABudgetThatIsAsItWasBornStaysUntilItIsWritten(t *testing.T) {
	r := newRig(t)
	var keys []BudgetKey
	for i := range 20 { // more than a sort leaves in the order in which they came
		keys = append(keys, r.period(r.assign(int64(100+i), func(a *Assignment) { a.Cadence.Anchored, a.Cadence.Anchor = true, int64(i)*60_000 })))
	}
	if err := r.m.Commit(); err != nil {
		t.Fatal(err)
	}
	settleAll := func(id string, amount int64) {
		for i, k := range keys {
			r.must(settle(1, r.event(fmt.Sprint(id, i), k, amount, 0, 1)))
		}
	}
	settleAll("nothing-", 0)
	for _, k := range keys {
		if c := r.m.s.records.get(k.Assignment); c.seed != nil || c.find(k.Start) == nil {
			t.Errorf("%v is a seed, and the store has it not yet", k)
		}
	}
	settleAll("again-", 0)
	settleAll("seven-", 7)
	if n := len(r.m.tail.unwritten); n != len(keys) {
		t.Errorf("%d budgets are to be written, there are %d", n, len(keys))
	}
	r.reopen()
	for _, k := range keys {
		if used := r.budget(k).Used; used != 7 {
			t.Errorf("%v: the store has %d used, want 7", k, used)
		}
	}
}

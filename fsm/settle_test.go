package fsm

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// outcomes returns what became of the events of the last call.
func (r *rig) outcomes() (out []EventOutcome) {
	for _, e := range r.last().Events {
		out = append(out, e.Outcome)
	}
	return out
}

// ledger returns acme's lines, oldest first.
func (r *rig) ledger() (lines []LedgerLine) {
	r.t.Helper()
	lower, upper := prefixRange(accountPrefix(tableLedger, "acme"))
	err := r.m.scan(lower, upper, false, func(_, v []byte) (bool, error) {
		var l LedgerLine
		err := decodeValue(v, &l)
		lines = append(lines, l)
		return true, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return lines
}

func TestEventIsChargedOnceHoweverOftenItComes(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	e, other := r.event("e1", k, 10, 10, 1), r.event("e1", k, 99, 0, 1)
	other.Hash = [32]byte{0xff}
	fromElsewhere := e
	fromElsewhere.Lines = []Line{{k, 10, 10, 2}}
	// In one entry, in one call, in the next call, and after a restart.
	r.apply(
		Reconcile{Parts: []Part{{Node: 1, Boot: 1, Events: []Event{e, e}}, {Node: 2, Boot: 1, Events: []Event{fromElsewhere, other}}}},
		settle(2, e),
	)
	if diff := cmp.Diff([]EventOutcome{Settled, Duplicate, Duplicate, IDConflict, Duplicate}, r.outcomes()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	r.reopen()
	r.must(settle(1, e, other))
	if diff := cmp.Diff([]EventOutcome{Duplicate, IDConflict}, r.outcomes()); diff != "" {
		t.Errorf("reopened: outcomes (-want +got):\n%s", diff)
	}
	if b := r.budget(k); b.Used != 10 || leases(b) != "1:90 2:100 3:100" {
		t.Errorf("used %d, leases %s; want 10 and 1:90 2:100 3:100", b.Used, leases(b))
	}
	if n := len(r.ledger()); n != 1 {
		t.Errorf("%d ledger lines, want 1", n)
	}
	if hash, seq, ok, err := r.m.Event("acme", "e1"); hash != e.Hash || seq != 1 || !ok || err != nil {
		t.Errorf("event: %x, %d, %v, %v", hash, seq, ok, err)
	}
}

func TestLedgerNumbersLinesWithoutGaps(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.must(PutAccount{ID: "beta"})
	foreign := r.event("x", k, 1, 0, 1)
	foreign.Account = "beta"
	unknown := r.event("y", k, 1, 0, 1)
	unknown.Account = "nobody"
	r.must(settle(1, r.event("e1", k, 1, 0, 1), r.event("e1", k, 1, 0, 1), unknown, foreign, r.event("e2", k, 1, 0, 1)))
	r.reopen()
	r.must(settle(1, r.event("e3", k, 1, 0, 1)))
	var got []uint64
	for _, l := range r.ledger() {
		got = append(got, l.Seq)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, got); diff != "" {
		t.Errorf("sequence (-want +got):\n%s", diff)
	}
	if b := r.budget(k); b.Used != 3 {
		t.Errorf("used %d, want 3: another account's event may not charge it", b.Used)
	}
}

func TestEventOfAnUnknownAccountIsDropped(t *testing.T) {
	r := newRig(t)
	e := r.event("e1", BudgetKey{}, 1, 0, 1)
	e.Account = "nobody"
	r.must(settle(1, e))
	if diff := cmp.Diff([]EventOutcome{Dropped}, r.outcomes()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	r.must(PutAccount{ID: "nobody"})
	r.must(settle(1, e))
	if diff := cmp.Diff([]EventOutcome{Settled}, r.outcomes()); diff != "" {
		t.Errorf("once the account is there: outcomes (-want +got):\n%s", diff)
	}
}

func TestLinesThatNameNoBudgetAreLeftOut(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000)
	k := r.period(a)
	e := r.event("e1", k, 10, 4, 1)
	good := e.Lines[0]
	e.Lines = []Line{
		{Budget: BudgetKey{99, k.Start}, Amount: 1},               // no such assignment
		{Budget: BudgetKey{k.Assignment, k.Start + 1}, Amount: 1}, // no period starts there
		{Budget: k, Amount: -1},                                   // nothing is given back by an event
		good,
	}
	r.must(settle(1, e))
	if diff := cmp.Diff([]Line{good}, r.last().Events[0].Lines); diff != "" {
		t.Errorf("applied lines (-want +got):\n%s", diff)
	}
	if b := r.budget(k); b.Used != 10 || leases(b) != "1:96 2:100 3:100" {
		t.Errorf("used %d, leases %s; want 10 and 1:96 2:100 3:100", b.Used, leases(b))
	}
}

func TestLineFlags(t *testing.T) {
	r := newRig(t)
	month, minute := r.assign(10), r.assign(10, per(EveryMinute))
	now, past := r.period(month), r.period(minute)
	r.now += 120_000
	r.must(settle(1, r.event("at the limit", now, 10, 0, 0)))
	r.must(settle(1, r.event("over", now, 1, 0, 0)))
	r.must(settle(1, r.event("late", past, 1, 0, 0)))
	type flags struct{ Overage, Late bool }
	got := map[string]flags{}
	for _, l := range r.ledger() {
		got[l.Event.ID] = flags{l.Overage, l.Late}
		if l.Kind != KindUsage || l.Settled != r.now || l.Index == 0 {
			t.Errorf("line %+v", l)
		}
	}
	want := map[string]flags{"at the limit": {}, "over": {Overage: true}, "late": {Late: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLateLineChargesItsOwnPeriod(t *testing.T) {
	r := newRig(t)
	a := r.assign(100, per(EveryMinute))
	first := r.period(a)
	// Long enough that the budget has left memory, and its first touch was never logged.
	r.now += 3 * budgetKeep
	second := r.period(a)
	before := r.budget(second)
	r.must(settle(1, r.event("e1", first, 7, 7, 1)))
	if err := r.m.Commit(); err != nil {
		t.Fatal(err)
	}
	r.must(Reconcile{})
	if r.m.s.cached(first) != nil {
		t.Error("a budget of three hours ago is still in memory")
	}
	r.must(settle(1, r.event("e2", first, 5, 5, 2)))
	b := r.budget(first)
	if b.Used != 12 || leases(b) != "1:3 2:5 3:10" {
		t.Errorf("used %d, leases %s; want 12 and 1:3 2:5 3:10", b.Used, leases(b))
	}
	if diff := cmp.Diff(before, r.budget(second), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the present period changed:\n%s", diff)
	}
	r.reopen()
	if diff := cmp.Diff(b, r.budget(first)); diff != "" {
		t.Errorf("reopened, the late period differs:\n%s", diff)
	}
}

func TestSumsStopAtTheEndOfTheirRange(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	for _, id := range []string{"e1", "e2", "e3"} {
		r.must(settle(1, r.event(id, k, math.MaxInt64, math.MaxInt64, 1)))
	}
	if b := r.budget(k); b.Used != math.MaxInt64 || b.Free() >= 0 || b.LeaseOf(1) < 0 {
		t.Errorf("%+v", b)
	}
}

func TestSettledReservationIsRememberedForItsLife(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	mark := func(id string) {
		e := r.event("by "+id, k, 1, 1, 1)
		e.Reservation = id
		r.must(settle(1, e))
	}
	settled := func(id string) bool {
		t.Helper()
		ok, err := r.m.ReservationSettled("acme", id)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	mark("rsv_1")
	r.now += MaxReserveTTL.Milliseconds()
	mark("rsv_2")
	r.now += MaxReserveTTL.Milliseconds()
	mark("rsv_3")
	r.reopen()
	if !settled("rsv_1") || !settled("rsv_2") || !settled("rsv_3") || settled("rsv_4") {
		t.Error("a reservation settled two hours ago is forgotten, or one never settled is known")
	}
	r.now += settledHours * hourMS
	mark("rsv_5")
	if settled("rsv_1") || settled("rsv_3") || !settled("rsv_5") {
		t.Error("reservations settled long ago are still known")
	}
	count := 0
	lower, upper := tableRange(tableReservation)
	if err := r.m.scan(lower, upper, false, func(_, _ []byte) (bool, error) { count++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	if count != 1 {
		t.Errorf("%d markers are stored, want 1", count)
	}
}

func TestSoftBudgetCountsWithoutLeases(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(10, func(a *Assignment) { a.Enforcement = Soft }))
	r.must(settle(1, r.event("e1", k, 25, 25, 1)))
	want := Budget{Key: k, Limit: 10, Used: 25}
	if diff := cmp.Diff(want, r.budget(k), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o := r.must(ask(1, Ask{Budget: k, NeedMin: 1, NeedSum: 1})); o.Grants[0][0].Amount != 0 {
		t.Errorf("a soft budget granted %d", o.Grants[0][0].Amount)
	}
}

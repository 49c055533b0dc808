package fsm

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssignmentsHaveDefaults(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000, scoped("y", "x")))
	a := d.assignment("a")
	want := Assignment{
		ID: "asg_a_tokens", Num: 1, Account: "acme", Entity: "a", Capability: "tokens", Scope: []string{"x", "y"},
		Cadence: Cadence{Every: EveryMonth, Timezone: "UTC"}, Limit: 1000, Enforcement: Hard, Mode: Cap,
		BirthFrom: d.now, CreatedAt: d.now, UpdatedAt: d.now,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOneIdentityIsOneAssignment(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000))
	first := d.assignment("a")
	d.must(assign("a", "tokens", 2000, soft, thresholds(50, 80), func(a *AssignmentPut) { a.Assignment.ID = "asg_other" }))
	a := d.assignment("a")
	if a.ID != first.ID || a.Num != first.Num || a.CreatedAt != first.CreatedAt || a.Limit != 2000 || a.Enforcement != Soft || a.UpdatedAt != d.now {
		t.Errorf("%+v", a)
	}
	d.idle(assign("a", "tokens", 2000, soft, thresholds(50, 80), func(a *AssignmentPut) {
		a.Assignment.Cadence.Timezone = "UTC"
		a.Assignment.Mode = Cap
	}))
	for i, edit := range []func(*AssignmentPut){every(EveryDay), scoped("x"), func(a *AssignmentPut) { a.Assignment.Cadence.Timezone = "Europe/Berlin" }} {
		d.must(assign("a", "tokens", 5, edit, func(a *AssignmentPut) { a.Assignment.ID = "asg_" + string(rune('0'+i)) }))
	}
	d.refuse(CodeConflict, assign("a", "requests", 5, func(a *AssignmentPut) { a.Assignment.ID = first.ID }))
	items, _, err := d.m.ListAssignments("acme", AssignmentFilter{}, "", 100)
	if err != nil || len(items) != 4 {
		t.Errorf("%d assignments, want 4: %v", len(items), err)
	}
}

func TestABulkOfAssignmentsIsAllOrNone(t *testing.T) {
	d := newAcme(t)
	items := slices.Concat(assign("a", "tokens", 10).Items, assign("b", "tokens", -1).Items)
	d.refuse(CodeInvalid, PutAssignments{Account: "acme", Items: items})
	items[1].Assignment.Limit = 1
	d.must(PutAssignments{Account: "acme", Items: items})
	if a, b := d.assignment("a"), d.assignment("b"); a.Num != 1 || b.Num != 2 {
		t.Errorf("numbers %d and %d", a.Num, b.Num)
	}
}

func leaseAmounts(b Budget) (out []int64) {
	for _, l := range b.Leases {
		out = append(out, l.Amount)
	}
	return out
}

// A new assignment's present period cannot be derived with births, so it is made with them.
func TestANewHardLimitIsHandedOutAtOnce(t *testing.T) {
	d := newAcme(t)
	d.must(DeadNode{Node: 3})
	d.must(assign("a", "tokens", 1000))
	if len(d.seen.Budgets) != 1 {
		t.Errorf("the observer saw %d budgets", len(d.seen.Budgets))
	}
	if b := d.budget("a"); !slices.Equal(leaseAmounts(b), []int64{100, 100}) || b.Free() != 800 {
		t.Errorf("%+v", b)
	}
	d.must(assign("b", "tokens", 1000, soft))
	if b := d.budget("b"); b.Leased || len(b.Leases) != 0 || len(d.seen.Budgets) != 0 {
		t.Errorf("soft: %+v", b)
	}
}

func (d *desk) settle(entity string, amount int64) {
	d.t.Helper()
	a := d.assignment(entity)
	start, _ := a.Cadence.Period(d.now)
	d.event(Event{ID: "evt", Entities: []string{entity}, Chain: []string{entity, "acme"}, At: d.now,
		Usage: []Quantity{{a.Capability, amount}}, Lines: []Line{{Budget: BudgetKey{a.Num, start}, Amount: amount}}})
}

var eventSerial int

// event settles an event of acme under an id of its own.
func (d *desk) event(e Event) string {
	d.t.Helper()
	eventSerial++
	e.Account, e.Node, e.ReceivedAt = "acme", 1, d.now
	e.ID = e.ID + "-" + string(rune('0'+eventSerial%10)) + "-" + timestamp(int64(eventSerial))
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
	if got := d.seen.Events[0].Outcome; got != Settled {
		d.t.Fatalf("event outcome %d", got)
	}
	return e.ID
}

func TestRaisingALimitKeepsWhatIsHandedOut(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000))
	d.settle("a", 50)
	d.must(assign("a", "tokens", 5000))
	if b := d.budget("a"); b.Limit != 5000 || b.Used != 50 || !slices.Equal(leaseAmounts(b), []int64{100, 100, 100}) || b.Holder != 0 {
		t.Errorf("%+v", b)
	}
	if got := d.seen.Budgets; len(got) != 1 || got[0].Limit != 5000 {
		t.Errorf("the observer saw %+v", got)
	}
}

func TestACutBelowWhatIsCommittedConsolidatesTheBudget(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000))
	d.settle("a", 600)
	d.must(assign("a", "tokens", 700))
	if b := d.budget("a"); b.Limit != 700 || b.Holder != 1 || b.Free() != -200 {
		t.Errorf("%+v", b)
	}
	d.must(assign("a", "tokens", 100))
	if b := d.budget("a"); b.Limit != 100 || b.Left() != -500 {
		t.Errorf("below what is used: %+v", b)
	}
}

// A node that has not applied the change yet may still be born with a period that begins
// within the staleness bound, by the old limit.
func TestAChangedLimitKeepsTheOldBirthsOfPeriodsAboutToBegin(t *testing.T) {
	d := newAcme(t)
	d.now = instant("2026-11-22T10:00:00Z")
	d.must(assign("a", "tokens", 1000, every(EveryMinute)))
	d.now = instant("2026-11-22T10:05:52Z")
	d.must(assign("a", "tokens", 10_000, every(EveryMinute))) // at :53, ten seconds reach into 10:06
	a := d.assignment("a")
	at := func(s string) (b Budget) {
		d.m.View(func(v *View) { b = v.Budget(&a, instant(s)) })
		return b
	}
	for _, c := range []struct {
		start string
		lease int64
	}{
		{"2026-11-22T10:05:00Z", 100},
		{"2026-11-22T10:06:00Z", 100},
		{"2026-11-22T10:07:00Z", 1000},
	} {
		if b := at(c.start); b.Limit != 10_000 || !slices.Equal(leaseAmounts(b), []int64{c.lease, c.lease, c.lease}) {
			t.Errorf("%s: %+v, want leases of %d", c.start, b, c.lease)
		}
	}
}

func TestHardToSoftAndBack(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000, every(EveryMinute)))
	d.settle("a", 950) // overdrawn with the births: consolidated
	held := d.budget("a")
	if held.Holder == 0 {
		t.Fatalf("not consolidated: %+v", held)
	}
	d.must(assign("a", "tokens", 1000, every(EveryMinute), soft))
	if b := d.budget("a"); b.Leased || len(b.Leases) != 0 || b.Holder != 0 || len(b.Acks) != 0 || b.Used != 950 || b.Gen <= held.Gen {
		t.Errorf("soft: %+v", b)
	}
	d.must(assign("a", "tokens", 1000, every(EveryMinute)))
	b := d.budget("a")
	if !b.Leased || len(b.Leases) != 0 || b.Used != 950 || b.Free() != 50 {
		t.Errorf("hard again: %+v", b)
	}
	a := d.assignment("a")
	if want := d.now + DefaultMaxStaleness.Milliseconds(); a.BirthFrom != want {
		t.Errorf("born from %d, want %d", a.BirthFrom, want)
	}
	d.m.View(func(v *View) {
		start, end := a.Cadence.Period(a.BirthFrom)
		if b := v.Budget(&a, start); len(b.Leases) != 0 {
			t.Errorf("a period that began before it has births: %+v", b)
		}
		if b := v.Budget(&a, end); len(b.Leases) != 3 {
			t.Errorf("a period that begins after it has none: %+v", b)
		}
	})
}

func TestUnlimitedAndBack(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000))
	d.must(assign("a", "tokens", 77, unlimited))
	if b := d.budget("a"); !b.Unlimited || b.Leased || len(b.Leases) != 0 {
		t.Errorf("%+v", b)
	}
	if a := d.assignment("a"); a.Limit != 0 {
		t.Errorf("an unlimited assignment keeps a limit of %d", a.Limit)
	}
	d.settle("a", 5000)
	d.must(assign("a", "tokens", 1000))
	if b := d.budget("a"); b.Unlimited || !b.Leased || b.Used != 5000 || b.Limit != 1000 || b.Holder == 0 {
		t.Errorf("%+v", b)
	}
}

func TestDeletingAnAssignmentDeletesItsBudgets(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1000))
	a := d.assignment("a")
	d.settle("a", 10)
	d.must(DeleteAssignment{Account: "acme", ID: a.ID})
	if !slices.Equal(d.seen.Deleted, []uint64{a.Num}) || !slices.Equal(d.seen.Tree, []EntityID{{"acme", "a"}}) {
		t.Errorf("the observer saw %+v", d.seen)
	}
	for key := range d.dump() {
		if key[0] == tableBudget || key[0] == tableAssignment || key[0] == tableAssignmentID {
			t.Errorf("left behind: %q", key)
		}
	}
	d.refuse(CodeNotFound, DeleteAssignment{Account: "acme", ID: a.ID})
	d.must(assign("a", "tokens", 1000))
	if again := d.assignment("a"); again.Num == a.Num {
		t.Errorf("number %d was reused", again.Num)
	}
}

func TestBackfillCountsWhatThePeriodSaw(t *testing.T) {
	d := newAcme(t)
	use := func(at int64, tokens int64, chain ...string) {
		d.event(Event{ID: "e", Entities: chain[:1], Chain: chain, At: at, Usage: []Quantity{{"requests", 1}, {"tokens", tokens}}})
	}
	month := instant("2026-11-01T00:00:00Z")
	use(month-1, 1, "alice", "a", "p", "o", "acme") // another month
	use(month, 20, "alice", "a", "p", "o", "acme")
	use(d.now, 300, "b", "p", "o", "acme")
	use(d.now, 4000, "alice", "a", "p", "o", "acme")
	for _, c := range []struct {
		entity string
		every  Every
		want   int64
	}{
		{"alice", EveryMonth, 4020}, {"b", EveryMonth, 300}, {"p", EveryMonth, 4320}, {"o", EveryNever, 4321}, {"acme", EveryDay, 4300},
	} {
		d.must(assign(c.entity, "tokens", 1_000_000, every(c.every), backfilled))
		b := d.budget(c.entity)
		if b.Used != c.want {
			t.Errorf("%s per %s: used %d, want %d", c.entity, c.every, b.Used, c.want)
		}
		if want := (1_000_000 - c.want) / 10; !slices.Equal(leaseAmounts(b), []int64{want, want, want}) {
			t.Errorf("%s: leases %v, want %d each", c.entity, leaseAmounts(b), want)
		}
	}
	d.must(assign("a", "requests", 1, backfilled))
	if b := d.budget("a"); b.Used != 2 || len(b.Leases) != 0 || b.Holder == 0 {
		t.Errorf("past its limit from the start: %+v", b)
	}
	d.must(assign("p", "requests", 10, backfilled, soft, func(a *AssignmentPut) { a.Assignment.ID = "asg_soft" }))
	items, _, _ := d.m.ListAssignments("acme", AssignmentFilter{Entity: "p", Capability: "requests"}, "", 1)
	d.m.View(func(v *View) {
		if b := v.Budget(&items[0], month); b.Used != 3 || b.Leased {
			t.Errorf("soft: %+v", b)
		}
	})
}

// Backfill takes effect when an assignment is made. Of one that was made so it may be
// said again, with any change; of one that was not, it is refused, not passed over.
func TestBackfillOfAnAssignmentThatExists(t *testing.T) {
	d := newAcme(t)
	d.event(Event{ID: "e", Chain: []string{"a", "acme"}, At: d.now, Usage: []Quantity{{"tokens", 7}}})
	d.must(assign("a", "tokens", 100, backfilled))
	if a, b := d.assignment("a"), d.budget("a"); !a.Backfill || b.Used != 7 {
		t.Fatalf("%+v, %+v", a, b)
	}
	d.idle(assign("a", "tokens", 100, backfilled))
	d.idle(assign("a", "tokens", 100)) // does not say it again: it still was
	d.event(Event{ID: "e", Entities: []string{"a"}, Chain: []string{"a", "acme"}, At: d.now, Usage: []Quantity{{"tokens", 7}}})
	d.must(assign("a", "tokens", 200, backfilled))
	if a, b := d.assignment("a"), d.budget("a"); !a.Backfill || a.Limit != 200 || b.Used != 7 {
		t.Errorf("counted again, or forgotten: %+v, %+v", a, b)
	}

	d.must(assign("b", "tokens", 100))
	for _, limit := range []int64{100, 200} {
		d.refuse(CodeConflict, assign("b", "tokens", limit, backfilled))
	}
	d.refuse(CodeConflict, PutAssignments{Account: "acme", Items: slices.Concat(
		assign("p", "tokens", 1, backfilled).Items, assign("b", "tokens", 100, backfilled).Items)})
	if a := d.assignment("b"); a.Backfill || a.Limit != 100 {
		t.Errorf("%+v", a)
	}
	d.must(DeleteAssignment{Account: "acme", ID: d.assignment("b").ID})
	d.must(assign("b", "tokens", 100, backfilled))
}

func TestAnAssignmentCountsFromTheMomentItIsMade(t *testing.T) {
	d := newAcme(t)
	d.event(Event{ID: "e", Chain: []string{"a", "acme"}, At: d.now, Usage: []Quantity{{"tokens", 7}}})
	d.must(assign("a", "tokens", 100))
	if b := d.budget("a"); b.Used != 0 {
		t.Errorf("%+v", b)
	}
}

package fsm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReplayedEntriesAreSkipped(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000)
	k := r.period(a)
	r.must(ask(1, Ask{Budget: k, NeedMin: 50, NeedSum: 50}))
	want := r.budget(k)
	told := len(r.seen)
	out, err := r.m.Apply(r.log)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if diff := cmp.Diff(Outcome{}, o); diff != "" {
			t.Fatalf("entry %d was applied again:\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(want, r.budget(k)); diff != "" {
		t.Errorf("the budget changed:\n%s", diff)
	}
	if len(r.seen) != told {
		t.Error("the observer was told of a replay")
	}
}

func TestEntryWithoutCommandMovesTheIndex(t *testing.T) {
	r := newRig(t)
	_, sum := r.m.Checksum()
	r.index += 5
	out, err := r.m.Apply([]Entry{{Index: r.index, Term: 3}})
	if err != nil || out[0].Index != r.index {
		t.Fatalf("outcome %+v (%v), want index %d", out, err, r.index)
	}
	if index, term := r.m.Applied(); index != r.index || term != 3 {
		t.Errorf("applied %d in term %d, want %d in 3", index, term, r.index)
	}
	if _, got := r.m.Checksum(); got != sum {
		t.Error("the checksum changed")
	}
	r.reopen()
	if index, term := r.m.Applied(); index != r.index || term != 3 {
		t.Errorf("reopened: applied %d in term %d, want %d in 3", index, term, r.index)
	}
}

func TestRepeatedCommandTakesEffectOnceAndAnswersAlike(t *testing.T) {
	r := newRig(t)
	propose := func(id string, b Body) Outcome {
		out, err := r.m.Apply([]Entry{r.entry(id, b)})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	accepted := propose("c1", RemoveNode{Name: "n3"})
	rejected := propose("c2", RemoveNode{Name: "n3"})
	full := propose("c3", AdmitNode{Name: ""})
	if accepted.Err != nil || !errors.Is(rejected.Err, ErrNotFound) || !errors.Is(full.Err, ErrInvalid) {
		t.Fatalf("outcomes %v, %v, %v", accepted, rejected, full)
	}
	for _, when := range []string{"at once", "reopened"} {
		for id, want := range map[string]Outcome{"c1": accepted, "c2": rejected, "c3": full} {
			if diff := cmp.Diff(want, propose(id, RemoveNode{Name: "n1"}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, %s repeated (-first +again):\n%s", when, id, diff)
			}
		}
		r.reopen()
	}
	for i := range memorySize {
		propose(fmt.Sprint("filler", i), Reconcile{})
	}
	if o := propose("c2", RemoveNode{Name: "n1"}); o.Err != nil || o.Index != r.index {
		t.Errorf("after %d other commands c2 is still remembered: %+v", memorySize, o)
	}
	if got := len(r.m.s.memory.byID); got != memorySize {
		t.Errorf("%d commands are remembered, want %d", got, memorySize)
	}
}

func TestRejectedNumbersAreRememberedInFull(t *testing.T) {
	e := &Error{Code: CodeConflict, Message: "m", Fields: []FieldError{{"f", "x"}}, Numbers: map[string]int64{"a": 1, "b": 2, "c": 3}}
	r := newRig(t)
	r.m.tail.begin(true)
	tx := &txn{s: r.m.s, cmd: &Command{ID: "c"}, tail: r.m.tail}
	tx.learn(Outcome{Index: 7, Err: e})
	if tx.err != nil {
		t.Fatal(tx.err)
	}
	if diff := cmp.Diff(Outcome{Index: 7, Err: e}, r.m.s.memory.byID["c"].outcome()); diff != "" {
		t.Errorf("(-said +remembered):\n%s", diff)
	}
}

// orderObserver looks at the machine from inside Applied.
type orderObserver struct {
	m     *Machine
	check func(c *Changes)
}

func (o *orderObserver) Applied(c *Changes) { o.check(c) }

func TestObserverIsToldAfterCommitAndBeforeWaiters(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000)
	k := r.period(a)
	told := 0
	r.m.SetObserver(&orderObserver{m: r.m, check: func(c *Changes) {
		told++
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := r.m.WaitApplied(ctx, c.Index); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a waiter was woken before the observer was done: %v", err)
		}
		r.m.View(func(v *View) {
			if v.Index() != c.Index {
				t.Errorf("told of %d while the state is at %d", c.Index, v.Index())
			}
		})
		if _, _, ok, err := r.m.Event("acme", "e1"); !ok || err != nil {
			t.Errorf("the event is not in the store (%v)", err)
		}
		if len(c.Budgets) != 1 || c.Budgets[0].Used != 30 || len(c.Events) != 2 {
			t.Errorf("changes %+v, want one budget with 30 used and two events", c)
		}
	}})
	woken := make(chan error, 1)
	last := r.index + 2
	go func() { woken <- r.m.WaitApplied(t.Context(), last) }()
	r.apply(settle(1, r.event("e1", k, 10, 10, 1)), settle(2, r.event("e2", k, 20, 20, 2)))
	if err := <-woken; err != nil || told != 1 {
		t.Errorf("waiter: %v; the observer was told %d times, want once", err, told)
	}
}

func TestChangesNameWhatChangedOnce(t *testing.T) {
	r := newRig(t)
	a, gone := r.assign(1000), r.assign(500, per(EveryDay))
	k := r.period(a)
	r.apply(
		settle(1, r.event("e1", k, 10, 10, 1), r.event("e2", r.period(gone), 10, 10, 1)),
		release(2, Release{Seq: 1, Budget: k, Amount: 5}),
		release(2, Release{Seq: 1, Budget: k, Amount: 5}),
		PutEntities{Account: "acme", Items: []Entity{{ID: "bob", Type: "user"}}},
		PutEntities{Account: "acme", Items: []Entity{{ID: "carol", Type: "user"}}},
		DeleteAssignment{Account: "acme", ID: gone.ID},
		DeadNode{Node: 3},
	)
	want := &Changes{
		Index: r.index, Tree: []EntityID{{"acme", "alice"}, {"acme", "bob"}, {"acme", "carol"}}, Nodes: true,
		Budgets: []Budget{r.budget(k)},
		Deleted: []uint64{gone.Num},
		Events: []EventApplied{
			{Account: "acme", ID: "e1", Node: 1, Outcome: Settled, Lines: []Line{{k, 10, 10, 1}}},
			{Account: "acme", ID: "e2", Node: 1, Outcome: Settled, Lines: []Line{{r.period(gone), 10, 10, 1}}},
		},
		Seen: []ReleaseResult{{2, 1, 1}, {2, 1, 1}},
	}
	if diff := cmp.Diff(want, r.last(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWaitAppliedEndsWithItsContextAndWithTheMachine(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.m.WaitApplied(ctx, r.index+1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := r.m.WaitApplied(ctx, r.index); err != nil {
		t.Errorf("already applied: %v", err)
	}
	woken := make(chan error, 1)
	last := r.index + 1
	go func() { woken <- r.m.WaitApplied(t.Context(), last) }()
	for {
		r.m.waiters.mu.Lock()
		n := len(r.m.waiters.list)
		r.m.waiters.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v, want %v", err, ErrClosed)
	}
	if _, err := r.m.Apply(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("apply on a closed machine: %v, want %v", err, ErrClosed)
	}
}

func TestChecksumsOfTheLatestIndexesAreRemembered(t *testing.T) {
	r := newRig(t)
	_, sum := r.m.Checksum()
	at := r.index
	r.must(DeadNode{Node: 3})
	if got, ok := r.m.ChecksumAt(at); !ok || got != sum {
		t.Errorf("sum at %d is %x (%v), want %x", at, got, ok, sum)
	}
	for range checksumMemory {
		r.must(Reconcile{})
	}
	if _, ok := r.m.ChecksumAt(at); ok {
		t.Errorf("the sum at %d is still remembered at %d", at, r.index)
	}
	if _, ok := r.m.ChecksumAt(r.index + 1); ok {
		t.Error("the sum at an index to come is known")
	}
}

// The clock of the log never goes back, whatever a leader's clock does, and one
// that is out of bounds is refused.
func TestLogClockOnlyAdvances(t *testing.T) {
	r := newRig(t)
	r.must(Reconcile{})
	was := r.m.s.now
	r.now -= 60_000
	r.must(DeadNode{Node: 3})
	if r.m.s.now != was {
		t.Errorf("the clock went from %d to %d", was, r.m.s.now)
	}
	for _, at := range []int64{-1, maxCommandTime + 1} {
		r.now = at
		r.refused(CodeCorrupt, DeadNode{Node: 2})
	}
	if r.m.s.now != was {
		t.Errorf("a refused command moved the clock to %d", r.m.s.now)
	}
}

// A call larger than one Pebble batch is committed in several.
func TestLargeCallIsAppliedWhole(t *testing.T) {
	notShort(t)
	r := newRig(t)
	a := r.assign(1_000_000)
	var bodies []Body
	for i := range 40 {
		e := r.event(fmt.Sprint("e", i), r.period(a), 1, 1, 1)
		e.Metadata = map[string]string{"x": string(make([]byte, 1<<20))}
		bodies = append(bodies, settle(1, e))
	}
	r.apply(bodies...)
	if got := r.budget(r.period(a)).Used; got != 40 {
		t.Errorf("used %d, want 40", got)
	}
	if len(r.last().Events) != 40 {
		t.Errorf("told of %d events, want 40", len(r.last().Events))
	}
}

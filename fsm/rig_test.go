package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// testStart is when the tests' clock begins: 2026-11-22T10:00:00Z, a Sunday.
const testStart = int64(1795341600000)

// rig drives one Machine as a cluster would: it numbers the entries and stamps them.
type rig struct {
	t     testing.TB
	fs    vfs.FS
	m     *Machine
	index uint64
	term  uint64
	now   int64
	log   []Entry // everything proposed
	seen  []*Changes

	version uint8 // of the log; 0: LogVersion
}

// newRig opens a Machine in memory, initialised with 5 shares and 10 s of
// staleness, with three nodes in their first session, an account "acme" and a user "alice" of it.
func newRig(t testing.TB) *rig {
	r := emptyRig(t, vfs.NewMem())
	r.must(Init{ClusterID: "test", Shares: DefaultShares, MaxStalenessMS: DefaultMaxStaleness.Milliseconds()})
	for i := range 3 {
		r.must(AdmitNode{Name: fmt.Sprintf("n%d", i+1), Addr: "x"})
		r.must(BootNode{Node: NodeNum(i + 1), Boot: 1})
	}
	r.must(PutAccount{ID: "acme", Name: "Acme"})
	r.must(PutEntityTypes{Items: []EntityType{{ID: "user", Name: "User"}}})
	r.must(PutEntities{Account: "acme", Items: []Entity{{ID: "alice", Type: "user"}}})
	r.now += 1000
	return r
}

func emptyRig(t testing.TB, fs vfs.FS) *rig {
	r := &rig{t: t, fs: fs, term: 1, now: testStart}
	r.open()
	t.Cleanup(func() { _ = r.m.Close() })
	return r
}

// committed returns the machine's database with everything that was applied.
func committed(t testing.TB, m *Machine) *pebble.DB {
	t.Helper()
	if err := m.Commit(); err != nil {
		t.Fatal(err)
	}
	return m.store.db
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (r *rig) open() {
	r.t.Helper()
	m, err := Open("state", Options{FS: r.fs, Logger: quiet(), Observer: r})
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

// reopen closes the machine and opens it again.
func (r *rig) reopen() {
	r.t.Helper()
	if err := r.m.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// Applied implements Observer.
func (r *rig) Applied(c *Changes) { r.seen = append(r.seen, c) }

// last returns the changes of the last Apply call.
func (r *rig) last() *Changes { return r.seen[len(r.seen)-1] }

// entry encodes a body as the next log entry, proposed by node 1 at r.now.
func (r *rig) entry(id string, body Body) Entry {
	r.t.Helper()
	data, err := EncodeVersion(&Command{ID: id, At: r.now, Leader: 1, Actor: Actor{Type: "token", ID: "tok_test"}, Body: body}, cmp.Or(r.version, LogVersion))
	if err != nil {
		r.t.Fatal(err)
	}
	r.index++
	e := Entry{Index: r.index, Term: r.term, Data: data}
	r.log = append(r.log, e)
	return e
}

// apply applies bodies as one call and returns their outcomes.
func (r *rig) apply(bodies ...Body) []Outcome {
	r.t.Helper()
	var entries []Entry
	for _, b := range bodies {
		entries = append(entries, r.entry("", b))
	}
	out, err := r.m.Apply(entries)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// must applies one body that must be accepted.
func (r *rig) must(b Body) Outcome {
	r.t.Helper()
	o := r.apply(b)[0]
	if o.Err != nil {
		r.t.Fatalf("%T %+v: %v", b, b, o.Err)
	}
	return o
}

// refused applies one body that must be rejected with code.
func (r *rig) refused(code Code, b Body) *Error {
	r.t.Helper()
	o := r.apply(b)[0]
	if o.Err == nil || o.Err.Code != code {
		r.t.Fatalf("%T %+v: got %v, want a rejection with %s", b, b, o.Err, code)
	}
	return o.Err
}

// assign gives alice a hard monthly limit of requests, unless changed by edit, and returns the assignment.
func (r *rig) assign(limit int64, edit ...func(a *Assignment)) *Assignment {
	r.t.Helper()
	a := Assignment{
		ID: fmt.Sprintf("asg_%03d", r.index), Entity: "alice", Capability: CapRequests,
		Cadence: Cadence{Every: EveryMonth, Timezone: "UTC"},
		Limit:   limit, Enforcement: Hard, Mode: Cap,
	}
	for _, f := range edit {
		f(&a)
	}
	r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: a}}})
	var got *Assignment
	r.m.View(func(v *View) {
		for _, x := range v.Assignments("acme", a.Entity) {
			if x.Capability == a.Capability && x.Cadence == a.Cadence {
				got = x
			}
		}
	})
	return got
}

func per(e Every) func(a *Assignment) { return func(a *Assignment) { a.Cadence.Every = e } }

// period returns the budget key of a's period that contains r.now.
func (r *rig) period(a *Assignment) BudgetKey {
	start, _ := a.Cadence.Period(r.now)
	return BudgetKey{Assignment: a.Num, Start: start}
}

// budget returns a budget as a view sees it.
func (r *rig) budget(k BudgetKey) (b Budget) {
	r.m.View(func(v *View) {
		if a := v.AssignmentByNum(k.Assignment); a != nil {
			b = v.Budget(a, k.Start)
		}
	})
	return b
}

// leases writes a budget's leases as "1:100 2:100".
func leases(b Budget) string {
	var s bytes.Buffer
	for i, l := range b.Leases {
		if i > 0 {
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%d:%d", l.Node, l.Amount)
	}
	return s.String()
}

// event makes an event of alice with one line.
func (r *rig) event(id string, k BudgetKey, amount, drawn int64, on NodeNum) Event {
	e := Event{
		Account: "acme", ID: id, Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
		Usage: []Quantity{{CapRequests, amount}}, At: r.now, ReceivedAt: r.now, Node: 1,
		Lines: []Line{{Budget: k, Amount: amount, Drawn: drawn, On: on}},
	}
	copy(e.Hash[:], id)
	return e
}

// part is a reconcile of one node in its first session.
func part(n NodeNum, edit func(p *Part)) Reconcile {
	p := Part{Node: n, Boot: 1}
	edit(&p)
	return Reconcile{Parts: []Part{p}}
}

func settle(n NodeNum, events ...Event) Reconcile {
	return part(n, func(p *Part) { p.Events = events })
}

func release(n NodeNum, releases ...Release) Reconcile {
	return part(n, func(p *Part) { p.Releases = releases })
}

func ask(n NodeNum, asks ...Ask) Reconcile {
	return part(n, func(p *Part) { p.Asks = asks })
}

// lease returns node n's lease of a budget.
func (r *rig) lease(k BudgetKey, n NodeNum) int64 {
	b := r.budget(k)
	return b.LeaseOf(n)
}

// notShort skips a test that takes long under the race detector and has nothing to show to it.
func notShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short")
	}
}

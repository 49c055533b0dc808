package fsm

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// testNow is the time of a desk's first command: 2026-11-22T10:00:00Z.
const testNow = int64(1_795_341_600_000)

// desk is an administrator in front of a machine in memory with three nodes.
type desk struct {
	t     fataler
	fs    vfs.FS
	m     *Machine
	now   int64
	index uint64
	seen  *Changes // of the latest command
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newDesk(t fataler) *desk {
	t.Helper()
	d := &desk{t: t, fs: vfs.NewMem(), now: testNow}
	d.open()
	d.must(Init{ClusterID: "test", Shares: DefaultShares, MaxStalenessMS: DefaultMaxStaleness.Milliseconds()})
	for _, name := range []string{"n1", "n2", "n3"} {
		d.must(AdmitNode{Name: name, Addr: name + ":1"})
	}
	d.now += 1000
	return d
}

// newAcme returns a desk with account acme: org o › project p › teams a, b › user alice under a.
func newAcme(t fataler) *desk {
	t.Helper()
	d := newDesk(t)
	d.must(PutEntityTypes{Items: []EntityType{
		{ID: "org", Parents: []string{TypeAccount}},
		{ID: "project", Parents: []string{"org"}},
		{ID: "team", Parents: []string{"project", "team"}},
		{ID: "user"},
	}})
	d.must(PutAccount{ID: "acme", Name: "Acme"})
	d.must(PutEntities{Account: "acme", Items: []Entity{
		{ID: "alice", Type: "user", Parent: "a"},
		{ID: "a", Type: "team", Parent: "p"},
		{ID: "b", Type: "team", Parent: "p"},
		{ID: "p", Type: "project", Parent: "o"},
		{ID: "o", Type: "org"},
	}})
	return d
}

func (d *desk) open() {
	d.t.Helper()
	m, err := Open("state", Options{FS: d.fs, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Observer: d})
	if err != nil {
		d.t.Fatalf("open: %v", err)
	}
	d.m = m
}

func (d *desk) close() {
	d.t.Helper()
	if err := d.m.Close(); err != nil {
		d.t.Fatalf("close: %v", err)
	}
}

// Applied implements Observer.
func (d *desk) Applied(c *Changes) { d.seen = c }

// do applies one command, a second after the one before.
func (d *desk) do(body Body) *Error {
	d.t.Helper()
	d.now += 1000
	d.index++
	data, err := Encode(&Command{At: d.now, Leader: 1, Actor: Actor{Type: "token", ID: "tok_1", Name: "root", IP: "203.0.113.7"}, Body: body})
	if err != nil {
		d.t.Fatalf("encode %+v: %v", body, err)
	}
	out, err := d.m.Apply([]Entry{{Index: d.index, Term: 1, Data: data}})
	if err != nil {
		d.t.Fatalf("apply %+v: %v", body, err)
	}
	return out[0].Err
}

func (d *desk) must(body Body) {
	d.t.Helper()
	if err := d.do(body); err != nil {
		d.t.Fatalf("%+v: %v %v", body, err, err.Numbers)
	}
}

// refuse applies a command that must be rejected with the code and change nothing.
func (d *desk) refuse(code Code, body Body) *Error {
	d.t.Helper()
	before := d.dump()
	err := d.do(body)
	if err == nil || err.Code != code {
		d.t.Fatalf("%+v: %v, want code %s", body, err, code)
	}
	d.unchanged(before, fmt.Sprintf("the rejected %+v", body))
	return err
}

// idle applies a command that must be accepted and write nothing.
func (d *desk) idle(body Body) {
	d.t.Helper()
	before := d.dump()
	d.must(body)
	d.unchanged(before, fmt.Sprintf("%+v", body))
}

func (d *desk) unchanged(before map[string]string, what string) {
	d.t.Helper()
	if after := d.dump(); !maps.Equal(before, after) {
		d.t.Fatalf("%s changed the store:\n%s", what, cmp.Diff(before, after))
	}
	if c := d.seen; len(c.Config) > 0 || len(c.Tree) > 0 || len(c.Terms) > 0 || c.Global || c.Tokens || len(c.Budgets) > 0 || len(c.Deleted) > 0 {
		d.t.Fatalf("%s told the observer of changes: %+v", what, c)
	}
}

// dump returns everything stored but the applied mark.
func (d *desk) dump() map[string]string {
	d.t.Helper()
	out := map[string]string{}
	err := d.m.scan(nil, nil, false, func(key, value []byte) (bool, error) {
		if string(key) != string(keyApplied) {
			out[string(key)] = string(value)
		}
		return true, nil
	})
	if err != nil {
		d.t.Fatalf("dump: %v", err)
	}
	return out
}

// assign returns a PutAssignments of one monthly hard assignment in UTC.
func assign(entity, capability string, limit int64, edit ...func(*AssignmentPut)) PutAssignments {
	a := AssignmentPut{Assignment: Assignment{
		ID: "asg_" + entity + "_" + capability, Entity: entity, Capability: capability, Limit: limit, Cadence: Cadence{Every: EveryMonth},
	}}
	for _, f := range edit {
		f(&a)
	}
	return PutAssignments{Account: "acme", Items: []AssignmentPut{a}}
}

func allocated(a *AssignmentPut) { a.Assignment.Mode = Allocated }
func soft(a *AssignmentPut)      { a.Assignment.Enforcement = Soft }
func backfilled(a *AssignmentPut) {
	a.Backfill = true
}
func unlimited(a *AssignmentPut) { a.Assignment.Unlimited = true }
func every(e Every) func(*AssignmentPut) {
	return func(a *AssignmentPut) { a.Assignment.Cadence.Every = e }
}
func scoped(ids ...string) func(*AssignmentPut) {
	return func(a *AssignmentPut) { a.Assignment.Scope = ids }
}

// assignment returns the only assignment of an entity.
func (d *desk) assignment(entity string) (a Assignment) {
	d.t.Helper()
	d.m.View(func(v *View) {
		list := v.Assignments("acme", entity)
		if len(list) != 1 {
			d.t.Fatalf("%q has %d assignments", entity, len(list))
		}
		a = *list[0]
	})
	return a
}

// budget returns the present budget of the only assignment of an entity.
func (d *desk) budget(entity string) (b Budget) {
	d.t.Helper()
	a := d.assignment(entity)
	d.m.View(func(v *View) {
		start, _ := a.Cadence.Period(d.now)
		b = v.Budget(&a, start)
	})
	return b
}

func (d *desk) entity(id string) (e Entity) {
	d.t.Helper()
	d.m.View(func(v *View) {
		if p := v.Entity("acme", id); p != nil {
			e = *p
			return
		}
		d.t.Fatalf("no entity %q", id)
	})
	return e
}

func (d *desk) trail(f AuditFilter) []AuditEntry {
	d.t.Helper()
	items, _, err := d.m.ListAudit(f, 0, MaxPage)
	if err != nil {
		d.t.Fatalf("audit: %v", err)
	}
	return items
}

// fieldsOf returns the fields that a rejection names.
func fieldsOf(err *Error) []string {
	var out []string
	for _, f := range err.Fields {
		out = append(out, f.Field)
	}
	return out
}

// checkMessage fails unless every field's message tells the fix: it has two parts.
func checkMessage(t *testing.T, err *Error) {
	t.Helper()
	for _, f := range err.Fields {
		if !strings.ContainsAny(f.Message, ";") {
			t.Errorf("%s: the message gives no fix: %q", f.Field, f.Message)
		}
	}
}

func wantNumbers(t *testing.T, err *Error, want map[string]int64) {
	t.Helper()
	if diff := cmp.Diff(want, err.Numbers); diff != "" {
		t.Errorf("%v: numbers (-want +got):\n%s", err, diff)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

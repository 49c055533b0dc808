package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// stored returns what the store holds, by key.
func (r *rig) stored() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	if err := r.m.scan([]byte{0}, []byte{0xff}, false, func(key, value []byte) (bool, error) {
		all[string(key)] = string(value)
		return true, nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// mixedLog is a log that two releases have written: packed entries and older ones, in turns, that
// charge, draw, ask, give back, correct, and end with an assignment that is deleted and periods that end.
func mixedLog(t *testing.T) []Entry {
	r := newRig(t)
	random := rand.New(rand.NewPCG(1, 2))
	versions := []uint8{FirstLogVersion, 2, LogVersion}
	keys := benchKeys(r, 5)
	doomed := r.assign(1000, per(EveryDay))
	for i := range 300 {
		r.version = versions[random.IntN(3)]
		part := Part{Node: NodeNum(1 + i%3), Boot: 1}
		for j := range random.IntN(4) {
			e := r.event(fmt.Sprint("evt-", i, "-", j/2), BudgetKey{}, 1, 1, part.Node)
			e.Lines = nil
			for _, every := range benchBudgets[:5] {
				start, _ := Cadence{Every: every, Timezone: "UTC"}.Period(r.now)
				k := keys[slices.Index(benchBudgets, every)]
				e.Lines = append(e.Lines, Line{Budget: BudgetKey{k.Assignment, start}, Amount: 1 + random.Int64N(9), Drawn: 1, On: part.Node})
			}
			if i < 200 {
				e.Lines = append(e.Lines, Line{Budget: r.period(doomed), Amount: 1})
			}
			part.Events = append(part.Events, e)
		}
		part.Asks = []Ask{{Budget: keys[i%len(keys)], NeedMin: 1, Want: random.Int64N(1000)}}
		r.apply(Reconcile{Parts: []Part{part}})
		if i == 200 {
			r.must(DeleteAssignment{Account: "acme", ID: doomed.ID})
		}
		r.now += random.Int64N(2 * hourMS / 10)
	}
	return r.log
}

// What entries leave in the store, and the checksum, do not depend on how they were batched, nor on restarts between.
func TestStoreIsTheSameHoweverEntriesAreBatched(t *testing.T) {
	notShort(t)
	log := mixedLog(t)
	var want map[string]string
	var wantSum uint64
	for _, size := range []int{1, 7, len(log)} {
		for _, restart := range []bool{false, true} {
			r := emptyRig(t, vfs.NewMem())
			for entries := range slices.Chunk(log, size) {
				if _, err := r.m.Apply(entries); err != nil {
					t.Fatal(err)
				}
				if restart {
					r.reopen()
				}
			}
			got := r.stored()
			_, sum := r.m.Checksum()
			if want == nil {
				want, wantSum = got, sum
			}
			if diff := cmp.Diff(want, got); diff != "" || sum != wantSum {
				t.Fatalf("by %d, restarts %v: checksum %x, want %x\n%s", size, restart, sum, wantSum, diff)
			}
		}
	}
	var formats [packedVersion + 1]int
	for key, value := range want {
		if key[0] == tableLedger {
			formats[value[0]]++
		}
	}
	if formats[valueVersion] == 0 || formats[packedVersion] == 0 {
		t.Errorf("lines by format %v: the log is not mixed", formats)
	}
}

// An observer's copy of a budget stays as it was told.
func TestBudgetsThatWereToldStay(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.must(settle(1, r.event("e1", k, 10, 10, 1)))
	told := r.last().Budgets[0]
	var viewed Budget
	r.m.View(func(v *View) { viewed = v.Budget(v.AssignmentByNum(k.Assignment), k.Start) })
	before := leases(told)
	r.must(settle(1, r.event("e2", k, 10, 10, 1)))
	if leases(told) != before || leases(viewed) != before {
		t.Errorf("told %s, viewed %s; it was %s", leases(told), leases(viewed), before)
	}
}

// An event costs few allocations, however many budgets it charges: see docs/performance.md.
func TestApplyingAnEventAllocatesLittle(t *testing.T) {
	notShort(t) // the race detector allocates, too
	const events, perEvent = 300, 4
	r := newRig(t)
	keys := benchKeys(r, 8)
	next := 0
	entry := func() Entry {
		next += events
		return r.entry("", busy(r, keys, next, events))
	}
	apply := func(e Entry) {
		if _, err := r.m.Apply([]Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		apply(entry())
	}
	var entries []Entry
	for range 6 {
		entries = append(entries, entry())
	}
	n := testing.AllocsPerRun(len(entries)-1, func() {
		apply(entries[0])
		entries = entries[1:]
	})
	if n > events*perEvent {
		t.Errorf("%.0f allocations for %d events, want at most %d each", n, events, perEvent)
	}
}

func TestEntryOfALaterVersionIsRejected(t *testing.T) {
	r := newRig(t)
	e := r.entry("", settle(1, r.event("e1", r.period(r.assign(1000)), 1, 0, 1)))
	e.Data = bytes.Clone(e.Data)
	e.Data[1] = LogVersion + 1
	out, err := r.m.Apply([]Entry{{Index: r.index, Term: 1, Data: seal(e.Data)}})
	if err != nil || out[0].Err == nil || out[0].Err.Code != CodeCorrupt {
		t.Errorf("%+v, %v", out, err)
	}
}

package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// rows walks with the machine's own bound; fresh is called when the walk begins or starts over.
func (d *desk) rows(q RowQuery, fresh func(), f func(TreeRow)) {
	d.t.Helper()
	if err := d.m.Rows(q, func(*View) error { fresh(); return nil }, f); err != nil {
		d.t.Fatalf("rows of %+v: %v", q, err)
	}
}

// crowd puts n users, each with an assignment, below team a.
func (d *desk) crowd(n int) {
	d.t.Helper()
	for first := 0; first < n; first += MaxBulk {
		entities, assignments := PutEntities{Account: "acme"}, PutAssignments{Account: "acme"}
		for i := first; i < min(n, first+MaxBulk); i++ {
			id := fmt.Sprintf("u%06d", i)
			entities.Items = append(entities.Items, ok2(id, "user", "a"))
			assignments.Items = append(assignments.Items, assign(id, "tokens", 10).Items...)
		}
		d.must(entities)
		d.must(assignments)
	}
}

func TestEntriesAreAppliedWhileRowsAreRead(t *testing.T) {
	const crowd = 4 * rowsPerLock
	d := newAcme(t)
	d.crowd(crowd)
	shown, changedAt, stale := 0, -1, 0
	d.rows(RowQuery{Account: "acme", Now: d.now}, func() {}, func(r TreeRow) {
		if !d.m.mu.TryLock() {
			t.Fatalf("row %d is shown under the lock", shown)
		}
		d.m.mu.Unlock()
		switch {
		case shown == rowsPerLock/2:
			change := PutAssignments{Account: "acme"}
			for i := range crowd {
				change.Items = append(change.Items, assign(fmt.Sprintf("u%06d", i), "tokens", 20).Items...)
			}
			for part := range slices.Chunk(change.Items, MaxBulk) {
				d.must(PutAssignments{Account: "acme", Items: part})
			}
			changedAt = shown
		case changedAt >= 0 && r.Assignment.Limit != 20:
			stale++
		}
		shown++
	})
	if shown != crowd || changedAt < 0 {
		t.Fatalf("%d rows, want %d", shown, crowd)
	}
	if stale > rowsPerLock {
		t.Errorf("%d rows after the change show what was before it, want at most the %d of one lock", stale, rowsPerLock)
	}
}

func TestRowsOfAnAccountThatIsNotThere(t *testing.T) {
	d := newAcme(t)
	gone := errors.New("gone")
	show := func(r TreeRow) { t.Errorf("row %+v", r) }
	d.rows(RowQuery{Account: "nobody"}, func() {}, show)
	if err := d.m.Rows(RowQuery{Account: "acme"}, func(*View) error { return gone }, show); !errors.Is(err, gone) {
		t.Errorf("Rows() = %v, want begin's error", err)
	}
}

// present returns the numbers of the assignments that a walk of root shows, with the depths of their entities.
func (d *desk) present(root string) map[uint64]int {
	out := map[uint64]int{}
	tn := d.m.s.accounts["acme"]
	for id, e := range tn.entities {
		below := false
		for up := id; !below && tn.entities[up] != nil; up = tn.entities[up].Parent {
			below = up == root
		}
		if below && !e.Archived {
			for _, a := range d.m.s.assignmentsOf(e) {
				out[a.Num] = tn.depth(id)
			}
		}
	}
	return out
}

func TestEveryRowIsShownOnceWhateverChangesMeanwhile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newAcme(t)
		ids := []string{"acme", "o", "p", "a", "b", "alice"}
		caps := []string{"tokens", "requests", "usd"}
		change := func() {
			id := rapid.SampledFrom(ids).Draw(t, "id")
			switch rapid.IntRange(0, 9).Draw(t, "change") {
			case 0, 1, 2:
				id = fmt.Sprintf("t%d", len(ids))
				if d.do(put(ok2(id, "team", rapid.SampledFrom(ids[2:]).Draw(t, "parent")))) == nil {
					ids = append(ids, id)
				}
			case 3, 4, 5:
				d.do(assign(id, rapid.SampledFrom(caps).Draw(t, "capability"), 10))
			case 6:
				d.do(DeleteAssignment{Account: "acme", ID: "asg_" + id + "_" + rapid.SampledFrom(caps).Draw(t, "capability")})
			case 7:
				d.do(archive(id))
			case 8:
				d.do(unarchive(id))
			case 9:
				d.do(move(id, rapid.SampledFrom(ids).Draw(t, "parent")))
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "changes before") {
			change()
		}
		root := rapid.SampledFrom(ids[:4]).Draw(t, "root")
		var ever, throughout map[uint64]int
		var shown map[uint64]bool
		var from uint64
		begin := func(v *View) error {
			ever, throughout, shown, from = d.present(root), d.present(root), map[uint64]bool{}, v.Index()
			return nil
		}
		q := RowQuery{Account: "acme", Root: root, Now: d.now}
		err := d.m.walkRows(q, rapid.IntRange(1, 6).Draw(t, "visits"), begin, func(r TreeRow) {
			num := r.Assignment.Num
			if depth, known := ever[num]; !known || depth != r.Depth || shown[num] {
				t.Fatalf("%s of %s at depth %d: was there %t, at depth %d, shown before %t", r.Assignment.ID, r.Entity.ID, r.Depth, known, depth, shown[num])
			}
			shown[num] = true
			if rapid.Bool().Draw(t, "now") {
				moves := d.m.s.accounts["acme"].moves
				change()
				if d.m.s.accounts["acme"].moves != moves {
					return // it starts over after the rows of this lock, which are as they were
				}
				there := d.present(root)
				for num, depth := range there {
					ever[num] = depth
				}
				for num := range throughout {
					if _, still := there[num]; !still {
						delete(throughout, num)
					}
				}
			}
		})
		if err != nil || from == 0 {
			t.Fatalf("Rows() = %v, begun at %d", err, from)
		}
		for num := range throughout {
			if !shown[num] {
				t.Errorf("assignment %d was there throughout and is not shown", num)
			}
		}
	})
}

func TestRowsStartOverWhenASnapshotIsInstalled(t *testing.T) {
	from, to := newAcme(t), newAcme(t)
	to.crowd(3 * rowsPerLock)
	from.crowd(2 * rowsPerLock)
	from.must(archive("u000007"))
	for from.index <= to.index {
		from.must(put(ok2("bob", "user", "b")))
	}
	stream := snapshot(t, from.m)
	var shown []string
	var begun []uint64
	err := to.m.Rows(RowQuery{Account: "acme", Now: to.now}, func(v *View) error {
		shown, begun = nil, append(begun, v.Index())
		return nil
	}, func(r TreeRow) {
		if len(begun) == 1 && len(shown) == 100 {
			if err := to.m.InstallSnapshot(bytes.NewReader(stream)); err != nil {
				t.Fatal(err)
			}
		}
		shown = append(shown, r.Entity.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{to.index, from.index}, begun); diff != "" {
		t.Errorf("begun at (-want +got):\n%s", diff)
	}
	var want []string
	from.rows(RowQuery{Account: "acme", Now: to.now}, func() {}, func(r TreeRow) { want = append(want, r.Entity.ID) })
	if diff := cmp.Diff(want, shown); diff != "" || len(want) != 2*rowsPerLock-1 {
		t.Errorf("rows of the snapshot (-want +got):\n%s", diff)
	}
}

func TestMovesWithoutEndDoNotStarveAReaderOfRows(t *testing.T) {
	d := newAcme(t)
	d.crowd(50)
	parents := []string{"b", "a"}
	begun, shown := 0, map[string]int{}
	err := d.m.walkRows(RowQuery{Account: "acme", Now: d.now}, 5, func(*View) error {
		begun++
		clear(shown)
		return nil
	}, func(r TreeRow) {
		shown[r.Entity.ID]++
		d.must(move("u000001", parents[0]))
		slices.Reverse(parents)
	})
	if err != nil {
		t.Fatal(err)
	}
	if begun != 1+maxRowRestarts {
		t.Errorf("begun %d times, want %d", begun, 1+maxRowRestarts)
	}
	for id, n := range shown {
		if n != 1 {
			t.Errorf("%s is shown %d times", id, n)
		}
	}
	if len(shown) != 50 {
		t.Errorf("%d rows, want 50", len(shown))
	}
}

// BenchmarkApplyWhileRowsAreRead measures the longest time that applying an entry
// takes while a reader walks 100,000 rows: under one lock, and as Rows does it.
func BenchmarkApplyWhileRowsAreRead(b *testing.B) {
	d := newAcme(b)
	d.crowd(100_000)
	longest := func(visits int) (worst time.Duration) {
		var reading atomic.Bool
		reading.Store(true)
		begun := make(chan struct{})
		go func() {
			defer reading.Store(false)
			_ = d.m.walkRows(RowQuery{Account: "acme", Now: d.now}, visits, func(*View) error { close(begun); return nil }, func(TreeRow) {})
		}()
		<-begun
		for reading.Load() {
			d.index++
			began := time.Now()
			if _, err := d.m.Apply([]Entry{{Index: d.index, Term: 1}}); err != nil {
				b.Fatal(err)
			}
			worst = max(worst, time.Since(began))
		}
		return worst
	}
	var one, parts []time.Duration
	for b.Loop() {
		one, parts = append(one, longest(math.MaxInt)), append(parts, longest(rowsPerLock))
	}
	slices.Sort(one)
	slices.Sort(parts)
	before, after := one[len(one)/2], parts[len(parts)/2]
	b.ReportMetric(float64(before.Microseconds()), "µs-one-lock")
	b.ReportMetric(float64(after.Microseconds()), "µs-parts")
	b.ReportMetric(float64(before)/float64(after), "times-shorter")
	b.ReportMetric(0, "ns/op")
}

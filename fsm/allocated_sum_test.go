package fsm

import (
	"fmt"
	"testing"
)

// What is written by the thousand is checked against sums: each of these writes is refused or taken as the whole account's allocations say.
func TestAllocationsAreCheckedAgainstSums(t *testing.T) {
	d := newAcme(t)
	items := []Entity{}
	for i := range 20 {
		items = append(items, ok2(fmt.Sprintf("c%02d", i), "project", "o"))
	}
	d.must(put(items...))
	d.must(assign("o", "tokens", 150))
	summed := func(want int64) {
		t.Helper()
		tn := d.m.s.accounts["acme"]
		num := d.assignment("o").Num
		if got := tn.given[d.m.s.records.get(num).terms.meter()][num]; got != want {
			t.Errorf("%d are kept as given, want %d", got, want)
		}
	}
	for i := range 10 {
		d.must(assign(fmt.Sprintf("c%02d", i), "tokens", 10, allocated))
		summed(int64(10 * (i + 1)))
	}
	wantNumbers(t, d.refuse(CodeConflict, assign("c10", "tokens", 51, allocated)), numbers(150, 100, 51, 50))
	summed(100)
	d.must(assign("c00", "tokens", 60, allocated))
	summed(150)
	wantNumbers(t, d.refuse(CodeConflict, assign("o", "tokens", 149)), numbers(150, 150, 149, 0))
	d.must(assign("c00", "tokens", 0, allocated))
	summed(90)
	d.must(assign("o", "tokens", 90))
	wantNumbers(t, d.refuse(CodeConflict, assign("c11", "tokens", 1, allocated)), numbers(90, 90, 1, 0))

	huge := PutAssignments{Account: "acme"}
	for i := 10; i < 20; i++ { // their sum is beyond an int64
		huge.Items = append(huge.Items, assign(fmt.Sprintf("c%02d", i), "tokens", MaxAmount, allocated).Items...)
	}
	d.refuse(CodeConflict, huge)
	d.must(archive("c01"))
	d.must(assign("c11", "tokens", 10, allocated))
	wantNumbers(t, d.refuse(CodeConflict, unarchive("c01")), numbers(90, 90, 10, 0))
}

// BenchmarkPutAllocated is writes of a thousand allocated assignments to an account that has 10,000 already.
func BenchmarkPutAllocated(b *testing.B) {
	r := newRig(b)
	var parents []Entity
	for i := range MaxBulk {
		parents = append(parents, Entity{ID: fmt.Sprintf("e%d", i), Type: "user"})
	}
	r.must(PutEntities{Account: "acme", Items: parents})
	r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: Assignment{ID: "root", Entity: "acme", Capability: CapUSD, Limit: MaxAmount, Cadence: Cadence{Every: EveryMonth}}}}})
	n := 0
	write := func() {
		children, put := PutEntities{Account: "acme"}, PutAssignments{Account: "acme"}
		for i := range MaxBulk {
			n++
			id := fmt.Sprintf("c%d", n)
			children.Items = append(children.Items, Entity{ID: id, Type: "user", Parent: parents[i].ID})
			put.Items = append(put.Items, AssignmentPut{Assignment: Assignment{ID: "a" + id, Entity: id, Capability: CapUSD, Limit: 1, Mode: Allocated, Cadence: Cadence{Every: EveryMonth}}})
		}
		r.must(children)
		r.must(put)
		r.log, r.seen = nil, nil
	}
	for range 10 {
		write()
	}
	for b.Loop() {
		write()
	}
}

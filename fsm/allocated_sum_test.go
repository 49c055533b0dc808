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
		if got := tn.given[d.m.s.records.get(num).terms.meter()].sums[num]; got != want {
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

// A budget that comes between has given out, from then on, what is carved below it.
func TestABudgetBetweenTakesOverWhatIsCarvedBelowIt(t *testing.T) {
	d := newAcme(t)
	d.must(put(ok2("bob", "user", "b")))
	d.must(assign("o", "tokens", 100))
	d.must(assign("alice", "tokens", 60, allocated))
	given := func(entity string) int64 {
		t.Helper()
		num := d.assignment(entity).Num
		return d.m.s.accounts["acme"].given[d.m.s.records.get(num).terms.meter()].sums[num]
	}
	wantNumbers(t, d.refuse(CodeConflict, assign("a", "tokens", 59)), numbers(59, 60, 0, -1))
	d.must(assign("a", "tokens", 70))
	d.must(assign("b", "tokens", 5)) // nothing is carved below that
	if o, a := given("o"), given("a"); o != 0 || a != 60 {
		t.Errorf("o has given %d, a %d; want 0 and 60", o, a)
	}
	d.must(assign("bob", "tokens", 5, allocated))
	if b := given("b"); b != 5 {
		t.Errorf("b has given %d, want 5", b)
	}
	wantNumbers(t, d.refuse(CodeConflict, assign("b", "tokens", 4)), numbers(5, 5, 4, 0))
}

// BenchmarkFitsAboveMany is a look at a hundred new budgets of a meter of which something is carved elsewhere, each above a thousand entities.
func BenchmarkFitsAboveMany(b *testing.B) {
	const tops = 100
	r := newRig(b)
	month := Cadence{Every: EveryMonth, Timezone: "UTC"}
	r.must(PutEntities{Account: "acme", Items: []Entity{{ID: "carved", Type: "user"}}})
	budgets := PutAssignments{Account: "acme", Items: []AssignmentPut{
		{Assignment: Assignment{ID: "root", Entity: "acme", Capability: CapUSD, Limit: 100, Cadence: month}},
		{Assignment: Assignment{ID: "part", Entity: "carved", Capability: CapUSD, Limit: 1, Mode: Allocated, Cadence: month}},
	}}
	r.must(budgets)
	would := prospect{s: r.m.s, tn: r.m.s.accounts["acme"], put: map[uint64]*Assignment{}, added: map[string][]*Assignment{}}
	var changes []assignmentChange
	for i := range tops {
		top := fmt.Sprintf("top%d", i)
		items := []Entity{{ID: top, Type: "user"}}
		for n := range MaxBulk - 1 {
			items = append(items, Entity{ID: fmt.Sprintf("%s-%d", top, n), Type: "user", Parent: top})
		}
		r.must(PutEntities{Account: "acme", Items: items})
		changes = append(changes, assignmentChange{next: &Assignment{Num: uint64(100 + i), Account: "acme", Entity: top, Capability: CapUSD, Limit: 1, Mode: Cap, Cadence: month}})
	}
	for b.Loop() {
		if _, ok := would.fits(changes); !ok {
			b.Fatal("it does not fit")
		}
	}
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

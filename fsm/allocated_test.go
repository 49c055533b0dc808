package fsm

import (
	"slices"
	"testing"
)

// numbers are those of a conflict about allocation.
func numbers(limit, allocated, requested, available int64) map[string]int64 {
	return map[string]int64{"limit": limit, "allocated": allocated, "requested": requested, "available": available}
}

func TestAllocatedChildrenFitTheirParent(t *testing.T) {
	d := newAcme(t)
	d.must(assign("p", "tokens", 100))
	d.must(assign("a", "tokens", 60, allocated))
	wantNumbers(t, d.refuse(CodeConflict, assign("b", "tokens", 41, allocated)), numbers(100, 60, 41, 40))
	d.must(assign("b", "tokens", 40, allocated))
	wantNumbers(t, d.refuse(CodeConflict, assign("a", "tokens", 61, allocated)), numbers(100, 40, 61, 60))
	d.must(assign("alice", "tokens", 1_000)) // a cap is an independent gate
	wantNumbers(t, d.refuse(CodeConflict, assign("alice", "tokens", 61, allocated)), numbers(60, 0, 61, 60))
	d.must(assign("alice", "tokens", 60, allocated)) // out of a, not out of p

	both := PutAssignments{Account: "acme", Items: slices.Concat(assign("a", "tokens", 70, allocated).Items, assign("b", "tokens", 30, allocated).Items)}
	d.must(both) // shifted in one call
	both.Items[0].Assignment.Limit = 71
	wantNumbers(t, d.refuse(CodeConflict, both), numbers(100, 30, 71, 70)) // b stays as it is
}

func TestAllocatedNeedsAParentOfTheSameMeter(t *testing.T) {
	d := newAcme(t)
	d.refuse(CodeConflict, assign("a", "tokens", 1, allocated))
	d.refuse(CodeConflict, assign("acme", "tokens", 1, allocated))
	d.must(assign("p", "tokens", 100))
	d.refuse(CodeConflict, assign("a", "requests", 1, allocated))
	d.refuse(CodeConflict, assign("a", "tokens", 1, allocated, every(EveryDay)))
	d.refuse(CodeConflict, assign("a", "tokens", 1, allocated, scoped("x")))
	d.must(assign("a", "tokens", 1, allocated))
	d.must(assign("o", "usd", 0, unlimited))
	d.refuse(CodeConflict, assign("a", "usd", 0, allocated)) // nothing of nothing is still carved from somewhere

	parent := assign("p", "usd", 10)
	parent.Items = append(parent.Items, assign("a", "usd", 10, allocated).Items...)
	slices.Reverse(parent.Items)
	d.must(parent) // in one call, in any order
}

func TestAParentCannotBeCutBelowWhatItGave(t *testing.T) {
	d := newAcme(t)
	d.must(assign("p", "tokens", 100))
	d.must(assign("a", "tokens", 60, allocated))
	wantNumbers(t, d.refuse(CodeConflict, assign("p", "tokens", 59)), numbers(100, 60, 59, 40))
	d.must(assign("p", "tokens", 60))
	d.refuse(CodeConflict, assign("p", "tokens", 0, unlimited))
	p := d.assignment("p")
	d.refuse(CodeConflict, DeleteAssignment{Account: "acme", ID: p.ID})

	d.must(assign("o", "tokens", 50))
	wantNumbers(t, d.refuse(CodeConflict, DeleteAssignment{Account: "acme", ID: p.ID}), numbers(50, 60, 0, -10))
	d.must(assign("o", "tokens", 60))
	d.must(DeleteAssignment{Account: "acme", ID: p.ID}) // the grandparent has room
	wantNumbers(t, d.refuse(CodeConflict, assign("o", "tokens", 1)), numbers(60, 60, 1, 0))
	d.must(assign("a", "tokens", 60)) // a cap again
	d.must(assign("o", "tokens", 1))
}

func TestAnAssignmentBetweenTakesOverTheChildrenBelow(t *testing.T) {
	d := newAcme(t)
	d.must(assign("o", "tokens", 100))
	d.must(assign("a", "tokens", 60, allocated))
	d.must(assign("b", "tokens", 40, allocated))
	wantNumbers(t, d.refuse(CodeConflict, assign("p", "tokens", 99)), numbers(99, 100, 0, -1))
	d.must(assign("p", "tokens", 100, allocated))
	d.must(assign("p", "tokens", 500))
	wantNumbers(t, d.refuse(CodeConflict, assign("p", "tokens", 500, allocated)), numbers(100, 0, 500, 100))
}

func TestArchivingGivesTheAllocationBack(t *testing.T) {
	d := newAcme(t)
	d.must(assign("p", "tokens", 100))
	d.must(assign("a", "tokens", 60, allocated))
	d.must(archive("a"))
	d.must(assign("b", "tokens", 50, allocated))
	wantNumbers(t, d.refuse(CodeConflict, unarchive("a")), numbers(100, 50, 60, 50))
	d.must(assign("b", "tokens", 40, allocated))
	d.must(unarchive("a"))
	wantNumbers(t, d.refuse(CodeConflict, assign("b", "tokens", 41, allocated)), numbers(100, 60, 41, 40))
}

func TestAMovedAllocationNeedsRoomWhereItGoes(t *testing.T) {
	d := newAcme(t)
	d.must(put(ok2("p2", "project", "o"), ok2("p3", "project", "o")))
	d.must(assign("p", "tokens", 100))
	d.must(assign("p2", "tokens", 100))
	d.must(assign("alice", "tokens", 60, allocated))
	d.must(assign("b", "tokens", 30, allocated))
	d.must(move("b", "p2"))
	d.must(assign("b", "tokens", 50, allocated))
	wantNumbers(t, d.refuse(CodeConflict, move("a", "p2")), numbers(100, 50, 60, 50))
	d.refuse(CodeConflict, move("a", "p3")) // nothing to carve from
	d.must(assign("b", "tokens", 40, allocated))
	d.must(move("a", "p2"))
	d.must(assign("p", "tokens", 0)) // given back
}

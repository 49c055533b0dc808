package fsm

import (
	"testing"
)

// consolidated returns a rig with a budget of 1000, held by node 1.
func consolidated(t *testing.T) (*rig, BudgetKey) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	if o := r.must(ask(2, Ask{Budget: k, NeedMin: 800, NeedSum: 800})); !o.Grants[0][0].Short {
		t.Fatalf("800 of 700 free were granted: %+v", o.Grants)
	}
	if b := r.budget(k); b.Holder != 1 || b.Gen != 1 {
		t.Fatalf("holder %d, gen %d; want 1, 1", b.Holder, b.Gen)
	}
	return r, k
}

// expect compares the moving parts of a budget.
func (r *rig) expect(k BudgetKey, when string, used int64, leased string, holder NodeNum, acks int) {
	r.t.Helper()
	b := r.budget(k)
	if b.Used != used || leases(b) != leased || b.Holder != holder || len(b.Acks) != acks {
		r.t.Errorf("%s: used %d, leases %s, holder %d, %d acks; want %d, %s, %d, %d",
			when, b.Used, leases(b), b.Holder, len(b.Acks), used, leased, holder, acks)
	}
}

func TestDeadHolderPassesItsBudgetsOnAndKeepsItsLease(t *testing.T) {
	r, k := consolidated(t)
	r.expect(k, "consolidated", 0, "1:450 2:100 3:100", 1, 1)
	r.must(DeadNode{Node: 1}) // proposed by a node that is dead itself: the first live one holds
	r.expect(k, "node 1 dead", 0, "1:450 2:275 3:100", 2, 2)
	r.must(RecoverNode{Node: 1, Boot: 1})
	r.expect(k, "node 1 back", 0, "1:450 2:275 3:100", 2, 1)
	var live []NodeNum
	r.m.View(func(v *View) { live = v.Roster().Live })
	b := r.budget(k)
	if b.AllAcked(live) {
		t.Error("with 450 on node 1 and 100 on node 3 everyone counts as having given up")
	}
	r.must(release(1, Release{Seq: 1, Budget: k, Amount: 450, Final: true, Gen: b.Gen}))
	r.must(release(3, Release{Seq: 1, Budget: k, Amount: 100, Final: true, Gen: b.Gen}))
	if b := r.budget(k); !b.AllAcked(live) || leases(b) != "2:275" {
		t.Errorf("after both gave up: leases %s, acks %v", leases(b), b.Acks)
	}
}

func TestRecoverIsOfThePresentSession(t *testing.T) {
	r := newRig(t)
	r.must(DeadNode{Node: 1})
	r.must(BootNode{Node: 1, Boot: 2})
	r.refused(CodeConflict, RecoverNode{Node: 1, Boot: 1})
	r.refused(CodeNotFound, RecoverNode{Node: 9, Boot: 1})
	if !r.m.s.node(1).Dead {
		t.Error("an older session ended the node's death")
	}
}

func TestDeadAndRemovedNodesAreGrantedNothing(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.must(DeadNode{Node: 2})
	r.must(RemoveNode{Name: "n3"})
	for _, n := range []NodeNum{2, 3, 7} {
		if o := r.must(ask(n, Ask{Budget: k, NeedMin: 1, NeedSum: 1})); o.Grants[0][0] != (Grant{Budget: k}) {
			t.Errorf("node %d: %+v", n, o.Grants)
		}
	}
	r.must(release(3, Release{Seq: 1, Budget: k, Amount: 40}))
	r.expect(k, "a removed node gives back", 0, "1:100 2:100 3:60", 0, 0)
}

func TestDrainedNodeKeepsWhatItsReservationsHold(t *testing.T) {
	r := newRig(t)
	a, untouched := r.assign(1000), r.assign(1000, per(EveryMinute))
	r.now = r.next(untouched).Start + 1
	k, born := r.period(a), r.period(untouched)
	r.refused(CodeConflict, DrainNode{Node: 2, Boot: 9})
	r.must(DrainNode{Node: 2, Boot: 1, Keep: []Keep{{k, 30}}})
	r.expect(k, "drained", 0, "1:100 2:30 3:100", 0, 0)
	r.expect(born, "a period it was born with", 0, "1:100 3:100", 0, 0)
	r.must(settle(2, r.event("e1", k, 30, 30, 2)))
	r.expect(k, "its reservation settled", 30, "1:100 3:100", 0, 0)

	r.must(BootNode{Node: 2, Boot: 2})
	r.expect(born, "back: what it gave up stays given up", 0, "1:100 3:100", 0, 0)
	if got := leases(r.budget(r.next(untouched))); got != "1:100 2:100 3:100" {
		t.Errorf("the period after its boot is born with %s", got)
	}
}

func TestDrainedNodeKeepsWhatItHoldsOfAPeriodThatEndedBeforeItsBudgetBecameSoft(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	k := r.period(a)
	r.now += 2 * clockSlack
	for r.period(a) == k {
		r.now += clockSlack
	}
	r.now += 2 * clockSlack
	soft := *a
	soft.Enforcement = Soft
	r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: soft}}})
	r.must(DrainNode{Node: 2, Boot: 1, Keep: []Keep{{k, 30}}})
	r.expect(k, "drained", 0, "1:100 2:30 3:100", 0, 0)
}

func TestALimitCoversThePeriodThatANodeWithASlowClockIsStillIn(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryMinute))
	r.now = r.next(a).Start + 1
	before := r.period(a)
	r.now = r.next(a).Start + clockSlack - 1
	for i, want := range []int64{700, 700} {
		cut := *a
		cut.Limit = int64(700 - 100*i)
		r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: cut}}})
		if b := r.budget(before); b.Limit != want {
			t.Errorf("%d ms after its end the limit is %d, want %d", r.now-r.period(a).Start, b.Limit, want)
		}
		r.now++
	}
}

func TestDrainedHolderPassesItsBudgetsOn(t *testing.T) {
	r, k := consolidated(t)
	r.must(DrainNode{Node: 1, Boot: 1, Keep: []Keep{{k, 50}}})
	// Node 1, the leader, is leaving: the first live node holds, and gets half of what is free.
	r.expect(k, "drained", 0, "1:50 2:475 3:100", 2, 1)
}

func TestRemovedHolderPassesItsBudgetsOnAndStaysInDoubt(t *testing.T) {
	r, k := consolidated(t)
	r.must(RemoveNode{Name: "n1"})
	r.expect(k, "removed", 0, "1:450 2:275 3:100", 2, 1)
	r.refused(CodeNotFound, RemoveNode{Name: "n1"})
	r.refused(CodeNotFound, BootNode{Node: 1, Boot: 5})
	r.must(AdmitNode{Name: "n1", Addr: "y"})
	if n := r.m.s.member("n1"); n.Num != 4 {
		t.Errorf("the name came back as number %d, want 4", n.Num)
	}
}

func TestLastLiveNodeGoneLeavesTheHolder(t *testing.T) {
	r, k := consolidated(t)
	for n := range NodeNum(3) {
		r.must(DeadNode{Node: n + 1})
	}
	if b := r.budget(k); b.Holder != 3 {
		t.Errorf("holder %d, want 3, the last that lived", b.Holder)
	}
	r.must(settle(1, r.event("e1", k, 5000, 0, 1))) // consolidating on nobody must not be tried
	if b := r.budget(k); b.Used != 5000 || b.LeaseOf(0) != 0 {
		t.Errorf("%+v", b)
	}
}

func TestForfeit(t *testing.T) {
	for _, tc := range []struct {
		name   string
		charge bool
		used   int64 // of both budgets after it
	}{
		{"freed", false, 0},
		{"charged", true, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			a, untouched := r.assign(1000), r.assign(1000, per(EveryMinute))
			r.now = r.next(untouched).Start + 1
			k, born := r.period(a), r.period(untouched)
			r.refused(CodeConflict, Forfeit{Name: "n3", Charge: tc.charge})
			r.refused(CodeNotFound, Forfeit{Name: "nobody"})
			r.must(DeadNode{Node: 3})
			r.must(Forfeit{Name: "n3", Charge: tc.charge})
			r.expect(k, "touched", tc.used, "1:100 2:100", 0, 0)
			r.expect(born, "born and untouched", tc.used, "1:100 2:100", 0, 0)
			r.must(Forfeit{Name: "n3", Charge: tc.charge})
			r.expect(k, "forfeited again", tc.used, "1:100 2:100", 0, 0)

			// The disk was not lost after all: what it recorded is charged, as an overdraft.
			r.must(settle(3, r.event("e1", k, 60, 60, 3)))
			r.expect(k, "the node's event", tc.used+60, "1:100 2:100", 0, 0)
		})
	}
}

func TestForfeitOfARemovedNodeLeavesItsSuccessorAlone(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.must(RemoveNode{Name: "n3"})
	r.must(AdmitNode{Name: "n3", Addr: "y"})
	r.must(ask(4, Ask{Budget: k, NeedMin: 10, NeedSum: 70}))
	r.must(Forfeit{Name: "n3"})
	r.expect(k, "forfeited", 0, "1:100 2:100", 0, 0)
}

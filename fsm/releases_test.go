package fsm

import (
	"testing"

	"pgregory.net/rapid"
)

func TestReleasesSeenIsASet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var r releases
		seen := map[uint64]bool{}
		floor := uint64(0)
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			if rapid.IntRange(0, 9).Draw(rt, "raise") == 0 {
				floor = max(floor, rapid.Uint64Range(0, 40).Draw(rt, "floor"))
				r.begin(0, floor)
			}
			seq := rapid.Uint64Range(0, 40).Draw(rt, "seq")
			fresh, known := r.add(seq)
			if want := seq >= floor && !seen[seq]; fresh != want || !known {
				rt.Fatalf("sequence %d, floor %d: fresh %v and known %v, want fresh %v; %+v", seq, floor, fresh, known, want, r)
			}
			seen[seq] = true
		}
		for i := range r.Ranges {
			if i > 0 && r.Ranges[i].From <= r.Ranges[i-1].To+1 {
				rt.Fatalf("ranges touch: %+v", r.Ranges)
			}
		}
	})
}

func TestReleaseBeyondTheGapBoundIsLeftToTheNode(t *testing.T) {
	var r releases
	for i := range uint64(maxReleaseGaps) {
		r.add(2 * i)
	}
	if fresh, known := r.add(10 * maxReleaseGaps); fresh || known {
		t.Errorf("one gap too many was taken: fresh %v, known %v", fresh, known)
	}
	if fresh, known := r.add(1); !fresh || !known {
		t.Errorf("a release that closes a gap was refused: fresh %v, known %v", fresh, known)
	}
	if _, known := r.add(10 * maxReleaseGaps); !known {
		t.Error("a release was refused although a gap had closed")
	}
}

// LEASES.md, trap 4: a crash right after sending a release, and back at once. The
// old session's release arrives late and must not take the new session's money.
func TestReleaseOfAnOlderSessionIsVoid(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	late := release(1, Release{Seq: 1, Budget: k, Amount: 100})
	r.must(BootNode{Node: 1, Boot: 2})
	r.must(late)
	if got := r.lease(k, 1); got != 100 {
		t.Errorf("the old session's release left a lease of %d, want 100", got)
	}
	if len(r.last().Seen) != 0 {
		t.Error("the void release was reported as seen")
	}
	late.Parts[0].Boot = 2
	r.must(late)
	if got := r.lease(k, 1); got != 0 {
		t.Errorf("the new session's release left a lease of %d, want 0", got)
	}
	r.must(BootNode{Node: 1, Boot: 1})
	if n := r.m.s.node(1); n.Boot != 2 {
		t.Errorf("the session went back to %d", n.Boot)
	}
}

// LEASES.md, trap 9: releases and batches retried after an unknown outcome count once.
func TestRetriedPartCountsOnce(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	p := Part{
		Node: 1, Boot: 1,
		Events:   []Event{r.event("e1", k, 10, 10, 1)},
		Releases: []Release{{Seq: 1, Budget: k, Amount: 20}, {Seq: 1, Budget: k, Amount: 20}},
	}
	for range 3 {
		r.must(Reconcile{Parts: []Part{p, p}})
		r.reopen()
	}
	b := r.budget(k)
	if b.Used != 10 || leases(b) != "1:70 2:100 3:100" {
		t.Errorf("used %d, leases %s; want 10 and 1:70 2:100 3:100", b.Used, leases(b))
	}
	p.ReleaseFloor = 2
	r.must(Reconcile{Parts: []Part{p}})
	p.ReleaseFloor = 0
	r.must(Reconcile{Parts: []Part{p}})
	if got := r.lease(k, 1); got != 70 {
		t.Errorf("a release below the floor was applied: lease %d, want 70", got)
	}
}

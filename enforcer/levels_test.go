package enforcer

import (
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// A call that is larger than what a node keeps in hand needs room of several
// levels at once. What it has been granted of one level is not given back while it
// waits for the next.
func TestALargeCallGathersRoomOfEveryLevel(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 31)
		defer s.close()
		levels := []uint64{s.assign("alice", 2_750, fsm.EveryNever), s.assign("team", 2_800, fsm.EveryNever), s.assign(simAccount, 3_000, fsm.EveryNever)}
		s.node(2).mustReserve(1)
		before := len(s.log)
		d, err := s.node(2).check(1_800, 600_000)
		if err != nil || !d.Allowed {
			t.Errorf("1,800 of 2,749 are not granted at once: %v", err)
			for _, num := range levels {
				t.Log(s.state(num))
			}
		}
		if grown := len(s.log) - before; grown > 2*len(levels) {
			t.Errorf("one call made %d log entries", grown)
		}
	})
}

// What has come for a check stays as long as it waits, and no longer.
func TestRoomGatheredInVainGoesBack(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 32)
		defer s.close()
		num := s.assign("alice", 6_000, fsm.EveryNever)
		s.node(2).mustReserve(1)
		time.Sleep(10 * time.Second) // nothing looks at the slot on each tick any more
		e, key := s.node(2).e, s.budget(num).Key
		w, err := e.newWaiter()
		if err != nil {
			t.Fatal(err)
		}
		w.count(e.book.find(key), 1_900)
		s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: e.boot.Load(), Asks: []fsm.Ask{{Budget: key, NeedMin: 1_301, NeedSum: 1_301}}}}})
		time.Sleep(time.Second)
		if b := s.budget(num); b.LeaseOf(2) != 1_901 {
			t.Errorf("%d on the lease of a node that needs 1,900 and holds 1\n%s", b.LeaseOf(2), s.state(num))
		}
		e.doneWaiting(w)
		time.Sleep(time.Second)
		if b := s.budget(num); b.LeaseOf(2) != 601 {
			t.Errorf("%d on the lease of a node that needs nothing and holds 1, want half a share more\n%s", b.LeaseOf(2), s.state(num))
		}
	})
}

package enforcer

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// The traps that the simulation of the protocol found, by their numbers.

// mustReserve reserves on a node, trying while it cannot know, and returns the reservation's text.
func (nd *simNode) mustReserve(amount int64) string {
	nd.s.t.Helper()
	for range 100 {
		d, err := nd.check(amount, 600_000)
		if err == nil && d.Allowed {
			return string(d.Reservation[:d.ReservationN])
		}
		if err == nil {
			nd.s.t.Fatalf("node %d refuses %d: %s %+v", nd.num, amount, d.Code, d.Denied)
		}
		time.Sleep(10 * time.Millisecond)
	}
	nd.s.t.Fatalf("node %d cannot decide", nd.num)
	return ""
}

// consolidate makes the leader the holder of a budget by asking for more than is free,
// and waits until all others have given up what they had.
func (s *sim) consolidate(num, limit uint64) {
	s.t.Helper()
	key, leader := s.budget(num).Key, s.leader
	s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: s.node(2).e.boot.Load(), Asks: []fsm.Ask{{Budget: key, NeedMin: int64(limit)}}}}})
	for range 100 {
		time.Sleep(20 * time.Millisecond)
		if b := s.budget(num); b.Holder == leader && b.AllAcked([]fsm.NodeNum{1, 2, 3}) {
			return
		}
	}
	s.t.Fatalf("not consolidated\n%s", s.state(num))
}

func TestTrap2LevelsHeldOnDifferentNodesDoNotDeadlock(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 2)
		defer s.close()
		d := &driver{s: s, limit: 200, num: s.assign("team", 200, fsm.EveryNever)}
		s.assign("alice", 200, fsm.EveryNever)
		s.assign(simAccount, 200, fsm.EveryNever)
		d.load(48, 3*time.Second, s.anyUp, s.sizes(3))
		d.exhaust()
		d.report(t)
	})
}

func TestTrap3ANewPeriodIsNoStampede(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 3)
		defer s.close()
		s.assign("team", 100_000, fsm.EveryMinute)
		for _, nd := range s.nodes {
			nd.mustReserve(1)
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)) + time.Millisecond)
		before := len(s.log)
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() { s.nodes[i%3].mustReserve(1) })
		}
		all.Wait()
		if grown := len(s.log) - before; grown > 6 {
			t.Errorf("the first 300 calls of a period made %d log entries", grown)
		}
	})
}

func TestTrap4AReleaseOfTheSessionBeforeIsVoid(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 4)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		nd.mustReserve(1)
		boot := nd.e.boot.Load()
		nd.kill()
		nd.start()
		nd.awaitReady()
		res := nd.mustReserve(90)
		// The message that the crash left behind arrives only now.
		s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: boot, ReleaseFloor: 1, Releases: []fsm.Release{
			{Seq: 1, Budget: s.budget(num).Key, Amount: 99},
		}}}})
		s.settle()
		if lease := s.budget(num); lease.LeaseOf(2) < 91 {
			t.Errorf("the old release took the new session's lease: %v", lease.Leases)
		}
		if err := nd.ingest("evt", 90, res); err != nil {
			t.Error(err)
		}
	})
}

func TestTrap5AHolderThatRestartsRemembersDraws(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 5)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		s.consolidate(num, 11)
		res := s.node(2).mustReserve(6)
		if s.node(2).e.Stats().Drawn.Load() == 0 {
			t.Fatal("node 2 did not draw on the holder")
		}
		s.node(1).kill()
		s.elect(3)
		time.Sleep(200 * time.Millisecond)
		s.node(1).start()
		s.node(1).awaitReady()
		s.elect(1)
		time.Sleep(2 * time.Second)
		admitted := int64(6)
		for range 20 {
			if d, err := s.node(1).check(1, 600_000); err == nil && d.Allowed {
				admitted++
			}
		}
		if admitted != 10 {
			t.Errorf("%d admitted of 10\n%s", admitted, s.state(num))
		}
		if err := s.node(3).ingest("evt", 6, res); err != nil {
			t.Error(err)
		}
		s.settle()
		if b := s.budget(num); b.Used != 6 {
			t.Errorf("used %d, want 6\n%s", b.Used, s.state(num))
		}
	})
}

func TestTrap6WhatADrawDidNotUseIsRoomAtOnce(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 6)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		if err := s.node(1).ingest("warm", 1, ""); err != nil { // lines of 1 put the threshold above what is left
			t.Fatal(err)
		}
		s.consolidate(num, 11)
		s.node(1).mustReserve(1)
		res := s.node(2).mustReserve(8)
		if s.node(2).e.Stats().Drawn.Load() == 0 {
			t.Fatal("node 2 did not draw on the holder")
		}
		if d, err := s.node(1).check(1, 60_000); err != nil || d.Allowed {
			t.Fatalf("more than all is there: %+v, %v", d, err)
		}
		s.elect(0) // nothing is settled from here on
		done := make(chan error, 1)
		go func() { done <- s.node(2).ingest("evt", 2, res) }()
		time.Sleep(100 * time.Millisecond)
		if d, err := s.node(1).check(6, 60_000); err != nil || !d.Allowed {
			t.Errorf("what was not used is no room yet: %+v, %v\n%s", d.Denied, err, s.state(num))
		}
		s.elect(1)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTrap7RoomThatReturnsIsSeenByEveryNodeAtOnce(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 7)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		s.consolidate(num, 11)
		res := s.node(1).mustReserve(10)
		for _, nd := range s.nodes {
			d, err := nd.check(1, 60_000)
			if err != nil || d.Code != CodeBudgetExhausted {
				t.Fatalf("node %d: %s, %v", nd.num, d.Code, err)
			}
			if row := d.Denied; row.Used+row.Reserved+d.Requested <= 10 {
				t.Errorf("node %d: used %d + reserved %d + requested %d proves nothing", nd.num, row.Used, row.Reserved, d.Requested)
			}
		}
		id, _ := parseResID([]byte(res))
		if reply, err := s.node(2).e.release(t.Context(), id, simAccount); err != nil || reply.Code != "" || len(reply.Released) != 1 || reply.Released[0].Amount != 10 {
			t.Fatalf("release: %+v, %v", reply, err)
		}
		for _, nd := range s.nodes {
			if d, err := nd.check(3, 60_000); err != nil || !d.Allowed {
				t.Errorf("node %d still refuses: %+v, %v\n%s", nd.num, d.Denied, err, s.state(num))
			}
		}
	})
}

func TestTrap8IdleSlicesStayWhereTheyAre(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 8)
		defer s.close()
		num := s.assign("team", 10_000, fsm.EveryNever)
		nd := s.node(3)
		for range 300 {
			nd.mustReserve(1)
			time.Sleep(5 * time.Millisecond)
		}
		lease, local := s.budget(num), nd.e.Stats().Local.Load()
		time.Sleep(10 * time.Second)
		if after := s.budget(num); after.LeaseOf(3) < lease.LeaseOf(3) {
			t.Errorf("the lease went from %d to %d while idle", lease.LeaseOf(3), after.LeaseOf(3))
		}
		for range 100 {
			nd.mustReserve(1)
		}
		if n := nd.e.Stats().Local.Load() - local; n < 98 {
			t.Errorf("%d of 100 calls after a rest were answered locally", n)
		}
	})
}

func TestTrap10WithoutALeaderNothingIsRefusedWithoutProof(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, 3, seed)
				defer s.close()
				num := s.assign("team", 400, fsm.EveryNever)
				d := &driver{s: s, limit: 400, num: num}
				go func() {
					time.Sleep(300 * time.Millisecond)
					s.elect(0)
					time.Sleep(2 * time.Second)
					s.elect(1)
				}()
				d.load(48, 3*time.Second, s.anyUp, func() int64 { return 1 })
				d.exhaust()
				d.report(t)
			})
		})
	}
}

func TestANodeThatLostTheClusterDecidesUntilTheBoundAndComesBack(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 11)
		defer s.close()
		s.assign("team", 10_000, fsm.EveryNever)
		nd := s.node(2)
		nd.mustReserve(1)
		s.mu.Lock()
		nd.cut = true
		s.mu.Unlock()
		time.Sleep(8 * time.Second)
		if d, err := nd.check(1, 60_000); err != nil || !d.Allowed {
			t.Errorf("within the bound: %+v, %v", d, err)
		}
		time.Sleep(3 * time.Second)
		if _, err := nd.check(1, 60_000); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after the bound: %v", err)
		}
		s.mu.Lock()
		nd.cut = false
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		if d, err := nd.check(1, 60_000); err != nil || !d.Allowed {
			t.Errorf("healed: %+v, %v", d, err)
		}
		var dead bool
		s.node(1).m.View(func(v *fsm.View) { dead = v.Node(2).Dead })
		if dead {
			t.Error("the node is still declared dead")
		}
	})
}

func TestDrainGivesEverythingBackButWhatIsReserved(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 12)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		res := nd.mustReserve(7)
		if err := nd.ingest("evt-1", 5, nd.mustReserve(5)); err != nil {
			t.Fatal(err)
		}
		if err := nd.e.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.settle()
		if b := s.budget(num); b.LeaseOf(2) != 7 || b.Used != 5 {
			t.Errorf("lease %d used %d, want 7 and 5", b.LeaseOf(2), b.Used)
		}
		if _, err := nd.check(1, 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a drained node answers: %v", err)
		}
		nd.kill()
		nd.start()
		nd.awaitReady()
		if err := nd.ingest("evt-2", 7, res); err != nil {
			t.Fatal(err)
		}
		s.settle()
		if b := s.budget(num); b.Used != 12 {
			t.Errorf("used %d, want 12", b.Used)
		}
		if n := nd.e.Reserved(s.budget(num).Key); n != 0 {
			t.Errorf("%d still set aside", n)
		}
	})
}

func TestRepeatsOfReleaseAndExtendAreAnsweredAlike(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 2, 13)
		defer s.close()
		s.assign("team", 1_000, fsm.EveryNever)
		a, b := s.node(1), s.node(2)
		id, _ := parseResID([]byte(a.mustReserve(7)))
		for _, nd := range []*simNode{a, b, a} {
			if x, err := nd.e.extend(t.Context(), id, simAccount, 900_000); err != nil || x.Code != "" || x.ExpiresAt < time.Now().Add(800*time.Second).UnixMilli() {
				t.Errorf("extend: %+v, %v", x, err)
			}
		}
		if x, _ := b.e.release(t.Context(), id, "other"); x.Code != CodeReservationUnknown {
			t.Errorf("released for another account: %+v", x)
		}
		for _, nd := range []*simNode{b, a, b} {
			if x, err := nd.e.release(t.Context(), id, ""); err != nil || x.Code != "" || len(x.Released) != 1 || x.Released[0].Amount != 7 {
				t.Errorf("release: %+v, %v", x, err)
			}
		}
		if x, _ := b.e.extend(t.Context(), id, "", 60_000); x.Code != CodeReservationExpired {
			t.Errorf("extended what is released: %+v", x)
		}
		d, err := a.check(1, 1_000)
		if err != nil {
			t.Fatal(err)
		}
		id, _ = parseResID(d.Reservation[:d.ReservationN])
		time.Sleep(1_200 * time.Millisecond)
		for range 2 {
			if x, _ := b.e.release(t.Context(), id, ""); x.Code != CodeReservationExpired {
				t.Errorf("released what has expired: %+v", x)
			}
		}
		id.rnd++
		if x, _ := b.e.release(t.Context(), id, ""); x.Code != CodeReservationUnknown {
			t.Errorf("released what never was: %+v", x)
		}
	})
}

func TestTheLastUnitIsReachedFromOneNode(t *testing.T) {
	for _, limit := range []int64{3, 10, 100} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, 3, 14)
				defer s.close()
				num := s.assign("team", limit, fsm.EveryNever)
				admitted := int64(0)
				for range 20 * limit {
					d, err := s.node(3).check(1, 600_000)
					if err == nil && !d.Allowed {
						break
					}
					if err == nil {
						admitted++
					}
				}
				if admitted != limit {
					t.Errorf("admitted %d of %d\n%s", admitted, limit, s.state(num))
				}
			})
		})
	}
}

// Found by model checking (fsm/spec). Node 2 trims, the message is lost, and another node
// becomes the holder. If node 2's final word overtook the trim, the holder would count
// all as given up and refuse what is in truth on its way to it.
func TestTheFinalWordDoesNotOvertakeAnEarlierRelease(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 12)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		nd.mustReserve(1)
		s.disturb(faults{lose: 100})
		key := s.budget(num).Key
		s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: nd.e.boot.Load(), Asks: []fsm.Ask{{Budget: key, NeedSum: 500}}}}})
		slot := nd.e.book.find(key)
		trimmed := func() int64 {
			slot.mu.Lock()
			defer slot.mu.Unlock()
			return slot.releasing
		}
		for trimmed() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // the message is gone
		s.disturb(faults{})
		s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 3, Boot: s.node(3).e.boot.Load(), Asks: []fsm.Ask{{Budget: key, NeedMin: 1_001}}}}})
		s.settle()
		for range 500 {
			b := s.budget(num)
			if b.Holder != 1 {
				t.Fatalf("node 1 is to be the holder\n%s", s.state(num))
			}
			if d, err := s.node(1).check(999, 0); err == nil && !d.Allowed {
				t.Fatalf("refused while %d are on their way\n%s", trimmed(), s.state(num))
			}
			if b.AllAcked([]fsm.NodeNum{1, 2, 3}) && trimmed() == 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatalf("node 2 has not given up what it has\n%s", s.state(num))
	})
}

package enforcer

import (
	"errors"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// reserveFor reserves on a node for so long.
func (nd *simNode) reserveFor(amount int64, ttl time.Duration) (id resID, expires time.Time) {
	nd.s.t.Helper()
	for range 100 {
		d, err := nd.check(amount, ttl.Milliseconds())
		if err == nil && d.Allowed {
			id, _ = parseResID(d.Reservation[:d.ReservationN])
			return id, time.UnixMilli(d.ExpiresAt)
		}
		time.Sleep(10 * time.Millisecond)
	}
	nd.s.t.Fatalf("node %d does not reserve", nd.num)
	return id, expires
}

// admits counts how many calls of 1 a node admits until it refuses.
func (nd *simNode) admits() (n int64) {
	for range 1_000 {
		switch d, err := nd.check(1, 600_000); {
		case err == nil && d.Allowed:
			n++
		case err == nil:
			return n
		}
		time.Sleep(20 * time.Millisecond)
	}
	nd.s.t.Errorf("node %d never refuses", nd.num)
	return n
}

// crashedHolder lets node 2 draw 6 of 10 on node 1, for so long, cuts node 1's
// power and starts it again. Nothing of node 1's journal is left.
func crashedHolder(t *testing.T, s *sim, ttl time.Duration, before func(id resID)) (num uint64, id resID, expires time.Time) {
	num = s.assign("team", 10, fsm.EveryNever)
	s.consolidate(num, 11)
	id, expires = s.node(2).reserveFor(6, ttl)
	if _, held := s.node(1).e.draws.record(id); !held {
		t.Fatal("node 2 did not draw on node 1")
	}
	before(id)
	s.node(1).powerCut(0)
	s.elect(3)
	time.Sleep(2 * time.Second) // it is declared dead
	s.node(1).start()
	return num, id, expires
}

func TestAHolderWaitsADrawOutAndNoLonger(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 21)
		defer s.close()
		const ttl = time.Minute
		num, _, expires := crashedHolder(t, s, ttl, func(resID) {})
		for s.node(1).e.Ready() != nil {
			if time.Since(expires) > drawMargin+markAhead+time.Second {
				t.Fatalf("not ready %v after the draw has expired: %v", time.Since(expires), s.node(1).e.Ready())
			}
			time.Sleep(10 * time.Millisecond)
		}
		if early := time.Until(expires.Add(drawMargin)); early > 0 {
			t.Errorf("ready %v before the draw is sure to have expired", early)
		}
		time.Sleep(time.Second)
		if n := s.node(1).admits(); n != 10 {
			t.Errorf("%d admitted of 10\n%s", n, s.state(num))
		}
	})
}

// The clocks say that the draw is over, and the origin knows better: an event is
// settling it. Without asking, the holder would give the 6 out a second time.
func TestAHolderAsksBeforeItLetsADrawGo(t *testing.T) {
	for _, meanwhile := range []string{"nothing", "its process crashes, too", "the origin does not answer"} {
		t.Run(meanwhile, func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, 3, 22)
				defer s.close()
				origin, settled := s.node(2), make(chan error, 1)
				num, id, _ := crashedHolder(t, s, 2*time.Second, func(id resID) {
					origin.set(&origin.shut, true)
					origin.set(&origin.deaf, meanwhile != "nothing")
					go func() { settled <- origin.ingest("evt", 6, id.String()) }()
					time.Sleep(100 * time.Millisecond)
				})
				if meanwhile != "nothing" {
					time.Sleep(time.Minute)
					if err := s.node(1).e.Ready(); !errors.Is(err, errWaiting) {
						t.Fatalf("ready without having heard a live origin: %v", err)
					}
				}
				if meanwhile == "its process crashes, too" {
					s.node(1).kill()
					s.node(1).start()
				}
				origin.set(&origin.deaf, false)
				s.node(1).awaitReadyFor(time.Minute)
				if _, held := s.node(1).e.draws.record(id); !held {
					t.Fatal("the holder has let go of a draw that is being settled")
				}
				if n := s.node(1).admits(); n != 4 {
					t.Errorf("%d admitted, 6 of 10 are being settled\n%s", n, s.state(num))
				}
				origin.set(&origin.shut, false)
				if err := <-settled; err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Second)
				if b := s.budget(num); b.Used != 6 {
					t.Errorf("used %d, want 6", b.Used)
				}
				if _, held := s.node(1).e.draws.record(id); held {
					t.Error("settled and still held")
				}
				if forgot, err := s.node(1).e.journal.forgot(); forgot || err != nil {
					t.Errorf("it would ask again: %v, %v", forgot, err)
				}
			})
		})
	}
}

// A dead origin is not waited for; what it says when it is back is a debt.
func TestADeadOriginDoesNotKeepAHolderAndIsHeardLate(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 23)
		defer s.close()
		origin := s.node(2)
		num, id, _ := crashedHolder(t, s, 2*time.Second, func(id resID) {
			origin.set(&origin.shut, true)
			if err := origin.ingest("evt", 6, id.String()); err != nil {
				t.Error(err)
			}
			origin.set(&origin.cut, true)
		})
		s.node(1).awaitReadyFor(time.Minute)
		if n := s.node(1).admits(); n == 0 {
			t.Error("a dead node keeps the budget closed")
		}
		origin.set(&origin.cut, false)
		time.Sleep(3 * time.Second)
		if _, held := s.node(1).e.draws.record(id); !held || s.node(1).e.broken.Load() {
			t.Errorf("held %v, broken %v\n%s", held, s.node(1).e.broken.Load(), s.state(num))
		}
		if n := s.node(1).admits(); n != 0 {
			t.Errorf("%d more admitted\n%s", n, s.state(num))
		}
		origin.set(&origin.shut, false)
		time.Sleep(3 * time.Second)
		if b := s.budget(num); b.Used != 6 {
			t.Errorf("used %d, want 6", b.Used)
		}
	})
}

// The journal has kept a draw and lost its end: the crash came between the two.
// The holder is ready when the watermark has passed, and all is there to be given.
func TestADrawWhoseEndTheCrashTookIsFreed(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 27)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		s.consolidate(num, 11)
		id, _ := s.node(2).reserveFor(6, time.Minute)
		kept, _ := s.node(2).reserveFor(1, time.Minute)
		s.node(1).kill()
		s.node(1).start() // the journal is compacted, and what it says of the draws is on disk
		s.node(1).awaitReady()
		if reply, err := s.node(2).e.release(t.Context(), id, simAccount); err != nil || reply.Code != "" {
			t.Fatal(reply.Code, err)
		}
		time.Sleep(time.Second)
		if _, held := s.node(1).e.draws.record(id); held {
			t.Fatal("the cancel did not reach the holder")
		}
		s.node(1).powerCut(0)
		s.node(1).start()
		if _, held := s.node(1).e.draws.record(id); !held {
			t.Fatal("the end of the draw is on disk: the test shows nothing")
		}
		if _, err := s.node(2).e.extend(t.Context(), kept, "", 10*time.Minute.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		s.node(1).awaitReadyFor(15 * time.Minute)
		if _, held := s.node(1).e.draws.record(kept); !held {
			t.Error("a draw behind a live reservation was freed")
		}
		if n := s.node(1).admits(); n != 9 {
			t.Errorf("%d admitted, 9 of 10 are free\n%s", n, s.state(num))
		}
	})
}

func TestAfterACrashOfTheMachineEventsDrawOnNothing(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 24)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		s.node(1).reserveFor(50, time.Minute)
		s.node(1).powerCut(0)
		s.elect(3)
		time.Sleep(200 * time.Millisecond)
		s.node(1).start()
		time.Sleep(2 * time.Second)
		if err := s.node(1).e.Ready(); !errors.Is(err, errWaiting) {
			t.Fatalf("%v, want %v", err, errWaiting)
		}
		lease := s.budget(num)
		if err := s.node(1).ingest("evt", 60, ""); err != nil {
			t.Fatal(err)
		}
		s.settle()
		if b := s.budget(num); b.LeaseOf(1) != lease.LeaseOf(1) || b.Used != 60 {
			t.Errorf("the lease went from %d to %d: what was reserved on it is forgotten, not free", lease.LeaseOf(1), b.LeaseOf(1))
		}
	})
}

func TestADrawOfASessionThatIsOverMakesNoReservation(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 2, 25)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		e := s.node(2).e
		reserve := func(session uint64) error {
			sc := &scratch{targets: []target{{slot: e.slot(s.budget(num).Key), amount: 1, drawn: 1, session: session}}}
			return e.reserve(&Call{ReserveTTL: 1_000}, &Decision{}, sc, &accountPlans{id: simAccount}, e.table.newID(1), e.now())
		}
		session := s.node(1).e.boot.Load()
		if err := reserve(session - 1); !errors.Is(err, ErrUnavailable) || e.table.count.Load() != 0 {
			t.Errorf("%v and %d reservations", err, e.table.count.Load())
		}
		if err := reserve(session); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsDrawnIsToldPageByPage(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 2, 26)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		e, key := s.node(2).e, s.budget(num).Key
		const n = 40
		holds := make([]heldLine, 0, fsm.MaxCallAssignments)
		for range cap(holds) {
			holds = append(holds, heldLine{Budget: key, Amount: 1, On: 1})
		}
		for range n { // in one shard, and more than fits a page
			id := e.table.newID(7)
			id.seq = id.seq * tableShards
			e.table.add(id, simAccount, e.now()+60_000, holds)
		}
		pages, seen, after := 0, map[string]bool{}, ""
		for more := true; more; pages++ {
			reply, err := e.handleDrawsOn(t.Context(), 1, &DrawsOnRequest{Shard: 0, After: after})
			if err != nil || len(reply.Draws) == 0 {
				t.Fatal(reply, err)
			}
			for _, d := range reply.Draws {
				if after = d.Reservation; seen[after] || d.TTLMS != 60_000 || len(d.Holds) != len(holds) {
					t.Errorf("%s twice, or wrong: %d holds for %d ms", after, len(d.Holds), d.TTLMS)
				}
				seen[after] = true
			}
			more = reply.More
		}
		if len(seen) != n || pages < 2 {
			t.Errorf("%d of %d draws in %d pages", len(seen), n, pages)
		}
		if reply, err := e.handleDrawsOn(t.Context(), 3, &DrawsOnRequest{}); err != nil || len(reply.Draws) != 0 || reply.More {
			t.Errorf("nothing is drawn on node 3: %+v, %v", reply, err)
		}
	})
}

// A node says its final word with a reservation live, and a crash of its machine
// makes it forget that one. What it held is nobody's, and goes back.
func TestWhatAForgottenReservationHeldGoesBack(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 34)
		defer s.close()
		num := s.assign("team", 100, fsm.EveryNever)
		_, expires := s.node(2).reserveFor(6, time.Minute)
		s.consolidate(num, 101)
		if b := s.budget(num); b.LeaseOf(2) != 6 || !b.Acked(2) {
			t.Fatalf("node 2 was to have 6 and its word said\n%s", s.state(num))
		}
		s.node(2).powerCut(0)
		s.node(2).start() // before anyone calls it dead
		time.Sleep(5 * time.Second)
		if b := s.budget(num); b.LeaseOf(2) != 6 {
			t.Errorf("given back while a caller works under it\n%s", s.state(num))
		}
		s.node(2).awaitReadyFor(time.Until(expires) + drawMargin + markAhead + time.Second)
		time.Sleep(2 * time.Second)
		if b := s.budget(num); b.LeaseOf(2) != 0 || !b.Acked(2) {
			t.Errorf("6 stay on node 2\n%s", s.state(num))
		}
		if d, err := s.node(3).check(100, 60_000); err != nil || !d.Allowed {
			t.Errorf("all 100 are free: %+v, %v\n%s", d.Denied, err, s.state(num))
		}
	})
}

package enforcer

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// twoHolders gives the team 10 with node 1 as the holder, and alice 5 with node 2.
func twoHolders(t *testing.T, s *sim) (team, alice uint64) {
	t.Helper()
	team, alice = s.assign("team", 10, fsm.EveryNever), s.assign("alice", 5, fsm.EveryNever)
	s.consolidate(team, 11)
	s.elect(2)
	s.consolidate(alice, 6)
	s.elect(1)
	time.Sleep(200 * time.Millisecond)
	if h := s.budget(team).Holder; h != 1 {
		t.Fatalf("the team's holder is %d", h)
	}
	return team, alice
}

// team asks a node to reserve for the team, past alice.
func (nd *simNode) team(amount int64) (*Decision, error) {
	d := new(Decision)
	return d, nd.now().Check(context.Background(), callFor([]string{"team"}, 60_000, reqs(amount)), d)
}

// A call of node 3 that has drawn on node 1 waits for node 2, in vain. Node 1 must
// not refuse others what that call gives back.
func TestNobodyIsRefusedForADrawThatIsGivenBack(t *testing.T) {
	for _, caller := range []fsm.NodeNum{3, 1} { // 1 has it on its own slot
		inSim(t, func(t *testing.T) {
			s := newSim(t, 3, 31)
			defer s.close()
			team, _ := twoHolders(t, s)
			s.node(2).set(&s.node(2).deaf, true)
			var all sync.WaitGroup
			all.Go(func() {
				if d, err := s.node(caller).check(5, 60_000); err == nil && d.Allowed {
					t.Errorf("alice's holder does not answer: %+v", d)
				}
			})
			time.Sleep(5 * time.Millisecond)
			for _, asked := range []*simNode{s.node(1), s.node(3)} {
				all.Go(func() {
					var err error
					for range 10 {
						var d *Decision
						if d, err = asked.team(3); err == nil {
							if !d.Allowed {
								t.Errorf("caller %d: node %d refuses 3 of 10: %+v\n%s", caller, asked.num, d.Denied, s.state(team))
							}
							return
						}
					}
					t.Errorf("caller %d: node %d cannot decide: %v", caller, asked.num, err)
				})
			}
			// Together more than is there while the 5 are undecided.
			if d, err := s.node(1).team(4); err != nil || !d.Allowed {
				t.Errorf("%+v, %v", d, err)
			}
			all.Wait()
			time.Sleep(200 * time.Millisecond)
			if d, err := s.node(1).team(1); err != nil || d.Allowed || d.Denied.Reserved != 10 {
				t.Errorf("all 10 are reserved: %+v, %v", d.Denied, err)
			}
		})
	}
}

func TestADrawThatStaysIsRefusedToOthersAtOnce(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 32)
		defer s.close()
		twoHolders(t, s)
		before := s.called(MethodDraw)
		if d, err := s.node(3).check(5, 60_000); err != nil || !d.Allowed {
			t.Fatalf("%+v, %v", d, err)
		}
		if n := s.called(MethodDraw) - before; n != 2 {
			t.Errorf("%d draws for two holders", n)
		}
		time.Sleep(5 * time.Millisecond) // the firm travels
		at := time.Now()
		if d, err := s.node(1).team(6); err != nil || d.Code != CodeBudgetExhausted || time.Since(at) > 5*time.Millisecond {
			t.Errorf("5 of 10 are reserved: %s, %v after %v", d.Code, err, time.Since(at))
		}
		if n := s.called(MethodFirm); n != 1 {
			t.Errorf("%d firms, want 1: only the first of two holders is told", n)
		}
	})
}

func TestWhoWaitsForAnUndecidedDrawIsToldWhenItStays(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 35)
		defer s.close()
		twoHolders(t, s)
		// Node 1 has all of the team's room, so that no grant wakes anybody.
		d, err := s.node(1).team(10)
		id, ok := parseResID(d.Reservation[:d.ReservationN])
		if _, released := s.node(1).e.release(t.Context(), id, ""); err != nil || !ok || released != nil {
			t.Fatal(err, released)
		}
		s.disturb(faults{slow: 4 * time.Millisecond})
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() {
			if d, err := s.node(3).check(5, 60_000); err != nil || !d.Allowed {
				t.Errorf("%+v, %v", d, err)
			}
		})
		for len(s.node(1).e.draws.made()) == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		if d, err := s.node(1).team(6); err != nil || d.Code != CodeBudgetExhausted {
			t.Errorf("%s, %v", d.Code, err)
		}
	})
}

func TestADrawOnOneHolderIsDecidedByItsAnswer(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 33)
		defer s.close()
		num := s.assign("team", 10, fsm.EveryNever)
		s.consolidate(num, 11)
		s.node(2).reserveFor(5, time.Minute)
		if d, err := s.node(1).team(6); err != nil || d.Code != CodeBudgetExhausted {
			t.Errorf("%s, %v", d.Code, err)
		}
		time.Sleep(time.Second)
		if n := s.called(MethodFirm); n != 0 {
			t.Errorf("%d firms for draws on one holder", n)
		}
	})
}

// The origin vanishes between its two draws: what it has drawn is in doubt, and
// nobody waits for it longer than undecidedLife.
func TestAnUndecidedDrawIsBoundedInTime(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 34)
		defer s.close()
		twoHolders(t, s)
		s.node(2).set(&s.node(2).deaf, true)
		go s.node(3).check(5, 60_000)
		time.Sleep(20 * time.Millisecond)
		s.node(3).set(&s.node(3).cut, true)
		if d, err := s.node(1).team(6); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the 5 may come back: %s, %v", d.Code, err)
		}
		time.Sleep(undecidedLife)
		if d, err := s.node(1).team(6); err != nil || d.Code != CodeBudgetExhausted {
			t.Errorf("the 5 are in doubt: %s, %v", d.Code, err)
		}
		s.node(3).set(&s.node(3).cut, false)
		time.Sleep(500 * time.Millisecond)
		if d, err := s.node(1).team(6); err != nil || !d.Allowed {
			t.Errorf("cancelled: %+v, %v", d.Denied, err)
		}
	})
}

// Callers that all give back what they took never make a proof.
func TestWhatIsUndecidedIsInNoProof(t *testing.T) {
	n := newSoloNode(t)
	s := testSlot(fsm.Budget{Limit: 10, Leases: []fsm.Lease{{Node: 1, Amount: 10}}, Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1, 2, 3}})
	stop := make(chan struct{})
	var takers sync.WaitGroup
	for range 3 {
		takers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.undecide(5)
				_, ok := s.take(5)
				runtime.Gosched()
				if ok {
					s.put(5)
				}
				n.e.decided(s, 5)
			}
		})
	}
	for range 300_000 {
		if v, p := s.judgeNow(6, true); v == refused {
			t.Errorf("refused with %+v: all will be given back", p)
			break
		}
	}
	close(stop)
	takers.Wait()
	if v, _ := s.judgeNow(11, true); v != tooLarge || s.began.Load() != s.ended.Load() {
		t.Error("the books of what is undecided do not add up")
	}
	s.take(5)
	if v, _ := s.judgeNow(6, true); v != refused {
		t.Error("what is decided counts")
	}
}

package enforcer

import (
	"errors"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// drawn lets node 2 draw 6 of 10 on node 1.
func drawn(t *testing.T, s *sim) (num uint64, id resID) {
	t.Helper()
	num = s.assign("team", 10, fsm.EveryNever)
	s.consolidate(num, 11)
	id, ok := parseResID([]byte(s.node(2).mustReserve(6)))
	if _, held := s.node(1).e.draws.record(id); !ok || !held {
		t.Fatal("node 2 did not draw on node 1")
	}
	return num, id
}

func TestAnExtendedDrawIsWrittenDownAgain(t *testing.T) {
	notShort(t)
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 5)
		defer s.close()
		_, id := drawn(t, s)
		for _, wait := range []time.Duration{5 * time.Minute, 45 * time.Minute} {
			time.Sleep(wait)
			reply, err := s.node(2).e.extend(t.Context(), id, "", fsm.MaxReserveTTL.Milliseconds())
			if err != nil || reply.Code != "" {
				t.Fatal(reply.Code, err)
			}
			if until := s.node(1).e.journal.mark.durable.Load(); until < reply.ExpiresAt {
				t.Errorf("%v later: after a crash the holder waits until %d, the reservation may live until %d", wait, until, reply.ExpiresAt)
			}
		}
		// A holder that has lost the draw does not let it live on.
		s.node(1).e.giveDraw(id, s.node(1).e.draws.remove(id))
		if _, err := s.node(2).e.extend(t.Context(), id, "", 60_000); !errors.Is(err, ErrUnavailable) {
			t.Errorf("extending what the holder has lost: %v, want %v", err, ErrUnavailable)
		}
	})
}

func TestADrawThatNobodyWantsAnyMoreIsFreed(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 5)
		defer s.close()
		num, id := drawn(t, s)
		holder := s.node(1).e
		holder.reviewDrawsOnce(t.Context(), holder.now()+1)
		if _, held := holder.draws.record(id); !held {
			t.Fatal("a draw behind a live reservation was freed")
		}
		// The reservation ends and its cancel is lost with everything that remembers it.
		origin := s.node(2).e
		origin.table.with(id, func(sh *tableShard, r *reservation, _ *ending) { origin.table.end(sh, r, ending{}) })
		holder.reviewDrawsOnce(t.Context(), holder.now()-time.Second.Milliseconds())
		if _, held := holder.draws.record(id); !held {
			t.Fatal("a young draw was asked after")
		}
		holder.reviewDrawsOnce(t.Context(), holder.now()+1)
		if d, err := s.node(1).check(10, 60_000); err != nil || !d.Allowed {
			t.Errorf("all 10 are free: %+v, %v\n%s", d, err, s.state(num))
		}
	})
}

// The origin has seen a settlement that the holder has not. Until the holder has,
// its lease does not show what was drawn, and the hold must stand.
func TestADrawIsNotFreeBeforeItsSettlementIsApplied(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 6)
		defer s.close()
		num, id := drawn(t, s)
		s.elect(3)
		holder := s.node(1)
		holder.set(&holder.late, true)
		if err := s.node(2).ingest("evt", 6, id.String()); err != nil {
			t.Fatal(err)
		}
		reviewed := make(chan struct{})
		go func() {
			defer close(reviewed)
			holder.e.reviewDrawsOnce(t.Context(), holder.e.now()+1)
		}()
		time.Sleep(500 * time.Millisecond) // the origin has answered
		if _, held := holder.e.draws.record(id); !held {
			t.Error("freed on the origin's word alone")
		}
		if d, err := holder.check(5, 600_000); err == nil && d.Allowed {
			t.Errorf("5 admitted with 6 of 10 used\n%s", s.state(num))
		}
		holder.set(&holder.late, false)
		<-reviewed
		s.settle()
		if d, err := holder.check(4, 600_000); err != nil || !d.Allowed {
			t.Errorf("4 are left: %+v, %v\n%s", d.Denied, err, s.state(num))
		}
		if b := s.budget(num); b.Used != 6 {
			t.Errorf("used %d, want 6", b.Used)
		}
	})
}

// A removed origin says no more whether a draw is wanted. Its callers may work
// under the reservation until it ends, whatever happens to the holder; not longer.
func TestADrawOfARemovedNodeEndsWithItsReservation(t *testing.T) {
	const ttl = 2 * time.Minute
	restart := func(s *sim) {
		s.node(1).kill()
		s.node(1).start()
	}
	for _, c := range []struct {
		name   string
		life   time.Duration
		before func(s *sim, id resID) // it is removed
		after  func(s *sim)
	}{
		{"as it was made", ttl, func(*sim, resID) {}, func(*sim) {}},
		{"extended", 3 * ttl, func(s *sim, id resID) {
			if reply, err := s.node(2).e.extend(s.t.Context(), id, "", (3 * ttl).Milliseconds()); err != nil || reply.Code != "" {
				s.t.Fatal(reply.Code, err)
			}
		}, func(*sim) {}},
		{"the holder restarts", ttl, func(*sim, resID) {}, restart},
		{"removed when it is over", ttl, func(s *sim, _ resID) { s.node(2).kill(); time.Sleep(2 * ttl) }, func(*sim) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, 3, 33)
				defer s.close()
				num := s.assign("team", 10, fsm.EveryNever)
				s.consolidate(num, 11)
				id, _ := s.node(2).reserveFor(6, ttl)
				ends := time.Now().Add(c.life)
				c.before(s, id)
				if nd := s.node(2); nd.up {
					nd.kill()
				}
				s.commit(fsm.RemoveNode{Name: "n2"})
				removed := time.Now()
				c.after(s)
				s.node(1).awaitReady()
				last := max(time.Until(ends.Add(drawMargin+markAhead)), time.Until(removed.Add(sweepEvery+orphanRest))) + 2*sweepEvery
				held := func() bool { _, ok := s.node(1).e.draws.record(id); return ok }
				for deadline := time.Now().Add(last); held(); time.Sleep(time.Second) {
					if time.Now().After(deadline) {
						t.Fatalf("still held %v after the reservation's end", time.Since(ends))
					}
				}
				if early := max(time.Until(ends), time.Until(removed.Add(orphanRest))); early > 0 {
					t.Errorf("freed %v too early", early)
				}
				if d, err := s.node(1).check(10, 60_000); err != nil || !d.Allowed {
					t.Errorf("all 10 are free: %+v, %v\n%s", d.Denied, err, s.state(num))
				}
			})
		})
	}
}

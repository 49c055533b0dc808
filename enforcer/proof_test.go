package enforcer

import (
	"errors"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// "I cannot know in time" is another answer than "no".

func TestNoAnswerInTimeIsNoRefusal(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 31)
		defer s.close()
		s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		nd.mustReserve(1)
		s.elect(0) // 700 are free, and nobody is there to grant them
		if d, err := nd.check(500, 60_000); !errors.Is(err, ErrUnavailable) {
			t.Errorf("answered %s, %v while nothing could be known", d.Code, err)
		}
	})
}

func TestAHolderWithoutALeaderRefusesNothingByHearsay(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 32)
		defer s.close()
		num := s.assign("team", 100, fsm.EveryNever)
		s.consolidate(num, 101)
		holder := s.node(1)
		holder.mustReserve(100)
		if d, err := holder.check(1, 60_000); err != nil || d.Code != CodeBudgetExhausted {
			t.Fatalf("answered %s, %v with everything given out", d.Code, err)
		}
		s.elect(0)
		time.Sleep(600 * time.Millisecond) // what is set free elsewhere does not arrive any more
		if d, err := holder.check(1, 60_000); !errors.Is(err, ErrUnavailable) {
			t.Errorf("answered %s, %v without having heard a leader", d.Code, err)
		}
	})
}

func TestRoomThatWasAnsweredAsFreeIsNotRefusedByTheHolder(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 33)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		held, ok := parseResID([]byte(s.node(2).mustReserve(100)))
		if !ok {
			t.Fatal("not a reservation id")
		}
		s.consolidate(num, 1_001)
		s.node(1).mustReserve(900)
		if reply, err := s.node(2).e.release(t.Context(), held, simAccount); err != nil || reply.Code != "" {
			t.Fatalf("release: %+v, %v", reply, err)
		}
		if d, err := s.node(1).check(1, 60_000); err == nil && !d.Allowed {
			t.Errorf("refused after 100 were answered as free: %+v\n%s", d.Denied, s.state(num))
		}
	})
}

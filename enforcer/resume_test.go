package enforcer

import (
	"bytes"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// A node whose machine has crashed gives nothing back until its watermark has
// passed and it knows what others had drawn on it. What another node became the
// holder of meanwhile, it gives up then, though nothing touches those budgets any more.
func TestNodePaysItsDebtsOnceItsWatermarkHasPassed(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 1)
		defer s.close()
		num := s.assign("team", 100, fsm.EveryNever)
		back := s.node(2)
		back.kill()
		back.start()
		back.e.admitFrom.Store(time.Now().Add(3 * time.Second).UnixMilli())
		back.e.recalling.Store(true)
		time.Sleep(time.Second)
		if d, err := s.node(3).check(95, 60_000); err == nil {
			t.Fatalf("95 of 100 were decided while a node keeps 10 that it may have given out: %+v", d)
		}
		time.Sleep(4 * time.Second)
		back.e.recalling.Store(false)
		time.Sleep(time.Second)
		if d, err := s.node(3).check(95, 60_000); err != nil || !d.Allowed {
			t.Errorf("95 of 100, nothing used: %+v, %v\n%s", d, err, s.state(num))
		}
	})
}

// A limit is cut shortly before a period begins, so that its budget is consolidated
// before anybody may use it, in entries that a node never sees: it gets a snapshot. The
// node gives up what it was born with all the same.
func TestNodePaysWhatItOwesOfAPeriodThatHasNotBegun(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 1)
		defer s.close()
		num := s.assign("team", 100, fsm.EveryMinute)
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(55 * time.Second)))
		behind, ahead := s.node(2), s.node(3)
		behind.set(&behind.late, true)
		s.commit(fsm.PutAssignments{Account: simAccount, Items: []fsm.AssignmentPut{{Assignment: fsm.Assignment{
			ID: "asg_teamminute", Entity: "team", Capability: fsm.CapRequests, Limit: 15,
			Cadence: fsm.Cadence{Every: fsm.EveryMinute, Timezone: "UTC"}, Enforcement: fsm.Hard, Mode: fsm.Cap,
		}}}})
		time.Sleep(500 * time.Millisecond) // the others have paid: nothing will touch that budget any more
		var snap bytes.Buffer
		if _, err := ahead.m.WriteSnapshot(&snap); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		behind.snap, behind.late = snap.Bytes(), false
		s.mu.Unlock()
		time.Sleep(8 * time.Second)
		if d, err := ahead.check(14, 60_000); err != nil || !d.Allowed {
			t.Errorf("14 of 15, nothing used: %+v, %v\n%s", d, err, s.state(num))
		}
	})
}

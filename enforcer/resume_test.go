package enforcer

import (
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

package enforcer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// An event that waits for the origin of its reservation has passed the gate of
// ingest long before a drain closes it. When the origin does not answer, the node
// may have given its leases up: the event is for another node to take.
func TestEventThatWaitedForItsOriginIsNotTakenAfterADrain(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 1)
		defer s.close()
		num := s.assign("team", 100, fsm.EveryNever)
		origin, stopping := s.node(3), s.node(2)
		d, err := origin.check(1, 60_000)
		if err != nil || !d.Allowed {
			t.Fatalf("%+v, %v", d, err)
		}
		s.disturb(faults{lose: 100})
		answered := make(chan error, 1)
		go func() { answered <- stopping.ingest("evt-1", 1, string(d.Reservation[:d.ReservationN])) }()
		synctest.Wait()
		time.Sleep(time.Millisecond)
		s.disturb(faults{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := stopping.e.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; !errors.Is(err, ErrUnavailable) {
			t.Errorf("an event at a node that has given everything up: %v", err)
		}
		s.settle()
		if stopping.e.broken.Load() {
			t.Errorf("its books do not add up\n%s", s.state(num))
		}
	})
}

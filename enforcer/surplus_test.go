package enforcer

import (
	"fmt"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// What a reservation held too much may be given to others, and its lease given back, only once
// the event that settles it is durable: a node that crashes before has a live
// reservation of the whole amount, and its caller settles it for as much.
func TestWhatAReservationHeldTooMuchIsHeldUntilItsEventIsDurable(t *testing.T) {
	n := newSoloNode(t)
	a := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":20},"reserve_ttl_ms":60000}`)
	id, ok := parseResID([]byte(fmt.Sprint(a.json["reservation"])))
	if !ok {
		t.Fatalf("%d %s", a.status, a.text)
	}
	var slots []*slot
	var before []int64
	n.e.table.with(id, func(_ *tableShard, r *reservation, _ *ending) {
		for _, h := range r.holds {
			s := n.e.slot(h.Budget)
			slots, before = append(slots, s), append(before, s.avail.Load())
		}
	})
	if len(slots) == 0 {
		t.Fatal("the reservation holds nothing")
	}
	free := func(what string, want int64) {
		t.Helper()
		for i, s := range slots {
			if got := s.avail.Load() - before[i]; got != want {
				t.Errorf("%s: %d more are free, want %d", what, got, want)
			}
		}
	}
	event := func(name string) *fsm.Event {
		ev := &fsm.Event{
			Account: "acme", ID: name, Entities: []string{"alice"}, Usage: []fsm.Quantity{{Capability: fsm.CapTokens, Amount: 17}},
			At: time.Now().UnixMilli(), Node: 1, Reservation: id.String(),
		}
		mustDo(t, n.e.resolve(ev))
		return ev
	}

	ev := event("lost")
	left := n.e.accept(ev)
	free("on its way to the disk", 0)
	n.e.unaccept(ev, left)
	free("not written", 0)
	n.e.table.with(id, func(_ *tableShard, r *reservation, _ *ending) {
		if r == nil || r.event != "" || r.holds[0].Amount != 20 {
			t.Fatalf("the reservation is %+v, want it live with all it held", r)
		}
	})

	left = n.e.accept(event("written"))
	free("on its way to the disk", 0)
	n.e.giveBack(left)
	free("durable", 3)
}

// What an event drew beyond its reservation is room again if it was not written.
func TestWhatAnEventDrewBeyondItsReservationIsGivenBackWithIt(t *testing.T) {
	n := newSoloNode(t)
	a := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":20},"reserve_ttl_ms":60000}`)
	ev := &fsm.Event{
		Account: "acme", ID: "e", Entities: []string{"alice"}, Usage: []fsm.Quantity{{Capability: fsm.CapTokens, Amount: 25}},
		At: time.Now().UnixMilli(), Node: 1, Reservation: fmt.Sprint(a.json["reservation"]),
	}
	mustDo(t, n.e.resolve(ev))
	var before []int64
	for _, l := range ev.Lines {
		before = append(before, n.e.slot(l.Budget).avail.Load())
	}
	n.e.unaccept(ev, n.e.accept(ev))
	for i, l := range ev.Lines {
		if got := n.e.slot(l.Budget).avail.Load(); got != before[i] {
			t.Errorf("%v: %d are free, want %d as before", l.Budget, got, before[i])
		}
	}
}

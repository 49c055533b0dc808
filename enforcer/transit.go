package enforcer

import (
	"context"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

// A caller that has been told that its reservation is released, or settled for
// less than it held, may tell others to go on. So the answer waits until what was
// set free is room where the proofs of refusals are made: on the node that holds
// the rest of the budget. Otherwise that node would refuse, with allAck and
// nothing free, what is in truth on its way to it.
//
// What was set free here travels in a release, what another node had set aside
// is freed by a cancel or by the event's settlement. Where nobody holds the rest
// no waiting is needed: room that lies anywhere then leads to an ask, not to a refusal.

const (
	// transitWait bounds the waiting. Without a leader nothing arrives; then the
	// holder does not refuse either (see heardLately).
	transitWait = 500 * time.Millisecond
	transitPoll = 500 * time.Microsecond
)

// transit is what a call has set free that has to travel.
type transit struct {
	departures []departure
	holders    []fsm.NodeNum // to have applied what this node has applied
}

// departure is room in a slot whose rest another node holds. It has arrived once
// as much has come back into the pool as had been given up and was free when it left.
type departure struct {
	s      *slot
	target int64 // of s.returned
}

// depart notes that room was just given back to a slot.
func (t *transit) depart(s *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.elsewhere() && !s.gone {
		t.departures = append(t.departures, departure{s, s.given + max(0, s.avail.Load())})
	}
}

// arrived reports whether the room has left this node for good: applied, or
// taken by others on the way, or here to stay. holder is who has it now, and
// at what log index.
func (d departure) arrived() (done bool, holder fsm.NodeNum, index uint64) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	switch {
	case d.s.gone || !d.s.elsewhere():
		return true, 0, 0
	case d.s.returned >= d.target, d.s.avail.Load() <= 0 && d.s.releasing == 0:
		return true, d.s.b.Holder, d.s.index
	}
	return false, 0, 0
}

// arrive waits until what t set free is room wherever refusals are proven, or ctx ends.
func (e *Enforcer) arrive(ctx context.Context, t transit) {
	if len(t.departures)+len(t.holders) == 0 {
		return
	}
	index := e.applied.Load()
	for _, d := range t.departures {
		poll(ctx, func() bool {
			done, holder, at := d.arrived()
			index = max(index, at)
			if done && holder != 0 && !slices.Contains(t.holders, holder) {
				t.holders = append(t.holders, holder)
			}
			return done
		})
	}
	for _, node := range t.holders {
		// On an error the holder is cut off or gone, and refuses nothing.
		_ = e.peers.Call(ctx, node, MethodHolds, &HoldsRequest{Index: index}, &HoldsReply{})
	}
}

// delivered waits until every notice of a reservation has been answered, or ctx ends.
func (n *notices) delivered(ctx context.Context, id resID, held []heldLine) {
	for _, h := range held {
		if h.On != n.e.c.Node {
			poll(ctx, func() bool { return !n.isOpen(noticeKey{id, h.On}) })
		}
	}
}

func (n *notices) isOpen(key noticeKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open[key] != nil
}

// poll asks f until it says yes or ctx ends.
func poll(ctx context.Context, f func() bool) {
	for !f() && pause.For(ctx, transitPoll) {
	}
}

// heardLately reports whether a leader was heard within the last ticks. While it
// was not, a holder that has given everything out does not know what is on its
// way back to it, and does not refuse.
func (e *Enforcer) heardLately() bool { return time.Since(e.peers.HeardLeader()) <= 5*tick }

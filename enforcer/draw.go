package enforcer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// This file is the asking side of a draw (rule N3): some of a call's budgets
// have their rest on another node. What fits here is set aside here, and each
// holder is asked for the rest, all or none.

const (
	// drawTimeout is how long a holder's answer is waited for.
	drawTimeout = 15 * time.Millisecond
	// drawWait is how long the holder may queue the draw; the rest is for the way.
	drawWait = 10 * time.Millisecond
	// drawAgain is how long to wait for the log before a draw that met no holder is tried again.
	drawAgain = 5 * time.Millisecond
)

// drawing is what a call has asked other nodes to set aside. A draw whose answer
// was lost may have been made: asking again for the same under the same id is
// answered alike, while a new id would find its room taken by the old one.
type drawing struct {
	e    *Enforcer
	id   resID // zero: nothing is asked for
	held []heldLine
}

// ask returns the id under which to draw what sc marks as drawn.
func (g *drawing) ask(sc *scratch) resID {
	var held []heldLine
	for i := range sc.targets {
		if t := &sc.targets[i]; t.drawn != 0 {
			held = append(held, heldLine{Budget: t.slot.key, Amount: t.amount, On: t.drawn})
		}
	}
	if g.id == (resID{}) || !slices.Equal(held, g.held) {
		g.cancel()
		g.id, g.held = g.e.table.newID(rand.Uint32()), held
	}
	return g.id
}

// cancel frees what holders may have set aside. It goes out until it is answered.
func (g *drawing) cancel() {
	if g.id != (resID{}) {
		g.e.notices.cancel(g.id, g.e.boot.Load(), g.held)
		g.id = resID{}
	}
}

// kept says that what was drawn belongs to a reservation now. All holders but the
// last were asked while the call was undecided: they are told.
func (g *drawing) kept() {
	if g.id == (resID{}) {
		return
	}
	last := fsm.NodeNum(0)
	for _, h := range g.held {
		last = max(last, h.On)
	}
	for _, h := range g.held {
		if h.On != last {
			g.e.notices.firm(g.id, h.On)
		}
	}
	g.id = resID{}
}

// decideElsewhere tries once. done is false if the call must be judged anew: the
// holder has changed, could not answer, or something here was taken meanwhile.
func (e *Enforcer) decideElsewhere(ctx context.Context, c *Call, d *Decision, sc *scratch, ap *accountPlans, drawn *drawing, at, until time.Time) (done bool, err error) {
	now := e.c.Wall(at)
	reserve := c.ReserveTTL > 0
	if e.notices.full() {
		return false, ErrOverloaded // a draw that may have to be cancelled needs room for that
	}
	text := ""
	if reserve {
		if !sc.hold(e, true) {
			return false, nil
		}
		defer sc.decided(e)
		text = drawn.ask(sc).String()
	}
	e.counters.Drawn.Add(1)
	status, t, p := e.drawAll(ctx, sc, text, c.ReserveTTL, until)
	if status == DrawOK {
		if reserve {
			err = e.reserve(c, d, sc, ap, drawn.id, now)
		}
		if err == nil {
			drawn.kept()
			e.fill(c, d, sc)
			return true, nil
		}
	}
	if reserve {
		if status != drawLost {
			drawn.cancel()
		}
		sc.unhold(e, len(sc.targets), true)
	}
	switch {
	case err != nil:
		return false, err
	case status == DrawRefused:
		e.deny(c, d, sc, t, p, refused, now)
		return true, nil
	}
	return false, e.pause(ctx, until)
}

// drawLost is the outcome of a draw that no answer came to. It never crosses the network.
const drawLost DrawStatus = 255

// drawAll asks each holder in turn until one does not say yes. The last one's yes
// decides the call; what the others set aside is undecided until they are told. t is a target
// that decided, with the holder's proof if it refused.
func (e *Enforcer) drawAll(ctx context.Context, sc *scratch, reservation string, ttl int64, until time.Time) (status DrawStatus, t *target, p proof) {
	var asked fsm.NodeNum
	for {
		// Holders in ascending order; nearly always there is one, the leader.
		var next fsm.NodeNum
		for i := range sc.targets {
			if n := sc.targets[i].drawn; n > asked && (next == 0 || n < next) {
				next, t = n, &sc.targets[i]
			}
		}
		if next == 0 {
			return DrawOK, t, p
		}
		asked = next
		last := !slices.ContainsFunc(sc.targets, func(t target) bool { return t.drawn > next })
		reply, err := e.drawOn(ctx, sc, reservation, ttl, next, !last, until)
		if err != nil {
			return drawLost, t, p
		}
		if reply.Status == DrawOK {
			continue
		}
		if reply.Status == DrawRefused {
			for i := range sc.targets {
				if ti := &sc.targets[i]; ti.drawn == next && ti.slot.key == reply.Budget && reply.Room < ti.amount {
					return DrawRefused, ti, proof{limit: ti.slot.limit.Load(), used: reply.Used, room: reply.Room}
				}
			}
			return DrawUnavailable, t, p // a refusal of something else proves nothing
		}
		return reply.Status, t, p
	}
}

// drawOn sends one draw to one holder.
func (e *Enforcer) drawOn(ctx context.Context, sc *scratch, reservation string, ttl int64, holder fsm.NodeNum, undecided bool, until time.Time) (reply DrawReply, err error) {
	req := &DrawRequest{Reservation: reservation, Origin: e.c.Node, Boot: e.boot.Load(), WaitMS: drawWait.Milliseconds(), TTLMS: ttl, Undecided: undecided}
	session := e.roster.Load().boots[holder]
	for i := range sc.targets {
		if t := &sc.targets[i]; t.drawn == holder {
			t.session = session
			req.Holds = append(req.Holds, Hold{Budget: t.slot.key, Amount: t.amount})
		}
	}
	wait := min(drawTimeout, time.Until(until))
	if wait <= 0 {
		return DrawReply{}, fmt.Errorf("%w: no time left to draw", ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = e.peers.Call(ctx, holder, MethodDraw, req, &reply)
	return reply, err
}

// pause waits a moment for the log to move.
func (e *Enforcer) pause(ctx context.Context, until time.Time) error {
	wait := min(drawAgain, time.Until(until))
	if wait <= 0 {
		return ErrUnavailable
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

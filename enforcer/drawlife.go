package enforcer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

// This file keeps a draw and the reservation behind it of one mind, however long
// both live. An origin that extends a reservation has the holder write its draw
// down again, because after a crash of its machine a holder waits only for what
// it knows to have given out. A holder that has had a draw for long asks the
// origin whether it is still wanted: the cancel or the settlement may have
// passed while the holder was away for longer than they are remembered. A removed
// origin can be asked no more: its draws end with their reservations.

const (
	// drawReviewAfter is the age from which a draw is asked after, and how often that is done.
	drawReviewAfter = 5 * time.Minute
	drawReviewEvery = time.Minute
	// maxLiveAsked bounds the reservations of one LiveRequest.
	maxLiveAsked = 1_000
	liveWait     = 5 * time.Second
	// orphanRest is how long after its origin was seen removed a draw stands at least.
	// What the origin had sent to settle it before is in the log by then: the
	// leader takes nothing from a removed node, and a part waits for less.
	orphanRest = 30 * time.Second
)

// keepDraws has every holder of a reservation write its draw down again, for ttl milliseconds from now.
func (e *Enforcer) keepDraws(ctx context.Context, id resID, held []heldLine, ttl int64) error {
	asked := make(map[fsm.NodeNum]bool)
	for _, h := range held {
		if h.On == e.c.Node || asked[h.On] {
			continue
		}
		asked[h.On] = true
		var reply KeepDrawReply
		if err := e.peers.Call(ctx, h.On, MethodKeepDraw, &KeepDrawRequest{Reservation: id.String(), TTLMS: ttl}, &reply); err != nil {
			return fmt.Errorf("%w: keep the draw: %w", ErrUnavailable, err)
		}
		if !reply.Held {
			return fmt.Errorf("%w: node %d no longer holds what was drawn on it", ErrUnavailable, h.On)
		}
	}
	return nil
}

// handleDrawLife answers the requests of this file and of recall.go.
func (e *Enforcer) handleDrawLife(ctx context.Context, from fsm.NodeNum, method Method, body []byte) ([]byte, error) {
	switch method {
	case MethodKeepDraw:
		return answer(body, func(req *KeepDrawRequest) (*KeepDrawReply, error) { return e.handleKeepDraw(from, req) })
	case MethodLive:
		return answer(body, e.handleLive)
	case MethodDrawsOn:
		return answer(body, func(req *DrawsOnRequest) (*DrawsOnReply, error) { return e.handleDrawsOn(ctx, from, req) })
	}
	return nil, fmt.Errorf("method %d is not known", method)
}

func (e *Enforcer) handleKeepDraw(from fsm.NodeNum, req *KeepDrawRequest) (*KeepDrawReply, error) {
	id, ok := parseResID([]byte(req.Reservation))
	if !ok || id.node != from {
		return nil, fmt.Errorf("node %d keeps a draw that is not its own", from)
	}
	until, ok := e.drawUntil(req.TTLMS)
	if !ok {
		return nil, fmt.Errorf("a draw cannot live for %d ms", req.TTLMS)
	}
	record, ok := e.draws.record(id)
	if !ok {
		return &KeepDrawReply{}, nil
	}
	record.Expires = until
	if err := e.journal.draw(record); err != nil {
		return nil, err
	}
	if !e.draws.keep(id, until) {
		e.journalEndDraw(id) // it ended between the two: that is the last word
		return &KeepDrawReply{}, nil
	}
	return &KeepDrawReply{Held: true}, nil
}

// handleLive looks before it takes the index: what has ended by settlement is in
// the log up to there.
func (e *Enforcer) handleLive(req *LiveRequest) (*LiveReply, error) {
	if !e.begun.Load() || e.now() < e.admitFrom.Load() {
		return nil, errors.New("this node does not know its reservations yet")
	}
	if len(req.Reservations) > maxLiveAsked {
		return nil, fmt.Errorf("%d reservations are more than %d", len(req.Reservations), maxLiveAsked)
	}
	settling := make(map[string]bool)
	e.ship.pending(func(ev *fsm.Event) { settling[ev.Reservation] = true })
	reply := &LiveReply{Live: make([]bool, len(req.Reservations))}
	for i, text := range req.Reservations {
		reply.Live[i] = settling[text]
		if id, ok := parseResID([]byte(text)); ok {
			e.table.with(id, func(_ *tableShard, r *reservation, _ *ending) {
				reply.Live[i] = reply.Live[i] || r != nil
			})
		}
	}
	reply.Index, _ = e.m.Applied()
	return reply, nil
}

// reviewDraws asks after old draws until ctx ends.
func (e *Enforcer) reviewDraws(ctx context.Context) {
	for pause.For(ctx, drawReviewEvery) {
		e.reviewDrawsOnce(ctx, e.now()-drawReviewAfter.Milliseconds())
	}
}

// reviewDrawsOnce asks after the draws made before a time, and frees those that their origins do not know.
func (e *Enforcer) reviewDrawsOnce(ctx context.Context, before int64) {
	for origin, ids := range e.draws.older(before) {
		if err := e.reviewDrawsOf(ctx, origin, ids[:min(len(ids), maxLiveAsked)]); err != nil && ctx.Err() == nil {
			e.log.Info("a node could not be asked after its draws", "origin", origin, "draws", len(ids), "error", err)
		}
	}
}

func (e *Enforcer) reviewDrawsOf(ctx context.Context, origin fsm.NodeNum, ids []resID) error {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	req := &LiveRequest{Reservations: make([]string, len(ids))}
	for i, id := range ids {
		req.Reservations[i] = id.String()
	}
	var reply LiveReply
	if err := e.peers.Call(ctx, origin, MethodLive, req, &reply); err != nil {
		return err
	}
	if len(reply.Live) != len(ids) {
		return fmt.Errorf("%d answers for %d draws", len(reply.Live), len(ids))
	}
	// A settlement that the origin has seen shrinks this node's lease; the hold must not be free before that.
	if err := e.m.WaitApplied(ctx, reply.Index); err != nil {
		return err
	}
	for i, id := range ids {
		if !reply.Live[i] {
			e.giveDraw(id, e.draws.remove(id))
		}
	}
	return nil
}

// record returns a draw that was made, as the journal keeps it.
func (t *drawTable) record(id resID) (drawRecord, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byID[id]
	if d == nil || !d.made {
		return drawRecord{}, false
	}
	return drawRecord{ID: id, Origin: d.origin, Boot: d.boot, Holds: append([]Hold(nil), d.holds...)}, true
}

// older returns the draws made before a time, by origin.
func (t *drawTable) older(before int64) map[fsm.NodeNum][]resID {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := make(map[fsm.NodeNum][]resID)
	for id, d := range t.byID {
		if d.made && d.since < before {
			old[d.origin] = append(old[d.origin], id)
		}
	}
	return old
}

// keep has a draw live until then at least. It reports whether the draw is there.
func (t *drawTable) keep(id resID, until int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byID[id]
	if d == nil || !d.made {
		return false
	}
	d.until = max(d.until, until)
	return true
}

// endOrphans frees the draws of removed nodes whose reservations have ended.
// Until then a caller may still work under one, and report to any other node.
func (e *Enforcer) endOrphans(now int64) {
	for id, d := range e.draws.orphans(e.roster.Load().gone, now) {
		e.giveDraw(id, d)
	}
}

// orphans takes out the draws of removed nodes that are over.
func (t *drawTable) orphans(gone map[fsm.NodeNum]struct{}, now int64) map[resID]*heldDraw {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[resID]*heldDraw)
	for id, d := range t.byID {
		if _, removed := gone[d.origin]; !removed || !d.made {
			continue
		}
		if d.orphan == 0 {
			d.orphan = now
		}
		if d.until <= now && d.orphan+orphanRest.Milliseconds() <= now {
			out[id] = d
			delete(t.byID, id)
		}
	}
	return out
}

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

// After a crash of the machine the journal's tail may be missing, and with it
// draws that this node holds for reservations of others. Waiting for the watermark
// alone would let go of them on the word of a clock: this node's clock must not
// have been set forward, the origin's not back, and a reservation that an event is
// settling does not expire at all. So every other node is asked what it has drawn
// here, and this node gives nothing out before the watermark has passed and every
// live node has answered.
//
// A node that is dead by then is not waited for. It is asked until it answers or
// is removed; what it still has drawn is then set aside late, as a debt: nothing
// is given out of that budget's lease until it is made good.
//
// What is asked for can only shrink: until this node is ready it grants no draw,
// and an origin whose draw was granted by the session before throws it away (see
// target.session).

const (
	// drawMargin is how much later than it would by the origin's word a draw ends here.
	// A draw carries a duration, so clocks need not agree; the margin covers
	// this node's clock set forward, or the origin's set back, within a draw's life.
	drawMargin = 5 * time.Second
	// maxPageHolds bounds the holds of one page.
	maxPageHolds = 10_000
	recallWait   = 5 * time.Second // for one page
	recallWarn   = 30 * time.Second
)

// drawUntil is when a draw has ended by this node's clock. ok is false for a life that no reservation has.
func (e *Enforcer) drawUntil(ttl int64) (at int64, ok bool) {
	if ttl <= 0 || ttl > fsm.MaxReserveTTL.Milliseconds() {
		return 0, false
	}
	return e.now() + ttl + drawMargin.Milliseconds(), true
}

// mayGive reports whether this node's leases are its own to give out of: nothing
// that it had given out before may be forgotten.
func (e *Enforcer) mayGive(now int64) bool {
	return now >= e.admitFrom.Load() && !e.recalling.Load()
}

// recallDraws asks every other node what it has drawn on this one, until all have
// answered, are removed, or ctx ends.
func (e *Enforcer) recallDraws(ctx context.Context) {
	heard := make(map[fsm.NodeNum]bool)
	warned := time.Now()
	for {
		silent := e.recallOnce(ctx, heard)
		live := e.roster.Load().Live
		waitFor := slices.ContainsFunc(silent, func(n fsm.NodeNum) bool { return slices.Contains(live, n) })
		if !waitFor && e.now() >= e.admitFrom.Load() && e.recalling.CompareAndSwap(true, false) && len(silent) > 0 {
			e.log.Warn("the machine has crashed and dead nodes cannot say what they have drawn here; what they have is set aside when they are back",
				"nodes", silent)
		}
		if len(silent) == 0 && !e.recalling.Load() {
			if err := e.journal.remembered(); err != nil {
				e.log.Error("the next start will ask for draws once more", "error", err)
			}
			return
		}
		if waitFor && time.Since(warned) >= recallWarn {
			warned = time.Now()
			e.log.Warn("the machine has crashed and nothing is given out before the others have said what they have drawn here", "nodes", silent)
		}
		if !pause.For(ctx, proposeAgain) {
			return
		}
	}
}

// recallOnce asks those that have not been heard yet and returns who still has not.
func (e *Enforcer) recallOnce(ctx context.Context, heard map[fsm.NodeNum]bool) (silent []fsm.NodeNum) {
	r := e.roster.Load()
	for node := range r.boots {
		if _, gone := r.gone[node]; gone || node == e.c.Node || heard[node] {
			continue
		}
		if err := e.recallFrom(ctx, node); err != nil {
			e.log.Debug("a node did not say what it has drawn here", "origin", node, "error", err)
			silent = append(silent, node)
			continue
		}
		heard[node] = true
	}
	slices.Sort(silent)
	return silent
}

// recallFrom asks one node, page by page, and then after the draws that the
// journal has kept and that were not named: their ends may be among what it lost.
// The node has applied this one's new session by then, so that no reservation is
// on its way to be made of them.
func (e *Enforcer) recallFrom(ctx context.Context, node fsm.NodeNum) error {
	at := e.applied.Load()
	for shard := range tableShards {
		after := ""
		for more := true; more; {
			page, cancel := context.WithTimeout(ctx, recallWait)
			var reply DrawsOnReply
			err := e.peers.Call(page, node, MethodDrawsOn, &DrawsOnRequest{Index: at, Shard: shard, After: after}, &reply)
			cancel()
			if err != nil {
				return err
			}
			for _, d := range reply.Draws {
				if err := e.adoptDraw(node, d); err != nil {
					return err
				}
				after = d.Reservation
			}
			if more = reply.More; more && len(reply.Draws) == 0 {
				return errors.New("an empty page with more to come")
			}
		}
	}
	for ids := range slices.Chunk(e.draws.restoredOf(node), maxLiveAsked) {
		if err := e.reviewDrawsOf(ctx, node, ids); err != nil {
			return err
		}
	}
	return nil
}

// restoredOf returns the draws of an origin that the journal has kept from a session before.
func (t *drawTable) restoredOf(origin fsm.NodeNum) (ids []resID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, d := range t.byID {
		if d.restored && d.origin == origin {
			ids = append(ids, id)
		}
	}
	return ids
}

// adoptDraw sets aside a draw that this node may have forgotten.
func (e *Enforcer) adoptDraw(origin fsm.NodeNum, d LiveDraw) error {
	id, ok := parseResID([]byte(d.Reservation))
	if !ok || id.node != origin || len(d.Holds) > maxDrawHolds {
		return fmt.Errorf("node %d names a draw %q that is not its own", origin, d.Reservation)
	}
	if !e.draws.unknown(id) {
		return nil
	}
	record := drawRecord{ID: id, Origin: origin, Boot: uint64(id.boot), Holds: d.Holds, Expires: e.now()}
	if until, ok := e.drawUntil(d.TTLMS); ok {
		record.Expires = until
	}
	until := max(record.Expires, e.journal.mark.durable.Load()) // the watermark covers what was forgotten
	if err := e.journal.draw(record); err != nil {
		return err
	}
	// Set aside before it is known: who ends it gives back what is set aside.
	for _, h := range d.Holds {
		e.setAside(h)
	}
	if !e.draws.adopt(id, d.Holds, e.now(), until) {
		e.giveAll(d.Holds)
		if _, made := e.draws.record(id); !made {
			e.journalEndDraw(id)
		}
	} else if e.settledAway(e.accountOf(d.Holds), id) {
		e.giveDraw(id, e.draws.remove(id))
	}
	return nil
}

// setAside takes a hold out of a lease, whatever is there.
func (e *Enforcer) setAside(h Hold) {
	s := e.lockSlot(h.Budget)
	if s == nil {
		e.book.claim(h.Budget, claim{held: h.Amount})
		return
	}
	defer s.mu.Unlock()
	s.avail.Add(-h.Amount)
	s.debt = max(s.debt, s.shortfall())
	e.agent.activate(s)
}

// unknown reports whether a draw was neither made nor is over.
func (t *drawTable) unknown(id resID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, over := t.over[id]
	return t.byID[id] == nil && !over
}

// adopt makes a draw whose holds are set aside already, unless it is known or over.
func (t *drawTable) adopt(id resID, holds []Hold, now, until int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, over := t.over[id]; over || t.byID[id] != nil {
		return false
	}
	t.byID[id] = &heldDraw{origin: id.node, boot: uint64(id.boot), made: true, since: now, until: until, holds: slices.Clone(holds)}
	return true
}

// handleDrawsOn answers a page of what this node has drawn on another. It looks
// before it takes the index, see handleLive.
func (e *Enforcer) handleDrawsOn(ctx context.Context, from fsm.NodeNum, req *DrawsOnRequest) (*DrawsOnReply, error) {
	if !e.begun.Load() || e.now() < e.admitFrom.Load() {
		return nil, errors.New("this node does not know its reservations yet")
	}
	if req.Shard < 0 || req.Shard >= tableShards {
		return nil, fmt.Errorf("there is no shard %d", req.Shard)
	}
	// From here on this node knows that the other's session is a new one, and makes
	// no reservation of what the session before has granted.
	if err := e.m.WaitApplied(ctx, req.Index); err != nil {
		return nil, err
	}
	all := e.drawnOn(from, req.Shard, req.After)
	reply := &DrawsOnReply{}
	for holds := 0; len(all) > 0; all = all[1:] {
		if holds += len(all[0].Holds); holds > maxPageHolds && len(reply.Draws) > 0 {
			reply.More = true
			break
		}
		reply.Draws = append(reply.Draws, all[0])
	}
	reply.Index, _ = e.m.Applied()
	return reply, nil
}

// drawnOn lists what one shard's reservations, and events that settle any, have on a node.
func (e *Enforcer) drawnOn(node fsm.NodeNum, shard int, after string) (all []LiveDraw) {
	known := make(map[string]bool)
	now := e.now()
	sh := &e.table.shards[shard]
	sh.mu.Lock()
	for id, r := range sh.byID {
		d := LiveDraw{Reservation: id.String()}
		for _, h := range r.holds {
			if h.On == node {
				d.Holds = append(d.Holds, Hold{Budget: h.Budget, Amount: h.Amount})
			}
		}
		if r.event == "" {
			d.TTLMS = max(1, r.expires-now)
		}
		known[d.Reservation] = true
		if len(d.Holds) > 0 && d.Reservation > after {
			all = append(all, d)
		}
	}
	sh.mu.Unlock()
	// The outbox is synced and the journal is not: after a crash of this machine
	// an event may stand for a reservation that is forgotten.
	e.ship.pending(func(ev *fsm.Event) {
		id, ok := parseResID([]byte(ev.Reservation))
		if !ok || id.node != e.c.Node || e.table.shard(id) != sh || known[ev.Reservation] || ev.Reservation <= after {
			return
		}
		d := LiveDraw{Reservation: ev.Reservation}
		for i := range ev.Lines {
			if drawn := drawnOn(&ev.Lines[i], node); drawn > 0 {
				d.Holds = append(d.Holds, Hold{Budget: ev.Lines[i].Budget, Amount: drawn})
			}
		}
		if len(d.Holds) > 0 {
			all = append(all, d)
		}
	})
	slices.SortFunc(all, func(a, b LiveDraw) int { return strings.Compare(a.Reservation, b.Reservation) })
	return all
}

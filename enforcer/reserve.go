package enforcer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// forwardWait is how long the origin of a reservation is waited for.
const forwardWait = time.Second

// grant completes a call that fits. If it reserves, everything is set aside
// already; the reservation is journaled before the call is answered.
func (e *Enforcer) grant(c *Call, d *Decision, sc *scratch, ap *accountPlans, now int64) error {
	if c.ReserveTTL > 0 {
		if err := e.reserve(c, d, sc, ap, e.table.newID(rand.Uint32()), now); err != nil {
			sc.unhold(e, len(sc.targets), false)
			return err
		}
	}
	e.fill(c, d, sc)
	return nil
}

// reserve makes what is set aside for a call a reservation. On an error the
// caller still owns what is set aside.
func (e *Enforcer) reserve(c *Call, d *Decision, sc *scratch, ap *accountPlans, id resID, now int64) error {
	sc.holds = sc.holds[:0]
	for i := range sc.targets {
		t := &sc.targets[i]
		if t.amount == 0 {
			continue
		}
		on := e.c.Node
		if t.drawn != 0 {
			on = t.drawn
		}
		sc.holds = append(sc.holds, heldLine{Budget: t.slot.key, Amount: t.amount, On: on})
	}
	expires := now + c.ReserveTTL
	if !e.table.add(id, ap.id, expires, sc.holds) {
		return ErrOverloaded
	}
	if !e.drawsStand(sc) {
		e.table.forget(id)
		return fmt.Errorf("%w: a node that was drawn on has restarted", ErrUnavailable)
	}
	if err := e.journal.reserve(id, ap.id, expires, sc.holds); err != nil {
		e.table.forget(id)
		return fmt.Errorf("%w: journal: %w", ErrUnavailable, err)
	}
	d.ReservationN = len(id.appendText(d.Reservation[:0]))
	d.ExpiresAt = expires
	return nil
}

// drawsStand reports whether the nodes that were drawn on are in the session that
// was asked. It comes after the reservation stands in the table: a node that has
// begun another one finds it there, or this node has seen that session.
func (e *Enforcer) drawsStand(sc *scratch) bool {
	for i := range sc.targets {
		if t := &sc.targets[i]; t.drawn != 0 && e.roster.Load().boots[t.drawn] != t.session {
			return false
		}
	}
	return true
}

// release frees a reservation, here or at its origin. account is what the
// caller's token covers; empty: all. Errors: ErrUnavailable.
func (e *Enforcer) release(ctx context.Context, id resID, account string) (ReleaseReply, error) {
	if node, self := e.originOf(id); !self {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		var reply ReleaseReply
		if err := e.peers.Call(ctx, node, MethodRelease, &ReleaseRequest{Reservation: id.String(), Account: account}, &reply); err != nil {
			return ReleaseReply{}, fmt.Errorf("%w: release at its origin: %w", ErrUnavailable, err)
		}
		return reply, nil
	}
	return e.releaseHere(ctx, id, account), nil
}

// releaseHere frees a reservation of this node and waits until that is room for
// anyone. A repeat is answered as the first call was.
func (e *Enforcer) releaseHere(ctx context.Context, id resID, account string) (reply ReleaseReply) {
	now, ended := e.now(), false
	var held []heldLine
	e.table.with(id, func(sh *tableShard, r *reservation, past *ending) {
		switch {
		case past != nil && covers(account, past.account):
			reply = ReleaseReply{Code: past.code, Released: past.released}
		case r == nil || !covers(account, r.account):
			reply.Code = CodeReservationUnknown
		case r.event != "":
			// An event is settling it: nothing is left to release.
		case r.expires <= now:
			reply.Code = CodeReservationExpired
			held, ended = e.endReservation(sh, r, ending{code: CodeReservationExpired}), true
		default:
			reply.Released = e.quantities(r.holds)
			held, ended = e.endReservation(sh, r, ending{released: reply.Released}), true
		}
	})
	if ended {
		t := e.free(id, held)
		ctx, cancel := context.WithTimeout(ctx, transitWait)
		defer cancel()
		e.arrive(ctx, t)
		e.notices.delivered(ctx, id, held)
	}
	return reply
}

// covers reports whether a token for account (empty: all) covers what belongs to owner.
func covers(account, owner string) bool { return account == "" || account == owner }

// endReservation ends a live reservation and returns its holds, which the caller
// then owns. The shard is locked.
func (e *Enforcer) endReservation(sh *tableShard, r *reservation, how ending) []heldLine {
	held := append([]heldLine(nil), r.holds...)
	e.table.end(sh, r, how)
	return held
}

// free gives back what a reservation held and journals its end. It returns what has
// to travel from here.
func (e *Enforcer) free(id resID, held []heldLine) (t transit) {
	t = e.giveHeld(id, held)
	e.journalEnd(id)
	return t
}

// giveHeld gives back what a reservation held: here at once, elsewhere by a cancel.
func (e *Enforcer) giveHeld(id resID, held []heldLine) (t transit) {
	e.notices.cancel(id, e.boot.Load(), held)
	for _, h := range held {
		if h.On != e.c.Node {
			continue
		}
		// The slot is there, it is not dropped while something is held in it; or it is still to come.
		if s := e.book.findOr(h.Budget, claim{held: h.Amount}); s != nil {
			e.give(s, h.Amount)
			t.depart(s)
		}
	}
	return t
}

func (e *Enforcer) journalEnd(ids ...resID) {
	if err := e.journal.end(ids...); err != nil {
		e.log.Warn("the end of reservations could not be journaled; after a restart they are held until they expire",
			"reservations", len(ids), "first", ids[0], "error", err)
	}
}

// quantities are the amounts of holds by capability. A capability is held alike
// at every level, so the largest counts.
func (e *Enforcer) quantities(holds []heldLine) []fsm.Quantity {
	var out []fsm.Quantity
	e.m.View(func(v *fsm.View) {
		for _, h := range holds {
			a := v.AssignmentByNum(h.Budget.Assignment)
			if a == nil {
				continue
			}
			out = addQuantity(out, a.Capability, h.Amount)
		}
	})
	return out
}

// addQuantity keeps qs ascending by capability and the larger amount of each.
func addQuantity(qs []fsm.Quantity, capability string, amount int64) []fsm.Quantity {
	i := 0
	for i < len(qs) && qs[i].Capability < capability {
		i++
	}
	if i < len(qs) && qs[i].Capability == capability {
		qs[i].Amount = max(qs[i].Amount, amount)
		return qs
	}
	qs = append(qs, fsm.Quantity{})
	copy(qs[i+1:], qs[i:])
	qs[i] = fsm.Quantity{Capability: capability, Amount: amount}
	return qs
}

// extend moves a reservation's expiry to ttl milliseconds from now, never
// nearer; see release. The answer carries the new expiry.
func (e *Enforcer) extend(ctx context.Context, id resID, account string, ttl int64) (ExtendReply, error) {
	if node, self := e.originOf(id); !self {
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		var reply ExtendReply
		if err := e.peers.Call(ctx, node, MethodExtend, &ExtendRequest{Reservation: id.String(), Account: account, TTLMS: ttl}, &reply); err != nil {
			return ExtendReply{}, fmt.Errorf("%w: extend at its origin: %w", ErrUnavailable, err)
		}
		return reply, nil
	}
	return e.extendHere(ctx, id, account, ttl)
}

// extendHere journals the new expiry before it counts, so that a reservation
// that the caller believes extended is extended after a crash, too.
func (e *Enforcer) extendHere(ctx context.Context, id resID, account string, ttl int64) (reply ExtendReply, err error) {
	now := e.now()
	ttl = min(max(ttl, fsm.MinReserveTTL.Milliseconds()), fsm.MaxReserveTTL.Milliseconds())
	expires := now + ttl
	var held []heldLine
	e.table.with(id, func(_ *tableShard, r *reservation, past *ending) {
		if reply.Code = extendCode(r, past, account, now); reply.Code == "" {
			held = slices.Clone(r.holds)
		}
	})
	if reply.Code != "" {
		return reply, nil
	}
	keep, cancel := context.WithTimeout(ctx, forwardWait/2)
	defer cancel()
	if err := e.keepDraws(keep, id, held, ttl); err != nil {
		return ExtendReply{}, err
	}
	if err := e.journal.extend(id, expires); err != nil {
		return ExtendReply{}, fmt.Errorf("%w: journal: %w", ErrUnavailable, err)
	}
	e.table.with(id, func(sh *tableShard, r *reservation, past *ending) {
		if reply.Code = extendCode(r, past, account, now); reply.Code == "" {
			r.expires = max(r.expires, expires)
			reply.ExpiresAt = r.expires
			sh.expiry.fix(r.heap)
		}
	})
	return reply, nil
}

// extendCode says why a reservation cannot be extended, or nothing.
func extendCode(r *reservation, past *ending, account string, now int64) string {
	switch {
	case past != nil && covers(account, past.account):
		return CodeReservationExpired
	case r == nil || !covers(account, r.account):
		return CodeReservationUnknown
	case r.event != "" || r.expires <= now:
		return CodeReservationExpired
	}
	return ""
}

// expire ends the reservations whose time has come.
func (e *Enforcer) expire(now int64) {
	var (
		ids  []resID
		ends []int // where the holds of each end in held
		held []heldLine
	)
	e.table.overdue(now, func(sh *tableShard, r *reservation) {
		held = append(held, r.holds...)
		ids, ends = append(ids, r.id), append(ends, len(held))
		e.table.end(sh, r, ending{code: CodeReservationExpired})
	})
	first := 0
	for i, id := range ids {
		e.giveHeld(id, held[first:ends[i]])
		first = ends[i]
	}
	e.journalEnd(ids...)
	e.counters.Expired.Add(uint64(len(ids)))
}

// originOf returns the node that gave a reservation out.
func (e *Enforcer) originOf(id resID) (node fsm.NodeNum, self bool) {
	return id.node, id.node == e.c.Node
}

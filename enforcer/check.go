package enforcer

import (
	"context"
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Check decides a call and fills d, which must have been Reset. Errors:
// ErrUnavailable, ErrOverloaded, ErrAccountNotFound, *RequestError, or the
// context's. A granted call that needs nobody else costs no allocation.
//
// Without ReserveTTL nothing is set aside. The call is granted where it would
// fit: out of this node's own room, out of the free pool of the replica, or, if
// another node has the rest, on that node's word (a draw that sets nothing
// aside). Only where none of these can tell does it ask for room and wait, as a
// reserving call would; room that comes that way stays spendable.
func (e *Enforcer) Check(ctx context.Context, c *Call, d *Decision) error {
	return e.checkAt(ctx, c, d, time.Now())
}

// checkAt is Check of a call that came at a time.
func (e *Enforcer) checkAt(ctx context.Context, c *Call, d *Decision, at time.Time) error {
	if err := e.readyAt(at); err != nil {
		return err
	}
	sc := getScratch()
	defer putScratch(sc)
	d.Index = e.applied.Load()
	ap, err := e.read(c, sc)
	if err != nil {
		return err
	}
	if code := gate(c, ap, sc); code != "" {
		d.Code = code
		return nil
	}
	if err := sc.match(); err != nil {
		return err
	}
	d.Code = CodeOK
	if len(sc.targets) == 0 {
		d.Code = CodeUngoverned
	}
	return e.decide(ctx, c, d, sc, ap, at)
}

// read looks up what a call names: the account, its capabilities, its entities.
func (e *Enforcer) read(c *Call, sc *scratch) (*accountPlans, error) {
	if len(c.Key) > 0 {
		return nil, nil
	}
	if c.ReserveTTL != 0 && (c.ReserveTTL < fsm.MinReserveTTL.Milliseconds() || c.ReserveTTL > fsm.MaxReserveTTL.Milliseconds()) {
		return nil, &RequestError{Field: "reserve_ttl_ms", Message: fmt.Sprintf("must be 0 or between %d and %d",
			fsm.MinReserveTTL.Milliseconds(), fsm.MaxReserveTTL.Milliseconds())}
	}
	cat := e.catalog.Load()
	ap := e.account(cat, c.Account)
	if ap == nil {
		return nil, ErrAccountNotFound
	}
	if len(c.Entities) == 0 || len(c.Entities) > fsm.MaxCallEntities {
		return nil, &RequestError{Field: "entities", Message: fmt.Sprintf("must name 1 to %d entities", fsm.MaxCallEntities)}
	}
	for i := range c.Usage {
		if err := sc.addUsage(e, c.Usage[i].Capability, c.Usage[i].Amount); err != nil {
			return nil, err
		}
	}
	if err := sc.deriveTokens(); err != nil {
		return nil, err
	}
	if err := e.priceCall(c, sc); err != nil {
		return nil, err
	}
	for _, id := range c.Entities {
		if len(id) == 0 || len(id) > fsm.MaxIDBytes {
			return nil, &RequestError{Field: "entities", Message: fmt.Sprintf("an id is 1 to %d bytes", fsm.MaxIDBytes)}
		}
		sc.addEntity(e, cat, ap, id)
	}
	return ap, nil
}

// gate answers what the configuration alone decides; empty: the budgets decide.
func gate(c *Call, ap *accountPlans, sc *scratch) Code {
	if len(c.Key) > 0 {
		return CodeKeyUnknown
	}
	if ap.frozen {
		return CodeAccountFrozen
	}
	for _, at := range sc.path {
		if at.archived {
			return CodeEntityArchived
		}
	}
	return ""
}

// decide is the heart: it grants, refuses on a proof, or gives up in time.
//
// A call holds nothing while it waits in a queue. While it draws on another node
// it holds what it took here, for one round trip at most.
//
// A call that fits is through before anything is deferred.
func (e *Enforcer) decide(ctx context.Context, c *Call, d *Decision, sc *scratch, ap *accountPlans, at time.Time) error {
	now := e.c.Wall(at)
	reserve := c.ReserveTTL > 0
	sc.place(e, now)
	if sc.fit(e, reserve) {
		e.counters.Local.Add(1)
		return e.grant(c, d, sc, ap, now)
	}
	return e.decideLater(ctx, c, d, sc, ap, at, now)
}

// decideLater decides a call that does not fit here and now.
func (e *Enforcer) decideLater(ctx context.Context, c *Call, d *Decision, sc *scratch, ap *accountPlans, at time.Time, now int64) error {
	reserve := c.ReserveTTL > 0
	until := at.Add(e.c.AskWait)
	var w *waiter
	drawn := drawing{e: e}
	defer drawn.cancel()
	for {
		v, t, p := sc.worst(reserve)
		if p.byHearsay && !e.heardLately() {
			return ErrUnavailable
		}
		switch v {
		case fits:
			if !reserve {
				return e.grant(c, d, sc, ap, now)
			}
		case tooLarge, refused:
			if w == nil {
				e.counters.Local.Add(1)
			}
			e.deny(c, d, sc, t, p, v, now)
			return nil
		case short:
			drawn.cancel() // a call that waits holds nothing
			if w == nil {
				var err error
				if w, err = e.newWaiter(); err != nil {
					return err
				}
				defer e.doneWaiting(w)
				e.counters.Waited.Add(1)
			}
			for i := range sc.targets {
				w.count(sc.targets[i].slot, sc.targets[i].amount)
			}
			if err := e.await(ctx, t.slot, w, t.amount, reserve, until); err != nil {
				return err
			}
		case elsewhere:
			done, err := e.decideElsewhere(ctx, c, d, sc, ap, &drawn, at, until)
			if done || err != nil {
				return err
			}
		}
		if !time.Now().Before(until) {
			return ErrUnavailable
		}
		sc.place(e, now)
		if sc.fit(e, reserve) {
			return e.grant(c, d, sc, ap, now)
		}
	}
}

// fit reports whether all targets fit here and now, holding them if reserve.
// It looks before it takes, so that a call that will not fit everywhere does
// not make others see less room than there is.
func (sc *scratch) fit(e *Enforcer, reserve bool) bool {
	for i := range sc.targets {
		t := &sc.targets[i]
		t.drawn = 0
		if t.amount > 0 && t.slot.kind.Load() == kindLeased && t.slot.avail.Load() < t.amount {
			return false
		}
	}
	return !reserve || sc.hold(e, false)
}

// hold sets aside every target on this node, all or none; with skipDrawn all
// but those that another node is to set aside. Then what is set aside is undecided
// until decided is called.
func (sc *scratch) hold(e *Enforcer, skipDrawn bool) bool {
	n, ok := sc.takeAll(e, skipDrawn)
	if !ok {
		sc.unhold(e, n, skipDrawn)
	}
	if !ok || !skipDrawn {
		sc.decided(e)
	}
	return ok
}

// decided ends what takeAll has begun.
func (sc *scratch) decided(e *Enforcer) {
	for i := range sc.targets {
		if t := &sc.targets[i]; t.undecided != 0 {
			e.decided(t.slot, t.undecided)
			t.undecided = 0
		}
	}
}

// takeAll takes what hold sets aside. If one target has no room, n are taken before it.
func (sc *scratch) takeAll(e *Enforcer, skipDrawn bool) (n int, ok bool) {
	for i := range sc.targets {
		t := &sc.targets[i]
		if t.amount == 0 || (skipDrawn && t.drawn != 0) {
			continue
		}
		var ok bool
		if t.slot.kind.Load() == kindLeased {
			if len(sc.targets) > 1 {
				t.undecided = t.amount
				t.slot.undecide(t.amount)
			}
			var left int64
			if left, ok = t.slot.take(t.amount); ok && left < t.slot.low.Load() {
				e.agent.attend(t.slot)
			}
		} else {
			ok = t.slot.takeAnyway(t.amount)
		}
		if !ok {
			return i, false
		}
		if !t.slot.active.Load() {
			e.agent.activate(t.slot)
		}
	}
	return len(sc.targets), true
}

// unhold gives back what takeAll has taken for the first n targets.
func (sc *scratch) unhold(e *Enforcer, n int, skipDrawn bool) {
	for i := range sc.targets[:n] {
		if t := &sc.targets[i]; t.amount != 0 && !(skipDrawn && t.drawn != 0) {
			e.give(t.slot, t.amount)
		}
	}
}

// worst judges all targets and returns the one that decides: one that will
// never fit, else the first that is refused, else the first that is short, else
// the first that another node has the rest of. It marks which node that is.
func (sc *scratch) worst(reserve bool) (v verdict, t *target, p proof) {
	for i := range sc.targets {
		ti := &sc.targets[i]
		vi, pi := ti.slot.judgeNow(ti.amount, reserve)
		ti.drawn = 0
		if vi == elsewhere {
			ti.drawn = pi.holder
		}
		if t == nil || vi > v {
			v, t, p = vi, ti, pi
		}
	}
	return v, t, p
}

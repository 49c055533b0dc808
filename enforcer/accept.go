package enforcer

import (
	"slices"

	"github.com/bursar-dev/bursar/fsm"
)

// resolve fills Chain, Unattributed, derived usage, Pricing, and Lines (Budget and Amount
// only) of an event, as the tree stands now. Errors: ErrAccountNotFound, *RequestError, ErrUnavailable.
func (e *Enforcer) resolve(ev *fsm.Event) error {
	sc := getScratch()
	defer putScratch(sc)
	cat := e.catalog.Load()
	ap := e.account(cat, []byte(ev.Account))
	if ap == nil {
		return ErrAccountNotFound
	}
	if ev.At < ev.ReceivedAt-minRetention && e.timeClosed(ev) {
		return &RequestError{Field: fieldAt, Message: "lies in a time whose lines were dropped by retention: the event may have been charged then"}
	}
	if len(ev.Entities) > fsm.MaxCallEntities {
		return &RequestError{Field: "entities", Message: "names too many entities"}
	}
	for i := range ev.Usage {
		if err := sc.addUsage(e, []byte(ev.Usage[i].Capability), ev.Usage[i].Amount); err != nil {
			return err
		}
	}
	given := len(sc.usage)
	if err := sc.deriveTokens(); err != nil {
		return err
	}
	if len(sc.usage) > given {
		ev.Usage = addQuantity(slices.Clone(ev.Usage), fsm.CapTokens, sc.usage[given].amount)
	}
	if err := e.priceEvent(ev, sc); err != nil {
		return err
	}
	for _, id := range ev.Entities {
		sc.addEntity(e, cat, ap, []byte(id))
	}
	if len(ev.Entities) == 0 {
		sc.addEntity(e, cat, ap, []byte(ap.id))
	}
	if err := sc.match(); err != nil {
		return err
	}
	ev.Chain, ev.Unattributed = sc.chain()
	ev.Unattributed = ev.Unattributed || len(ev.Entities) == 0
	ev.Lines = nil
	for i := range sc.targets {
		t := &sc.targets[i]
		if t.amount == 0 {
			continue
		}
		start, _ := t.item.terms.Cadence.Period(ev.At)
		ev.Lines = append(ev.Lines, fsm.Line{Budget: fsm.BudgetKey{Assignment: t.item.meter.num, Start: start}, Amount: t.amount})
	}
	return nil
}

// fieldAt is the field of an event's time.
const fieldAt = "at"

// minRetention is the least age of an event, in milliseconds, whose time retention may have closed: a day less than the
// shortest retention, because a time may lie a little ahead of when the event was settled.
const minRetention = (fsm.MinRetentionDays - 1) * 24 * 60 * 60 * 1000

// timeClosed reports whether an event is of a time that retention has closed, and not known by its id.
func (e *Enforcer) timeClosed(ev *fsm.Event) (closed bool) {
	e.m.View(func(v *fsm.View) { closed = v.Closed(ev.Account, ev.At) })
	if closed {
		_, _, known, err := e.m.Event(ev.Account, ev.ID)
		closed = !known && err == nil
	}
	return closed
}

// chain returns every entity the call charges, each once, named ones first, each
// with its ancestors; unattributed if none of those named is provisioned.
func (sc *scratch) chain() (ids []string, unattributed bool) {
	unattributed = true
	for _, at := range sc.named {
		unattributed = unattributed && !sc.path[at].provisioned
	}
	for _, at := range sc.path {
		if !slices.Contains(ids, at.id) {
			ids = append(ids, at.id)
		}
	}
	return ids, unattributed
}

// accept computes Drawn and On of the lines of a resolved event, against its
// reservation if this node gave it out and against this node's own room, and
// makes them pending. The reservation then no longer expires.
//
// For a budget the reservation holds, what is held is drawn where it is held.
// What is left over of an amount draws on this node's room, but only where that
// leaves the line on one node, and not while a crash of the machine may have made
// this node forget what it has given out; the rest is an overdraft.
//
// What the reservation held too much stays held until the event is durable with
// its draws; then the caller says giveBack, or unaccept if that failed. After a crash
// before, the reservation is live with all it held, and all of that must be there.
func (e *Enforcer) accept(ev *fsm.Event) surplus { return e.charge(ev, false) }

// surplus is what an event leaves of the reservation that it settles.
type surplus struct {
	id     resID
	before []heldLine // what the reservation held
	over   []heldLine // too much, here
	used   []heldLine // of what other nodes hold, zeros included
}

// charge is accept, also of an event that was accepted early and is an overdraft so far.
func (e *Enforcer) charge(ev *fsm.Event, early bool) (left surplus) {
	id, ok := parseResID([]byte(ev.Reservation))
	if !ok || id.node != e.c.Node {
		e.acceptLines(ev, nil, early)
		return left
	}
	e.table.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		claimed := r != nil && early && r.event == ev.ID
		if r == nil || r.account != ev.Account || !claimed && (r.event != "" || r.expires <= e.now()) {
			e.acceptLines(ev, nil, early)
			return
		}
		r.event = ev.ID
		sh.expiry.remove(r)
		left.id, left.before = id, slices.Clone(r.holds)
		left.over, left.used = e.acceptLines(ev, r.holds, early)
		r.holds = append(r.holds[:0], left.used...)
	})
	return left
}

// giveBack sets free what a settled reservation held too much, here and by telling the
// other holders what was used. It returns what has to travel.
func (e *Enforcer) giveBack(left surplus) (t transit) {
	for _, h := range left.over {
		if s := e.book.findOr(h.Budget, claim{held: h.Amount}); s != nil {
			e.give(s, h.Amount)
			t.depart(s)
		}
	}
	e.confirm(left.id, left.used)
	for _, h := range left.used {
		t.holders = append(t.holders, h.On) // its hold ends when it applies the event
	}
	slices.Sort(t.holders)
	t.holders = slices.Compact(t.holders)
	return t
}

// acceptLines makes an event's lines pending against holds. It returns what the
// holds had too much on this node, for the caller to give back, and what is used
// of holds on other nodes, zeros included.
func (e *Enforcer) acceptLines(ev *fsm.Event, holds []heldLine, early bool) (over, used []heldLine) {
	for i := range ev.Lines {
		l := &ev.Lines[i]
		var held heldLine
		for _, h := range holds {
			if h.Budget == l.Budget {
				held = h
			}
		}
		e.acceptLine(l, held, early)
	}
	for _, h := range holds {
		drawn := drawnFor(ev.Lines, h)
		switch {
		case h.On != e.c.Node:
			used = append(used, heldLine{Budget: h.Budget, Amount: drawn, On: h.On})
		case drawn < h.Amount:
			over = append(over, heldLine{Budget: h.Budget, Amount: h.Amount - drawn, On: h.On})
		}
	}
	return over, used
}

// drawnFor is how much of a hold the lines use.
func drawnFor(lines []fsm.Line, h heldLine) int64 {
	for i := range lines {
		if lines[i].Budget == h.Budget {
			return min(lines[i].Amount, h.Amount)
		}
	}
	return 0
}

// acceptLine makes one line pending. held is zero if no reservation holds its
// budget. An early line leaves the overdraft that it is; what that held back is room for it first.
func (e *Enforcer) acceptLine(l *fsm.Line, held heldLine, early bool) {
	l.Drawn, l.On = 0, 0
	s := e.lockSlot(l.Budget)
	if s == nil {
		return // the assignment is gone: the state machine skips the line
	}
	defer s.mu.Unlock()
	var relief int64
	if early {
		relief = s.excess()
		s.overdraft -= l.Amount
		relief -= s.excess()
	}
	var moved int64 // of what is set aside here already, becomes pending
	if held.Amount > 0 {
		l.Drawn, l.On = min(l.Amount, held.Amount), held.On
		if held.On == s.me {
			moved = l.Drawn
		}
	}
	rest := l.Amount - l.Drawn
	if s.b.Leased && rest > 0 && (l.On == 0 || l.On == s.me) && e.mayGive(e.now()) {
		if got := s.takeBelow(rest, relief); got > 0 {
			l.Drawn, l.On = l.Drawn+got, s.me
			s.taken.Add(got)
			moved += got
			rest -= got
		}
	}
	if l.Drawn == 0 {
		l.On = 0
	}
	s.pending += moved
	s.overdraft += rest
	s.rebase(moved)
	if s.b.Leased {
		e.agent.activate(s)
	}
}

// confirm tells holders what is used of their holds.
func (e *Enforcer) confirm(id resID, used []heldLine) {
	for i, h := range used {
		if slices.ContainsFunc(used[:i], func(o heldLine) bool { return o.On == h.On }) {
			continue
		}
		var holds []Hold
		for _, o := range used[i:] {
			if o.On == h.On {
				holds = append(holds, Hold{Budget: o.Budget, Amount: o.Amount})
			}
		}
		e.notices.confirm(id, h.On, holds)
	}
}

// unaccept undoes accept, for an event that could not be written to the outbox:
// its reservation is live again with all it held.
func (e *Enforcer) unaccept(ev *fsm.Event, left surplus) {
	live := false
	if left.id != (resID{}) {
		e.table.with(left.id, func(sh *tableShard, r *reservation, _ *ending) {
			if live = r != nil && r.event == ev.ID; live {
				r.event, r.holds = "", append(r.holds[:0], left.before...)
				sh.expiry.push(r)
			}
		})
	}
	if !live { // there was none, or another copy of the event has settled it
		e.unpend(ev, true)
		e.giveBack(left)
		return
	}
	e.unpend(ev, false)
	for i := range ev.Lines {
		// What it drew beyond the hold is room again.
		l := &ev.Lines[i]
		beyond := drawnOn(l, e.c.Node)
		for _, h := range left.before {
			if h.Budget == l.Budget && h.On == e.c.Node {
				beyond -= min(l.Amount, h.Amount)
			}
		}
		if beyond > 0 {
			if s := e.book.findOr(l.Budget, claim{held: beyond}); s != nil {
				e.give(s, beyond)
			}
		}
	}
}

// unpend takes an event's lines out of the slots. With free what they had drawn
// here is room again, otherwise it is held.
func (e *Enforcer) unpend(ev *fsm.Event, free bool) {
	for i := range ev.Lines {
		l := &ev.Lines[i]
		mine := drawnOn(l, e.c.Node)
		ended := claim{pending: mine, overdraft: l.Amount - l.Drawn}
		if !free {
			ended.held = -mine
		}
		s := e.book.findOr(l.Budget, ended)
		if s == nil {
			continue
		}
		s.mu.Lock()
		s.pending -= mine
		s.overdraft -= l.Amount - l.Drawn
		if free {
			s.rebase(0)
		} else {
			s.rebase(-mine)
		}
		watched := s.watched.Load()
		s.mu.Unlock()
		if watched {
			e.stir(s)
		}
	}
}

// pend makes the lines of a restored event pending again.
func (e *Enforcer) pend(ev *fsm.Event) {
	for i := range ev.Lines {
		l := &ev.Lines[i]
		s := e.lockSlot(l.Budget)
		if s == nil {
			e.book.claim(l.Budget, claim{pending: drawnOn(l, e.c.Node), overdraft: l.Amount - l.Drawn})
			continue
		}
		s.pending += drawnOn(l, s.me)
		s.overdraft += l.Amount - l.Drawn
		s.rebase(0)
		s.mu.Unlock()
	}
}

// drawnOn is what a line draws on a node's lease.
func drawnOn(l *fsm.Line, node fsm.NodeNum) int64 {
	if l.On != node {
		return 0
	}
	return l.Drawn
}

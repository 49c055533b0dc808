package enforcer

import (
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// change is what a batch of log entries does to one slot.
type change struct {
	pending   int64 // settled, or found to be a duplicate
	overdraft int64
	releasing int64 // seen applied
	final     bool  // a final release is among them
	freed     int64 // holds of reservations and draws that ended
	uncovered int64 // drawn on this node's lease beyond what was pending or held for it
	budget    *fsm.Budget
}

// changes collects a batch's changes by budget. Only the apply goroutine uses it.
type changes map[fsm.BudgetKey]*change

func (cs changes) at(key fsm.BudgetKey) *change {
	c := cs[key]
	if c == nil {
		c = &change{}
		cs[key] = c
	}
	return c
}

// Applied implements fsm.Observer: the one place where this node learns what
// happened. All that a batch does to a slot is done in one step, so that a lease
// that shrinks and the pending lines that made it shrink are never seen apart.
func (e *Enforcer) Applied(c *fsm.Changes) {
	if c.Full || c.Global || c.Nodes {
		e.readNodes()
	}
	if c.Full {
		e.catalog.Store(newCatalog())
	}
	if c.Full || c.Tokens {
		e.tokens.forget()
	}
	if c.Full || c.Prices {
		e.forgetPrices()
	}
	cat := e.catalog.Load()
	for _, account := range c.Config {
		cat.forget(account)
	}
	for _, id := range c.Tree {
		cat.forgetEntity(id)
	}
	cs := make(changes, len(c.Budgets))
	var ended []resID
	for i := range c.Events {
		ended = e.collectEvent(&c.Events[i], cs, ended)
	}
	for _, r := range c.Seen {
		if r.Node == e.c.Node && r.Boot == e.boot.Load() {
			if given, ok := e.agent.seen(r.Seq); ok {
				ch := cs.at(given.Budget)
				ch.releasing += given.Amount
				ch.final = ch.final || given.Final
			}
		}
	}
	for i := range c.Budgets {
		cs.at(c.Budgets[i].Key).budget = &c.Budgets[i]
	}
	for key, ch := range cs {
		e.changeSlot(key, ch, c.Index)
	}
	if c.Full || c.Nodes || len(c.Terms) > 0 {
		e.reread(c)
	}
	e.applied.Store(c.Index)
	e.beginSession()
	e.ship.complete()
	e.journalEnded(ended)
	if c.Full {
		e.agent.reviewSoon()
	}
}

// collectEvent notes what an event does: its pending lines are settled, and every
// hold for the reservation it names is over, whatever its lines say.
func (e *Enforcer) collectEvent(ev *fsm.EventApplied, cs changes, ended []resID) []resID {
	if own, ok := e.ship.applied(ev); ok {
		for i := range own.Lines {
			l := &own.Lines[i]
			ch := cs.at(l.Budget)
			ch.pending += drawnOn(l, e.c.Node)
			ch.overdraft += l.Amount - l.Drawn
			if ev.Outcome == fsm.Settled {
				ch.uncovered -= drawnOn(l, e.c.Node)
			}
		}
	}
	if id, ok := parseResID([]byte(ev.Reservation)); ok {
		if e.collectReservation(id, ev, cs) {
			ended = append(ended, id)
		}
	}
	if ev.Outcome == fsm.Settled {
		for i := range ev.Lines {
			if l := &ev.Lines[i]; l.On == e.c.Node {
				cs.at(l.Budget).uncovered += l.Drawn
			}
		}
	}
	return ended
}

// collectReservation ends what this node holds for a reservation, as its origin
// or as a holder, and reports whether that was anything.
func (e *Enforcer) collectReservation(id resID, ev *fsm.EventApplied, cs changes) (ended bool) {
	if id.node != e.c.Node {
		d := e.draws.settle(id, e.now(), func(h Hold) bool { return e.owns(ev.Account, h.Budget) })
		if d == nil {
			return false
		}
		for _, h := range d.holds {
			cs.at(h.Budget).free(h.Amount)
		}
		e.firm(d)
		return true
	}
	e.table.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		if r == nil || r.account != ev.Account {
			return
		}
		for _, h := range r.holds {
			if h.On == e.c.Node {
				cs.at(h.Budget).free(h.Amount)
			} else {
				e.notices.settled(id, h.On)
			}
		}
		e.table.end(sh, r, ending{settled: true})
		ended = true
	})
	return ended
}

// free notes a hold that is over. It covers what the same batch draws on it.
func (ch *change) free(amount int64) {
	ch.freed += amount
	ch.uncovered -= amount
}

// owns reports whether a budget is the account's: an event ends only its own account's holds.
func (e *Enforcer) owns(account string, key fsm.BudgetKey) bool {
	s := e.book.find(key)
	return s == nil || s.account == account
}

// changeSlot does a batch's changes to one slot in one step.
func (e *Enforcer) changeSlot(key fsm.BudgetKey, ch *change, index uint64) {
	if e.book.find(key) == nil && ch.budget != nil && e.owes(ch.budget) {
		e.slot(key)
	}
	s := e.book.findOr(key, claim{held: ch.freed, pending: ch.pending, overdraft: ch.overdraft})
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.pending -= ch.pending
	s.overdraft -= ch.overdraft
	s.releasing -= ch.releasing
	s.returned += ch.releasing
	s.debt += max(0, ch.uncovered)
	s.settleDrain(e.roster.Load())
	if ch.budget != nil {
		s.setBudget(*ch.budget, index, e.roster.Load())
	}
	if ch.final && !s.b.Acked(s.me) {
		s.finalSent = false // acknowledged and forgotten within one batch
	}
	s.rebase(ch.freed)
	e.changed(s)
}

// owes reports whether another node holds the rest of a budget and this one has a
// lease of it, which goes back as far as nothing is held. It may be a slice that the
// node was born with and has never looked at; or, after the final word, what a
// reservation held that a crash of the machine has made the node forget.
func (e *Enforcer) owes(b *fsm.Budget) bool {
	return b.Holder != 0 && b.Holder != e.c.Node && b.LeaseOf(e.c.Node) > 0
}

// changed follows a change of a slot's terms: the invariant is checked, waiting
// checks and the agent are told. s.mu is held.
func (e *Enforcer) changed(s *slot) {
	if !e.mayGive(e.now()) {
		// After a crash of the machine the ends of reservations may be missing from the
		// journal, while the log that is applied once more has what was given back after them.
		s.debt = max(s.debt, s.shortfall())
	}
	if !s.checkInvariant() {
		e.alarm(s)
	}
	s.wakeReady()
	if e.agent.hasWork(s, time.Now()) {
		e.agent.attend(s)
	}
}

// reread reads the slots anew that a change of an assignment or of membership may
// touch without an entry that touches their budget: births that are only derived, who is dead.
func (e *Enforcer) reread(c *fsm.Changes) {
	r := e.roster.Load()
	e.m.View(func(v *fsm.View) {
		again := func(s *slot) {
			a := v.AssignmentByNum(s.key.Assignment)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.gone {
				return
			}
			if a != nil {
				s.setBudget(v.Budget(a, s.key.Start), v.Index(), r)
			}
			s.setRoster(r)
			s.settleDrain(r)
			s.rebase(0)
			if c.Full {
				// Lines settled and releases applied on the way to the snapshot are
				// not told; they are still counted here until they are sent again.
				s.debt = max(s.debt, s.shortfall())
			}
			e.changed(s)
		}
		if c.Full || c.Nodes {
			e.book.each(again)
			return
		}
		for _, num := range c.Terms {
			e.book.of(num, again)
		}
	})
}

// journalEnded records that what settled reservations held is over. It reorders ids.
func (e *Enforcer) journalEnded(ids []resID) {
	own := 0 // ids[:own] are of this node
	for i, id := range ids {
		if id.node == e.c.Node {
			ids[own], ids[i] = id, ids[own]
			own++
		}
	}
	e.journalEnd(ids[:own]...)
	e.journalEndDraw(ids[own:]...)
}

// readNodes takes membership and settings over from the replica.
func (e *Enforcer) readNodes() {
	r := &roster{me: e.c.Node, boots: make(map[fsm.NodeNum]uint64), gone: make(map[fsm.NodeNum]struct{})}
	staleness := fsm.DefaultMaxStaleness
	e.m.View(func(v *fsm.View) {
		if set, ok := v.Settings(); ok {
			staleness = time.Duration(set.MaxStalenessMS) * time.Millisecond
		}
		r.Roster = v.Roster()
		for _, n := range v.Nodes() {
			r.boots[n.Num] = n.Boot
			if n.RemovedAt != 0 {
				r.gone[n.Num] = struct{}{}
			}
			if n.Num == e.c.Node {
				r.self = *n
			}
		}
	})
	r.Shares = max(1, r.Shares)
	e.staleness.Store(int64(staleness))
	e.roster.Store(r)
	e.removed.Store(r.self.RemovedAt != 0)
}

// beginSession lets admitting begin once this node's boot is seen applied: what
// earlier sessions sent is void from there on. It comes after the slots have
// taken over everything up to that entry, for until then they may show a lease that an
// old release or an old line has shrunk.
func (e *Enforcer) beginSession() {
	if boot := e.boot.Load(); boot == 0 || e.roster.Load().self.Boot != boot {
		return
	}
	e.beginOnce.Do(func() {
		e.begun.Store(true)
		close(e.begin)
	})
}

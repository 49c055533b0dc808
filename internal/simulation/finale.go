package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Bounds of the finale. Each is what a caller or operator may be told to wait.
const (
	// recoverWait is for every node to serve again. A node whose machine went down
	// first waits until whatever it had reserved has expired.
	recoverWait = 45 * time.Second
	// returnWait is for everything in doubt to be back. A draw whose end was lost with
	// its holder's process is asked after when it is five minutes old.
	returnWait = 6 * time.Minute
	// spendWait is for a call that fits to be granted.
	spendWait = 10 * time.Second
)

// finale heals everything and closes the books: every node serves, nothing is in
// doubt, what is left is spendable to the last unit and not one more, and the
// ledger has what was reported, once.
func (w *World) finale() {
	w.history.note("world", "the chaos is over")
	w.heal()
	d := newDice(w.seed, streamFinale)
	w.acts.Wait()
	w.heal() // a fault may have begun while the chaos ended
	w.delay(d, quietDelay)
	for _, h := range w.all() {
		w.restart(h)
	}
	if !w.within(recoverWait, "every node serves", w.allReady) {
		return
	}
	w.calls.Wait()
	for _, entity := range []string{"red", "alice", "blue"} {
		w.settleLimit(d, entity)
	}
	time.Sleep(longestReservation / 2)
	if !w.within(returnWait, "everything in doubt is back", func() bool { return w.setAside() == 0 }) {
		return
	}
	w.spendAll(d)
	w.closeBooks()
}

// settleLimit writes a limit again if it is not known which one counts.
func (w *World) settleLimit(d *dice, entity string) {
	w.oracle.mu.Lock()
	all := *w.oracle.limits[entity]
	last := all[len(all)-1]
	least, most := w.oracle.limits[entity].during(time.Now())
	w.oracle.mu.Unlock()
	if least == most {
		return
	}
	if w.setLimit(d, entity, last.value) != done {
		w.oracle.fail("NOT LIVE: the limit of %s cannot be written\n%s", entity, w.describe())
		return
	}
	// What was given up before is in nobody's hands any more.
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	for _, write := range *w.oracle.limits[entity] {
		write.void = write.void || write.acked.IsZero()
	}
}

// setAside is what all nodes together still have set aside, or cannot give out
// because a node that has it is away.
func (w *World) setAside() (sum int64) {
	for _, p := range w.up() {
		e := p.enforcer.Load()
		p.machine.View(func(v *fsm.View) {
			roster := v.Roster()
			rows(v, func(_ string, b fsm.Budget) {
				sum += e.Reserved(b.Key)
				for _, l := range b.Leases {
					if !slices.Contains(roster.Live, l.Node) {
						sum += l.Amount
					}
				}
			})
		})
	}
	return sum
}

// budgetNow returns the budget of an entity's hard limit as the furthest replica has it.
func (w *World) budgetNow(entity string) (b fsm.Budget) {
	var best uint64
	for _, p := range w.up() {
		p.machine.View(func(v *fsm.View) {
			if v.Index() < best {
				return
			}
			best = v.Index()
			for _, a := range v.Assignments(account, entity) {
				start, _ := a.Cadence.Period(time.Now().UnixMilli())
				b = v.Budget(a, start)
			}
		})
	}
	return b
}

// spendAll spends what is left of every hard limit and checks that then everybody refuses.
func (w *World) spendAll(d *dice) {
	w.spend(d, "alice", "alice", "red")
	w.spend(d, "bob", "red")
	// All nodes are to be in one period, and it is not to end meanwhile.
	now := time.Now()
	if edge := time.Until(now.Truncate(time.Minute).Add(time.Minute)); edge < spendWait+w.c.ClockError {
		time.Sleep(edge + time.Second + w.c.ClockError)
	} else if time.Minute-edge < w.c.ClockError {
		time.Sleep(w.c.ClockError)
	}
	w.oracle.mu.Lock()
	archivedToo := w.oracle.may("state of dave", archived, time.Now())
	w.oracle.mu.Unlock()
	if !archivedToo || w.unarchive(d) {
		w.spend(d, "dave", "blue")
	}
}

func (w *World) unarchive(d *dice) bool {
	f := w.oracle.writes("state of dave", active)
	how := w.propose(d, fsm.ArchiveEntity{Account: account, ID: "dave"})
	w.oracle.wrote(f, how)
	if how != done {
		w.oracle.fail("NOT LIVE: dave cannot be unarchived\n%s", w.describe())
	}
	return how == done
}

// spend spends all that is left for an entity under the limits that govern it.
func (w *World) spend(d *dice, entity string, governs ...string) {
	left := func() int64 {
		least := int64(1 << 62)
		for _, g := range governs {
			b := w.budgetNow(g)
			least = min(least, b.Left())
		}
		return least
	}
	for n := 0; left() > 0 && !w.oracle.hasFailed(); n++ {
		amount := max(1, left()-left()/3)
		h := w.mustGrant(d, entity, amount)
		if h == nil {
			return
		}
		c := &client{w: w, d: d, name: "last-" + entity, n: n}
		e := c.event(entity, amount, h.id)
		e.at = time.Now()
		w.oracle.reports(e, h)
		if !w.within(spendWait, "an event is recorded for good", func() bool {
			p := w.anyone(d)
			return w.ingest(p, e, h) && w.known(e)
		}) {
			return
		}
	}
	for _, p := range w.up() {
		if w.oracle.hasFailed() {
			return
		}
		w.mustRefuse(p, entity, left())
	}
}

// known reports whether every replica has the event.
func (w *World) known(e *event) bool {
	for _, p := range w.up() {
		if _, _, ok, err := p.machine.Event(account, e.id); err != nil || !ok {
			return false
		}
	}
	return true
}

// mustGrant asks until a call that fits is granted. It may take some time, and is never refused.
func (w *World) mustGrant(d *dice, entity string, amount int64) *hold {
	for deadline := time.Now().Add(spendWait); ; time.Sleep(20 * time.Millisecond) {
		if h := w.check(w.anyone(d), rootToken, entity, amount, 60*time.Second); h != nil {
			return h
		}
		if time.Now().After(deadline) || w.oracle.hasFailed() {
			w.oracle.fail("NOT LIVE: %d of %s are left and are not granted\n%s", amount, entity, w.describe())
			return nil
		}
	}
}

// mustRefuse asks a node for one more than there is.
func (w *World) mustRefuse(p *process, entity string, left int64) {
	for deadline := time.Now().Add(spendWait); ; time.Sleep(20 * time.Millisecond) {
		a := p.post("/v1/check", rootToken, checkBody(entity, 1, 2*time.Second))
		var r decision
		_ = a.into(&r)
		switch {
		case r.Allowed:
			w.oracle.fail("OVERSPENT: %s grants one more of %s, of which %d are left\n%s", p.h.name, entity, left, w.describe())
			return
		case r.Code != "":
			return
		case time.Now().After(deadline):
			w.oracle.fail("NOT LIVE: %s neither grants nor refuses %s: %d %s\n%s", p.h.name, entity, a.status, a.body, w.describe())
			return
		}
	}
}

func (o *oracle) hasFailed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// closeBooks compares ledger, balances and replicas with what was reported.
func (w *World) closeBooks() {
	all := w.up()
	if len(all) == 0 || w.oracle.hasFailed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), spendWait)
	defer cancel()
	index, err := all[0].cluster.Barrier(ctx)
	if err != nil {
		w.oracle.fail("NOT LIVE: a linearizable read: %v\n%s", err, w.describe())
		return
	}
	for _, p := range all {
		if err := p.machine.WaitApplied(ctx, index); err != nil {
			w.oracle.fail("NOT LIVE: %s does not reach index %d: %v", p.h.name, index, err)
			return
		}
	}
	w.compare()
	for _, p := range all {
		w.readLedger(p)
	}
}

// readLedger checks one replica's ledger, and its balances against the ledger.
func (w *World) readLedger(p *process) {
	o := w.oracle
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := map[string]bool{}
	used := map[fsm.BudgetKey]int64{}
	for after := uint64(0); ; {
		lines, next, err := p.machine.ListLedger(account, fsm.LedgerFilter{OldestFirst: true}, after, fsm.MaxPage)
		if err != nil {
			o.failLocked("%s cannot read its ledger: %v", p.h.name, err)
			return
		}
		for i := range lines {
			ev := &lines[i].Event
			e := o.events[ev.ID]
			switch {
			case e == nil:
				o.failLocked("%s has an event %q that nobody reported", p.h.name, ev.ID)
			case seen[ev.ID]:
				o.stats.Doubled++
				o.failLocked("DOUBLED: %s has %s twice", p.h.name, ev.ID)
			case len(ev.Usage) != 1 || ev.Usage[0].Amount != e.amount || len(ev.Entities) != 1 || ev.Entities[0] != e.entity:
				o.failLocked("%s has %s of %d for %s as %+v", p.h.name, ev.ID, e.amount, e.entity, ev)
			}
			seen[ev.ID] = true
			for _, l := range ev.Lines {
				used[l.Budget] += l.Amount
			}
		}
		if after = next; next == 0 {
			break
		}
	}
	for id, e := range o.events {
		if e.acked && !seen[id] {
			o.stats.Lost++
			o.failLocked("LOST: %s does not have %s, which was acknowledged", p.h.name, id)
		}
	}
	p.machine.View(func(v *fsm.View) {
		rows(v, func(entity string, b fsm.Budget) {
			if b.Used != used[b.Key] {
				o.failLocked("%s counts %d of %s as used, its ledger %d", p.h.name, b.Used, entity, used[b.Key])
			}
		})
	})
}

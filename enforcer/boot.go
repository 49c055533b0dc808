package enforcer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

const (
	expireEvery  = 50 * time.Millisecond
	proposeAgain = 200 * time.Millisecond // between tries of a command of the node's own
	proposeWait  = 5 * time.Second        // for one try
	syncWait     = time.Second            // for one node to answer SyncDraws
	recoverCheck = 100 * time.Millisecond
	drainPoll    = 10 * time.Millisecond
	// settleWait is how long a node that comes back waits for its outbox before
	// it says that it is back. What it had accepted is in doubt until then.
	settleWait = 5 * time.Second
)

// restore brings back what the last session left: journal, outbox, and from
// them holds and pending lines. Nothing is admitted yet.
func (e *Enforcer) restore() error {
	if err := makeDir(e.c.FS, e.c.DataDir); err != nil {
		return err
	}
	last, err := readSession(e.c.FS, e.c.DataDir)
	if err != nil {
		return err
	}
	if err := e.setSession(max(last, e.roster.Load().self.Boot) + 1); err != nil {
		return err
	}
	journal, restored, err := openJournal(e.c.FS, e.c.FS.PathJoin(e.c.DataDir, "journal"), e.log, e.c.KernelBoot, e.now)
	if err != nil {
		return err
	}
	e.journal = journal
	if e.ship, err = e.openShipper(); err != nil {
		return err
	}
	if restored.Rebooted {
		e.admitFrom.Store(restored.Watermark)
		e.log.Warn("the machine stopped without warning; nothing is given out until all reservations of before have expired",
			"until", time.UnixMilli(restored.Watermark))
	}
	e.recalling.Store(restored.Forgot)
	index, _ := e.m.Applied()
	e.applied.Store(index)
	return e.restoreHolds(restored)
}

// setSession makes a session number durable and the table's ids belong to it.
func (e *Enforcer) setSession(boot uint64) error {
	if boot > 1<<32-1 {
		return fmt.Errorf("session %d does not fit into a reservation's id", boot)
	}
	if err := writeSession(e.c.FS, e.c.DataDir, boot); err != nil {
		return fmt.Errorf("store the session: %w", err)
	}
	e.boot.Store(boot)
	if e.table == nil {
		e.table = newTable(e.c.Node)
	}
	e.table.boot.Store(uint32(boot))
	return nil
}

// restoreHolds sets aside what is still reserved, then makes the outbox pending.
// What was settled while this node was away holds nothing any more.
func (e *Enforcer) restoreHolds(restored journalState) error {
	for _, r := range restored.Reservations {
		settled, err := e.m.ReservationSettled(r.Account, r.ID.String())
		if err != nil {
			return err
		}
		if settled {
			e.journalEnd(r.ID)
			continue
		}
		e.table.add(r.ID, r.Account, r.Expires, r.Holds)
		for _, h := range r.Holds {
			if h.On == e.c.Node {
				e.restoreHold(h.Budget, h.Amount)
			}
		}
	}
	for _, d := range restored.Draws {
		settled, err := e.m.ReservationSettled(e.accountOf(d.Holds), d.ID.String())
		if err != nil {
			return err
		}
		if settled {
			e.journalEndDraw(d.ID)
			continue
		}
		e.draws.byID[d.ID] = &heldDraw{origin: d.Origin, boot: d.Boot, made: true, restored: true, since: e.now(), until: restored.Watermark, holds: d.Holds}
		for _, h := range d.Holds {
			e.restoreHold(h.Budget, h.Amount)
		}
	}
	e.ship.each(func(sh *shipment) {
		if sh.undrawn {
			e.acceptEarly(sh.ev, true)
		} else {
			e.restoreEvent(sh.ev)
		}
	})
	e.book.each(func(s *slot) {
		s.mu.Lock()
		defer s.mu.Unlock()
		// After a crash of the machine the ends of reservations may be missing
		// from the journal, so that more is held than the lease allows.
		if s.debt = s.shortfall(); s.debt > 0 {
			e.log.Warn("more is held than this node's lease; it gives nothing out of it until that has ended",
				"assignment", s.key.Assignment, "start", s.key.Start, "amount", s.debt)
		}
	})
	return nil
}

func (e *Enforcer) restoreHold(key fsm.BudgetKey, amount int64) {
	s := e.lockSlot(key)
	if s == nil {
		e.book.claim(key, claim{held: amount})
		return
	}
	s.avail.Add(-amount)
	s.mu.Unlock()
}

// restoreEvent makes an event of the outbox pending. If it settles a reservation
// of this node, the lines stand for the holds.
func (e *Enforcer) restoreEvent(ev *fsm.Event) {
	e.pend(ev)
	id, ok := parseResID([]byte(ev.Reservation))
	if !ok || id.node != e.c.Node {
		return
	}
	e.table.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		if r == nil || r.event != "" || r.account != ev.Account {
			return
		}
		r.event = ev.ID
		sh.expiry.remove(r)
		elsewhere := r.holds[:0]
		for _, h := range r.holds {
			if h.On != e.c.Node {
				elsewhere = append(elsewhere, heldLine{Budget: h.Budget, Amount: drawnFor(ev.Lines, h), On: h.On})
			} else {
				e.restoreHold(h.Budget, -h.Amount)
			}
		}
		r.holds = elsewhere
	})
}

// Run starts a new session (boot epoch) and keeps the lease protocol going until
// ctx ends. propose commits a command through the leader. The order is that of
// rule N13: boot, settle the outbox, tell the holders which draws are still
// wanted, say that the node is back.
func (e *Enforcer) Run(ctx context.Context, propose func(context.Context, fsm.Body) error) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	p := proposer(propose)
	e.propose.Store(&p)
	running.Go(func() { e.agent.run(ctx) })
	running.Go(func() { e.notices.run(ctx) })
	running.Go(func() { e.keepHouse(ctx) })
	running.Go(func() { e.ship.run(ctx) }) // it sends nothing before the session has begun
	if err := e.startSession(ctx, p); err != nil {
		return err
	}
	e.ship.kick()
	running.Go(func() { e.syncDraws(ctx) })
	if e.recalling.Load() {
		running.Go(func() { e.recallDraws(ctx) })
	}
	running.Go(func() { e.reviewDraws(ctx) })
	running.Go(func() {
		e.payDebts()
		e.resumeGiving(ctx)
	})
	wait, cancel := context.WithTimeout(ctx, settleWait)
	_ = e.ship.drained(wait) // best effort: recovering earlier is safe
	cancel()
	e.keepRecovered(ctx, p)
	return nil
}

// startSession proposes the session until it is seen applied.
func (e *Enforcer) startSession(ctx context.Context, propose proposer) error {
	for {
		if self := e.roster.Load().self; self.Boot > e.boot.Load() {
			// The session file is older than the cluster's memory of this node.
			if err := e.setSession(self.Boot + 1); err != nil {
				return err
			}
		}
		try, cancel := context.WithTimeout(ctx, proposeWait)
		err := propose(try, fsm.BootNode{Node: e.c.Node, Boot: e.boot.Load()})
		cancel()
		if err != nil && ctx.Err() == nil {
			e.log.Info("the session could not be started yet", "session", e.boot.Load(), "error", err)
		}
		select {
		case <-e.begin:
			e.log.Info("session started", "session", e.boot.Load())
			return nil
		case <-ctx.Done():
			return nil
		case <-time.After(proposeAgain):
		}
	}
}

// keepHouse expires reservations and drops what is no longer needed, until ctx ends.
func (e *Enforcer) keepHouse(ctx context.Context) {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	swept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.agent.review:
			e.reviewHolds()
			e.payDebts()
		case now := <-ticker.C:
			wall := e.c.Wall(now)
			e.expire(wall)
			e.firmOverdue(wall)
			if now.Sub(swept) >= sweepEvery {
				swept = now
				e.sweep(now)
			}
		}
	}
}

// sweep drops idle slots and what concerns nodes that are gone for good.
func (e *Enforcer) sweep(now time.Time) {
	at := e.c.Wall(now)
	e.book.sweep(func(s *slot) bool {
		ended := s.end < at-keepEnded.Milliseconds()
		return !s.active.Load() && (ended || s.lastMoved < now.UnixMilli()-keepIdle.Milliseconds())
	})
	e.draws.age(at)
	e.endOrphans(at)
}

// reviewHolds ends reservations and draws that were settled in entries a
// snapshot has swallowed.
func (e *Enforcer) reviewHolds() {
	owners := make(map[resID]string)
	e.table.each(func(_ *tableShard, r *reservation) { owners[r.id] = r.account })
	for id, account := range owners {
		if e.settledAway(account, id) {
			e.endSettled(id)
		}
	}
	for id, holds := range e.draws.made() {
		if e.settledAway(e.accountOf(holds), id) {
			e.giveDraw(id, e.draws.remove(id))
		}
	}
}

// accountOf returns whose budgets the holds are; empty if none of them exists any more.
func (e *Enforcer) accountOf(holds []Hold) (account string) {
	e.m.View(func(v *fsm.View) {
		for _, h := range holds {
			if a := v.AssignmentByNum(h.Budget.Assignment); a != nil {
				account = a.Account
				return
			}
		}
	})
	return account
}

func (e *Enforcer) settledAway(account string, id resID) bool {
	settled, err := e.m.ReservationSettled(account, id.String())
	if err != nil {
		e.log.Error("a reservation could not be looked up", "reservation", id, "error", err)
	}
	return settled && err == nil
}

// endSettled ends a reservation whose settlement was not told.
func (e *Enforcer) endSettled(id resID) {
	var held []heldLine
	e.table.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		if r == nil {
			return
		}
		for _, h := range r.holds {
			if h.On == e.c.Node {
				held = append(held, h)
			}
		}
		e.table.end(sh, r, ending{settled: true})
	})
	e.free(id, held)
}

// resumeGiving has everything looked at once the node gives leases back again
// after a crash of its machine. What was owed meanwhile is paid then; nothing else
// might touch those budgets, and their holder can neither grant nor refuse before.
func (e *Enforcer) resumeGiving(ctx context.Context) {
	if e.mayGive(e.now()) {
		return
	}
	for !e.mayGive(e.now()) {
		if !pause.For(ctx, recoverCheck) {
			return
		}
	}
	e.book.each(e.agent.attend)
	e.payDebts()
}

// payDebts makes a slot of every budget whose holder waits for this node's lease,
// so that the agent gives it up. While a node runs, Applied does that; this is for
// what it did not see happen.
func (e *Enforcer) payDebts() {
	var owed []fsm.BudgetKey
	e.m.View(func(v *fsm.View) {
		v.Held(func(b *fsm.Budget) {
			if e.owes(b) {
				owed = append(owed, b.Key)
			}
		})
	})
	for _, key := range owed {
		if s := e.slot(key); s != nil {
			e.agent.attend(s) // twice is harmless
		}
	}
}

// syncDraws tells every other node which draws of this node's earlier sessions
// still stand behind a reservation. It goes on until all have heard or are gone.
//
// After a crash of the machine the journal's tail may be missing, and with it
// reservations that callers still work under: their draws stay until the last of them has expired.
func (e *Enforcer) syncDraws(ctx context.Context) {
	if wait := time.Duration(e.admitFrom.Load()-e.now()) * time.Millisecond; wait > 0 && !pause.For(ctx, wait) {
		return
	}
	keep := make(map[fsm.NodeNum][]string)
	e.ship.pending(func(ev *fsm.Event) {
		for i := range ev.Lines {
			if on := ev.Lines[i].On; on != 0 && on != e.c.Node && ev.Reservation != "" {
				keep[on] = append(keep[on], ev.Reservation)
			}
		}
	})
	boot := e.boot.Load()
	e.table.each(func(_ *tableShard, r *reservation) {
		told := make(map[fsm.NodeNum]bool)
		for _, h := range r.holds {
			if h.On != e.c.Node && !told[h.On] {
				told[h.On] = true
				keep[h.On] = append(keep[h.On], r.id.String())
			}
		}
	})
	heard := make(map[fsm.NodeNum]bool)
	for {
		open := 0
		r := e.roster.Load()
		for node := range r.boots {
			if _, gone := r.gone[node]; gone || node == e.c.Node || heard[node] {
				continue
			}
			call, cancel := context.WithTimeout(ctx, syncWait)
			err := e.peers.Call(call, node, MethodSyncDraws, &SyncDrawsRequest{Origin: e.c.Node, Boot: boot, Keep: keep[node]}, &Empty{})
			cancel()
			if heard[node] = err == nil; err != nil {
				open++
			}
		}
		if open == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(proposeAgain):
		}
	}
}

// keepRecovered says that the node is back whenever its own replica says that it
// is dead although it hears a leader: after a restart, and after a partition
// that the process has lived through.
func (e *Enforcer) keepRecovered(ctx context.Context, propose proposer) {
	ticker := time.NewTicker(recoverCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !e.roster.Load().self.Dead || e.draining.Load() || time.Since(e.peers.HeardLeader()) > 5*tick {
			continue
		}
		try, cancel := context.WithTimeout(ctx, proposeWait)
		err := propose(try, fsm.RecoverNode{Node: e.c.Node, Boot: e.boot.Load()})
		cancel()
		if err != nil && ctx.Err() == nil {
			e.log.Info("the node could not be declared back yet", "error", err)
		}
	}
}

// Close closes journal and outbox. Call it after Run has returned.
func (e *Enforcer) Close() error {
	var err error
	if e.ship != nil {
		err = errors.Join(err, e.ship.close())
	}
	if e.journal != nil {
		err = errors.Join(err, e.journal.closeClean())
	}
	return err
}

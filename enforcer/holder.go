package enforcer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// This file is the granting side of a draw (rules N5 and N6): this node holds
// the rest of a budget and sets parts of it aside for reservations of other
// nodes. It takes no part in raft: a draw costs a compare-and-swap and a record
// in the journal, which is written before the answer. Without the record a
// holder that restarts would forget what it gave away and give it away twice.

// drawTable holds what this node has set aside for others, and which draws are
// over, in case their requests come once more.
type drawTable struct {
	mu        sync.Mutex
	byID      map[resID]*heldDraw
	undecided []*heldDraw            // as they came; see firmOverdue
	over      map[resID]int64        // settled, cancelled → when that may be forgotten, Unix milliseconds
	boots     map[fsm.NodeNum]uint64 // newest session each origin has synced
}

// heldDraw is one draw. Its holds shrink when the origin confirms the real
// amounts. Until made, it only keeps the id's place: room is being sought, or
// the record is on its way into the journal, and nobody has been told yes.
type heldDraw struct {
	origin fsm.NodeNum
	boot   uint64
	made   bool
	// restored says that it was read from the journal: a session before has made it.
	restored bool
	since    int64 // when it was begun or restored, Unix milliseconds
	until    int64 // when its reservation has ended by this node's clock, unless an event settles it; Unix milliseconds
	orphan   int64 // when its origin was first seen to be removed, Unix milliseconds; 0: it was not
	holds    []Hold
	// undecided is where the holds stand, while others are still asked after this node; nil: they will stay.
	undecided []undecidedHold
}

type undecidedHold struct {
	s      *slot
	amount int64
}

const (
	// maxDraws bounds what one node sets aside for others.
	maxDraws = 1 << 20
	// maxDrawHolds bounds one draw.
	maxDrawHolds = fsm.MaxCallAssignments
	// drawMemory is how long a draw that comes after its cancel, or once more after
	// its settlement, is refused. No request lives that long.
	drawMemory = 2 * time.Minute
	// maxDrawsOver bounds what is remembered of draws that are over. Beyond it draws are refused until some have aged.
	maxDrawsOver = 1 << 18
	// maxDrawWait bounds how long a draw may be queued here, whatever it asks for.
	maxDrawWait = time.Second
	// undecidedLife is how long a draw may be undecided. A call lives for AskWait, and
	// what became of it goes out again every noticeAgain. Beyond this its origin is
	// cut off or dead, and what it has drawn counts as held like everything that is in doubt.
	undecidedLife = time.Second
)

func newDrawTable() *drawTable {
	return &drawTable{byID: make(map[resID]*heldDraw), over: make(map[resID]int64), boots: make(map[fsm.NodeNum]uint64)}
}

// begin keeps a place for a new draw. d is nil if there is none to make: made
// says whether it was made before. now is the node's clock; until is as in heldDraw.
func (t *drawTable) begin(id resID, boot uint64, now, until int64) (d *heldDraw, made bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.byID[id]; known != nil {
		return nil, known.made
	}
	_, over := t.over[id]
	if over || boot < t.boots[id.node] || len(t.byID) >= maxDraws || len(t.over) >= maxDrawsOver {
		return nil, false
	}
	d = &heldDraw{origin: id.node, boot: boot, since: now, until: until}
	t.byID[id] = d
	return d, false
}

// finish makes a draw begun with begin. It fails if the draw was cancelled or
// settled meanwhile, or its origin has begun a new session.
func (t *drawTable) finish(id resID, d *heldDraw, now int64, holds []Hold, undecided []undecidedHold) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id] != d || d.boot < t.boots[d.origin] {
		return false
	}
	d.made, d.holds, d.undecided = true, holds, undecided
	if undecided != nil {
		d.since = now
		t.undecided = append(t.undecided, d)
	}
	return true
}

// find returns a draw, or nil.
func (t *drawTable) find(id resID) *heldDraw {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// firm ends that a draw is undecided. d may be nil.
func (e *Enforcer) firm(d *heldDraw) {
	if d == nil {
		return
	}
	e.draws.mu.Lock()
	undecided := d.undecided
	d.undecided = nil
	e.draws.mu.Unlock()
	for _, u := range undecided {
		e.decided(u.s, u.amount)
	}
}

// firmOverdue makes the draws firm that have been undecided for too long.
func (e *Enforcer) firmOverdue(now int64) {
	t := e.draws
	t.mu.Lock()
	n := 0
	for n < len(t.undecided) && t.undecided[n].since <= now-undecidedLife.Milliseconds() {
		n++
	}
	overdue := slices.Clone(t.undecided[:n])
	t.undecided = dropFront(t.undecided, n)
	t.mu.Unlock()
	for _, d := range overdue {
		e.firm(d)
	}
}

// abandon gives up a place kept with begin.
func (t *drawTable) abandon(id resID, d *heldDraw) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id] == d {
		delete(t.byID, id)
	}
}

// remove takes a draw out and returns it, or nil. The caller then owns its holds.
func (t *drawTable) remove(id resID) *heldDraw {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byID[id]
	delete(t.byID, id)
	return d
}

// settle is remove for a draw whose holds are all owned by the event's account.
func (t *drawTable) settle(id resID, now int64, owned func(Hold) bool) *heldDraw {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byID[id]
	if d == nil || slices.ContainsFunc(d.holds, func(h Hold) bool { return !owned(h) }) {
		return nil
	}
	delete(t.byID, id)
	t.over[id] = now + drawMemory.Milliseconds()
	return d
}

// cancel is remove, and refuses the draw if it comes later.
func (t *drawTable) cancel(id resID, now int64) *heldDraw {
	t.mu.Lock()
	t.over[id] = now + drawMemory.Milliseconds()
	t.mu.Unlock()
	return t.remove(id)
}

// age forgets what has been over for long.
func (t *drawTable) age(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, until := range t.over {
		if until <= now {
			delete(t.over, id)
		}
	}
}

// made returns the draws that were made, with copies of their holds.
func (t *drawTable) made() map[resID][]Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[resID][]Hold)
	for id, d := range t.byID {
		if d.made {
			all[id] = slices.Clone(d.holds)
		}
	}
	return all
}

// handleDraw answers a draw. An empty Reservation only asks: nothing is set aside.
func (e *Enforcer) handleDraw(ctx context.Context, req *DrawRequest) *DrawReply {
	unavailable := &DrawReply{Status: DrawUnavailable}
	if e.Ready() != nil || len(req.Holds) == 0 || len(req.Holds) > maxDrawHolds {
		return unavailable
	}
	if req.Reservation == "" {
		_, reply := e.holdDraw(ctx, req, false)
		return reply
	}
	id, ok := parseResID([]byte(req.Reservation))
	if !ok || id.node != req.Origin || uint64(id.boot) != req.Boot || req.Boot < e.roster.Load().boots[req.Origin] {
		return unavailable // the last: a message of a session that is over
	}
	until, ok := e.drawUntil(req.TTLMS)
	if !ok {
		return unavailable
	}
	d, made := e.draws.begin(id, req.Boot, e.now(), until)
	switch {
	case made:
		return &DrawReply{Status: DrawOK}
	case d == nil:
		return unavailable
	}
	slots, reply := e.holdDraw(ctx, req, true)
	if reply.Status != DrawOK {
		e.draws.abandon(id, d)
		return reply
	}
	var undecided []undecidedHold
	if req.Undecided {
		for i, s := range slots {
			undecided = append(undecided, undecidedHold{s, req.Holds[i].Amount})
		}
	}
	err := e.journal.draw(drawRecord{ID: id, Origin: req.Origin, Boot: req.Boot, Holds: req.Holds, Expires: until})
	if err == nil && e.draws.finish(id, d, e.now(), slices.Clone(req.Holds), undecided) {
		return reply
	}
	e.draws.abandon(id, d)
	e.giveHolds(slots, req.Holds)
	for _, u := range undecided {
		e.decided(u.s, u.amount)
	}
	if err != nil {
		e.log.Warn("a draw could not be journaled", "error", err)
	} else {
		e.journalEndDraw(id)
	}
	return unavailable
}

// holdDraw finds room for a draw, all or none, and sets it aside if keep. It
// waits as long as the draw allows.
func (e *Enforcer) holdDraw(ctx context.Context, req *DrawRequest, keep bool) ([]*slot, *DrawReply) {
	until := time.Now().Add(min(time.Duration(max(0, req.WaitMS))*time.Millisecond, maxDrawWait))
	var w *waiter
	for {
		slots, reply, s, need := e.tryDraw(req, keep)
		if reply.Status != DrawUnavailable || s == nil {
			return slots, reply
		}
		if w == nil {
			var err error
			if w, err = e.newWaiter(); err != nil {
				return nil, reply
			}
			defer e.doneWaiting(w)
		}
		for _, h := range req.Holds {
			if s := e.book.find(h.Budget); s != nil {
				w.count(s, h.Amount)
			}
		}
		err := e.await(ctx, s, w, need, keep, until)
		if err != nil || !time.Now().Before(until) {
			return nil, reply
		}
	}
}

// tryDraw decides a draw now. What it sets aside of an undecided one is undecided. DrawUnavailable with a slot means: that one is short of need, wait for it.
func (e *Enforcer) tryDraw(req *DrawRequest, keep bool) (slots []*slot, reply *DrawReply, wait *slot, need int64) {
	slots = make([]*slot, len(req.Holds))
	for i, h := range req.Holds {
		s := e.slot(h.Budget)
		if s == nil {
			return nil, &DrawReply{Status: DrawNotHolder, Budget: h.Budget}, nil, 0
		}
		slots[i] = s
		if h.Amount < 0 || s.kind.Load() != kindLeased {
			return nil, &DrawReply{Status: DrawNotHolder, Budget: h.Budget}, nil, 0
		}
		switch v, p := s.judgeNow(h.Amount, keep); v {
		case elsewhere:
			return nil, &DrawReply{Status: DrawNotHolder, Budget: h.Budget}, nil, 0
		case refused, tooLarge:
			if p.byHearsay && !e.heardLately() {
				return nil, &DrawReply{Status: DrawUnavailable}, nil, 0
			}
			return nil, &DrawReply{Status: DrawRefused, Budget: h.Budget, Used: p.used, Room: min(p.room, h.Amount-1)}, nil, 0
		case short:
			if p.holder != e.c.Node {
				return nil, &DrawReply{Status: DrawNotHolder, Budget: h.Budget}, nil, 0
			}
			wait, need = s, h.Amount
		}
	}
	if wait != nil {
		return nil, &DrawReply{Status: DrawUnavailable}, wait, need
	}
	if !keep {
		return slots, &DrawReply{Status: DrawOK}, nil, 0
	}
	decided := func(n int) {
		for i, s := range slots[:n] {
			e.decided(s, req.Holds[i].Amount)
		}
	}
	for i, h := range req.Holds {
		slots[i].undecide(h.Amount)
		if left, ok := slots[i].take(h.Amount); !ok {
			e.giveHolds(slots[:i], req.Holds[:i])
			decided(i + 1)
			return nil, &DrawReply{Status: DrawUnavailable}, slots[i], h.Amount
		} else if left < slots[i].low.Load() {
			e.agent.attend(slots[i])
		}
		e.agent.activate(slots[i])
	}
	if !req.Undecided {
		decided(len(slots))
	}
	return slots, &DrawReply{Status: DrawOK}, nil, 0
}

func (e *Enforcer) giveHolds(slots []*slot, holds []Hold) {
	for i, s := range slots {
		e.give(s, holds[i].Amount)
	}
}

// giveDraw returns the holds of a draw that is no more, if it was made. d may be nil.
func (e *Enforcer) giveDraw(id resID, d *heldDraw) {
	if d == nil || !d.made {
		return
	}
	e.giveAll(d.holds)
	e.firm(d)
	e.journalEndDraw(id)
}

// giveAll returns holds to their slots, which are there while they hold something,
// unless the replica does not know them yet.
func (e *Enforcer) giveAll(holds []Hold) {
	for _, h := range holds {
		if s := e.book.findOr(h.Budget, claim{held: h.Amount}); s != nil {
			e.give(s, h.Amount)
		}
	}
}

func (e *Enforcer) journalEndDraw(ids ...resID) {
	if err := e.journal.endDraw(ids...); err != nil {
		e.log.Warn("the end of draws could not be journaled; after a restart they are held until their origin is asked",
			"reservations", len(ids), "first", ids[0], "error", err)
	}
}

// handleCancel frees a draw, or refuses it when it comes.
func (e *Enforcer) handleCancel(req *CancelRequest) {
	if id, ok := parseResID([]byte(req.Reservation)); ok && id.node == req.Origin {
		e.giveDraw(id, e.draws.cancel(id, e.now()))
	}
}

// handleConfirm shrinks a draw to the real amounts; budgets it does not name are free.
// Confirming twice changes nothing.
func (e *Enforcer) handleConfirm(req *ConfirmRequest) {
	id, ok := parseResID([]byte(req.Reservation))
	if !ok {
		return
	}
	var freed []Hold
	e.draws.mu.Lock()
	d := e.draws.byID[id]
	if d != nil {
		freed = d.shrink(req.Holds)
	}
	e.draws.mu.Unlock()
	e.giveAll(freed)
	e.firm(d)
}

// shrink lowers the holds to the amounts given and returns what is free.
func (d *heldDraw) shrink(to []Hold) (freed []Hold) {
	for i := range d.holds {
		keep := int64(0)
		for _, h := range to {
			if h.Budget == d.holds[i].Budget {
				keep = max(0, h.Amount)
			}
		}
		if over := d.holds[i].Amount - keep; over > 0 {
			freed = append(freed, Hold{Budget: d.holds[i].Budget, Amount: over})
			d.holds[i].Amount = keep
		}
	}
	return freed
}

// handleSyncDraws frees the draws of an origin's earlier sessions that stand
// behind no reservation any more: they were made, and never used, when it crashed.
func (e *Enforcer) handleSyncDraws(req *SyncDrawsRequest) {
	keep := make(map[string]struct{}, len(req.Keep))
	for _, id := range req.Keep {
		keep[id] = struct{}{}
	}
	var drop []resID
	e.draws.mu.Lock()
	e.draws.boots[req.Origin] = max(e.draws.boots[req.Origin], req.Boot)
	for id, d := range e.draws.byID {
		if d.origin != req.Origin || d.boot >= req.Boot || !d.made {
			continue
		}
		if _, live := keep[id.String()]; !live {
			drop = append(drop, id)
		}
	}
	e.draws.mu.Unlock()
	for _, id := range drop {
		e.giveDraw(id, e.draws.remove(id))
	}
}

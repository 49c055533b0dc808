package simulation

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// oracle holds the callers' side of the books and compares every answer with it.
// It believes nothing that a node says about amounts.
type oracle struct {
	w *World

	mu      sync.Mutex
	budgets map[budgetID]*budget
	limits  map[string]*limits // by entity
	events  map[string]*event
	facts   map[string]*fact // what administrators have changed, by what it is about

	calmFrom time.Time // since when nothing is wrong; zero: something is

	failed bool
	first  string // the first failure
	stats  Stats
}

// event is one event that callers report.
type event struct {
	id          string
	entity      string
	amount      int64
	at          time.Time
	reservation string
	acked       bool
	quorum      bool // acknowledged as settled
}

func newOracle(w *World) *oracle {
	return &oracle{
		w: w, budgets: map[budgetID]*budget{}, limits: map[string]*limits{}, events: map[string]*event{}, facts: map[string]*fact{},
		stats: Stats{Codes: map[string]int64{}},
	}
}

// fail records a broken promise.
func (o *oracle) fail(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(format, args...)
}

func (o *oracle) failLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !o.failed {
		o.failed, o.first = true, text
	}
	o.w.history.note("ORACLE", "%s", text)
}

func (o *oracle) budget(id budgetID) *budget {
	b := o.budgets[id]
	if b == nil {
		b = &budget{id: id, risks: map[*hold]int64{}}
		o.budgets[id] = b
	}
	return b
}

// settleTime is how long room that comes back may be under way while nothing is wrong.
const settleTime = 2 * time.Second

// asks notes that a check is under way. Its entity decides which budgets it may hold.
func (o *oracle) asks(entity string, amount int64, began time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.mayTouch(entity, began) {
		b.calls += amount
	}
}

// mayCharge returns the budgets that an event of a time may touch. One of an entity
// whose parent changes may touch either's.
func (o *oracle) mayCharge(entity string, at time.Time) (all []*budget) {
	for _, e := range o.w.mayGovern(entity) {
		all = append(all, o.budget(o.w.budgetAt(e, at)))
	}
	return all
}

// mayTouch is mayCharge for a call, whose time is the clock's of the node that decides it.
func (o *oracle) mayTouch(entity string, began time.Time) (all []*budget) {
	for _, at := range []time.Time{began, began.Add(-o.w.c.ClockError), began.Add(o.w.c.ClockError)} {
		for _, b := range o.mayCharge(entity, at) {
			if !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	return all
}

// unanswered notes a check whose outcome is not known, or that was not decided:
// what it asked for may be held until then.
func (o *oracle) unanswered(entity string, amount int64, began time.Time, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doneLocked(entity, amount, began)
	for _, b := range o.mayTouch(entity, began) {
		b.coming = append(b.coming, coming{until, amount})
	}
}

func (o *oracle) doneLocked(entity string, amount int64, began time.Time) {
	for _, b := range o.mayTouch(entity, began) {
		b.calls -= amount
	}
}

// granted notes a reservation and checks that no budget is overspent by it.
func (o *oracle) granted(at string, entity string, amount int64, began time.Time, d *decision) *hold {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.doneLocked(entity, amount, began)
	h := &hold{id: d.Reservation, entity: entity, amount: amount, from: at, expires: o.w.notBefore(at, d.ExpiresAt)}
	if h.id == "" || !d.ExpiresAt.After(began.Add(-o.w.c.ClockError)) {
		o.failLocked("%s granted a reservation %q that expires at %v", at, h.id, d.ExpiresAt)
	}
	for i := range d.Chain {
		if r := &d.Chain[i]; r.Enforcement == "hard" {
			h.budgets = append(h.budgets, o.budget(rowBudget(r)))
		}
	}
	o.governed(at, entity, began, d)
	for _, b := range h.budgets {
		b.holding += amount
		_, most := o.limits[b.id.entity].during(began)
		if slack := b.slack + b.atRisk(now); b.spent+b.holding > most+slack {
			o.stats.Overspent++
			o.failLocked("OVERSPENT: %s granted %d of %s: %d spent + %d held > limit %d (+%d spent late or unreserved)",
				at, amount, b.id, b.spent, b.holding, most, slack)
		}
	}
	return h
}

func rowBudget(r *row) budgetID {
	id := budgetID{entity: r.Entity}
	if r.ResetsAt != nil {
		id.start = r.ResetsAt.Add(-time.Minute).Unix() // the only cadence there is
	}
	return id
}

// refused checks a refusal: it must prove itself, and while nothing is wrong there must be no room.
func (o *oracle) refused(at, entity string, amount int64, began time.Time, d *decision) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doneLocked(entity, amount, began)
	r := d.DeniedBy
	if r == nil || r.Requested != amount || o.limits[r.Entity] == nil {
		o.failLocked("%s refused %d without saying why: %+v", at, amount, r)
		return
	}
	if r.Used+r.Reserved+r.Requested <= r.Limit {
		o.stats.FalselyDenied++
		o.failLocked("FALSELY DENIED: the refusal of %s proves nothing: used %d + reserved %d + requested %d <= %d",
			at, r.Used, r.Reserved, r.Requested, r.Limit)
	}
	least, most := o.limits[r.Entity].during(began)
	if r.Limit < least || r.Limit > most {
		o.failLocked("STALE: %s refused by a limit of %d for %s, which was %d to %d", at, r.Limit, r.Entity, least, most)
	}
	now := time.Now()
	if d.Code == "exceeds_limit" {
		if amount <= least {
			o.failLocked("FALSELY DENIED: %s says that %d exceeds the limit of %s, which is %d", at, amount, r.Entity, least)
		}
		return
	}
	b := o.budget(rowBudget(r))
	if o.calmFrom.IsZero() || began.Sub(o.calmFrom) < calmNeeded {
		return
	}
	transit := b.transit(now)
	if room := least - b.spent - b.maybe - b.holding - b.calls - transit; room >= amount {
		o.stats.FalselyDenied++
		o.failLocked("FALSELY DENIED: %s refused %d of %s while nothing was wrong: limit %d, %d spent, %d held, %d in calls, %d on its way; it says used %d reserved %d",
			at, amount, b.id, least, b.spent, b.holding, b.calls, transit, r.Used, r.Reserved)
	}
}

// calmNeeded is how long nothing must have been wrong before a refusal is compared with the books.
const calmNeeded = 4500 * time.Millisecond

// ends notes that a reservation ends without an event, released or expired. until
// is when what it held must be room again.
func (o *oracle) ends(h *hold, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h.over {
		return
	}
	h.over = true
	until = until.Add(2 * o.w.c.ClockError) // by its node's clock it may live on
	for _, b := range h.budgets {
		b.holding -= h.amount
		b.coming = append(b.coming, coming{until, h.amount})
	}
}

// reports notes an event before it is sent the first time. h is nil for unreserved
// work. What an event charges is decided where it is accepted, by the tree as it
// stands there: an entity that moves may be charged to either parent.
func (o *oracle) reports(e *event, h *hold) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events[e.id] = e
	o.stats.Events++
	charged := o.mayCharge(e.entity, e.at)
	late := h == nil || h.over
	if h != nil && !h.over {
		h.over = true
		for _, b := range h.budgets {
			b.holding -= h.amount
			b.coming = append(b.coming, coming{time.Now().Add(settleTime), h.amount})
		}
	}
	for _, b := range charged {
		switch {
		case o.w.moves(e.entity):
			b.maybe += e.amount
			continue
		case late || !h.holds(b):
			b.slack += e.amount
		default:
			b.risks[h] = e.amount
		}
		b.spent += e.amount
	}
}

func (h *hold) holds(b *budget) bool {
	for _, o := range h.budgets {
		if o == b {
			return true
		}
	}
	return false
}

// acknowledged notes that a node has answered for an event.
func (o *oracle) acknowledged(e *event, h *hold, quorum bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !e.acked {
		e.acked = true
		o.stats.Acked++
	}
	e.quorum = e.quorum || quorum
	if h == nil || h.settled {
		return
	}
	now := time.Now()
	if quorum && now.Before(h.expires) {
		h.settled = true
		return
	}
	if !now.Before(h.expires) {
		// It stays a risk for ever.
		for _, b := range h.budgets {
			if amount, ok := b.risks[h]; ok {
				delete(b.risks, h)
				b.slack += amount
			}
		}
	}
}

// settledForGood reports whether quorum was answered for an event.
func (o *oracle) settledForGood(e *event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return e.quorum
}

// counted counts an answer by its code.
func (o *oracle) counted(code string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Codes[code]++
}

// count adds to one of the totals.
func (o *oracle) count(of func(*Stats) *int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*of(&o.stats)++
}

// calm notes whether anything is wrong.
func (o *oracle) calm(is bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !is:
		o.calmFrom = time.Time{}
	case o.calmFrom.IsZero():
		o.calmFrom = time.Now()
	}
}

// extended notes a later expiry.
func (o *oracle) extended(h *hold, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if until = o.w.notBefore(h.from, until); until.After(h.expires) {
		h.expires = until
	}
}

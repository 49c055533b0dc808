package simulation

import (
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// client is one caller: it reserves, works, reports what it used, and now and
// then does what callers do that are slow, forgetful or broken.
type client struct {
	w    *World
	d    *dice
	name string
	n    int // events so far
}

func (w *World) startClients() {
	for i := range w.c.Clients {
		c := &client{w: w, d: newDice(w.seed, uint64(streamClients+i)), name: fmt.Sprintf("c%d", i+1)}
		w.calls.Go(c.run)
	}
}

func (c *client) run() {
	for {
		select {
		case <-c.w.stop:
			return
		default:
		}
		if c.w.oracle.hasFailed() {
			return
		}
		if c.w.c.Unreserved && c.d.chance(10) {
			c.report(c.event("bob", c.d.between(1, 2), ""), nil)
		} else {
			c.call()
		}
		time.Sleep(c.d.wait(0, c.w.c.Pace))
	}
}

// call makes one call: reserve, work, and one of the ways in which that may end.
func (c *client) call() {
	entity := pick(c.d, "alice", "alice", "alice", "bob", "bob", "carol", "dave", "dave")
	amount := c.d.between(1, c.w.c.LargestCall)
	ttl := c.d.wait(2*time.Second, 4*time.Second)
	p := c.w.anyone(c.d)
	if p == nil {
		time.Sleep(50 * time.Millisecond)
		return
	}
	h := c.w.check(p, c.w.token(c.d), entity, amount, ttl)
	if h == nil {
		return
	}
	time.Sleep(c.d.wait(0, 200*time.Millisecond))
	if c.d.chance(10) {
		c.extend(h)
	}
	switch fate := c.d.upTo(99); {
	case fate < 12:
		c.release(h)
	case fate < 17:
		c.abandon(h)
	case fate < 20:
		c.abandon(h)
		c.settle(h) // too late: the work is recorded all the same
	default:
		c.settle(h)
	}
}

// check asks a node for a reservation and has the oracle judge the answer. It
// returns what was granted, or nil.
func (w *World) check(p *process, token, entity string, amount int64, ttl time.Duration) *hold {
	o, began := w.oracle, time.Now()
	o.asks(entity, amount, began)
	a := p.post("/v1/check", token, checkBody(entity, amount, ttl))
	var d decision
	if a.status == fasthttp.StatusOK {
		if err := a.into(&d); err != nil {
			o.fail("%s answered a check with %v", p.h.name, err)
		}
	}
	w.history.note(p.h.name, "check %s %d -> %d %s%s %s (began %.4f)", entity, amount, a.status, d.Code, a.problem(), d.Reservation, began.Sub(w.began).Seconds())
	at := p.h.name
	switch {
	case a.lost():
		o.counted("lost")
		o.unanswered(entity, amount, began, time.Now().Add(ttl+patience+settleTime+2*w.c.ClockError))
		return nil
	case a.status == fasthttp.StatusUnauthorized:
		o.counted("unauthorized")
		o.unanswered(entity, amount, began, began)
		o.authority(p, token, began, false)
		return nil
	case a.status != fasthttp.StatusOK:
		o.counted(a.problem())
		if a.status != fasthttp.StatusServiceUnavailable {
			o.fail("%s answered a check with %d %s", at, a.status, a.body)
		}
		// What was drawn elsewhere for it may be on its way back.
		o.unanswered(entity, amount, began, time.Now().Add(settleTime))
		return nil
	}
	o.counted(d.Code)
	o.authority(p, token, began, true)
	o.decides(p, began)
	switch d.Code {
	case "ok":
		return o.granted(at, entity, amount, began, &d)
	case "budget_exhausted", "exceeds_limit":
		o.refused(at, entity, amount, began, &d)
	case "entity_archived":
		o.archivedRefusal(at, entity, amount, began)
	default:
		o.fail("%s decided %s, which nothing here can lead to", at, d.Code)
	}
	return nil
}

// release gives a reservation back. From the first try on it may be over.
func (c *client) release(h *hold) {
	c.w.oracle.ends(h, time.Now().Add(settleTime+patience))
	for time.Now().Before(h.expires) {
		p := c.w.anyone(c.d)
		if p == nil {
			return
		}
		a := p.post("/v1/reservations/"+h.id+"/release", rootToken, "")
		c.w.history.note(p.h.name, "release %s -> %d %s", h.id, a.status, a.problem())
		if a.status == fasthttp.StatusOK {
			c.w.oracle.counted("released")
			return
		}
		if !a.lost() && a.status != fasthttp.StatusServiceUnavailable && a.status != fasthttp.StatusNotFound && a.status != fasthttp.StatusGone {
			c.w.oracle.fail("%s answered a release with %d %s", p.h.name, a.status, a.body)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// abandon lets a reservation expire.
func (c *client) abandon(h *hold) {
	select {
	case <-time.After(time.Until(h.expires)):
	case <-c.w.stop:
		time.Sleep(time.Until(h.expires))
	}
	c.w.oracle.ends(h, time.Now().Add(settleTime))
}

// extend asks for a later expiry, once.
func (c *client) extend(h *hold) {
	p := c.w.anyone(c.d)
	if p == nil {
		return
	}
	a := p.post("/v1/reservations/"+h.id+"/extend", rootToken, `{"ttl_ms":3000}`)
	c.w.history.note(p.h.name, "extend %s -> %d %s", h.id, a.status, a.problem())
	if a.status != fasthttp.StatusOK {
		return
	}
	var answer struct {
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := a.into(&answer); err != nil {
		c.w.oracle.fail("%s answered an extension with %v", p.h.name, err)
	}
	c.w.oracle.counted("extended")
	c.w.oracle.extended(h, answer.ExpiresAt)
}

func (c *client) event(entity string, amount int64, reservation string) *event {
	c.n++
	return &event{
		id: fmt.Sprintf("%s-%d", c.name, c.n), entity: entity, amount: amount, reservation: reservation,
		at: time.Now().Add(c.d.wait(-2*time.Second, 2*time.Second)).Truncate(time.Millisecond), // by the caller's clock
	}
}

// settle reports what was used under a reservation.
func (c *client) settle(h *hold) {
	used := h.amount
	if c.d.chance(30) {
		used = c.d.between(1, h.amount)
	}
	c.report(c.event(h.entity, used, h.id), h)
}

// report sends an event until a node has acknowledged it, now and then to two
// nodes at once, and again after that, and under its id with another body.
func (c *client) report(e *event, h *hold) {
	w := c.w
	w.oracle.reports(e, h)
	acked := false
	for gave := time.Now().Add(w.c.Duration + eventPatience); !acked; {
		p := w.anyone(c.d)
		if p != nil && c.d.chance(20) {
			other := w.anyone(c.d)
			second := make(chan bool, 1)
			go func() { second <- w.ingest(other, e, h) }()
			acked = w.ingest(p, e, h)
			acked = <-second || acked
		} else if p != nil {
			acked = w.ingest(p, e, h)
		}
		if acked {
			break
		}
		if w.oracle.hasFailed() {
			return
		}
		if time.Now().After(gave) {
			w.oracle.fail("NOT LIVE: event %s was not acknowledged\n%s", e.id, w.describe())
			return
		}
		time.Sleep(c.d.wait(20*time.Millisecond, 100*time.Millisecond))
	}
	if p := w.anyone(c.d); p != nil && c.d.chance(10) {
		w.ingest(p, e, h)
	}
	if p := w.anyone(c.d); p != nil && c.d.chance(3) && w.oracle.settledForGood(e) {
		w.forge(p, e)
	}
}

// eventPatience is how long after the chaos every event must be acknowledged.
const eventPatience = 40 * time.Second

// ingest sends an event once and reports whether it was acknowledged.
func (w *World) ingest(p *process, e *event, h *hold) bool {
	if p == nil {
		return false
	}
	a := p.post("/v1/ingest", rootToken, e.body())
	var r recorded
	if a.status == fasthttp.StatusOK || a.status == fasthttp.StatusAccepted {
		if err := a.into(&r); err != nil {
			w.oracle.fail("%s answered an ingest with %v", p.h.name, err)
		}
	}
	w.history.note(p.h.name, "ingest %s %s %d for %s -> %d %+v %s", e.id, e.entity, e.amount, e.reservation, a.status, r, a.problem())
	switch {
	case a.lost():
		w.oracle.counted("ingest lost")
		return false
	case r.Accepted+r.Duplicates == 1:
		w.oracle.counted("recorded " + r.Durability)
		w.oracle.acknowledged(e, h, r.Durability == "quorum")
		return true
	case a.status == fasthttp.StatusServiceUnavailable:
		w.oracle.counted("ingest " + a.problem())
		return false
	}
	w.oracle.fail("%s answered the ingest of %s with %d %s", p.h.name, e.id, a.status, a.body)
	return false
}

// forge sends another event under the id of one that is in the ledger: it must not be recorded.
func (w *World) forge(p *process, e *event) {
	other := *e
	other.amount++
	a := p.post("/v1/ingest", rootToken, other.body())
	var r recorded
	_ = a.into(&r)
	w.history.note(p.h.name, "ingest %s with another body -> %d %+v %s", e.id, a.status, r, a.problem())
	// A node that lags may take it; that is told apart when it is settled.
	if r.Accepted+r.Duplicates > 0 && r.Durability == "quorum" {
		w.oracle.fail("%s took another event under the id %s: %s", p.h.name, e.id, a.body)
	}
}

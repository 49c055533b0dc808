package enforcer

import "github.com/bursar-dev/bursar/fsm"

// Reset empties a decision for reuse, keeping its memory.
func (d *Decision) Reset() {
	clear(d.Warnings)
	clear(d.Chain)
	*d = Decision{Remaining: d.Remaining[:0], Warnings: d.Warnings[:0], Chain: d.Chain[:0]}
}

// fill completes a granted decision: what remains, which soft limits are
// exceeded, and the chain if asked for.
func (e *Enforcer) fill(c *Call, d *Decision, sc *scratch) {
	d.Allowed = true
	for i := range sc.targets {
		t := &sc.targets[i]
		kind := t.slot.kind.Load()
		if kind == kindUnlimited {
			continue
		}
		left := t.slot.avail.Load() + t.slot.beyond.Load()
		if t.drawn != 0 {
			left -= t.amount
		}
		d.remain(t, &sc.usage[t.use], max(0, left))
		if kind == kindSoft && t.exceeds(c, left) {
			d.Warnings = append(d.Warnings, t.row(e))
		}
	}
	if c.Explain {
		d.explain(e, sc, nil, Row{})
	}
}

// exceeds reports whether a soft limit is passed by this call or was before it.
func (t *target) exceeds(c *Call, left int64) bool {
	if c.ReserveTTL > 0 {
		return left < 0 // the amount is held already
	}
	return left < t.amount
}

// remain keeps the least of what remains of what a target charges.
func (d *Decision) remain(t *target, u *unitAmount, amount int64) {
	if u.shown == 0 {
		d.Remaining = append(d.Remaining, Remaining{Capability: t.item.terms.Capability, Amount: amount})
		u.shown = len(d.Remaining)
		return
	}
	r := &d.Remaining[u.shown-1]
	r.Amount = min(r.Amount, amount)
}

// deny fills a refused decision. Of its row holds, in the proof's own numbers,
//
//	reserved = max(0, limit − used − room), and so used + reserved + requested > limit
//
// because room < requested, or requested > limit, is what was proven. Where used
// is past the limit already, nothing is reserved: there is nothing left to reserve.
func (e *Enforcer) deny(c *Call, d *Decision, sc *scratch, t *target, p proof, v verdict, now int64) {
	d.Code = CodeBudgetExhausted
	if v == tooLarge {
		d.Code = CodeExceedsLimit
	} else if t.slot.end != fsm.Forever {
		d.RetryAfter = max(1, t.slot.end-now)
	}
	row := t.row(e)
	row.Limit, row.Used, row.Remaining, row.Allowed = p.limit, p.used, p.room, false
	row.Reserved = max(0, satSub(satSub(p.limit, p.used), p.room))
	d.Denied, d.Requested = row, t.amount
	if c.Explain {
		d.explain(e, sc, t, row)
	}
}

// explain lists the whole chain; decisive, if any, is shown as row.
func (d *Decision) explain(e *Enforcer, sc *scratch, decisive *target, row Row) {
	for i := range sc.targets {
		t := &sc.targets[i]
		r := t.row(e)
		if t == decisive {
			r = row
		}
		r.Allowed = r.Allowed || d.Allowed
		d.Chain = append(d.Chain, r)
	}
}

// row shows a target as this node sees it now.
func (t *target) row(e *Enforcer) Row {
	s := t.slot
	kind, limit, used := s.kind.Load(), s.limit.Load(), s.used.Load()
	left := s.avail.Load() + s.beyond.Load()
	r := Row{
		Assignment: t.assignment(e), EntityType: t.level.kind, Parent: t.level.parent,
		Limit: limit, Used: used, Reserved: max(0, limit-used-left), Remaining: max(0, left),
		Start: s.start, End: s.end,
	}
	r.Allowed = kind != kindLeased || left >= t.amount
	return r
}

// assignment returns the target's assignment. If it was deleted meanwhile that is what this node still knows of it.
func (t *target) assignment(e *Enforcer) (a *fsm.Assignment) {
	if a = t.item.shown.Load(); a != nil {
		return a
	}
	e.m.View(func(v *fsm.View) { a = v.AssignmentByNum(t.item.meter.num) })
	if a == nil {
		terms := t.item.terms
		a = &fsm.Assignment{
			Num: t.item.meter.num, Account: t.slot.account, Entity: t.level.id, Capability: terms.Capability, Scope: terms.Scope,
			Cadence: terms.Cadence, Limit: t.slot.limit.Load(), Unlimited: terms.Unlimited, Enforcement: terms.Enforcement, Mode: terms.Mode,
		}
	}
	t.item.shown.Store(a)
	return a
}

package simulation

import (
	"fmt"
	"time"
)

// budgetID names a budget as callers see it: an entity's hard limit in one period.
type budgetID struct {
	entity string
	start  int64 // Unix seconds; the beginning of time for a budget that never resets
}

func (id budgetID) String() string {
	if id.start <= 0 {
		return id.entity
	}
	return fmt.Sprintf("%s@%s", id.entity, time.Unix(id.start, 0).UTC().Format("15:04"))
}

// budget is what callers know of a budget: a lower bound of what is spent and
// held, whatever the nodes say.
type budget struct {
	id      budgetID
	spent   int64 // of events reported, acknowledged or not
	holding int64 // of reservations that callers have and that are not over
	calls   int64 // of checks under way
	maybe   int64 // of events that may have been charged to another budget instead
	slack   int64 // what may have been spent over the limit by the contract
	risks   map[*hold]int64
	coming  []coming
}

// hold is a reservation as its caller knows it.
type hold struct {
	id      string
	from    string // the node that granted it: its clock is the reservation's
	entity  string
	amount  int64
	budgets []*budget
	expires time.Time
	over    bool // it does not hold any more, as far as its caller is concerned
	settled bool // quorum was answered in time for the event that settles it
}

// coming is room that is on its way back until a moment.
type coming struct {
	until  time.Time
	amount int64
}

// atRisk is what may be spent over the limit because an event settled its
// reservation too late: unless quorum was answered for the event before the
// reservation expired, the expiry may have come first, and what it freed may have
// been given out again. The event is recorded all the same.
func (b *budget) atRisk(now time.Time) (sum int64) {
	for h, amount := range b.risks {
		switch {
		case h.settled:
			delete(b.risks, h)
		case !now.Before(h.expires):
			sum += amount
		}
	}
	return sum
}

// transit is the room that may be on its way, and so be refused.
func (b *budget) transit(now time.Time) (sum int64) {
	kept := b.coming[:0]
	for _, c := range b.coming {
		if now.Before(c.until) {
			kept = append(kept, c)
			sum += c.amount
		}
	}
	b.coming = kept
	return sum
}

// limitWrite is one write of a limit.
type limitWrite struct {
	value  int64
	issued time.Time
	acked  time.Time // zero: its outcome is not known
	void   bool      // it was rejected
}

// limits are all writes of one entity's limit, in the order they were issued. One
// is issued after the last one has been answered, or given up.
type limits []*limitWrite

// during returns the least and the greatest limit that may have been in force at
// some moment from a time until now. A write that was given up may take effect at
// any time after, however late.
func (l *limits) during(from time.Time) (least, most int64) {
	first := true
	add := func(v int64) {
		if first {
			least, most, first = v, v, false
		}
		least, most = min(least, v), max(most, v)
	}
	last := 0
	for i, w := range *l {
		if !w.acked.IsZero() && !w.acked.After(from) {
			last = i
		}
	}
	for i, w := range *l {
		if !w.void && (i >= last || w.acked.IsZero()) {
			add(w.value)
		}
	}
	return least, most
}

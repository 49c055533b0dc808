package simulation

import (
	"slices"
	"time"
)

// fact is one thing that administrators change: where an entity hangs, whether it
// is archived, whether a token is valid. Values are written one after the other.
type fact struct {
	writes []*factWrite
}

type factWrite struct {
	value  string
	issued time.Time
	acked  time.Time // zero: its outcome is not known
	void   bool      // it was not done
}

// possible returns every value that a call which began at a time and has ended now may have seen.
func (f *fact) possible(began time.Time) (values []string) {
	last := 0
	for i, w := range f.writes {
		if !w.acked.IsZero() && !w.acked.After(began) {
			last = i
		}
	}
	for i, w := range f.writes {
		if !w.void && (i >= last || w.acked.IsZero()) && !slices.Contains(values, w.value) {
			values = append(values, w.value)
		}
	}
	return values
}

// writes notes that a value is being written, before it is.
func (o *oracle) writes(about, value string) *factWrite {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.facts[about]
	if f == nil {
		f = &fact{}
		o.facts[about] = f
	}
	w := &factWrite{value: value, issued: time.Now()}
	f.writes = append(f.writes, w)
	return w
}

// wrote notes that the write was answered, or was not done.
func (o *oracle) wrote(w *factWrite, how outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch how {
	case done:
		w.acked = time.Now()
	case notDone:
		w.void = true
	}
}

// may reports whether a call that began at a time may have seen the value.
func (o *oracle) may(about, value string, began time.Time) bool {
	f := o.facts[about]
	return f == nil || slices.Contains(f.possible(began), value)
}

// The values of facts.
const (
	valid    = "valid"
	revoked  = "revoked"
	active   = "active"
	archived = "archived"
)

// governed checks that a granted call was decided by the tree as it stands.
func (o *oracle) governed(at, entity string, began time.Time, d *decision) {
	if !o.may("state of "+entity, active, began) {
		o.staleLocked("%s granted a call of %s, which is archived", at, entity)
	}
	for _, team := range teams {
		in := slices.ContainsFunc(d.Chain, func(r row) bool { return r.Entity == team })
		if in && !o.may("parent of "+entity, team, began) {
			o.staleLocked("%s charges %s for %s, which does not hang there", at, team, entity)
		}
	}
}

// archivedRefusal checks that an entity said to be archived may be.
func (o *oracle) archivedRefusal(at, entity string, amount int64, began time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doneLocked(entity, amount, began)
	if !o.may("state of "+entity, archived, began) {
		o.staleLocked("%s says that %s is archived, which it is not", at, entity)
	}
}

// authority checks what a node said of a token, and that it may decide at all.
func (o *oracle) authority(p *process, token string, began time.Time, accepted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch about := "token " + token; {
	case accepted && !o.may(about, valid, began):
		o.staleLocked("%s accepted the token %s, which is revoked", p.h.name, token)
	case !accepted && !o.may(about, revoked, began):
		o.staleLocked("%s does not know the token %s, which is valid", p.h.name, token)
	}
}

// decides checks that a node which no message has reached and left for longer
// than the staleness bound decides nothing.
func (o *oracle) decides(p *process, began time.Time) {
	since := o.w.cutSince(p.h.name)
	if !since.IsZero() && began.Sub(since) > staleAfter {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.staleLocked("%s decided a call, though it has been cut off for %v", p.h.name, began.Sub(since))
	}
}

func (o *oracle) staleLocked(format string, args ...any) {
	o.stats.Stale++
	o.failLocked("STALE: "+format, args...)
}

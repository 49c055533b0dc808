package fsm

import "math"

// Checking what a meter's parents have given out looks at all its allocated assignments, so loading them by the thousand
// would take time that grows with the square. What a check that found no conflict has summed is therefore kept, and a write that
// changes neither the tree nor who is carved from whom is checked against the sums of the parents it touches. Whatever it cannot
// decide so, and whatever looks like a conflict, is checked as without sums: the answer is the same.

// given is what the parents of a meter have given out, by number: the sum of the limits of their allocated children, those
// on archived entities left out. It is never more than the parent's limit.
type given map[uint64]int64

// forgetGiven is for whatever changes who is carved from whom: moves, archiving, deletions.
func (t *tenant) forgetGiven() { clear(t.given) }

// keepGiven keeps the sums of meters as the command that is applied leaves them.
func (t *tenant) keepGiven(sums map[meter]given) {
	for m, g := range sums {
		if len(g) == 0 {
			delete(t.given, m)
		} else {
			t.given[m] = g
		}
	}
}

// givenChange is what changes of assignments do to the sums.
type givenChange map[meter]given

// keep makes the changes.
func (c givenChange) keep(t *tenant) {
	for m, by := range c {
		for parent, n := range by {
			if t.given[m][parent] += n; t.given[m][parent] == 0 {
				delete(t.given[m], parent)
			}
		}
	}
}

// fits reports whether the changes surely fit, from the sums that are kept, and what they do to those. Not ok
// means that it cannot tell.
func (p prospect) fits(changes []assignmentChange) (_ givenChange, ok bool) {
	sums := givenChange{}
	limits := map[uint64]*Assignment{} // of the parents that are to be looked at
	for i := range changes {
		old, next := changes[i].old, changes[i].next
		m := next.meter()
		if len(p.tn.carved[m]) == 0 && next.Mode != Allocated {
			continue // there is nobody to give to, unless it comes in the same command, and that looks at its parent
		}
		if p.tn.given[m] == nil || !p.keepsPlaces(old, next) {
			return nil, false
		}
		if old != nil {
			limits[next.Num] = next
		}
		if next.Mode != Allocated || p.tn.entities[next.Entity].Archived {
			continue
		}
		parent := p.carvedFrom(next)
		if parent == nil || parent.Unlimited {
			return nil, false
		}
		if sums[m] == nil {
			sums[m] = given{}
		}
		more := satAdd(sums[m][parent.Num], next.Limit)
		if more == math.MaxInt64 {
			return nil, false // beyond any limit
		}
		if old != nil {
			more -= old.Limit
		}
		sums[m][parent.Num] = more
		limits[parent.Num] = parent
	}
	for num, parent := range limits {
		m := parent.meter()
		if satAdd(p.tn.given[m][num], sums[m][num]) > parent.Limit {
			return nil, false
		}
	}
	return sums, true
}

// keepsPlaces reports whether a change surely leaves everything else carved from what it is carved from.
func (p prospect) keepsPlaces(old, next *Assignment) bool {
	if old != nil {
		return old.Mode == next.Mode && old.Unlimited == next.Unlimited
	}
	alone := true
	p.tn.walk(next.Entity, func(e *Entity, level int) bool {
		if level > 0 {
			for r := range p.tn.entities[e.ID].records() {
				alone = alone && !(r.terms.Mode == Allocated && r.measures(next))
			}
		}
		return alone
	})
	return alone
}

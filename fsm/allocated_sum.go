package fsm

import "math"

// Checking what a meter's parents have given out looks at all its allocated assignments, so loading them by the thousand
// would take time that grows with the square. What a check that found no conflict has summed is therefore kept, and a write that
// changes neither the tree nor who is carved from whom is checked against the sums of the parents it touches. Whatever it cannot
// decide so, and whatever looks like a conflict, is checked as without sums: the answer is the same.

// given is what the parents of a meter have given out, and above whom. Children on archived entities are left out.
type given struct {
	sums  map[uint64]int64 // of the limits of a parent's allocated children, by its number; never more than its limit
	above map[string]bool  // entities that have such a child below them; whoever is above one of these is one, too
}

func newGiven() *given { return &given{map[uint64]int64{}, map[string]bool{}} }

// carve notes that an entity has an allocated assignment. Most of the entities above it are known already, so this costs the same
// in any tree.
func (g *given) carve(t *tenant, entity string) {
	for id := t.entities[entity].Parent; id != "" && !g.above[id]; id = t.entities[id].Parent {
		g.above[id] = true
	}
}

// forgetGiven is for whatever changes who is carved from whom: moves, archiving, deletions.
func (t *tenant) forgetGiven() { clear(t.given) }

// keepGiven keeps the sums of meters as the command that is applied leaves them.
func (t *tenant) keepGiven(all map[meter]*given) {
	for m, g := range all {
		if len(g.sums) == 0 {
			delete(t.given, m)
		} else {
			t.given[m] = g
		}
	}
}

// givenChange is what changes of assignments do to what is kept of a meter.
type givenChange struct {
	sums   map[uint64]int64
	carved []string // entities of assignments that are new
}

// keepChanges makes the changes.
func (t *tenant) keepChanges(all map[meter]*givenChange) {
	for m, by := range all {
		g := t.given[m]
		for parent, n := range by.sums {
			if g.sums[parent] += n; g.sums[parent] == 0 {
				delete(g.sums, parent)
			}
		}
		for _, entity := range by.carved {
			g.carve(t, entity)
		}
	}
}

// fits reports whether the changes surely fit, from the sums that are kept, and what they do to those. Not ok
// means that it cannot tell.
func (p prospect) fits(changes []assignmentChange) (_ map[meter]*givenChange, ok bool) {
	all := map[meter]*givenChange{}
	limits := map[uint64]*Assignment{} // of the parents that are to be looked at
	for i := range changes {
		old, next := changes[i].old, changes[i].next
		m := next.meter()
		if len(p.tn.carved[m]) == 0 && next.Mode != Allocated {
			continue // there is nobody to give to, unless it comes in the same command, and that looks at its parent
		}
		kept := p.tn.given[m]
		if kept == nil || !kept.keepsPlaces(old, next) {
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
		c := all[m]
		if c == nil {
			c = &givenChange{sums: map[uint64]int64{}}
			all[m] = c
		}
		more := satAdd(c.sums[parent.Num], next.Limit)
		if more == math.MaxInt64 {
			return nil, false // beyond any limit
		}
		if old != nil {
			more -= old.Limit
		} else {
			c.carved = append(c.carved, next.Entity)
		}
		c.sums[parent.Num] = more
		limits[parent.Num] = parent
	}
	for num, parent := range limits {
		m := parent.meter()
		more := int64(0)
		if c := all[m]; c != nil {
			more = c.sums[num]
		}
		if satAdd(p.tn.given[m].sums[num], more) > parent.Limit {
			return nil, false
		}
	}
	return all, true
}

// keepsPlaces reports whether a change of the meter surely leaves everything else carved from what it is carved from. A new
// assignment may come between those below its entity and what they are carved from.
func (g *given) keepsPlaces(old, next *Assignment) bool {
	if old != nil {
		return old.Mode == next.Mode && old.Unlimited == next.Unlimited
	}
	return !g.above[next.Entity]
}

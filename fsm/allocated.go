package fsm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// An allocated assignment is carved out of its parent: the assignment of the same
// capability, scope and cadence on the nearest entity above that has one. The rule is
// Σ allocated children, those on archived entities left out, ≤ the parent's limit, and a
// parent that is missing or unlimited has nothing to carve from. Whatever could break it (a
// write, a cut, a delete, a move, an unarchive) is checked against the tree as it would be.

// meter is what an assignment measures, whoever it is made to.
type meter struct {
	capability string
	scope      string // ids, each ended by a NUL
	cadence    Cadence
}

func (a *Assignment) meter() meter { return newMeter(a.Capability, a.Scope, a.Cadence) }

func (t *Terms) meter() meter { return newMeter(t.Capability, t.Scope, t.Cadence) }

func newMeter(capability string, scope []string, c Cadence) meter {
	m := meter{capability: capability, cadence: c}
	if len(scope) > 0 {
		m.scope = strings.Join(scope, "\x00") + "\x00"
	}
	return m
}

// measuresSame reports whether a and b have the same meter.
func (a *Assignment) measuresSame(b *Assignment) bool {
	return a.Capability == b.Capability && a.Cadence == b.Cadence && slices.Equal(a.Scope, b.Scope)
}

// carved indexes an account's allocated assignments by meter and number, so
// that a write looks at those it can affect only.
type carved map[meter]map[uint64]*Assignment

// replace takes old out and puts a in; either may be nil.
func (c carved) replace(old, a *Assignment) {
	if old != nil && old.Mode == Allocated {
		m := old.meter()
		delete(c[m], old.Num)
		if len(c[m]) == 0 {
			delete(c, m)
		}
	}
	if a != nil && a.Mode == Allocated {
		m := a.meter()
		if c[m] == nil {
			c[m] = map[uint64]*Assignment{}
		}
		own := *a
		c[m][a.Num] = &own
	}
}

// carvedBelow returns the meters of the allocated assignments of the entities.
func (t *tenant) carvedBelow(entities map[string]bool) map[meter]bool {
	out := map[meter]bool{}
	for id := range entities {
		for r := range t.entities[id].records() {
			if r.terms.Mode == Allocated {
				out[r.terms.meter()] = true
			}
		}
	}
	return out
}

// prospect is an account's tree and assignments as a command would leave them.
type prospect struct {
	s             *state
	tn            *tenant
	put           map[uint64]*Assignment   // by number: written, or nil: deleted
	added         map[string][]*Assignment // by entity: those of put that are new
	moved, parent string                   // an entity and its new parent
	restored      map[string]bool          // entities brought back from the archive
	asking        map[string]bool          // entities whose present assignments are what the command asks room for
}

// share is what one parent would have given out.
type share struct {
	parent    *Assignment
	others    int64 // to children the command does not ask for
	requested int64 // to those it does
}

// check returns the conflict, if any, among the allocated assignments of the meters. Of
// several it picks the same one on every replica.
func (p prospect) check(meters map[meter]bool) *Error {
	_, err := p.shares(meters)
	return err
}

// shares is check that also returns what each parent would have given out, by meter.
func (p prospect) shares(meters map[meter]bool) (map[meter]*given, *Error) {
	shares := map[uint64]*share{}
	byMeter := map[meter]*given{}
	var orphan, above *Assignment
	for m := range meters {
		g := newGiven()
		byMeter[m] = g
		for _, a := range p.allocated(m) {
			parent := p.carvedFrom(a)
			if parent == nil || parent.Unlimited {
				if orphan == nil || a.Num < orphan.Num {
					orphan, above = a, parent
				}
				continue
			}
			s := shares[parent.Num]
			if s == nil {
				s = &share{parent: parent}
				shares[parent.Num] = s
			}
			if p.put[a.Num] != nil || p.asking[a.Entity] {
				s.requested = satAdd(s.requested, a.Limit)
			} else {
				s.others = satAdd(s.others, a.Limit)
			}
			g.sums[parent.Num] = satAdd(g.sums[parent.Num], a.Limit)
			g.carve(p.tn, a.Entity)
		}
	}
	if orphan != nil {
		return nil, orphaned(orphan, above)
	}
	for _, num := range slices.Sorted(maps.Keys(shares)) {
		if s := shares[num]; satAdd(s.others, s.requested) > s.parent.Limit {
			return nil, s.overcommitted(p.tn)
		}
	}
	return byMeter, nil
}

// allocated returns the allocated assignments of a meter on entities that are not archived, by number.
func (p prospect) allocated(m meter) []*Assignment {
	var out []*Assignment
	keep := func(a *Assignment) {
		if e := p.tn.entities[a.Entity]; !e.Archived || p.restored[a.Entity] {
			out = append(out, a)
		}
	}
	for num, a := range p.tn.carved[m] {
		if _, ok := p.put[num]; !ok {
			keep(a)
		}
	}
	for _, a := range p.put {
		if a != nil && a.Mode == Allocated && a.meter() == m {
			keep(a)
		}
	}
	slices.SortFunc(out, func(a, b *Assignment) int { return cmp.Compare(a.Num, b.Num) })
	return out
}

// carvedFrom returns the assignment that a is carved out of, or nil.
func (p prospect) carvedFrom(a *Assignment) *Assignment {
	for id := p.parentOf(a.Entity); id != ""; id = p.parentOf(id) {
		if b := p.find(id, a); b != nil {
			return b
		}
	}
	return nil
}

func (p prospect) parentOf(id string) string {
	if id == p.moved {
		return p.parent
	}
	return p.tn.entities[id].Parent
}

// find returns the entity's assignment with the same meter as like, or nil.
func (p prospect) find(entity string, like *Assignment) *Assignment {
	for r := range p.tn.entities[entity].records() {
		if !r.measures(like) {
			continue
		}
		if next, ok := p.put[r.num]; ok {
			return next
		}
		return p.s.assignment(r)
	}
	for _, a := range p.added[entity] {
		if a.measuresSame(like) {
			return a
		}
	}
	return nil
}

func orphaned(a, above *Assignment) *Error {
	var err *Error
	if above == nil {
		err = conflict("%q has %d of %s allocated, and no ancestor would have an assignment of the same capability, scope and cadence to carve it from; make that one first, or use mode cap",
			a.Entity, a.Limit, a.Capability)
	} else {
		err = conflict("%q has %d of %s allocated, and %q, which it is carved from, would have no limit; give that one a limit, or use mode cap",
			a.Entity, a.Limit, a.Capability, above.Entity)
	}
	err.Numbers = map[string]int64{"allocated": a.Limit}
	return err
}

// overcommitted explains a parent that would have given out more than it has.
// Where the command only cuts the parent's limit, the numbers are those of the cut.
func (s *share) overcommitted(tn *tenant) *Error {
	p := s.parent
	for was := range tn.entities[p.Entity].records() {
		if s.requested > 0 || was.num != p.Num || was.limit <= p.Limit {
			continue
		}
		err := conflict("%q has allocated %d of its %d %s to entities below it; its limit cannot fall to %d before theirs do: lower or delete theirs first",
			p.Entity, s.others, was.limit, p.Capability, p.Limit)
		err.Numbers = map[string]int64{"limit": was.limit, "allocated": s.others, "requested": p.Limit, "available": satSub(was.limit, s.others)}
		return err
	}
	available := satSub(p.Limit, s.others)
	err := conflict("%q has %d of its %d %s left to allocate (%d are allocated) and %d are asked for: ask for less, lower what others below it have, or raise its limit",
		p.Entity, available, p.Limit, p.Capability, s.others, s.requested)
	err.Numbers = map[string]int64{"limit": p.Limit, "allocated": s.others, "requested": s.requested, "available": available}
	return err
}

package fsm

import (
	"iter"
	"slices"
	"strings"
)

// member is an entity as memory holds it, with what hangs on it.
type member struct {
	Entity
	children    *byID   // nil: none
	first, last *record // of its assignments, ascending by number
}

// hang adds an assignment. Numbers are given in order, so nearly always it is the last.
func (m *member) hang(r *record) {
	if m.last == nil || m.last.num < r.num {
		if m.last == nil {
			m.first = r
		} else {
			m.last.next = r
		}
		m.last = r
		return
	}
	at := &m.first
	for (*at).num < r.num {
		at = &(*at).next
	}
	r.next, *at = *at, r
}

// unhang takes an assignment away.
func (m *member) unhang(r *record) {
	var before *record
	for at := &m.first; *at != nil; at = &(*at).next {
		if *at == r {
			*at = r.next
			break
		}
		before = *at
	}
	if m.last == r {
		m.last = before
	}
	r.next = nil
}

// records yields the assignments made to the entity, ascending by number. A nil member has none.
func (m *member) records() iter.Seq[*record] {
	return func(yield func(*record) bool) {
		if m == nil {
			return
		}
		for r := m.first; r != nil; r = r.next {
			if !yield(r) {
				return
			}
		}
	}
}

// assignmentsOf returns the assignments made to an entity, ascending by number.
func (s *state) assignmentsOf(m *member) []*Assignment {
	var out []*Assignment
	for r := range m.records() {
		out = append(out, s.assignment(r))
	}
	return out
}

// addEntity files e in the tree, or replaces the entity of the same id: by the one parent or another.
func (t *tenant) addEntity(e *Entity) *member {
	m := t.entities[e.ID]
	if m == nil {
		m = &member{Entity: *e}
		t.entities[e.ID] = m
		t.order.insert(m)
	} else if e.ID != t.ID && m.Parent != e.Parent {
		t.entities[m.Parent].children.remove(m)
		m.Entity = *e
		t.moves++
	} else {
		m.Entity = *e
		return m
	}
	if e.ID == t.ID {
		return m // the root hangs under nobody
	}
	parent := t.entities[e.Parent]
	if parent == nil { // it comes later in the same command; see adoptOrphans
		t.orphans = append(t.orphans, m)
		return m
	}
	m.Parent = parent.ID
	parent.adopt(m)
	return m
}

func (m *member) adopt(child *member) {
	if m.children == nil {
		m.children = &byID{}
	}
	m.children.insert(child)
}

// adoptOrphans hangs the entities that came before their parents.
func (t *tenant) adoptOrphans() {
	for _, m := range t.orphans {
		parent := t.entities[m.Parent]
		m.Parent = parent.ID
		parent.adopt(m)
	}
	t.orphans = nil
}

// hangAll hangs every entity below its parent. It returns one without any, if there is one.
func (t *tenant) hangAll() (lost *member) {
	for m := range t.order.from("") {
		if m.ID == t.ID {
			continue // the root hangs under nobody
		}
		parent := t.entities[m.Parent]
		if parent == nil {
			return m
		}
		m.Parent = parent.ID
		parent.adopt(m)
	}
	return nil
}

// byID is entities in the order of their ids. It is a list of runs of bounded length, so
// that one more costs the same wherever it stands and however many there are.
type byID struct{ runs [][]*member }

// maxRun is the length at which a run is cut in two.
const maxRun = 512

func compareID(m *member, id string) int { return strings.Compare(m.ID, id) }

// find returns the place of the first entity whose id is id or more.
func (b *byID) find(id string) (run, at int, found bool) {
	if b == nil {
		return 0, 0, false
	}
	run, _ = slices.BinarySearchFunc(b.runs, id, func(r []*member, id string) int { return compareID(r[len(r)-1], id) })
	if run == len(b.runs) {
		return run, 0, false
	}
	at, found = slices.BinarySearchFunc(b.runs[run], id, compareID)
	return run, at, found
}

// insert adds an entity whose id is not there yet.
func (b *byID) insert(m *member) {
	if len(b.runs) == 0 {
		b.runs = [][]*member{{m}}
		return
	}
	run, at := len(b.runs)-1, 0
	if last := b.runs[run]; last[len(last)-1].ID < m.ID { // as while a store is loaded
		at = len(last)
	} else {
		run, at, _ = b.find(m.ID)
	}
	r := b.runs[run]
	if len(r) == maxRun {
		cut := maxRun / 2
		if run == len(b.runs)-1 && at == maxRun {
			cut = at // ascending ids fill the runs
		}
		tail := slices.Clone(r[cut:])
		b.runs[run] = r[:cut:cut]
		b.runs = slices.Insert(b.runs, run+1, tail)
		if at >= cut {
			run, at = run+1, at-cut
		}
	}
	b.runs[run] = slices.Insert(b.runs[run], at, m)
}

// remove takes an entity out.
func (b *byID) remove(m *member) {
	run, at, found := b.find(m.ID)
	if !found {
		return
	}
	b.runs[run] = slices.Delete(b.runs[run], at, at+1)
	if len(b.runs[run]) == 0 {
		b.runs = slices.Delete(b.runs, run, run+1)
	}
}

// from yields the entities from id on, ascending. A nil list is empty.
func (b *byID) from(id string) iter.Seq[*member] {
	return func(yield func(*member) bool) {
		run, at, _ := b.find(id)
		for ; b != nil && run < len(b.runs); run, at = run+1, 0 {
			for _, m := range b.runs[run][at:] {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// before yields the entities whose ids are less than id, descending; empty: all.
func (b *byID) before(id string) iter.Seq[*member] {
	return func(yield func(*member) bool) {
		if b == nil || len(b.runs) == 0 {
			return
		}
		run, at := len(b.runs), 0
		if id != "" {
			run, at, _ = b.find(id)
		}
		for {
			if at == 0 {
				if run == 0 {
					return
				}
				run--
				at = len(b.runs[run])
			}
			at--
			if !yield(b.runs[run][at]) {
				return
			}
		}
	}
}

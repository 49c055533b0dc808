package fsm

import "math"

// TreeRow is one assignment of one entity with its present budget. What it points to is shared: change nothing.
type TreeRow struct {
	Entity     Entity
	Depth      int // of the entity; the root is 1
	Assignment Assignment
	Budget     Budget
	Start, End int64
}

// RowQuery says which rows Machine.Rows shows.
type RowQuery struct {
	Account string
	Root    string               // entity whose subtree is shown; empty: the whole account
	Depth   int                  // at most so many levels; 1: Root alone; 0: all
	Now     int64                // Unix milliseconds; each budget is that of the period that contains it
	Entity  func(e *Entity) bool // which entities are shown; nil: all. It runs with the state locked: keep it quick
}

const (
	// rowsPerLock bounds how long applying waits for a reader of rows: so many
	// entities and rows, of about a microsecond each, are visited under one read lock.
	rowsPerLock = 512
	// maxRowRestarts bounds what a stream of moves costs a reader; see Rows.
	maxRowRestarts = 4
)

// Rows calls f for every assignment of an entity that q names: parents before
// children, siblings by id, those of one entity as they were made. Archived
// entities are left out. begin is called first, with the state locked; its error
// ends the walk and is returned. Keep it quick; f runs without the lock.
//
// The walk holds the lock for rowsPerLock visits at a time, so entries are applied
// while it runs. Every row is as of begin's view or later. An assignment that is there,
// not archived, from begin to the end is shown exactly once; one that comes
// or goes meanwhile is shown once or not at all.
//
// A move within the account, or an installed snapshot, ends what is known of the
// position: then the walk starts over, with begin called again, and the caller
// drops what it was shown before. After maxRowRestarts of these the walk is made
// under one lock, so that moves that never cease do not starve the reader.
func (m *Machine) Rows(q RowQuery, begin func(v *View) error, f func(TreeRow)) error {
	return m.walkRows(q, rowsPerLock, begin, f)
}

// walkRows is Rows with so many visits under one lock.
func (m *Machine) walkRows(q RowQuery, visits int, begin func(v *View) error, f func(TreeRow)) error {
	if q.Root == "" {
		q.Root = q.Account
	}
	w := rowWalk{RowQuery: q, path: make([]rowFrame, 0, MaxDepth), visits: visits}
	for over := false; !over; {
		var err error
		if over, err = m.nextRows(&w, begin); err != nil {
			return err
		}
		for i := range w.shown {
			f(w.shown[i])
		}
	}
	return nil
}

// nextRows collects the rows of one hold of the lock; over says that they are the last.
func (m *Machine) nextRows(w *rowWalk, begin func(v *View) error) (over bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v := &View{s: m.s, st: m.store}
	tn := v.s.accounts[w.Account]
	if len(w.path) == 0 || tn != w.tn || tn.moves != w.moves {
		if len(w.path) > 0 {
			w.restarts++
		}
		if err := begin(v); err != nil {
			return true, err
		}
		if tn == nil || tn.entities[w.Root] == nil {
			w.shown = w.shown[:0]
			return true, nil
		}
		w.start(tn)
	}
	w.shown = w.shown[:0]
	w.left, w.resume = w.visits, len(w.path)
	return w.visit(v, 0, w.tn.entities[w.Root]), nil
}

// rowWalk is a walk of a tree in depth first order that can be interrupted.
//
// Its position is path: the frames of the entity it stands at and of those above,
// Root's first. It says where to go on by ids and numbers, so it stays good whatever
// is put, archived or removed; only a move makes it wrong.
type rowWalk struct {
	RowQuery
	tn       *tenant // that the position is of; a snapshot brings another
	moves    uint64  // of tn, that the position is good for
	top      int     // level of Root
	deepest  int     // level
	visits   int     // under one lock
	restarts int

	path []rowFrame

	// Within one hold of the lock:
	left   int // visits
	resume int // path[:resume] is the position to go on from; 0: that is reached
	shown  []TreeRow
}

// rowFrame is how far the walk is with one entity.
type rowFrame struct {
	num   uint64 // assignments up to this one are shown
	child string // the child that the next frame is of; empty in the last frame
}

// start puts the walk before its first row.
func (w *rowWalk) start(tn *tenant) {
	w.tn, w.moves, w.path = tn, tn.moves, w.path[:0]
	w.top, w.deepest = tn.depth(w.Root), MaxDepth
	if w.Depth > 0 {
		w.deepest = min(MaxDepth, w.top+w.Depth-1)
	}
	if w.restarts == maxRowRestarts {
		w.visits = math.MaxInt
	}
}

// visit shows the rows of e, at depth below Root, and of what is below it. False: the visits are used up.
func (w *rowWalk) visit(v *View, depth int, e *member) bool {
	if depth >= w.resume {
		w.path = append(w.path[:depth], rowFrame{})
		if w.left <= 0 {
			return false
		}
		w.left--
	}
	if e.Archived { // with everything below it
		w.resume = 0
		return true
	}
	at := &w.path[depth] // path never grows beyond its capacity
	inside := depth+1 < w.resume
	if !inside {
		w.resume = 0
	}
	shown := w.Entity == nil || w.Entity(&e.Entity)
	for r := range e.records() {
		if !shown {
			break
		}
		if r.num <= at.num {
			continue
		}
		if w.left <= 0 && !inside {
			return false
		}
		w.left--
		w.shown = append(w.shown, v.row(r, w.top+depth, w.Now))
		at.num = r.num
	}
	if w.top+depth == w.deepest {
		return true
	}
	next := ""
	if inside {
		next = at.child
	}
	for child := range e.children.from(next) {
		at.child = child.ID
		if !w.visit(v, depth+1, child) {
			return false
		}
	}
	return true
}

// row returns the row of an assignment of an entity at a level, with the budget of the period that contains now.
func (v *View) row(r *record, level int, now int64) TreeRow {
	start, end := r.terms.Cadence.Period(now)
	a := v.s.assignment(r)
	return TreeRow{Entity: r.of.Entity, Depth: level, Assignment: *a, Budget: v.Budget(a, start), Start: start, End: end}
}

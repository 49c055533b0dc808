package fsm

// TreeRow is one assignment of one entity with its present budget.
type TreeRow struct {
	Entity     Entity
	Depth      int // of the entity; the root is 1
	Assignment Assignment
	Budget     Budget
	Start, End int64
}

// Rows calls f for every assignment of account whose entity lies in the subtree
// of root (empty: the whole account), parents before children, siblings by id,
// those of one entity as they were made, at most depth levels down (0: all; 1: root alone), with
// the budget of the period that contains now. Archived entities are left out.
// f returning false stops it.
func (v *View) Rows(account, root string, depth int, now int64, f func(TreeRow) bool) {
	tn := v.s.accounts[account]
	if tn == nil {
		return
	}
	if root == "" {
		root = account
	}
	if tn.entities[root] == nil {
		return
	}
	w := rowWalk{v: v, tn: tn, deepest: MaxDepth, now: now, f: f}
	top := tn.depth(root)
	if depth > 0 {
		w.deepest = min(MaxDepth, top+depth-1)
	}
	w.visit(tn.entities[root], top)
}

type rowWalk struct {
	v       *View
	tn      *tenant
	deepest int // level
	now     int64
	f       func(TreeRow) bool
}

// visit shows the rows of e and what is below it, until f returns false.
func (w *rowWalk) visit(e *Entity, level int) bool {
	if e.Archived {
		return true // with everything below it
	}
	for _, a := range w.tn.assignments[e.ID] {
		start, end := a.Cadence.Period(w.now)
		if !w.f(TreeRow{Entity: *e, Depth: level, Assignment: *a, Budget: w.v.Budget(a, start), Start: start, End: end}) {
			return false
		}
	}
	if level == w.deepest {
		return true
	}
	for _, id := range w.tn.children[e.ID] {
		if !w.visit(w.tn.entities[id], level+1) {
			return false
		}
	}
	return true
}

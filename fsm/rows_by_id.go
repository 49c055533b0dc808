package fsm

// RowsByID calls f with the rows of one entity after the other, in the order of entity ids or the reverse, from the entity
// from on (empty: the first), until f returns false. Which entities q names, and what else holds of rows, is as with Rows. It
// finds its place through the account's index, so a page costs what it passes over and not the size of the account;
// entities outside q.Root are passed over one by one.
//
// begin is called once, first. The lock is held for rowsPerLock entities at a time. No change disturbs the walk: its place is an id.
func (m *Machine) RowsByID(q RowQuery, from string, reverse bool, begin func(v *View) error, f func([]TreeRow) bool) error {
	if q.Root == "" {
		q.Root = q.Account
	}
	w := idWalk{RowQuery: q, from: from, reverse: reverse, first: true}
	for {
		var err error
		m.View(func(v *View) {
			if w.first {
				err = begin(v)
			}
			if err == nil {
				w.next(v)
			}
		})
		if err != nil {
			return err
		}
		for len(w.shown) > 0 {
			n := 1
			for n < len(w.shown) && w.shown[n].Entity.ID == w.shown[0].Entity.ID {
				n++
			}
			if !f(w.shown[:n:n]) {
				return nil
			}
			w.shown = w.shown[n:]
		}
		if w.over {
			return nil
		}
	}
}

// idWalk is a walk of an account in the order of ids.
type idWalk struct {
	RowQuery
	from    string // the entity to go on from
	reverse bool
	first   bool // from is among those to be shown
	over    bool
	shown   []TreeRow
}

// next collects the rows of one hold of the lock: whole entities only.
func (w *idWalk) next(v *View) {
	w.shown, w.over = w.shown[:0], true
	tn := v.s.accounts[w.Account]
	if tn == nil {
		return
	}
	visits := 0
	for m := range w.members(tn) {
		if visits++; visits > rowsPerLock || len(w.shown) >= rowsPerLock {
			w.over = false
			return
		}
		w.from, w.first = m.ID, false
		level, ok := w.names(tn, m)
		if !ok {
			continue
		}
		for r := range m.records() {
			w.shown = append(w.shown, v.row(r, level, w.Now))
		}
	}
}

// members yields those that are left, in order.
func (w *idWalk) members(tn *tenant) func(func(*member) bool) {
	switch {
	case w.first && w.reverse && w.from != "":
		return tn.order.before(w.from + "\x00") // no id has a NUL, so this is from itself and what is before
	case w.reverse:
		return tn.order.before(w.from)
	case w.first:
		return tn.order.from(w.from)
	}
	return tn.order.from(w.from + "\x00")
}

// names reports whether the query names an entity, and its level.
func (w *idWalk) names(tn *tenant, m *member) (level int, ok bool) {
	if m.Archived || m.first == nil || w.Entity != nil && !w.Entity(&m.Entity) {
		return 0, false
	}
	level = 1
	below := -1 // levels between Root and m
	for up := m; ; up = tn.entities[up.Parent] {
		if up.ID == w.Root {
			below = level - 1
		}
		if up.Parent == "" {
			break
		}
		level++
	}
	return level, below >= 0 && (w.Depth == 0 || below < w.Depth)
}

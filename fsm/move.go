package fsm

// applyMoveEntity hangs an entity with everything below it under another parent
// (empty: the root). Usage already charged stays where it was: lines name budgets.
func (t *txn) applyMoveEntity(c MoveEntity) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	e, err := tn.entity(c.ID)
	if err != nil {
		return err
	}
	if c.Parent == "" {
		c.Parent = tn.ID
	}
	if e.ID == tn.ID {
		return conflict("entity %q is the account's root and cannot be moved; move what is below it", e.ID)
	}
	if c.Parent == e.Parent {
		return nil
	}
	if err := t.checkMove(tn, e, c.Parent); err != nil {
		return err
	}
	tn.forgetGiven()
	from, to := e.document(), *e
	to.Parent, to.UpdatedAt = c.Parent, t.s.now
	t.storeEntity(tn, &to)
	t.audit(actionEntityMove, tn.ID, to.ID, from, to.document())
	return nil
}

func (t *txn) checkMove(tn *tenant, e *Entity, parent string) *Error {
	p := tn.entities[parent]
	switch {
	case p == nil:
		return invalid("parent", "is %q, which is not an entity of account %q; create it first", parent, tn.ID)
	case p.Archived:
		return conflict("entity %q cannot be moved under %q, which is archived; unarchive %q first", e.ID, parent, p.ArchivedBy)
	case e.Archived && e.ArchivedBy != e.ID:
		return conflict("entity %q is archived along with %q; unarchive that one before moving this one away from it", e.ID, e.ArchivedBy)
	}
	if typ := t.s.types[e.Type]; typ != nil && !typ.allowsParent(p.Type) {
		return conflict("entity %q cannot be moved under %q, of type %q: type %q hangs under %q only; choose another parent, or widen the parents of the type", e.ID, parent, p.Type, e.Type, typ.Parents)
	}
	var levels int
	cycle := false
	moved := map[string]bool{}
	tn.walk(e.ID, func(d *Entity, level int) bool {
		levels = max(levels, level+1)
		cycle = cycle || d.ID == parent
		moved[d.ID] = true
		return !cycle
	})
	if cycle {
		return conflict("entity %q cannot be moved under %q, which is itself or below it: that would be a cycle; choose a parent outside its subtree", e.ID, parent)
	}
	if depth := tn.depth(parent) + levels; depth > MaxDepth {
		err := conflict("moving %q under %q would make the tree %d levels deep; it has at most %d: choose a parent nearer to the root", e.ID, parent, depth, MaxDepth)
		err.Numbers = map[string]int64{"limit": MaxDepth, "requested": int64(depth)}
		return err
	}
	return prospect{s: t.s, tn: tn, moved: e.ID, parent: parent, asking: moved}.check(tn.carvedBelow(moved))
}

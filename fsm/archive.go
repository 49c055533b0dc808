package fsm

// applyArchiveEntity archives an entity with everything below it, or brings it back.
//
// An archive call takes along what is not archived yet, and unarchiving brings back
// what that call took: a child that was archived by itself before stays archived when
// its parent comes back. Archiving by itself what an ancestor's call took makes it
// the entity's own, so that it stays when the ancestor comes back. While archived, an
// entity takes no children and no assignments, and its allocated assignments give
// their part back; unarchiving needs that room again.
func (t *txn) applyArchiveEntity(c ArchiveEntity) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	e, err := tn.entity(c.ID)
	if err != nil {
		return err
	}
	if !c.Archived {
		return t.unarchive(tn, e)
	}
	if e.ID == tn.ID {
		return conflict("entity %q is the account's root and cannot be archived; freeze the account instead", e.ID)
	}
	if e.ArchivedBy != e.ID {
		t.setArchived(tn, e, e.ArchivedBy, e.ID, actionEntityArchive)
	}
	return nil
}

func (t *txn) unarchive(tn *tenant, e *Entity) *Error {
	switch {
	case !e.Archived:
		return nil
	case e.ArchivedBy != e.ID:
		return conflict("entity %q is archived along with %q; unarchive that one", e.ID, e.ArchivedBy)
	case tn.entities[e.Parent].Archived:
		return conflict("entity %q hangs under %q, which is archived; unarchive %q first", e.ID, e.Parent, tn.entities[e.Parent].ArchivedBy)
	}
	back := map[string]bool{}
	tn.walk(e.ID, func(d *Entity, _ int) bool {
		if d.ArchivedBy == e.ID {
			back[d.ID] = true
		}
		return true
	})
	if err := (prospect{s: t.s, tn: tn, restored: back, asking: back}).check(tn.carvedBelow(back)); err != nil {
		return err
	}
	t.setArchived(tn, e, e.ID, "", actionEntityUnarchive)
	return nil
}

// setArchived changes ArchivedBy from one value to another in e's subtree; empty is not archived.
func (t *txn) setArchived(tn *tenant, e *Entity, from, to string, action string) {
	tn.forgetGiven()
	before := e.document()
	var change []*Entity
	tn.walk(e.ID, func(d *Entity, _ int) bool {
		if d.ArchivedBy == from {
			change = append(change, d)
		}
		return true
	})
	for _, d := range change {
		next := *d
		next.Archived, next.ArchivedBy, next.UpdatedAt = to != "", to, t.s.now
		t.storeEntity(tn, &next)
	}
	t.audit(action, tn.ID, e.ID, before, tn.entities[e.ID].document())
}

package fsm

// This file applies new and changed assignments to budgets. What a node derives
// for itself before it has applied the entry must stay true, so whatever the old
// terms promised about periods near now is materialized before the terms change; see
// DESIGN.md, "Budgets and births".

// createAssignment stores a new assignment. Its present period begins with used already spent.
func (t *txn) createAssignment(tn *tenant, a *Assignment, used int64) {
	a.Num = t.nextAssignment()
	r := t.storeAssignment(a)
	t.put(assignmentIDKey(tn.ID, a.ID), a.Num)
	if a.Leased() || used > 0 {
		b := t.materializeNew(r)
		if used > 0 {
			t.noteDrawn(t.s.cached(b.Key), 0, used, 0)
			b.beginWith(used, t.roster)
			t.touch(b)
		}
	}
	t.audit(actionAssignmentPut, tn.ID, a.ID, nil, a.document())
}

// changeAssignment replaces the terms of an assignment. Its identity, and so its
// periods, stay.
func (t *txn) changeAssignment(tn *tenant, old, next *Assignment) {
	budgets := old.Limit != next.Limit || old.Unlimited != next.Unlimited || old.Enforcement != next.Enforcement
	t.s.sprout(t.s.records.get(old.Num))
	if budgets {
		t.materializeAhead(t.s.records.get(old.Num))
		if next.Leased() && !old.Leased() {
			next.BirthFrom = satAdd(t.s.now, t.s.maxStaleness())
		}
	}
	r := t.storeAssignment(next)
	if budgets {
		for _, b := range t.budgetsOf(r) {
			b.adopt(next, t.roster)
			t.touch(b)
		}
	}
	t.audit(actionAssignmentPut, tn.ID, next.ID, old.document(), next.document())
}

func (t *txn) storeAssignment(a *Assignment) *record {
	r := t.s.addAssignment(a)
	t.put(assignmentKey(a.Num), a)
	t.changes.tree(a.Account, a.Entity)
	t.changes.c.Terms = append(t.changes.c.Terms, a.Num)
	return r
}

// beginWith makes used the amount spent in a budget created by this entry, and
// cuts its birth slices to what is left then.
func (b *Budget) beginWith(used int64, r Roster) {
	b.Used = used
	slice := Birth(b.Left(), r.Shares)
	for _, l := range b.Leases {
		b.addLease(l.Node, slice-l.Amount)
	}
	b.setLimit(b.Limit, r) // consolidates it if the limit is passed
}

// adopt gives the budget the terms of its assignment. One that is not handed out
// any more has no leases and no holder; one that is from now on starts without
// leases. Gen keeps counting, so that a release of an earlier life is not taken for one of the next.
func (b *Budget) adopt(a *Assignment, r Roster) {
	b.Unlimited = a.Unlimited
	b.Leased = a.Leased()
	if !b.Leased {
		if b.Holder != 0 {
			b.Gen++
		}
		b.Leases, b.Holder, b.Acks = nil, 0, nil
	}
	b.setLimit(a.Limit, r)
}

package fsm

import (
	"cmp"
	"slices"

	"github.com/bursar-dev/bursar/internal/invariants"
)

func (t *txn) applyPutAssignments(c PutAssignments) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	p := assignmentPut{t: t, tn: tn, items: c.Items}
	if err := p.validate(); err != nil {
		return err
	}
	if err := p.plan(); err != nil {
		return err
	}
	keepGiven, err := p.checkAllocated()
	if err != nil {
		return err
	}
	used, err := p.backfill()
	if err != nil {
		return err
	}
	keepGiven()
	for i, ch := range p.changes {
		if ch.old == nil {
			t.createAssignment(tn, ch.next, used[i])
		} else {
			t.changeAssignment(tn, ch.old, ch.next)
		}
	}
	return nil
}

// assignmentPut is a bulk write of assignments.
type assignmentPut struct {
	t       *txn
	tn      *tenant
	items   []AssignmentPut
	changes []assignmentChange // those that change something, in the order of the items
}

// assignmentChange is what an item does. Old is nil for a new assignment.
type assignmentChange struct {
	old, next *Assignment
}

// tooLateToBackfill refuses to count the past of an assignment that was made without
// it: what it has counted and what it has not cannot be told apart. One that was
// made with it may say so again, so that a file that is applied can be applied again.
func tooLateToBackfill(a *Assignment) *Error {
	return conflict("the assignment of %q to %q (%s) exists and has counted since %s, without backfill, which only takes effect when an assignment is made; leave backfill out, or delete the assignment and make it again",
		a.Capability, a.Entity, a.ID, timestamp(a.CreatedAt))
}

// field names a field of item i.
func (p *assignmentPut) field(i int, name string) string { return item("assignments", i) + "." + name }

// validate normalizes the items and checks what each says by itself.
func (p *assignmentPut) validate() *Error {
	var f faults
	f.size("assignments", len(p.items))
	if err := f.err(); err != nil {
		return err
	}
	type identity struct {
		entity string
		meter  meter
	}
	seen := make(map[identity]int, len(p.items))
	for i := range p.items {
		a := &p.items[i].Assignment
		p.normalize(a)
		p.checkNames(&f, i, a)
		p.checkNumbers(&f, i, a)
		if p.items[i].Backfill && len(a.Scope) > 0 {
			f.add(p.field(i, "backfill"), "counts what the entity used in every scope; leave backfill or scope out")
		}
		id := identity{a.Entity, a.meter()}
		if first, ok := seen[id]; ok {
			f.add(item("assignments", i), "has the entity, capability, scope and cadence of %s; send each identity once", item("assignments", first))
			continue
		}
		seen[id] = i
	}
	return f.err()
}

// normalize fills in the defaults and puts what has no order in order.
func (p *assignmentPut) normalize(a *Assignment) {
	a.Account = p.tn.ID
	a.Enforcement = cmp.Or(a.Enforcement, Hard)
	a.Mode = cmp.Or(a.Mode, Cap)
	a.Cadence = a.Cadence.normal()
	a.Scope = slices.Sorted(slices.Values(a.Scope))
	if a.Unlimited {
		a.Limit = 0
	}
}

func (p *assignmentPut) checkNames(f *faults, i int, a *Assignment) {
	if p.tn.entities[a.Entity] == nil {
		f.add(p.field(i, "entity"), "is %q, which is not an entity of account %q; create it first", a.Entity, p.tn.ID)
	}
	if p.t.s.caps[a.Capability] == nil {
		f.add(p.field(i, "capability"), "is %q, which is not a capability; define it with PUT /v1/capabilities", a.Capability)
	}
	if len(a.Scope) > MaxScope {
		f.add(p.field(i, "scope"), "has %d ids; name at most %d", len(a.Scope), MaxScope)
	}
	// Ids in a scope need not be provisioned: a call may name one that never was.
	for j, id := range a.Scope {
		switch fault := idFault(id); {
		case fault != "":
			f.add(p.field(i, "scope"), "id %q %s", id, fault)
		case j > 0 && id == a.Scope[j-1]:
			f.add(p.field(i, "scope"), "names %q twice; name it once", id)
		case id == a.Entity:
			f.add(p.field(i, "scope"), "names %q, the entity itself, which is in the chain anyway; leave it out", id)
		}
	}
	a.Cadence.faults(f, p.field(i, "cadence"))
	if a.Enforcement != Hard && a.Enforcement != Soft {
		f.add(p.field(i, "enforcement"), "is %q; use hard or soft", a.Enforcement)
	}
	if a.Mode != Cap && a.Mode != Allocated {
		f.add(p.field(i, "mode"), "is %q; use cap or allocated", a.Mode)
	}
}

// maxThreshold is the highest alert threshold, in percent of the limit.
const maxThreshold = 1000

func (p *assignmentPut) checkNumbers(f *faults, i int, a *Assignment) {
	if a.Limit < 0 || a.Limit > MaxAmount {
		f.add(p.field(i, "limit"), "is %d; use 0 to %d, or null for no limit", a.Limit, MaxAmount)
	}
	if a.Unlimited && a.Mode == Allocated {
		f.add(p.field(i, "limit"), "is null, but an allocated assignment is a part of another's limit; give it a number, or use mode cap")
	}
	if len(a.Thresholds) > MaxThresholds {
		f.add(p.field(i, "alert_thresholds"), "has %d items; list at most %d", len(a.Thresholds), MaxThresholds)
		return
	}
	for j, percent := range a.Thresholds {
		if percent < 1 || percent > maxThreshold {
			f.add(p.field(i, "alert_thresholds"), "has %d; use 1 to %d percent", percent, maxThreshold)
		}
		if j > 0 && percent <= a.Thresholds[j-1] {
			f.add(p.field(i, "alert_thresholds"), "has %d after %d; list them ascending, each once", percent, a.Thresholds[j-1])
		}
	}
}

// plan finds what each item changes. New assignments get the numbers they will
// have, and keep the id the item came with.
func (p *assignmentPut) plan() *Error {
	num := p.t.s.nextAssignment
	ids := map[string]bool{}
	for i := range p.items {
		next := p.items[i].Assignment
		now := p.t.s.now
		if old := p.existing(&next); old != nil {
			if p.items[i].Backfill && !old.Backfill {
				return tooLateToBackfill(old)
			}
			next.ID, next.Num, next.BirthFrom, next.CreatedAt, next.UpdatedAt = old.ID, old.Num, old.BirthFrom, old.CreatedAt, now
			next.Backfill = old.Backfill
			if old.Limit != next.Limit || old.Unlimited != next.Unlimited || old.Enforcement != next.Enforcement ||
				old.Mode != next.Mode || !slices.Equal(old.Thresholds, next.Thresholds) {
				p.changes = append(p.changes, assignmentChange{old: old, next: &next})
			}
			continue
		}
		if fault := idFault(next.ID); fault != "" {
			return invalid(p.field(i, "id"), "%s", fault)
		}
		var taken uint64
		if ok, _ := p.t.get(assignmentIDKey(p.tn.ID, next.ID), &taken); ok || ids[next.ID] {
			return conflict("assignment id %q is taken; send the write again to get another", next.ID)
		}
		if e := p.tn.entities[next.Entity]; e.Archived {
			return conflict("entity %q is archived and takes no new assignments; unarchive %q first", e.ID, e.ArchivedBy)
		}
		ids[next.ID] = true
		next.Num, next.BirthFrom, next.CreatedAt, next.UpdatedAt = num, now, now, now
		next.Backfill = p.items[i].Backfill
		num++
		p.changes = append(p.changes, assignmentChange{next: &next})
	}
	return nil
}

// existing returns the assignment with a's identity, or nil.
func (p *assignmentPut) existing(a *Assignment) *Assignment {
	for r := range p.tn.entities[a.Entity].records() {
		if r.measures(a) {
			return p.t.s.assignment(r)
		}
	}
	return nil
}

// checkAllocated checks what the changes give out and what they are carved from. It returns what keeps the sums once the
// command is sure to be applied.
func (p *assignmentPut) checkAllocated() (keep func(), err *Error) {
	would := prospect{s: p.t.s, tn: p.tn, put: map[uint64]*Assignment{}, added: map[string][]*Assignment{}}
	for _, ch := range p.changes {
		would.put[ch.next.Num] = ch.next
		if ch.old == nil {
			would.added[ch.next.Entity] = append(would.added[ch.next.Entity], ch.next)
		}
	}
	meters := map[meter]bool{}
	for _, ch := range p.changes {
		meters[ch.next.meter()] = true
	}
	if changes, ok := would.fits(p.changes); ok {
		if invariants.Enabled {
			err := would.check(meters)
			invariants.Check(err == nil, "changes that fit by the sums kept do not: %v", err)
		}
		return func() { p.tn.keepChanges(changes) }, nil
	}
	sums, err := would.shares(meters)
	return func() { p.tn.keepGiven(sums) }, err
}

func (t *txn) applyDeleteAssignment(c DeleteAssignment) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	var num uint64
	if ok, _ := t.get(assignmentIDKey(c.Account, c.ID), &num); !ok {
		return notFound("account %q has no assignment %q", c.Account, c.ID)
	}
	r := t.s.records.get(num)
	a := t.s.assignment(r)
	would := prospect{s: t.s, tn: tn, put: map[uint64]*Assignment{num: nil}}
	if err := would.check(map[meter]bool{a.meter(): true}); err != nil {
		return err
	}
	tn.forgetGiven()
	t.deleteBudgets(r)
	t.s.removeAssignment(r)
	t.del(assignmentKey(num))
	t.del(assignmentIDKey(c.Account, c.ID))
	t.changes.tree(c.Account, a.Entity)
	t.audit(actionAssignmentDelete, c.Account, a.ID, a.document(), nil)
	return nil
}

package fsm

import "slices"

func (t *txn) applyPutEntityTypes(c PutEntityTypes) *Error {
	const list = "entity_types"
	var f faults
	f.size(list, len(c.Items))
	if err := f.err(); err != nil {
		return err
	}
	put := make(map[string]*EntityType, len(c.Items))
	for i := range c.Items {
		put[c.Items[i].ID] = &c.Items[i]
	}
	f.repeats(list, len(c.Items), func(i int) string { return c.Items[i].ID })
	for i := range c.Items {
		t.checkEntityType(&f, item(list, i), &c.Items[i], put)
	}
	if err := f.err(); err != nil {
		return err
	}
	if err := t.checkPlacement(put); err != nil {
		return err
	}
	if err := room("entity types", t.s.types, put, MaxEntityTypes); err != nil {
		return err
	}
	for i := range c.Items {
		t.storeEntityType(&c.Items[i])
	}
	return nil
}

// checkEntityType checks one item against the types that exist or come with it.
func (t *txn) checkEntityType(f *faults, field string, e *EntityType, put map[string]*EntityType) {
	f.id(field+".id", e.ID)
	f.name(field+".name", e.Name)
	if e.ID == TypeAccount {
		f.add(field+".id", "is %q, which is built in and cannot be redefined; choose another id", TypeAccount)
	}
	if len(e.Parents) > MaxParents {
		f.add(field+".parents", "has %d items; list at most %d, or none to allow any", len(e.Parents), MaxParents)
		return
	}
	for i, p := range e.Parents {
		switch {
		case slices.Index(e.Parents, p) < i:
			f.add(item(field+".parents", i), "is %q again; list each type once", p)
		case p != TypeAccount && t.s.types[p] == nil && put[p] == nil:
			f.add(item(field+".parents", i), "is %q, which is not an entity type; define it before or in the same call", p)
		}
	}
}

// checkPlacement refuses types that entities already in a tree, archived ones too, would break.
func (t *txn) checkPlacement(put map[string]*EntityType) *Error {
	narrowed := map[string]*EntityType{}
	for id, e := range put {
		if old := t.s.types[id]; old != nil && len(e.Parents) > 0 && !slices.Equal(old.Parents, e.Parents) {
			narrowed[id] = e
		}
	}
	if len(narrowed) == 0 {
		return nil
	}
	var misplaced int64
	var first *Entity
	var under string
	for _, tn := range t.s.accounts {
		for _, e := range tn.entities {
			n := narrowed[e.Type]
			if n == nil || n.allowsParent(tn.entities[e.Parent].Type) {
				continue
			}
			misplaced++
			if first == nil || e.Account < first.Account || e.Account == first.Account && e.ID < first.ID {
				first, under = &e.Entity, tn.entities[e.Parent].Type
			}
		}
	}
	if misplaced == 0 {
		return nil
	}
	err := conflict("%d entities hang where the new parents of their type do not allow it, such as %q of account %q, a %s under a %s; move them first, or keep %q among the parents of %q",
		misplaced, first.ID, first.Account, first.Type, under, under, first.Type)
	err.Numbers = map[string]int64{"misplaced": misplaced}
	return err
}

// allowsParent reports whether an entity of this type may hang under one of the parent type.
func (e *EntityType) allowsParent(parent string) bool {
	return len(e.Parents) == 0 || slices.Contains(e.Parents, parent)
}

func (t *txn) storeEntityType(e *EntityType) {
	var from any
	if old := t.s.types[e.ID]; old != nil {
		if old.Name == e.Name && slices.Equal(old.Parents, e.Parents) {
			return
		}
		from = old.document()
	}
	t.s.types[e.ID] = e
	t.put(entityTypeKey(e.ID), e)
	t.changes.c.Global = true
	t.audit(actionEntityTypePut, "", e.ID, from, e.document())
}

// maxDecimals is the most a capability can have: 10^18 is MaxAmount, one whole unit then.
const maxDecimals = 18

func (t *txn) applyPutCapabilities(c PutCapabilities) *Error {
	const list = "capabilities"
	var f faults
	f.size(list, len(c.Items))
	if err := f.err(); err != nil {
		return err
	}
	f.repeats(list, len(c.Items), func(i int) string { return c.Items[i].ID })
	put := make(map[string]*Capability, len(c.Items))
	for i := range c.Items {
		e := &c.Items[i]
		e.Builtin = false
		put[e.ID] = e
		field := item(list, i)
		f.id(field+".id", e.ID)
		f.name(field+".unit", e.Unit)
		if e.Unit == "" {
			f.add(field+".unit", "is empty; name what one of it is, such as image")
		}
		if e.Decimals > maxDecimals {
			f.add(field+".decimals", "is %d; use 0 to %d", e.Decimals, maxDecimals)
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	for i := range c.Items {
		if err := t.checkRedefinition(&c.Items[i]); err != nil {
			return err
		}
	}
	if err := room("capabilities", t.s.caps, put, MaxCapabilities); err != nil {
		return err
	}
	for i := range c.Items {
		t.storeCapability(&c.Items[i])
	}
	return nil
}

// checkRedefinition refuses to change what the amounts already recorded mean.
func (t *txn) checkRedefinition(c *Capability) *Error {
	old := t.s.caps[c.ID]
	if old == nil || old.Unit == c.Unit && old.Decimals == c.Decimals {
		return nil
	}
	if old.Builtin {
		err := conflict("capability %q is built in (unit %q, decimals %d) and cannot be redefined; choose another id", c.ID, old.Unit, old.Decimals)
		err.Numbers = map[string]int64{"decimals": int64(old.Decimals), "requested": int64(c.Decimals)}
		return err
	}
	err := conflict("capability %q has unit %q and %d decimals, which amounts already recorded depend on; define a new capability instead", c.ID, old.Unit, old.Decimals)
	err.Numbers = map[string]int64{"decimals": int64(old.Decimals), "requested": int64(c.Decimals)}
	return err
}

func (t *txn) storeCapability(c *Capability) {
	if t.s.caps[c.ID] != nil {
		return // the same, or checkRedefinition would have refused it
	}
	t.s.caps[c.ID] = c
	t.put(capabilityKey(c.ID), c)
	t.changes.c.Global = true
	t.audit(actionCapabilityPut, "", c.ID, nil, c.document())
}

// room refuses a bulk write that would leave the cluster with more than limit of a kind.
func room[T any](kind string, have, put map[string]T, limit int) *Error {
	total := len(have)
	for id := range put {
		if _, ok := have[id]; !ok {
			total++
		}
	}
	if total <= limit {
		return nil
	}
	err := conflict("there would be %d %s; a cluster has at most %d: use those there are", total, kind, limit)
	err.Numbers = map[string]int64{"limit": int64(limit), "have": int64(len(have)), "requested": int64(total - len(have))}
	return err
}

package fsm

import "maps"

func (t *txn) applyPutEntities(c PutEntities) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	p := entityPut{t: t, tn: tn, items: c.Items, index: make(map[string]int, len(c.Items))}
	if err := p.validate(); err != nil {
		return err
	}
	for i := range p.items {
		if err := p.checkExisting(&p.items[i]); err != nil {
			return err
		}
	}
	for i := range p.items {
		p.store(&p.items[i])
	}
	tn.adoptOrphans()
	return nil
}

// entityPut is a bulk write of entities.
type entityPut struct {
	t     *txn
	tn    *tenant
	items []Entity
	index map[string]int // of an item, by id
}

// field names a field of item i.
func (p *entityPut) field(i int, name string) string { return item("entities", i) + "." + name }

// validate normalizes the items and checks each against the tree that the whole call would make.
func (p *entityPut) validate() *Error {
	var f faults
	f.size("entities", len(p.items))
	if err := f.err(); err != nil {
		return err
	}
	f.repeats("entities", len(p.items), func(i int) string { return p.items[i].ID })
	for i := range p.items {
		e := &p.items[i]
		e.Account = p.tn.ID
		if old := p.tn.entities[e.ID]; e.Parent == "" && old != nil {
			e.Parent = old.Parent // left out: not to be moved
		} else if e.Parent == "" {
			e.Parent = p.tn.ID
		}
		p.index[e.ID] = i
		f.id(p.field(i, "id"), e.ID)
		f.name(p.field(i, "name"), e.Name)
		f.metadata(p.field(i, "metadata"), e.Metadata)
	}
	for i := range p.items {
		if e := &p.items[i]; p.tn.entities[e.ID] == nil {
			p.place(&f, i, e)
		} else if e.Type == "" {
			f.add(p.field(i, "type"), "is empty; give the entity's type, which is %q", p.tn.entities[e.ID].Type)
		}
	}
	return f.err()
}

// place checks type, parent and depth of a new entity.
func (p *entityPut) place(f *faults, i int, e *Entity) {
	typ := p.t.s.types[e.Type]
	switch {
	case e.Type == TypeAccount:
		f.add(p.field(i, "type"), "is %q, which only an account's root has; choose another", TypeAccount)
		return
	case typ == nil:
		f.add(p.field(i, "type"), "is %q, which is not an entity type; define it with PUT /v1/entity-types", e.Type)
		return
	}
	parent := p.lookup(e.Parent)
	if parent == nil {
		f.add(p.field(i, "parent"), "is %q, which is not an entity of account %q; create it before or in the same call", e.Parent, p.tn.ID)
		return
	}
	if !typ.allowsParent(parent.Type) {
		f.add(p.field(i, "parent"), "is %q, of type %q; type %q hangs under %q only", e.Parent, parent.Type, e.Type, typ.Parents)
		return
	}
	switch depth := p.depth(e); {
	case depth == 0:
		f.add(p.field(i, "parent"), "is %q, which closes a cycle; one of the entities in it needs another parent", e.Parent)
	case depth > MaxDepth:
		f.add(p.field(i, "parent"), "is %q, which puts the entity on level %d; a tree has at most %d, the root being the first", e.Parent, depth, MaxDepth)
	}
}

// lookup returns an entity as it exists or as the call would create it, or nil.
func (p *entityPut) lookup(id string) *Entity {
	if m := p.tn.entities[id]; m != nil {
		return &m.Entity
	}
	if i, ok := p.index[id]; ok {
		return &p.items[i]
	}
	return nil
}

// depth returns the level of a new entity, or 0 if its parents never end. A
// parent that does not exist is reported where it is named.
func (p *entityPut) depth(e *Entity) int {
	for above := 0; above <= len(p.items); above++ {
		if p.tn.entities[e.ID] != nil {
			return above + p.tn.depth(e.ID)
		}
		parent := p.lookup(e.Parent)
		if parent == nil {
			return 1
		}
		e = parent
	}
	return 0
}

// checkExisting refuses what a PUT must not do to an entity that exists, and new
// ones below an archived parent.
func (p *entityPut) checkExisting(e *Entity) *Error {
	old := p.tn.entities[e.ID]
	switch {
	case old == nil:
		if parent := p.tn.entities[e.Parent]; parent != nil && parent.Archived {
			return conflict("entity %q cannot be created under %q, which is archived; unarchive %q first", e.ID, e.Parent, parent.ArchivedBy)
		}
	case e.ID == p.tn.ID && (e.Type != old.Type || e.Parent != ""):
		return conflict("entity %q is the account's root: its type is %q and it has no parent; send it so, or leave it out", e.ID, TypeAccount)
	case e.ID == p.tn.ID && e.Name != old.Name:
		return conflict("entity %q is the account's root and bears the account's name; rename it with PUT /v1/accounts/%s", e.ID, e.ID)
	case e.Type != old.Type:
		return conflict("entity %q is a %s; the type of an entity does not change: archive it and create another id", e.ID, old.Type)
	case e.Parent != old.Parent:
		return conflict("entity %q hangs under %q; to hang it under %q use POST /v1/accounts/%s/entities/%s/move", e.ID, old.Parent, e.Parent, p.tn.ID, e.ID)
	}
	return nil
}

// store creates or updates an entity, unless nothing changes.
func (p *entityPut) store(e *Entity) {
	to := &Entity{
		Account: e.Account, ID: e.ID, Type: e.Type, Parent: e.Parent, Name: e.Name, Metadata: e.Metadata,
		CreatedAt: p.t.s.now, UpdatedAt: p.t.s.now,
	}
	var from any
	if old := p.tn.entities[e.ID]; old != nil {
		if old.Name == e.Name && maps.Equal(old.Metadata, e.Metadata) {
			return
		}
		from = old.document()
		to.Archived, to.ArchivedBy, to.CreatedAt = old.Archived, old.ArchivedBy, old.CreatedAt
	}
	p.t.storeEntity(p.tn, to)
	p.t.audit(actionEntityPut, p.tn.ID, e.ID, from, to.document())
}

// storeEntity files e in the tree, in place of the one it replaces.
func (t *txn) storeEntity(tn *tenant, e *Entity) {
	tn.addEntity(e)
	t.put(entityKey(tn.ID, e.ID), e)
	t.changes.tree(tn.ID, e.ID)
}

// entity returns the entity a command names, or the rejection.
func (tn *tenant) entity(id string) (*Entity, *Error) {
	if m := tn.entities[id]; m != nil {
		return &m.Entity, nil
	}
	return nil, notFound("account %q has no entity %q", tn.ID, id)
}

// depth returns the level of an entity; the root's is 1.
func (tn *tenant) depth(id string) int {
	depth := 1
	for id != tn.ID {
		id = tn.entities[id].Parent
		depth++
	}
	return depth
}

// walk calls f for id and everything below it, parents before children,
// siblings by id, until f returns false. level is 0 for id itself.
func (tn *tenant) walk(id string, f func(e *Entity, level int) bool) {
	tn.entities[id].walk(0, f)
}

func (m *member) walk(level int, f func(e *Entity, level int) bool) bool {
	if !f(&m.Entity, level) {
		return false
	}
	for child := range m.children.from("") {
		if !child.walk(level+1, f) {
			return false
		}
	}
	return true
}

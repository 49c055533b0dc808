package enforcer

import (
	"sync/atomic"

	"github.com/bursar-dev/bursar/fsm"
)

// level is one entity as calls see it. A call walks from the entity it names to the
// account's root, level by level; entities below the same parent share its level. It
// is compiled when a call first comes through, and anew after a change of the entity or of its assignments.
//
// Invariant: what was now once and is not any more is stale, so that who keeps it (see compiled.above) can tell.
type level struct{ now atomic.Pointer[compiled] }

// set makes what was compiled of the level's entity its present form, unless it has one, and returns it.
func (l *level) set(at *compiled) *compiled {
	for !l.now.CompareAndSwap(nil, at) {
		if present := l.now.Load(); present != nil {
			return present
		}
	}
	return at
}

// forget has the level compiled anew by the next call that comes through.
func (l *level) forget() {
	if at := l.now.Swap(nil); at != nil {
		at.stale.Store(true)
	}
}

// compiled is a level as of one state of the replica. It is immutable, but for what it remembers of other things.
// What every call looks at comes last: the items of most levels follow it in memory.
type compiled struct {
	id          string
	kind        string // the entity's type
	parent      string
	up          *level                   // nil: this is the root
	above       atomic.Pointer[compiled] // what up was when it was last looked at
	stale       atomic.Bool
	provisioned bool
	archived    bool
	items       []planItem
}

// newCompiled makes a level with room for n items, next to it if they are few.
func newCompiled(n int) *compiled {
	switch n {
	case 0:
		return new(compiled)
	case 1:
		room := new(struct {
			compiled
			items [1]planItem
		})
		room.compiled.items = room.items[:]
		return &room.compiled
	case 2:
		room := new(struct {
			compiled
			items [2]planItem
		})
		room.compiled.items = room.items[:]
		return &room.compiled
	}
	return &compiled{items: make([]planItem, n)}
}

// planItem is one assignment of an entity.
type planItem struct {
	meter  meter
	terms  *fsm.Terms
	unit   uint32
	scoped bool                           // it matches only if the call's chain has every id of its scope
	shown  atomic.Pointer[fsm.Assignment] // once a decision has shown it
}

// catalog is the compiled configuration, account by account.
type catalog struct {
	accounts  *lookup[accountRef]
	strangers atomic.Int64 // kept in all accounts
}

// accountRef leads to the present plans of an account, or nil after a change of the account itself.
type accountRef struct{ now atomic.Pointer[accountPlans] }

// accountPlans are the levels of one account. The replica bounds those of entities that exist.
type accountPlans struct {
	id        string
	frozen    bool
	levels    *lookup[level] // of entities that exist
	strangers *lookup[level] // of names that calls used and that were never provisioned
}

// maxStrangers bounds what is kept of names that were never provisioned; beyond it the catalog is begun anew.
const maxStrangers = 1 << 18

func newCatalog() *catalog { return &catalog{accounts: newLookup[accountRef]()} }

// forget throws an account's plans away. It is called by the apply goroutine
// after the state has changed; whoever compiles later sees the new state.
func (c *catalog) forget(account string) {
	if ref := c.accounts.get([]byte(account)); ref != nil {
		ref.now.Store(nil)
	}
}

// forgetEntity has the level of an entity compiled anew, in the same way.
func (c *catalog) forgetEntity(id fsm.EntityID) {
	ref := c.accounts.get([]byte(id.Account))
	if ref == nil {
		return
	}
	ap := ref.now.Load()
	if ap == nil {
		return
	}
	for _, known := range []*lookup[level]{ap.levels, ap.strangers} {
		if l := known.get([]byte(id.ID)); l != nil {
			l.forget()
		}
	}
}

// account returns an account's plans, or nil if it does not exist.
func (e *Enforcer) account(c *catalog, id []byte) *accountPlans {
	ref := c.accounts.get(id)
	if ref != nil {
		if p := ref.now.Load(); p != nil {
			return p
		}
	}
	var p *accountPlans
	e.m.View(func(v *fsm.View) {
		a := v.Account(string(id))
		if a == nil {
			return
		}
		p = &accountPlans{id: a.ID, frozen: a.Frozen, levels: newLookup[level](), strangers: newLookup[level]()}
		// Stored under the view: forget, which follows any later change, cannot come first.
		if ref == nil {
			ref = c.accounts.put(a.ID, nil)
		}
		ref.now.Store(p)
	})
	return p
}

// level returns the level of an entity, compiled.
func (e *Enforcer) level(c *catalog, ap *accountPlans, entity []byte) *compiled {
	if l := ap.levels.get(entity); l != nil {
		return e.compiled(ap, l, entity)
	}
	if l := ap.strangers.get(entity); l != nil {
		if at := l.now.Load(); at != nil {
			return at
		}
	}
	var at *compiled
	e.m.View(func(v *fsm.View) {
		id := string(entity)
		en := v.Entity(ap.id, id)
		if en != nil {
			at = e.compile(v, ap, ap.levels.put(en.ID, nil), en)
			return
		}
		// A name that was never provisioned hangs under the root.
		at = ap.strangers.put(id, nil).set(&compiled{id: id, up: ap.levels.put(ap.id, nil)})
	})
	if !at.provisioned && c.strangers.Add(1) > maxStrangers {
		e.catalog.Store(newCatalog())
	}
	return at
}

// compiled returns what a level of an entity that exists comes down to at present.
func (e *Enforcer) compiled(ap *accountPlans, l *level, entity []byte) *compiled {
	at := l.now.Load()
	if at == nil {
		e.m.View(func(v *fsm.View) { at = e.compile(v, ap, l, v.Entity(ap.id, string(entity))) })
	}
	return at
}

// above returns the level above one.
func (e *Enforcer) above(ap *accountPlans, below *compiled) *compiled {
	if at := below.above.Load(); at != nil && !at.stale.Load() {
		return at
	}
	id := below.parent
	if id == "" {
		id = ap.id // of a name that was never provisioned
	}
	at := e.compiled(ap, below.up, []byte(id))
	below.above.Store(at)
	return at
}

// compile compiles the level of an entity. It is stored under the view: forgetEntity, which follows any later change,
// cannot come first.
func (e *Enforcer) compile(v *fsm.View, ap *accountPlans, l *level, en *fsm.Entity) *compiled {
	n := 0
	v.EachAssignment(ap.id, en.ID, func(uint64, *fsm.Terms) { n++ })
	at := newCompiled(n)
	at.id, at.provisioned, at.archived, at.kind, at.parent = en.ID, true, en.Archived, en.Type, en.Parent
	if en.Parent != "" {
		at.up = ap.levels.put(en.Parent, nil)
	}
	n = 0
	v.EachAssignment(ap.id, en.ID, func(num uint64, t *fsm.Terms) {
		it := &at.items[n]
		it.meter.num, it.terms, it.unit, it.scoped = num, t, e.units.number(t.Capability), len(t.Scope) > 0
		n++
	})
	return l.set(at)
}

// units gives capabilities small numbers, so that a check compares no strings.
// Capabilities are never deleted, so a number stays good.
type units struct {
	numbers  *lookup[uint32]
	decimals *lookup[uint8] // of those that were priced
	next     atomic.Uint32
}

func newUnits() *units {
	u := &units{numbers: newLookup[uint32](), decimals: newLookup[uint8]()}
	u.number(fsm.CapInputTokens)
	u.number(fsm.CapOutputTokens)
	u.number(fsm.CapTokens)
	u.number(fsm.CapUSD)
	return u
}

// The numbers of what derived usage is made of.
const (
	unitInput = iota
	unitOutput
	unitTokens
	unitUSD
)

// number returns the number of a capability that exists.
func (u *units) number(id string) uint32 {
	return *u.numbers.put(id, func(n *uint32) { *n = u.next.Add(1) - 1 })
}

// unit returns the number of a capability a caller names; ok is false if it was never defined.
func (e *Enforcer) unit(id []byte) (n uint32, ok bool) {
	if n := e.units.numbers.get(id); n != nil {
		return *n, true
	}
	e.m.View(func(v *fsm.View) { ok = v.Capability(string(id)) != nil })
	if !ok {
		return 0, false
	}
	return e.units.number(string(id)), true
}

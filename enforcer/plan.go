package enforcer

import (
	"slices"
	"sync/atomic"

	"github.com/bursar-dev/bursar/fsm"
)

// plan is what a call that names one entity comes down to: the entity's chain
// and every assignment up the tree. It is immutable; a change of the account
// throws all its plans away and the next call compiles its own anew.
type plan struct {
	provisioned bool
	archived    bool
	chain       []string // the entity first, the account's root last
	items       []planItem
}

// planItem is one assignment on the way up, nearest first.
type planItem struct {
	a          *fsm.Assignment
	capability int
	entityType string
	parent     string
	meter      *meter
	// conditional: the scope names an entity that is not in this chain, so it
	// matches only if the call names other entities whose chains have it.
	conditional bool
}

// catalog is the compiled configuration, account by account.
type catalog struct {
	accounts *lookup[*accountRef]
	plans    atomic.Int64 // kept in all accounts
}

// accountRef leads to the present plans of an account, or nil after a change.
type accountRef struct{ now atomic.Pointer[accountPlans] }

// accountPlans are the plans of one account as of one state of it.
type accountPlans struct {
	id     string
	frozen bool
	plans  *lookup[*plan]
}

// maxPlans bounds the plans kept on a node; beyond it the catalog is begun
// anew. Names of entities that were never provisioned count too.
const maxPlans = 1 << 20

func newCatalog() *catalog { return &catalog{accounts: newLookup[*accountRef]()} }

// forget throws an account's plans away. It is called by the apply goroutine
// after the state has changed; whoever compiles later sees the new state.
func (c *catalog) forget(account string) {
	if ref, ok := c.accounts.get([]byte(account)); ok {
		ref.now.Store(nil)
	}
}

// account returns an account's plans, or nil if it does not exist.
func (e *Enforcer) account(c *catalog, id []byte) *accountPlans {
	ref, ok := c.accounts.get(id)
	if ok {
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
		p = &accountPlans{id: a.ID, frozen: a.Frozen, plans: newLookup[*plan]()}
		// Stored under the view: forget, which follows any later change, cannot come first.
		if ref == nil {
			ref = c.accounts.put(a.ID, &accountRef{})
		}
		ref.now.Store(p)
	})
	return p
}

// plan returns the compiled plan of an entity.
func (e *Enforcer) plan(c *catalog, ap *accountPlans, entity []byte) *plan {
	if p, ok := ap.plans.get(entity); ok {
		return p
	}
	if c.plans.Add(1) > maxPlans {
		e.catalog.Store(newCatalog())
	}
	var p *plan
	e.m.View(func(v *fsm.View) {
		p = ap.plans.put(string(entity), e.compile(v, ap.id, string(entity)))
	})
	return p
}

// compile walks from an entity to the root. An entity that was never
// provisioned hangs under the root.
func (e *Enforcer) compile(v *fsm.View, account, entity string) *plan {
	p := &plan{}
	if v.Entity(account, entity) == nil {
		p.chain = append(p.chain, entity)
		entity = account
	} else {
		p.provisioned = true
	}
	for id := entity; id != "" && len(p.chain) <= fsm.MaxDepth; {
		en := v.Entity(account, id)
		if en == nil {
			break
		}
		p.chain = append(p.chain, en.ID)
		p.archived = p.archived || en.Archived
		for _, a := range v.Assignments(account, en.ID) {
			p.items = append(p.items, planItem{
				a: a, capability: e.units.number(a.Capability), entityType: en.Type, parent: en.Parent, meter: e.book.meter(a.Num),
			})
		}
		id = en.Parent
	}
	for i := range p.items {
		for _, s := range p.items[i].a.Scope {
			p.items[i].conditional = p.items[i].conditional || !slices.Contains(p.chain, s)
		}
	}
	return p
}

// units gives capabilities small numbers, so that a check compares no strings.
// Capabilities are never deleted, so a number stays good.
type units struct {
	numbers  *lookup[int]
	decimals *lookup[uint8] // of those that were priced
	next     atomic.Int64
}

func newUnits() *units {
	u := &units{numbers: newLookup[int](), decimals: newLookup[uint8]()}
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
func (u *units) number(id string) int {
	if n, ok := u.numbers.get([]byte(id)); ok {
		return n
	}
	return u.numbers.put(id, int(u.next.Add(1)-1))
}

// unit returns the number of a capability a caller names; ok is false if it was never defined.
func (e *Enforcer) unit(id []byte) (n int, ok bool) {
	if n, ok := e.units.numbers.get(id); ok {
		return n, true
	}
	e.m.View(func(v *fsm.View) { ok = v.Capability(string(id)) != nil })
	if !ok {
		return 0, false
	}
	return e.units.number(string(id)), true
}

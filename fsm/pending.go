package fsm

import (
	"cmp"
	"slices"
)

// pending collects the Changes of an Apply call.
type pending struct {
	c       Changes
	entries int // applied by the call
	budgets map[BudgetKey]*cachedBudget
	order   []BudgetKey // of budgets, as first changed
	lines   slab[Line]  // what the events' lines are made of
}

// account notes that an account changed.
func (p *pending) account(id string) { p.c.Config = append(p.c.Config, id) }

// tree notes that an entity changed, or what is assigned to it.
func (p *pending) tree(account, entity string) {
	p.c.Tree = append(p.c.Tree, EntityID{account, entity})
}

// budget notes that b changed.
func (p *pending) budget(b *cachedBudget) {
	if p.budgets == nil {
		p.budgets = map[BudgetKey]*cachedBudget{}
	}
	if p.budgets[b.Key] == nil {
		p.order = append(p.order, b.Key)
	}
	p.budgets[b.Key] = b
}

// deleted notes that an assignment is gone, and its budgets with it.
func (p *pending) deleted(num uint64) {
	p.c.Deleted = append(p.c.Deleted, num)
	p.order = slices.DeleteFunc(p.order, func(k BudgetKey) bool {
		if k.Assignment != num {
			return false
		}
		delete(p.budgets, k)
		return true
	})
}

// finish returns the changes of the entries up to index, budgets as they are now.
func (p *pending) finish(index uint64) *Changes {
	c := &p.c
	c.Index = index
	slices.Sort(c.Config)
	c.Config = slices.Compact(c.Config)
	slices.SortFunc(c.Tree, func(a, b EntityID) int { return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.ID, b.ID)) })
	c.Tree = slices.Compact(c.Tree)
	c.Budgets = make([]Budget, 0, len(p.order))
	for _, k := range p.order {
		c.Budgets = append(c.Budgets, p.budgets[k].Budget)
	}
	return c
}

package fsm

// pending collects Changes over an Apply call.
type pending struct {
	c       Changes
	config  map[string]struct{}
	budgets map[BudgetKey]*Budget
	order   []BudgetKey
}

// tree notes that an account's tree, assignments or freezing changed.
func (p *pending) tree(account string) {
	if _, ok := p.config[account]; ok {
		return
	}
	if p.config == nil {
		p.config = map[string]struct{}{}
	}
	p.config[account] = struct{}{}
	p.c.Config = append(p.c.Config, account)
}

// budget notes that b changed.
func (p *pending) budget(b *Budget) {
	if p.budgets == nil {
		p.budgets = map[BudgetKey]*Budget{}
	}
	if _, ok := p.budgets[b.Key]; !ok {
		p.order = append(p.order, b.Key)
	}
	p.budgets[b.Key] = b
}

// deleted notes that an assignment is gone, and its budgets with it.
func (p *pending) deleted(num uint64) {
	p.c.Deleted = append(p.c.Deleted, num)
	for k := range p.budgets {
		if k.Assignment == num {
			delete(p.budgets, k)
		}
	}
}

// finish returns the changes of the entries up to index, budgets as they are now.
func (p *pending) finish(index uint64) *Changes {
	p.c.Index = index
	for _, k := range p.order {
		if b, ok := p.budgets[k]; ok {
			p.c.Budgets = append(p.c.Budgets, *b)
		}
	}
	return &p.c
}

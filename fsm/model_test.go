package fsm

import (
	"maps"
	"slices"
)

// model is LEASES.md and DESIGN.md once more, as plainly as possible: maps,
// no store, no encoding, no cache, everything materialized by looking at all of it.
// The property tests drive it beside a Machine.
type model struct {
	now, shares, staleness int64
	nodes                  map[NodeNum]*modelNode
	assignments            map[uint64]*modelAssignment
	budgets                map[BudgetKey]*modelBudget
	events                 map[string]bool
	released               map[modelRelease]bool
}

type modelNode struct {
	name              string
	admitted, removed int64
	boot              uint64
	dead, drained     bool
}

func (n *modelNode) live() bool { return n.removed == 0 && !n.dead && !n.drained }

type modelAssignment struct {
	cadence          Cadence
	limit, birthFrom int64
}

type modelRelease struct {
	node      NodeNum
	boot, seq uint64
}

type modelBudget struct {
	limit, used, avg int64
	lease            map[NodeNum]int64
	holder           NodeNum
	gen              uint32
	acks             map[NodeNum]bool
}

func newModel(now int64) *model {
	return &model{
		now: now, shares: DefaultShares, staleness: DefaultMaxStaleness.Milliseconds(),
		nodes: map[NodeNum]*modelNode{}, assignments: map[uint64]*modelAssignment{},
		budgets: map[BudgetKey]*modelBudget{}, events: map[string]bool{}, released: map[modelRelease]bool{},
	}
}

func (b *modelBudget) free() int64 {
	free := b.limit - b.used
	for _, l := range b.lease {
		free -= l
	}
	return free
}

// leader is the proposer, or the first live node if the proposer is not live.
func (m *model) leader(proposer NodeNum) NodeNum {
	if n := m.nodes[proposer]; n != nil && n.live() {
		return proposer
	}
	for _, num := range slices.Sorted(maps.Keys(m.nodes)) {
		if m.nodes[num].live() {
			return num
		}
	}
	return 0
}

// look returns the budget as stored, or as derived from what the log has said.
func (m *model) look(k BudgetKey) *modelBudget {
	if b := m.budgets[k]; b != nil {
		return b
	}
	a := m.assignments[k.Assignment]
	b := &modelBudget{limit: a.limit, lease: map[NodeNum]int64{}, acks: map[NodeNum]bool{}}
	for num, n := range m.nodes {
		born := n.admitted < k.Start && (n.removed == 0 || k.Start <= n.removed+m.staleness) && !n.drained
		if born && k.Start > a.birthFrom {
			b.lease[num] = a.limit / (2 * m.shares)
		}
	}
	return b
}

func (m *model) touch(k BudgetKey) *modelBudget {
	b := m.look(k)
	m.budgets[k] = b
	return b
}

func (m *model) create(num uint64, c Cadence, limit int64) {
	m.assignments[num] = &modelAssignment{cadence: c, limit: limit, birthFrom: m.now}
	start, _ := c.Period(m.now)
	b := m.touch(BudgetKey{num, start})
	for n, node := range m.nodes {
		if node.live() {
			b.lease[n] = limit / (2 * m.shares)
		}
	}
}

func (m *model) setLimit(num uint64, limit int64, leader NodeNum) {
	a := m.assignments[num]
	if a.limit == limit {
		return
	}
	for at := m.now; at <= m.now+m.staleness; {
		start, end := a.cadence.Period(at)
		m.touch(BudgetKey{num, start})
		at = end
	}
	a.limit = limit
	for k, b := range m.budgets {
		if _, end := a.cadence.Period(k.Start); k.Assignment == num && end > m.now {
			b.limit = limit
			if b.free() < 0 && b.holder == 0 {
				m.consolidate(b, leader)
			}
		}
	}
}

func (m *model) consolidate(b *modelBudget, h NodeNum) {
	if h == 0 {
		return
	}
	b.holder = h
	b.gen++
	b.acks = map[NodeNum]bool{h: true}
	for num, n := range m.nodes {
		if n.removed == 0 && (n.dead || !n.drained && b.lease[num] == 0) {
			b.acks[num] = true
		}
	}
	b.lease[h] += max(0, min(b.free(), max(b.free()/2, 4*b.avg)))
}

func (m *model) threshold(b *modelBudget) int64 { return max(b.limit/128, 2*m.shares*b.avg) }

func (m *model) settle(id string, l Line, leader NodeNum) {
	if m.events[id] {
		return
	}
	m.events[id] = true
	b := m.touch(l.Budget)
	b.used += l.Amount
	b.lease[l.On] -= min(l.Drawn, b.lease[l.On])
	switch {
	case l.Amount == 0:
	case b.avg == 0:
		b.avg = l.Amount
	default:
		b.avg = max(1, b.avg+(l.Amount-b.avg)/16)
	}
	if b.free() < 0 && b.holder == 0 {
		m.consolidate(b, leader)
	}
}

func (m *model) release(n NodeNum, boot uint64, r Release) {
	id := modelRelease{n, boot, r.Seq}
	if boot != m.nodes[n].boot || m.released[id] {
		return
	}
	m.released[id] = true
	b := m.touch(r.Budget)
	b.lease[n] -= min(r.Amount, b.lease[n])
	if r.Final && r.Gen == b.gen && b.holder != 0 {
		b.acks[n] = true
	}
}

func (m *model) ask(n NodeNum, boot uint64, a Ask, leader NodeNum) Grant {
	if node := m.nodes[n]; boot != node.boot || !node.live() {
		return Grant{Budget: a.Budget}
	}
	b := m.touch(a.Budget)
	free := b.free()
	var g int64
	switch b.holder {
	case n:
		g = max(a.NeedSum, free/2, 4*b.avg)
	case 0:
		g = max(a.NeedSum, min(max(a.Want, (b.limit-b.used)/(16*m.shares)), max(8*b.avg, free/(2*m.shares))))
	}
	g = max(0, min(g, free))
	short := g < a.NeedMin
	if short {
		g = 0
	}
	b.lease[n] += g
	if b.holder == 0 && (short || b.limit-b.used < m.threshold(b)) {
		m.consolidate(b, leader)
	}
	return Grant{Budget: a.Budget, Amount: g, Short: short}
}

func (m *model) exit(n NodeNum, boot uint64, x Exit) {
	if boot != m.nodes[n].boot {
		return
	}
	b := m.touch(x.Budget)
	if b.holder == n && b.gen == x.Gen && b.limit-b.used >= 2*m.threshold(b) {
		b.holder, b.acks = 0, map[NodeNum]bool{}
		b.gen++
	}
}

// passOn hands what n holds to the leader.
func (m *model) passOn(n, proposer NodeNum) {
	for k, b := range m.budgets {
		if b.holder == n && m.matters(k) {
			m.consolidate(b, m.leader(proposer))
		}
	}
}

// matters reports whether node commands still look at the budget.
func (m *model) matters(k BudgetKey) bool {
	_, end := m.assignments[k.Assignment].cadence.Period(k.Start)
	return end > m.now-budgetKeep
}

func (m *model) dead(n, proposer NodeNum) {
	m.nodes[n].dead = true
	m.passOn(n, proposer)
}

func (m *model) remove(n, proposer NodeNum) {
	m.nodes[n].removed = m.now
	m.passOn(n, proposer)
}

func (m *model) boot(n NodeNum, boot uint64) {
	node := m.nodes[n]
	if boot <= node.boot {
		return
	}
	node.boot = boot
	if node.drained {
		node.drained, node.admitted = false, m.now
	}
}

func (m *model) recover(n NodeNum, boot uint64) {
	node := m.nodes[n]
	if boot != node.boot || !node.dead {
		return
	}
	node.dead = false
	for k, b := range m.budgets {
		if b.holder != 0 && b.holder != n && b.lease[n] > 0 && m.matters(k) {
			delete(b.acks, n)
		}
	}
}

func (m *model) drain(n NodeNum, boot uint64, keep map[BudgetKey]int64, proposer NodeNum) {
	if boot != m.nodes[n].boot {
		return
	}
	for k := range keep {
		m.touch(k)
	}
	m.nodes[n].drained = true
	for k, b := range m.budgets {
		if m.matters(k) {
			b.lease[n] = min(b.lease[n], keep[k])
		}
	}
	m.passOn(n, proposer)
}

func (m *model) forfeit(name string, charge bool) {
	for num, n := range m.nodes {
		if n.name != name || n.removed == 0 && !n.dead {
			continue
		}
		for a, as := range m.assignments {
			start, _ := as.cadence.Period(m.now)
			if k := (BudgetKey{a, start}); m.look(k).lease[num] > 0 {
				m.touch(k)
			}
		}
		for k, b := range m.budgets {
			if _, end := m.assignments[k.Assignment].cadence.Period(k.Start); end <= m.now {
				continue
			}
			if charge {
				b.used += b.lease[num]
			}
			b.lease[num] = 0
		}
	}
}

// budget returns b in the state machine's form.
func (b *modelBudget) budget(k BudgetKey) Budget {
	out := Budget{Key: k, Limit: b.limit, Leased: true, Used: b.used, Avg: b.avg, Holder: b.holder, Gen: b.gen}
	for _, n := range slices.Sorted(maps.Keys(b.lease)) {
		if b.lease[n] != 0 {
			out.Leases = append(out.Leases, Lease{n, b.lease[n]})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(b.acks)) {
		if b.acks[n] {
			out.Acks = append(out.Acks, n)
		}
	}
	return out
}

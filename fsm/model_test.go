package fsm

import (
	"maps"
	"slices"
)

// This file is the specification of the lease and settlement rules, to be read from
// top to bottom: what there is, what a budget is before anything has happened to it,
// what one node's message does, what a change of terms does, what happens to nodes.
// Maps, no store, no encoding, no cache: everything is found by looking at all of it.
//
// A command of this file is obeyed by every replica at its place in the log. The
// promises that it has to keep are in model_invariants_test.go and are checked after
// every command; property_test.go draws the commands and holds a Machine to the
// model. fsm/spec/Lease.tla explores the same core together with what nodes do.

// model is the replicated state.
type model struct {
	now         int64 // of the log: it moves with the commands
	shares      int64 // S: a birth slice is limit/2S
	staleness   int64 // how long a node may act on what it knew before
	slack       int64 // how far clocks may differ; 0: nobody reckons with it, nor with a lease that outlives its assignment's being hard
	nodes       map[NodeNum]*modelNode
	assignments map[uint64]*modelAssignment
	budgets     map[BudgetKey]*modelBudget // those that a command has touched
	events      map[string]bool            // ids that were settled
	released    map[modelRelease]bool      // releases that were applied
	did         map[BudgetKey]*deed        // by the command under way; see model_invariants_test.go
}

// modelNode is a member, or was one until removed (0: it is one).
type modelNode struct {
	name              string
	admitted, removed int64
	boot              uint64 // its session
	dead              bool   // the leader does not hear it; it keeps what it has
	drained           bool   // it has stopped in order
}

// live nodes are granted slices and can be holders.
func (n *modelNode) live() bool { return n.removed == 0 && !n.dead && !n.drained }

// modelAssignment gives out a limit in every period of its cadence.
type modelAssignment struct {
	cadence   Cadence
	limit     int64
	hard      bool  // handed out as leases; soft ones only count
	birthFrom int64 // periods that start after it are born with slices
}

// modelRelease names a release for ever.
type modelRelease struct {
	node      NodeNum
	boot, seq uint64
}

// modelBudget is one period of one assignment.
type modelBudget struct {
	limit  int64
	hard   bool
	used   int64             // what was settled
	avg    int64             // running mean of line sizes
	lease  map[NodeNum]int64 // what each node may give out
	holder NodeNum           // the one node that has the rest and can prove a refusal; 0: nobody
	gen    uint32            // counts changes of holder
	acks   map[NodeNum]bool  // nodes that gave up what they had in this gen
}

func newModel(now int64) *model {
	return &model{
		now: now, shares: DefaultShares, staleness: DefaultMaxStaleness.Milliseconds(), slack: clockSlack,
		nodes: map[NodeNum]*modelNode{}, assignments: map[uint64]*modelAssignment{},
		budgets: map[BudgetKey]*modelBudget{}, events: map[string]bool{}, released: map[modelRelease]bool{},
		did: map[BudgetKey]*deed{},
	}
}

// free is what belongs to nobody. It is below 0 after a cut of the limit or an overdraft.
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

// look returns a budget: as a command left it, or as it is born. Every node that was
// a member before the period began has a slice without asking; a node that was removed
// may not know yet, so its slices of periods about to begin stay its own.
func (m *model) look(k BudgetKey) *modelBudget {
	if b := m.budgets[k]; b != nil {
		return b
	}
	a := m.assignments[k.Assignment]
	b := &modelBudget{limit: a.limit, hard: a.hard, lease: map[NodeNum]int64{}, acks: map[NodeNum]bool{}}
	for num, n := range m.nodes {
		born := n.admitted < k.Start && (n.removed == 0 || k.Start <= n.removed+m.staleness) && !n.drained
		if born && a.hard && k.Start > a.birthFrom {
			b.lease[num] = a.limit / (2 * m.shares)
		}
	}
	return b
}

// touch makes a budget what it is born as, for good; nil if its assignment is gone.
func (m *model) touch(k BudgetKey) *modelBudget {
	if m.assignments[k.Assignment] == nil {
		return nil
	}
	b := m.look(k)
	m.budgets[k] = b
	return b
}

// leased is touch for what concerns leases only: nil where none are handed out.
func (m *model) leased(k BudgetKey) *modelBudget {
	if a := m.assignments[k.Assignment]; a == nil || !a.hard && (m.slack == 0 || m.budgets[k] == nil) {
		return nil
	}
	if b := m.touch(k); b.hard {
		return b
	}
	return nil
}

// settle charges a line, once for an event id. What was set aside for it comes out of
// the lease it was set aside on; what was not is an overdraft, and while used and
// leases exceed the limit everybody holds the excess back, so one node collects the rest.
func (m *model) settle(id string, l Line, leader NodeNum) {
	if m.events[id] {
		return
	}
	m.events[id] = true
	b := m.touch(l.Budget)
	if b == nil {
		return
	}
	b.used += l.Amount
	m.deed(l.Budget).charged += l.Amount
	if !b.hard {
		return
	}
	taken := min(l.Drawn, b.lease[l.On])
	b.lease[l.On] -= taken
	m.deed(l.Budget).overdrawn += l.Amount - taken
	m.deed(l.Budget).gone[l.On] += taken
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

// release takes back what node n gives, once for a sequence number and only in its
// present session: one from before a crash would take what the new session gives out.
// "Final" says that n has nothing left to give up in this generation.
func (m *model) release(n NodeNum, boot uint64, r Release) {
	id := modelRelease{n, boot, r.Seq}
	if boot != m.nodes[n].boot || m.released[id] {
		return
	}
	m.released[id] = true
	b := m.leased(r.Budget)
	if b == nil {
		return
	}
	given := min(r.Amount, b.lease[n])
	b.lease[n] -= given
	m.deed(r.Budget).gone[n] += given
	if r.Final && r.Gen == b.gen && b.holder != 0 {
		b.acks[n] = true
	}
}

// ask grants from what is free, and never more. The holder gets generously, other
// nodes nothing while there is one. A budget that cannot meet an ask, or has little
// left, gets a holder.
func (m *model) ask(n NodeNum, boot uint64, a Ask, leader NodeNum) Grant {
	refused := Grant{Budget: a.Budget}
	if node := m.nodes[n]; boot != node.boot || !node.live() {
		return refused
	}
	b := m.leased(a.Budget)
	if b == nil {
		return refused
	}
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

// consolidate makes h the holder. Nodes that cannot have anything to give up count as
// having said so: the dead, whose leases are in doubt anyway, and those without a lease.
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

// threshold is what must be left at least for a budget to do without a holder.
func (m *model) threshold(b *modelBudget) int64 { return max(b.limit/128, 2*m.shares*b.avg) }

// exit ends a consolidation: asked by the holder, with twice the threshold left, so
// that entering and leaving cannot alternate.
func (m *model) exit(n NodeNum, boot uint64, x Exit) {
	if boot != m.nodes[n].boot {
		return
	}
	b := m.leased(x.Budget)
	if b != nil && b.holder == n && b.gen == x.Gen && b.limit-b.used >= 2*m.threshold(b) {
		b.holder, b.acks = 0, map[NodeNum]bool{}
		b.gen++
	}
}

// create makes an assignment. Its present period has begun already, so what live nodes
// are born with is given to them here.
func (m *model) create(num uint64, c Cadence, limit int64) {
	m.assignments[num] = &modelAssignment{cadence: c, limit: limit, hard: true, birthFrom: m.now}
	start, _ := c.Period(m.now)
	b := m.touch(BudgetKey{num, start})
	for n, node := range m.nodes {
		if node.live() {
			b.lease[n] = limit / (2 * m.shares)
		}
	}
}

// setTerms changes limit and enforcement. Nodes may already give out what they were
// born with in the periods that begin soon, so those are made durable first. A soft
// budget has no leases; one that becomes hard starts without any.
func (m *model) setTerms(num uint64, limit int64, hard bool, leader NodeNum) {
	a := m.assignments[num]
	if a.limit == limit && a.hard == hard {
		return
	}
	for at := max(0, m.now-m.slack); at <= m.now+m.staleness; {
		start, end := a.cadence.Period(at)
		m.touch(BudgetKey{num, start})
		at = end
	}
	if hard && !a.hard {
		a.birthFrom = m.now + m.staleness
	}
	a.limit, a.hard = limit, hard
	for k, b := range m.budgets {
		if _, end := a.cadence.Period(k.Start); k.Assignment != num || end <= m.now-m.slack {
			continue
		}
		b.limit, b.hard = limit, hard
		if !hard {
			m.disband(b)
		} else if b.free() < 0 && b.holder == 0 {
			m.consolidate(b, leader)
		}
	}
}

// disband ends all leases. The generation goes on, so that a final release of before
// is not taken for one of the next holder's time.
func (m *model) disband(b *modelBudget) {
	if b.holder != 0 {
		b.gen++
	}
	b.lease, b.holder, b.acks = map[NodeNum]int64{}, 0, map[NodeNum]bool{}
}

// removeAssignment takes an assignment away with all its budgets.
func (m *model) removeAssignment(num uint64) {
	delete(m.assignments, num)
	for k := range m.budgets {
		if k.Assignment == num {
			delete(m.budgets, k)
		}
	}
}

// Moving and archiving entities changes no budget: an event names the budgets it
// charges, as its node found them when it was accepted. There is nothing to write here.

// passOn makes the leader the holder of what n was the holder of. Nobody takes n's lease.
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

// dead: the leader has not heard n for a second.
func (m *model) dead(n, proposer NodeNum) {
	m.nodes[n].dead = true
	m.passOn(n, proposer)
}

// remove ends a membership. What the node has stays in doubt until it is forfeited.
func (m *model) remove(n, proposer NodeNum) {
	m.nodes[n].removed = m.now
	m.passOn(n, proposer)
}

// boot begins a session: what earlier ones released, asked or ended is void.
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

// recover brings a dead node back with its leases. Where it has one, it counts as not
// having given it up.
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

// drain is an orderly stop: n keeps what its live reservations hold, and is born with
// nothing until it boots again.
func (m *model) drain(n NodeNum, boot uint64, keep map[BudgetKey]int64, proposer NodeNum) {
	if boot != m.nodes[n].boot {
		return
	}
	for k := range keep {
		m.leased(k)
	}
	m.nodes[n].drained = true
	for k, b := range m.budgets {
		if given := b.lease[n] - keep[k]; m.matters(k) && given > 0 {
			b.lease[n] -= given
			m.deed(k).gone[n] += given
		}
	}
	m.passOn(n, proposer)
}

// forfeit is an operator's word that the lost nodes of a name do not come back: what
// they have in periods that have not ended counts as spent, or is free.
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
			m.deed(k).gone[num] += b.lease[num]
			if charge {
				b.used += b.lease[num]
				m.deed(k).charged += b.lease[num]
			}
			b.lease[num] = 0
		}
	}
}

// budget returns b in the state machine's form.
func (b *modelBudget) budget(k BudgetKey) Budget {
	out := Budget{Key: k, Limit: b.limit, Leased: b.hard, Used: b.used, Avg: b.avg, Holder: b.holder, Gen: b.gen}
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

package fsm

import "slices"

const (
	maxShares       = 1_000          // of Init
	maxStalenessMax = int64(600_000) // milliseconds; of Init
)

// applyInit creates the settings. Two nodes may both propose it: the first counts.
func (t *txn) applyInit(c Init) *Error {
	if t.s.settings != nil {
		return nil
	}
	switch {
	case c.ClusterID == "" || len(c.ClusterID) > MaxIDBytes:
		return invalid("cluster_id", "must have 1 to %d bytes", MaxIDBytes)
	case c.Shares < 1 || c.Shares > maxShares:
		return invalid("shares", "must be 1 to %d", maxShares)
	case c.MaxStalenessMS < 1 || c.MaxStalenessMS > maxStalenessMax:
		return invalid("max_staleness", "must be 1 to %d milliseconds", maxStalenessMax)
	}
	t.putSettings(&Settings{ClusterID: c.ClusterID, Shares: c.Shares, MaxStalenessMS: c.MaxStalenessMS})
	return nil
}

// applyAdmitNode makes a node a member. A member of that name keeps its number
// and may have a new address.
func (t *txn) applyAdmitNode(c AdmitNode) *Error {
	switch {
	case c.Name == "" || len(c.Name) > MaxIDBytes:
		return invalid("name", "must have 1 to %d bytes", MaxIDBytes)
	case len(c.Addr) > MaxNameBytes:
		return invalid("addr", "must have at most %d bytes", MaxNameBytes)
	case t.s.settings == nil:
		return conflict("the cluster is not initialised")
	}
	if n := t.s.member(c.Name); n != nil {
		if n.Addr != c.Addr {
			n = t.change(n)
			n.Addr = c.Addr
			t.putNode(n)
		}
		return nil
	}
	if err := t.roomForNode(); err != nil {
		return err
	}
	n := &Node{Num: NodeNum(len(t.s.nodes) + 1), Name: c.Name, Addr: c.Addr, AdmittedAt: t.s.now}
	t.s.nodes = append(t.s.nodes, n)
	t.s.seen = append(t.s.seen, releases{})
	t.putNode(n)
	t.audit(actionNodeAdmit, "", n.Name, nil, n.document())
	return nil
}

// roomForNode refuses a node whose birth slice could be one too many: 2·Shares
// slices of ⌊limit/2·Shares⌋ are all there are. Whoever is born with some period
// is a member at the time of the last admission before it, or was removed less
// than the staleness bound earlier, so counting those here is enough for every period.
func (t *txn) roomForNode() *Error {
	var count int64
	for _, n := range t.s.nodes {
		if n.RemovedAt == 0 || n.RemovedAt+t.s.settings.MaxStalenessMS >= t.s.now {
			count++
		}
	}
	if limit := 2 * t.s.settings.Shares; count >= limit {
		return &Error{
			Code:    CodeConflict,
			Message: "the cluster has as many nodes as it has shares for: remove one first, and wait for the staleness bound",
			Numbers: map[string]int64{"nodes": count, "limit": limit},
		}
	}
	if len(t.s.nodes) >= 1<<16-1 {
		return conflict("every node number has been used")
	}
	return nil
}

// applyRemoveNode ends a membership. What the node holds stays in doubt, and it
// keeps its births of periods that begin before it must have stopped deciding.
func (t *txn) applyRemoveNode(c RemoveNode) *Error {
	n := t.s.member(c.Name)
	if n == nil {
		return notFound("no node %q is a member", c.Name)
	}
	from := n.document()
	n = t.change(n)
	n.RemovedAt = max(1, t.s.now) // 0 says that it is a member
	t.putNode(n)
	t.passOn(n.Num)
	t.audit(actionNodeRemove, "", n.Name, from, n.document())
	return nil
}

// applyBootNode starts a session: releases, asks and exits of older ones are void.
func (t *txn) applyBootNode(c BootNode) *Error {
	n, err := t.memberNum(c.Node)
	if err != nil || c.Boot <= n.Boot {
		return err
	}
	n = t.change(n)
	n.Boot = c.Boot
	if n.Drained {
		n.Drained = false
		n.AdmittedAt = t.s.now // it gave up what it was born with until now
	}
	t.putNode(n)
	return nil
}

// applyDeadNode marks a node that the leader no longer hears and hands what it
// held to a live one. Its own leases stay: nobody takes a lease away.
func (t *txn) applyDeadNode(c DeadNode) *Error {
	n, err := t.memberNum(c.Node)
	if err != nil || n.Dead {
		return err
	}
	n = t.change(n)
	n.Dead = true
	t.putNode(n)
	t.passOn(n.Num)
	return nil
}

// applyRecoverNode ends DeadNode. The node comes back with its leases, so where
// it has one it no longer counts as having given it up.
func (t *txn) applyRecoverNode(c RecoverNode) *Error {
	n, err := t.memberNum(c.Node)
	if err != nil {
		return err
	}
	if c.Boot != n.Boot {
		return conflict("session %d of node %q is not the present one, %d", c.Boot, n.Name, n.Boot)
	}
	if !n.Dead {
		return nil
	}
	n = t.change(n)
	n.Dead = false
	t.putNode(n)
	for _, b := range t.heldBudgets() {
		if b.Acked(n.Num) && b.LeaseOf(n.Num) > 0 && b.Holder != n.Num {
			b.unack(n.Num)
			t.touch(&b.Budget)
		}
	}
	return nil
}

// applyForfeit gives up what the lost nodes of a name hold, in periods that have
// not ended: charged as used, or freed. A node that answers is not lost.
func (t *txn) applyForfeit(c Forfeit) *Error {
	var lost []NodeNum
	for _, n := range t.s.nodes {
		if n.Name == c.Name && (n.Dead || n.RemovedAt != 0) {
			lost = append(lost, n.Num)
		}
	}
	if len(lost) == 0 {
		if t.s.member(c.Name) != nil {
			return conflict("node %q is alive: it settles and releases what it holds by itself; stop it for good, or remove it, before what it holds is forfeited", c.Name)
		}
		return notFound("no node was ever called %q", c.Name)
	}
	t.materializeBirths(lost, t.s.now)
	budgets := t.giveUp(lost, c.Charge)
	t.audit(actionNodeForfeit, "", c.Name, nil, forfeitDocument{ID: c.Name, Charge: c.Charge, Budgets: budgets})
	return nil
}

// giveUp ends the stored leases of nodes in periods that have not ended: used if
// they are charged, free otherwise. It returns in how many budgets there were any.
func (t *txn) giveUp(nodes []NodeNum, charge bool) int {
	budgets := t.recentBudgets(func(b *cachedBudget) bool {
		return b.end > t.s.now && slices.ContainsFunc(nodes, func(n NodeNum) bool { return b.LeaseOf(n) > 0 })
	})
	for _, b := range budgets {
		for _, n := range nodes {
			lease := b.LeaseOf(n)
			t.noteForfeit(b, n, lease, charge)
			b.addLease(n, -lease)
			if charge {
				b.Used = satAdd(b.Used, lease)
				if t.version >= chainedFrom {
					b.Forfeited = satAdd(b.Forfeited, lease)
				}
			}
		}
		t.touch(&b.Budget)
	}
	return len(budgets)
}

// materializeBirths makes every slice that the nodes were born with and that no
// entry has touched durable, for the periods that contain the time at.
func (t *txn) materializeBirths(nodes []NodeNum, at int64) {
	for r := range t.s.records.all() {
		start, _ := r.terms.Cadence.Period(at)
		if !r.leased() || r.has(start) {
			continue
		}
		b := t.s.derive(r, start)
		if slices.ContainsFunc(nodes, func(n NodeNum) bool { return b.LeaseOf(n) > 0 }) {
			t.materialize(r, start)
		}
	}
}

// passOn consolidates every budget that n holds on a live node.
func (t *txn) passOn(n NodeNum) {
	t.roster = t.s.proposerRoster(t.cmd.Leader)
	for _, b := range t.heldBudgets() {
		if b.Holder == n && t.roster.Leader != 0 {
			b.consolidate(t.roster.Leader, t.roster)
			t.touch(&b.Budget)
		}
	}
}

// memberNum returns the member with the number.
func (t *txn) memberNum(num NodeNum) (*Node, *Error) {
	n := t.s.node(num)
	if n == nil || n.RemovedAt != 0 {
		return nil, notFound("node %d is not a member", num)
	}
	return n, nil
}

// change returns a copy of n that takes its place: views may have handed out the old one.
func (t *txn) change(n *Node) *Node {
	c := *n
	t.s.nodes[n.Num-1] = &c
	return &c
}

func (t *txn) putNode(n *Node) {
	t.put(nodeKey(n.Num), n)
	t.changes.c.Nodes = true
	t.roster = t.s.proposerRoster(t.cmd.Leader)
}

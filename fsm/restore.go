package fsm

import "time"

// A backup is a snapshot: the state as of one index. A cluster made from it knows
// all that had been settled by then, and of the old nodes only their leases. What
// they had let out of those, as reservations and as events on their way, was theirs
// alone to know. So to the new cluster the old nodes are lost nodes, whose leases
// are in doubt (R4): until it is certain that no reservation of theirs can be live
// any more, they are room for nobody. Then they are free. An operator who knows
// more may free or charge them at once.
//
// New nodes get numbers that no old node had: what a reservation or a ledger line
// says of an old node stays true, and no old reservation is taken for a new one.

// doubtMargin is added to the longest life of a reservation: for what was given out
// between the backup's entry in the log and its copy, and for clocks that differ.
const doubtMargin = time.Minute

// String returns the word of the API for d.
func (d InDoubt) String() string {
	switch d {
	case DoubtWaits:
		return "wait"
	case DoubtFreed:
		return "free"
	case DoubtCharged:
		return "charge"
	}
	return "unknown"
}

// applyBackup puts a backup on record. Its time is what Restore counts from, so
// the copy must be taken after this entry was applied.
func (t *txn) applyBackup() *Error {
	if t.s.settings == nil {
		return conflict("the cluster is not initialised")
	}
	t.audit(actionClusterBackup, "", t.s.settings.ClusterID, nil, nil)
	return nil
}

// applyRestore makes the state that of a new cluster of one node.
func (t *txn) applyRestore(c Restore) *Error {
	switch {
	case t.s.settings == nil:
		return conflict("the backup is of a cluster that was never initialised")
	case c.ClusterID == "" || len(c.ClusterID) > MaxIDBytes:
		return invalid("cluster_id", "must have 1 to %d bytes", MaxIDBytes)
	case c.ClusterID == t.s.settings.ClusterID:
		return conflict("the new cluster needs an id of its own")
	case c.Node == "" || len(c.Node) > MaxIDBytes:
		return invalid("node", "must have 1 to %d bytes", MaxIDBytes)
	case c.InDoubt > DoubtCharged:
		return invalid("in_doubt", "must be one of wait, free and charge")
	case len(t.s.nodes) >= 1<<16-1:
		return conflict("every node number has been used")
	}
	from := restoreDocument{ID: t.s.settings.ClusterID, At: timestamp(t.clockBefore), Nodes: len(t.s.nodes)}
	old := t.nodesBelow(NodeNum(len(t.s.nodes) + 1))
	t.materializeBirths(old, t.clockBefore)
	n := &Node{Num: NodeNum(len(t.s.nodes) + 1), Name: c.Node, AdmittedAt: t.s.now}
	t.s.nodes = append(t.s.nodes, n)
	t.s.seen = append(t.s.seen, releases{})
	t.putNode(n)
	for _, num := range old {
		t.retire(num)
	}
	s := *t.s.settings
	s.ClusterID, s.FirstNode, s.DoubtUntil = c.ClusterID, n.Num, t.doubtUntil()
	if c.InDoubt != DoubtWaits || s.DoubtUntil <= t.s.now {
		s.DoubtUntil = 0
		t.giveUp(old, c.InDoubt == DoubtCharged)
	}
	t.putSettings(&s)
	to := restoreDocument{ID: s.ClusterID, At: timestamp(t.s.now), Nodes: 1, InDoubt: c.InDoubt.String()}
	if s.DoubtUntil != 0 {
		to.DoubtUntil = timestamp(s.DoubtUntil)
	}
	t.audit(actionClusterRestore, "", s.ClusterID, from, to)
	return nil
}

// doubtUntil is when the last reservation of the time before this entry has
// expired: none is given out, or extended, for longer than MaxReserveTTL.
func (t *txn) doubtUntil() int64 {
	return t.clockBefore + (MaxReserveTTL + doubtMargin).Milliseconds()
}

// retire makes a node of the former cluster a node of the past: no member, and
// born with no period that no entry has touched.
func (t *txn) retire(num NodeNum) {
	n := t.change(t.s.node(num))
	n.Drained, n.Dead = true, false
	if n.RemovedAt == 0 {
		n.RemovedAt = max(1, t.s.now)
	}
	t.putNode(n)
	t.passOn(num)
}

// applyEndDoubt frees what the nodes of the former cluster still hold.
func (t *txn) applyEndDoubt() *Error {
	switch {
	case t.s.settings == nil || t.s.settings.DoubtUntil == 0:
		return nil
	case t.s.now < t.s.settings.DoubtUntil:
		return conflict("reservations of the former cluster may be live until %s", timestamp(t.s.settings.DoubtUntil))
	}
	s := *t.s.settings
	s.DoubtUntil = 0
	t.putSettings(&s)
	budgets := t.giveUp(t.nodesBelow(s.FirstNode), false)
	t.audit(actionClusterEndDoubt, "", s.ClusterID, nil, endDoubtDocument{Budgets: budgets})
	return nil
}

// nodesBelow returns the numbers of all nodes that are lower than num.
func (t *txn) nodesBelow(num NodeNum) []NodeNum {
	var out []NodeNum
	for _, n := range t.s.nodes {
		if n.Num < num {
			out = append(out, n.Num)
		}
	}
	return out
}

// putSettings replaces the settings: views may have handed out the old ones.
func (t *txn) putSettings(s *Settings) {
	t.s.settings = s
	t.put(keySettings, s)
	t.changes.c.Global = true
}

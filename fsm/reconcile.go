package fsm

import "slices"

// applyReconcile applies what many nodes said within a few milliseconds. Nothing
// in it can be rejected as a whole: each event, release, ask and exit stands on its own.
func (t *txn) applyReconcile(c Reconcile) [][]Grant {
	grants := make([][]Grant, len(c.Parts))
	for i := range c.Parts {
		grants[i] = t.applyPart(&c.Parts[i])
	}
	return grants
}

// applyPart applies events, then releases, then asks, then exits of one node.
// Events of any session count; the rest is of the present session or void.
func (t *txn) applyPart(p *Part) []Grant {
	t.changes.c.Events = slices.Grow(t.changes.c.Events, len(p.Events))
	for i := range p.Events {
		t.applyEvent(p.Node, &p.Events[i])
	}
	n := t.s.node(p.Node)
	present := n != nil && p.Boot == n.Boot
	if present {
		t.applyReleases(n, p)
	}
	var grants []Grant
	for _, a := range p.Asks {
		g := Grant{Budget: a.Budget}
		if present && slices.Contains(t.roster.Live, n.Num) {
			g.Amount, g.Short = t.applyAsk(n.Num, a)
		}
		grants = append(grants, g)
	}
	if present {
		for _, x := range p.Exits {
			t.applyExit(n.Num, x)
		}
	}
	return grants
}

// applyReleases takes back what a node gives, each sequence number once.
func (t *txn) applyReleases(n *Node, p *Part) {
	seen := &t.s.seen[n.Num-1]
	changed := seen.begin(n.Boot, p.ReleaseFloor)
	for _, r := range p.Releases {
		fresh, known := seen.add(r.Seq)
		if !known {
			continue // the node holds it back and sends it again
		}
		t.changes.c.Seen = append(t.changes.c.Seen, ReleaseResult{Node: n.Num, Boot: n.Boot, Seq: r.Seq})
		if fresh {
			changed = true
			t.applyRelease(n.Num, r)
		}
	}
	if changed {
		t.put(releasesKey(n.Num), seen)
	}
}

func (t *txn) applyRelease(n NodeNum, r Release) {
	b := t.leasedBudget(r.Budget)
	if b == nil || r.Amount < 0 {
		return
	}
	t.noteGiven(b, n, min(r.Amount, b.LeaseOf(n)))
	b.release(n, r.Amount, r.Final, r.Gen)
	t.touch(&b.Budget)
}

func (t *txn) applyAsk(n NodeNum, a Ask) (amount int64, short bool) {
	if a.Budget.Start > satAdd(t.s.now, MaxFuture.Milliseconds()) {
		return 0, false // a period that no call can be in yet
	}
	b := t.leasedBudget(a.Budget)
	if b == nil {
		return 0, false
	}
	gen := b.Gen
	amount, short = b.ask(n, max(0, a.NeedMin), max(0, a.NeedSum), max(0, a.Want), t.roster)
	if amount != 0 || b.Gen != gen {
		t.touch(&b.Budget)
	}
	return amount, short
}

func (t *txn) applyExit(n NodeNum, x Exit) {
	b := t.leasedBudget(x.Budget)
	if b == nil {
		return
	}
	gen := b.Gen
	b.exit(n, x.Gen, t.roster)
	if b.Gen != gen {
		t.touch(&b.Budget)
	}
}

// leasedBudget returns a budget that is handed out as leases, or nil if the key names
// none. A period that had ended when its assignment ceased to be leased still is.
func (t *txn) leasedBudget(k BudgetKey) *cachedBudget {
	r := t.s.records.get(k.Assignment)
	if r == nil {
		return nil
	}
	if !r.leased() && (t.version < slackFrom || !r.has(k.Start) && t.load(r, k) == nil) {
		return nil
	}
	if b := t.budget(r, k); b != nil && b.Leased {
		return b
	}
	return nil
}

// budget returns the budget with the key, or nil if no period of r starts there.
func (t *txn) budget(r *record, k BudgetKey) *cachedBudget {
	if !r.has(k.Start) {
		if start, _ := r.terms.Cadence.Period(k.Start); start != k.Start {
			return nil
		}
	}
	return t.materialized(r, k.Start)
}

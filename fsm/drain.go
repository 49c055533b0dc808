package fsm

import "slices"

// A node that stops gives back its slice of every recent budget, and most budgets are as they were born: with a million
// entities they are millions. Those stay seeds, of one node less. They change as rows of the store and under the checksum,
// in their places between the others, and take no memory of their own for it.

// touched is a budget that an entry has changed: b, or if that is nil, what r's seed stands for.
type touched struct {
	b *cachedBudget
	r *record
}

func (c touched) assignment() uint64 {
	if c.b != nil {
		return c.b.Key.Assignment
	}
	return c.r.num
}

// applyDrainNode shrinks a stopping node's leases to what its live reservations
// hold and ends its births. It passes on what it is the holder of.
func (t *txn) applyDrainNode(c DrainNode) *Error {
	n, err := t.memberNum(c.Node)
	if err != nil {
		return err
	}
	if c.Boot != n.Boot {
		return conflict("session %d of node %q is not the present one, %d", c.Boot, n.Name, n.Boot)
	}
	keep := make(map[BudgetKey]int64, len(c.Keep))
	for _, k := range c.Keep {
		if b := t.leasedBudget(k.Budget); b != nil { // makes a birth slice durable before births end
			keep[b.Key] = satAdd(keep[b.Key], max(0, k.Amount))
		}
	}
	n = t.change(n)
	n.Drained = true
	t.putNode(n)
	t.touched = slices.Grow(t.touched, t.s.records.count)
	d := drain{t: t, node: n.Num, keep: keep, ends: map[period]int64{}}
	for r := range t.s.records.all() {
		d.record(r)
	}
	t.passOn(n.Num)
	return nil
}

// drain is one node's giving back, record by record.
type drain struct {
	t    *txn
	node NodeNum
	keep map[BudgetKey]int64

	ends        map[period]int64
	seed, after *seed // the latest that lost the node, and what it became
}

// period is the period of all budgets of these terms and this seed.
type period struct {
	terms *Terms
	seed  *seed
}

// record gives back what the node has of a record's recent budgets, ascending by start.
func (d *drain) record(r *record) {
	seed := r.seed
	for b := r.budgets; b != nil; b = b.next {
		if seed != nil && seed.start < b.Key.Start {
			d.slice(r)
			seed = nil
		}
		d.lease(b)
	}
	if seed != nil {
		d.slice(r)
	}
}

// lease gives back a lease, but for what is to be kept.
func (d *drain) lease(b *cachedBudget) {
	given := b.LeaseOf(d.node) - d.keep[b.Key]
	if given <= 0 || !d.t.s.recent(b.end) {
		return
	}
	d.t.note(b)
	d.t.noteGiven(b, d.node, given)
	b.addLease(d.node, -given)
	d.t.touchCached(b)
}

// slice gives back the birth slice of the budget that r's seed stands for. Nothing of it is to be kept: what is
// to be kept of it has made it a budget by itself.
func (d *drain) slice(r *record) {
	if !slices.Contains(r.seed.nodes, d.node) || Birth(r.limit, r.seed.shares) <= 0 || !d.t.s.recent(d.end(r)) {
		return
	}
	if r.seed != d.seed {
		d.seed, d.after = r.seed, d.t.s.seeds.without(r.seed, d.node)
	}
	r.seed = d.after
	d.t.touched = append(d.t.touched, touched{r: r})
}

// end returns the end of the period of what r's seed stands for.
func (d *drain) end(r *record) int64 {
	k := period{r.terms, r.seed}
	end, known := d.ends[k]
	if !known {
		if len(d.ends) >= maxSharedTerms {
			clear(d.ends)
		}
		_, end = r.terms.Cadence.Period(r.seed.start)
		d.ends[k] = end
	}
	return end
}

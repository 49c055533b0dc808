package fsm

import (
	"encoding/binary"
)

// seed is a stored budget that is as it was born: nothing is used, and each of these
// nodes has its birth slice. That and the record is all there is to say of it, and most budgets made at about
// the same time have the same seed. So a budget costs memory from its first use on.
type seed struct {
	start  int64
	shares int64     // S of the birth slices
	nodes  []NodeNum // that have one, ascending
}

type seedKey struct {
	start, shares int64
	nodes         string // two bytes each
}

// born makes the budget that r's seed stands for.
func (r *record) born() *cachedBudget {
	_, end := r.terms.Cadence.Period(r.seed.start)
	b := &cachedBudget{end: end, Budget: Budget{
		Key: BudgetKey{Assignment: r.num, Start: r.seed.start}, Limit: r.limit, Unlimited: r.terms.Unlimited, Leased: r.leased(),
	}}
	if len(r.seed.nodes) > 0 {
		b.Leases = make([]Lease, len(r.seed.nodes))
		for i, n := range r.seed.nodes {
			b.Leases[i] = Lease{Node: n, Amount: Birth(r.limit, r.seed.shares)}
		}
	}
	return b
}

// seedOf returns what stands for b, a budget of r; nil if it is not as it was born.
func (s *state) seedOf(r *record, b *Budget) *seed {
	if b.Used != 0 || b.Avg != 0 || b.Gen != 0 || b.Holder != 0 || len(b.Acks) != 0 || s.settings == nil ||
		b.Limit != r.limit || b.Unlimited != r.terms.Unlimited || b.Leased != r.leased() {
		return nil
	}
	shares := s.settings.Shares
	slice := Birth(b.Limit, shares)
	var room [64]byte
	nodes := room[:0]
	for _, l := range b.Leases {
		if l.Amount != slice {
			return nil
		}
		nodes = binary.BigEndian.AppendUint16(nodes, uint16(l.Node))
	}
	if known := s.seeds[seedKey{b.Key.Start, shares, string(nodes)}]; known != nil {
		return known
	}
	fresh := &seed{start: b.Key.Start, shares: shares, nodes: make([]NodeNum, 0, len(b.Leases))}
	for _, l := range b.Leases {
		fresh.nodes = append(fresh.nodes, l.Node)
	}
	if len(s.seeds) >= maxSharedTerms {
		clear(s.seeds) // records keep theirs
	}
	s.seeds[seedKey{b.Key.Start, shares, string(nodes)}] = fresh
	return fresh
}

// sprout gives the budget that is only a seed memory of its own, before what it is made from changes.
func (s *state) sprout(r *record) {
	if r.seed != nil {
		s.cached(BudgetKey{Assignment: r.num, Start: r.seed.start})
	}
}

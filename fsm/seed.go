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
	b := &cachedBudget{end: end}
	r.bornInto(&b.Budget)
	return b
}

// bornInto makes b the budget that r's seed stands for. It uses the memory of b's leases again.
func (r *record) bornInto(b *Budget) {
	*b = Budget{
		Key: BudgetKey{Assignment: r.num, Start: r.seed.start}, Limit: r.limit, Unlimited: r.terms.Unlimited, Leased: r.leased(),
		Leases: b.Leases[:0],
	}
	slice := Birth(r.limit, r.seed.shares)
	for _, n := range r.seed.nodes {
		b.Leases = append(b.Leases, Lease{Node: n, Amount: slice})
	}
}

// asBorn reports whether b, a budget of r, is as it was born with these shares.
func (r *record) asBorn(b *Budget, shares int64) bool {
	if b.Used != 0 || b.Forfeited != 0 || b.Avg != 0 || b.Gen != 0 || b.Holder != 0 || len(b.Acks) != 0 ||
		b.Limit != r.limit || b.Unlimited != r.terms.Unlimited || b.Leased != r.leased() {
		return false
	}
	slice := Birth(b.Limit, shares)
	for _, l := range b.Leases {
		if l.Amount != slice {
			return false
		}
	}
	return true
}

// seedOf returns what stands for b, a budget of r; nil if it is not as it was born.
func (s *state) seedOf(r *record, b *Budget) *seed {
	if s.settings == nil || !r.asBorn(b, s.settings.Shares) {
		return nil
	}
	known := s.seeds.find(b, s.settings.Shares)
	if known == nil {
		known = newSeed(b, s.settings.Shares)
		s.seeds.add(known)
	}
	return known
}

// newSeed returns what stands for b, which is as it was born with these shares.
func newSeed(b *Budget, shares int64) *seed {
	fresh := &seed{start: b.Key.Start, shares: shares, nodes: make([]NodeNum, len(b.Leases))}
	for i, l := range b.Leases {
		fresh.nodes[i] = l.Node
	}
	return fresh
}

// seeds are those that are found again to be shared.
type seeds map[seedKey]*seed

// find returns what stands for b, which is as it was born with these shares, or nil.
func (s seeds) find(b *Budget, shares int64) *seed {
	var room [64]byte
	nodes := room[:0]
	for _, l := range b.Leases {
		nodes = binary.BigEndian.AppendUint16(nodes, uint16(l.Node))
	}
	return s[seedKey{b.Key.Start, shares, string(nodes)}]
}

// without returns a seed that lacks a node of another, shared if it can be.
func (s seeds) without(of *seed, n NodeNum) *seed {
	fresh := &seed{start: of.start, shares: of.shares}
	for _, other := range of.nodes {
		if other != n {
			fresh.nodes = append(fresh.nodes, other)
		}
	}
	if known := s[fresh.key()]; known != nil {
		return known
	}
	s.add(fresh)
	return fresh
}

func (f *seed) key() seedKey {
	var nodes []byte
	for _, n := range f.nodes {
		nodes = binary.BigEndian.AppendUint16(nodes, uint16(n))
	}
	return seedKey{f.start, f.shares, string(nodes)}
}

// add adds a seed. There are at most maxSharedTerms.
func (s seeds) add(fresh *seed) {
	if len(s) >= maxSharedTerms {
		clear(s) // records keep theirs
	}
	s[fresh.key()] = fresh
}

// sprout gives the budget that is only a seed memory of its own, before what it is made from changes.
func (s *state) sprout(r *record) {
	if r.seed != nil {
		s.cached(BudgetKey{Assignment: r.num, Start: r.seed.start})
	}
}

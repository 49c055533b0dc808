package fsm

import "math"

// NodeNum is the small number of a node, given at admission and never reused. Zero is no node.
type NodeNum uint16

// BudgetKey names a budget: one period of one assignment.
type BudgetKey struct {
	Assignment uint64 `msgpack:"a"` // Assignment.Num
	Start      int64  `msgpack:"s"` // first millisecond of the period
}

// Lease is the part of a budget that one node may give out.
type Lease struct {
	Node   NodeNum `msgpack:"n"`
	Amount int64   `msgpack:"a"`
}

// Budget is the replicated account of one period of one assignment. A budget
// that no log entry has touched is not stored: State.Budget derives it (see Birth).
//
//	free = Limit − Used − Σ Leases            may be < 0 after a limit cut or an overage
//	INV1   Used + Σ Leases ≤ max(Limit, its value before the entry, plus what the entry overdrew)
//
// An assignment that is not Leased() has no leases, no holder and no gen.
type Budget struct {
	Key       BudgetKey `msgpack:"k"`
	Limit     int64     `msgpack:"l"`
	Unlimited bool      `msgpack:"u,omitempty"`
	Leased    bool      `msgpack:"x,omitempty"` // copy of Assignment.Leased
	Used      int64     `msgpack:"d"`
	Forfeited int64     `msgpack:"w,omitempty"` // the part of Used that no ledger line charged: leases of lost nodes that were counted as spent
	Leases    []Lease   `msgpack:"e,omitempty"` // ascending by node, without zeros
	Avg       int64     `msgpack:"v,omitempty"` // running mean of line sizes, weight 1/16
	Holder    NodeNum   `msgpack:"h,omitempty"` // the node that has the rest, or 0
	Gen       uint32    `msgpack:"g,omitempty"` // counts changes of Holder
	Acks      []NodeNum `msgpack:"c,omitempty"` // nodes that gave up what they had in this Gen; ascending
}

// LeaseOf returns node n's lease.
func (b *Budget) LeaseOf(n NodeNum) int64 {
	for _, l := range b.Leases {
		if l.Node == n {
			return l.Amount
		}
	}
	return 0
}

// LeaseSum returns Σ Leases.
func (b *Budget) LeaseSum() int64 {
	var s int64
	for _, l := range b.Leases {
		s = satAdd(s, l.Amount)
	}
	return s
}

// Free returns Limit − Used − Σ Leases. It is negative after a limit cut or an overage.
func (b *Budget) Free() int64 { return satSub(satSub(b.Limit, b.Used), b.LeaseSum()) }

// Excess returns max(0, −Free()): what every node holds back of its own lease.
func (b *Budget) Excess() int64 { return max(0, -b.Free()) }

// Left returns Limit − Used: what is left to spend, wherever it lies.
func (b *Budget) Left() int64 { return satSub(b.Limit, b.Used) }

// Acked reports whether n is among Acks.
func (b *Budget) Acked(n NodeNum) bool {
	for _, a := range b.Acks {
		if a == n {
			return true
		}
	}
	return false
}

// satAdd and satSub are integer arithmetic that stops at the ends of int64
// instead of wrapping, so that an absurd sum can only make a budget look fuller.
func satAdd(a, b int64) int64 {
	s := a + b
	if a > 0 && b > 0 && s < 0 {
		return math.MaxInt64
	}
	if a < 0 && b < 0 && s >= 0 {
		return math.MinInt64
	}
	return s
}

func satSub(a, b int64) int64 {
	s := a - b
	if a >= 0 && b < 0 && s < 0 {
		return math.MaxInt64
	}
	if a < 0 && b > 0 && s >= 0 {
		return math.MinInt64
	}
	return s
}

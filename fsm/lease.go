package fsm

import "slices"

// This file is the lease protocol's replicated half: pure functions from a
// budget and what the log knows about nodes to the budget's next state. The
// other half, what a node asks for and gives back, is in package enforcer.
//
// Safety (INV1) rests on two lines: a grant never exceeds Free, and whatever
// leaves a lease either becomes Used or becomes Free. Everything else here is
// about liveness: who should hold how much.

// Roster is what lease decisions know about the cluster: replicated settings
// and membership, and the leader that proposed the entry (stamped into it, so
// every replica reads the same one).
type Roster struct {
	Shares int64     // S: slices are cut as if the cluster had this many nodes
	Leader NodeNum   // proposer of the entry, or the first live node if that is not live; 0: nobody is
	Live   []NodeNum // admitted, not removed, dead or drained; ascending
	Dead   []NodeNum // admitted, not removed, declared dead; ascending
}

// Birth returns the slice that every eligible node has of a new budget without
// a message: ⌊limit/2S⌋. With S = 5 and limit = 1000 it is 100: three nodes are
// born with 300 together, and 700 are free.
func Birth(limit, shares int64) int64 {
	if limit <= 0 || shares <= 0 {
		return 0
	}
	return limit / (2 * shares)
}

// threshold is the remainder below which a budget is consolidated:
// max(Limit/128, 2·S·Avg). Entering depends on Left, which only falls within a
// period, and never on the size of the free pool, which oscillates.
func (b *Budget) threshold(shares int64) int64 {
	return max(b.Limit/128, satMul(2*shares, b.Avg))
}

// Threshold is threshold for the node's half of the protocol (its rule N11).
func (b *Budget) Threshold(shares int64) int64 { return b.threshold(shares) }

// settle charges a line, changing Leases in place: Used grows by the whole amount, the lease it was drawn
// on shrinks by the drawn part. If that leaves the budget overdrawn without a
// holder, it is consolidated, because every node then holds back the whole
// excess and only giving the slices up ends that.
func (b *Budget) settle(l Line, r Roster) {
	b.Used = satAdd(b.Used, l.Amount)
	if !b.Leased {
		return
	}
	b.drawLease(l.On, l.Drawn)
	b.meanLine(l.Amount)
	if b.Holder == 0 && b.Free() < 0 {
		b.consolidate(r.Leader, r)
	}
}

// meanLine folds a into the running mean of line sizes (weight 1/16). The first
// line sets it, and it never falls below 1 once set: a mean of 0 would say that
// nothing is needed where calls cost less than 16 units.
func (b *Budget) meanLine(a int64) {
	if a <= 0 {
		return
	}
	if b.Avg == 0 {
		b.Avg = a
		return
	}
	b.Avg = max(1, b.Avg+(a-b.Avg)/16)
}

// ask decides a node's wish for more. needMin is the smallest amount that lets
// one waiting call in (0: nobody waits), needSum what all waiting calls need,
// want what the node would like to have ahead of need. It returns the grant and
// whether not even needMin could be met from the free pool ("short").
//
//	the holder itself    g = max(needSum, free/2, 4·avg)
//	another node holds   g = 0
//	nobody holds         g = max(needSum, min(max(want, left/16S), max(8·avg, free/2S)))
//	always               g ≤ free, and 0 if that is under needMin
//
// A budget that is short, or has less than its threshold left, is consolidated
// on the leader: from then on one node has the rest and can prove a refusal.
//
// Example, S = 5, limit 1000, used 0, births 3×100, free 700, avg 1: a node that
// wants 40 gets max(0, min(max(40, 12), max(8, 70))) = 40.
func (b *Budget) ask(n NodeNum, needMin, needSum, want int64, r Roster) (grant int64, short bool) {
	free := b.Free()
	switch b.Holder {
	case n:
		grant = max(needSum, free/2, satMul(4, b.Avg))
	case 0:
		want = max(want, b.Left()/(16*r.Shares))
		grant = max(needSum, min(want, max(satMul(8, b.Avg), free/(2*r.Shares))))
	}
	grant = max(0, min(grant, free))
	if grant < needMin {
		grant, short = 0, true
	}
	b.addLease(n, grant)
	if b.Holder == 0 && (short || b.Left() < b.threshold(r.Shares)) {
		b.consolidate(r.Leader, r)
	}
	return grant, short
}

// consolidate makes h the holder of the rest and starts a new generation.
// Nodes that have nothing to give up count as having acknowledged it. Without a
// live node there is nobody to hold (h is 0), and nothing changes.
func (b *Budget) consolidate(h NodeNum, r Roster) {
	if h == 0 {
		return
	}
	b.Holder = h
	b.Gen++
	b.Acks = b.Acks[:0:0]
	b.ack(h)
	for _, n := range r.Dead {
		b.ack(n)
	}
	for _, n := range r.Live {
		if b.LeaseOf(n) == 0 {
			b.ack(n)
		}
	}
	free := b.Free()
	b.addLease(h, max(0, min(free, max(free/2, satMul(4, b.Avg)))))
}

// release gives amount of n's lease back. final, in the current generation,
// says that n has given up all it had to give.
func (b *Budget) release(n NodeNum, amount int64, final bool, gen uint32) {
	b.addLease(n, -min(amount, b.LeaseOf(n)))
	if final && gen == b.Gen && b.Holder != 0 {
		b.ack(n)
	}
}

// exit ends consolidation: asked by the holder, refused unless twice the
// entering threshold is left, so that entering and leaving cannot alternate.
func (b *Budget) exit(n NodeNum, gen uint32, r Roster) {
	if b.Holder != n || b.Gen != gen || b.Left() < satMul(2, b.threshold(r.Shares)) {
		return
	}
	b.Holder = 0
	b.Gen++
	b.Acks = nil
}

// setLimit changes the limit in place. Used and leases stay; a budget that is
// overcommitted by a cut is consolidated.
func (b *Budget) setLimit(limit int64, r Roster) {
	b.Limit = limit
	if b.Leased && b.Holder == 0 && b.Free() < 0 {
		b.consolidate(r.Leader, r)
	}
}

// unack forgets that a returning node was counted as acknowledged while it was
// dead: it comes back with a lease, and until it has given that up its room is room.
func (b *Budget) unack(n NodeNum) {
	if b.LeaseOf(n) > 0 && n != b.Holder {
		b.Acks = slices.DeleteFunc(slices.Clone(b.Acks), func(a NodeNum) bool { return a == n })
	}
}

// AllAcked reports whether every live node has given up what it had in this
// generation. Then the holder's own room and Free are all the room there is.
func (b *Budget) AllAcked(live []NodeNum) bool {
	if b.Holder == 0 {
		return false
	}
	for _, n := range live {
		if n != b.Holder && b.LeaseOf(n) > 0 && !b.Acked(n) {
			return false
		}
	}
	return true
}

// DeadSum returns Σ Leases over dead nodes other than self: what is in doubt.
func (b *Budget) DeadSum(dead []NodeNum, self NodeNum) int64 {
	var s int64
	for _, l := range b.Leases {
		if l.Node != self && slices.Contains(dead, l.Node) {
			s = satAdd(s, l.Amount)
		}
	}
	return s
}

func (b *Budget) ack(n NodeNum) {
	if i, found := slices.BinarySearch(b.Acks, n); !found {
		b.Acks = slices.Insert(slices.Clone(b.Acks), i, n)
	}
}

// addLease changes n's lease by d, keeping Leases sorted and without zeros. It
// copies on write: a Budget handed out earlier keeps its own slice.
func (b *Budget) addLease(n NodeNum, d int64) {
	if d == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(b.Leases, n, func(l Lease, n NodeNum) int { return int(l.Node) - int(n) })
	leases := slices.Clone(b.Leases)
	if !found {
		leases = slices.Insert(leases, i, Lease{Node: n})
	}
	leases[i].Amount += d
	if leases[i].Amount == 0 {
		leases = slices.Delete(leases, i, i+1)
	}
	b.Leases = leases
}

// drawLease takes drawn out of n's lease, as far as that goes. Unlike addLease it changes the
// lease where it stands, so whoever calls it has seen to it that nobody else has the slice.
func (b *Budget) drawLease(n NodeNum, drawn int64) {
	for i := range b.Leases {
		if b.Leases[i].Node != n {
			continue
		}
		if left := b.Leases[i].Amount - min(drawn, b.Leases[i].Amount); left != 0 {
			b.Leases[i].Amount = left
		} else {
			b.Leases = slices.Delete(b.Leases, i, i+1)
		}
		return
	}
}

// satMul multiplies non-negative integers, stopping at the end of int64.
func satMul(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	if p := a * b; p/b == a && p > 0 {
		return p
	}
	return 1<<63 - 1
}

package enforcer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/invariants"
)

// slot is this node's account of one budget. For a leased budget
//
//	avail  = lease[me] + credit − pending − held − releasing − excess
//	excess = max(0, used + Σlease + overdraft − limit)
//	INV2     lease[me] + credit − pending − held − releasing + debt ≥ 0
//
// and for one that is not leased (soft or unlimited), which refuses nothing,
//
//	avail  = limit − used − overdraft − pending − held
//
// avail is one atomic. Admission is compare-and-swap down, undo is add. Every
// other term stands under mu, and whatever changes terms changes avail by the
// difference in one addition: what becomes pending or a smaller lease leaves in
// the same step in which what was held or released comes back. held is not
// stored; it is what is missing:
//
//	floor  = avail + held           (the terms without held)
//
// A slot caches the replica and may be dropped when nothing of its own is in
// it. Then avail is closed for good and whoever still has a pointer looks the
// budget up again.
type slot struct {
	// The first 64 bytes, a cache line, are all that a check which fits looks at, and
	// the next few what one that reserves changes besides.
	start, end int64 // of the period
	avail      atomic.Int64
	beyond     atomic.Int64 // room that is not in avail: free, and leases of others that are alive
	kind       atomic.Uint32
	active     atomic.Bool  // on the agent's list of slots to look at on each tick
	low        atomic.Int64 // below this much avail more is asked for at once
	taken      atomic.Int64 // admitted in all; the agent derives the rate from it

	// began − ended is the part of held that is undecided: taken by calls that have
	// yet to take from other budgets, here or on another node, and give it
	// back if they cannot. Both only grow. See undecided.go.
	began, ended atomic.Int64
	doubted      atomic.Bool // somebody waits because of what is undecided

	watched atomic.Bool // giving room must be told: checks wait for it, or it must be given back
	urgent  atomic.Bool // on the agent's list of slots to look at now
	me      fsm.NodeNum

	// With beyond and kind, copies of terms for readers that take no lock. They may be a moment apart.
	limit atomic.Int64
	used  atomic.Int64

	key     fsm.BudgetKey
	account string
	next    *slot // of the same assignment; under the mutex of its shard of the book

	mu        sync.Mutex
	b         fsm.Budget // as last seen
	index     uint64     // log index b was seen at
	dead      int64      // Σ leases of dead nodes other than this one
	allAck    bool       // every live node has given up what it had (holder's proof)
	credits   []credit
	pending   int64 // lines accepted here and drawn on this node's lease, unsettled
	overdraft int64 // own accepted, unsettled amounts that no lease covers
	releasing int64 // given back, not yet seen applied
	drained   int64 // the part of releasing that DrainNode gives back; see Enforcer.Drain
	given     int64 // put into releases in all; with returned it tells when room has arrived
	returned  int64 // of given, seen applied
	debt      int64 // what settled beyond its hold
	floor     int64
	gone      bool

	queue     waitQueue
	needed    int64 // by waiting checks, in whichever queue they stand
	asking    bool
	askedAt   time.Time
	rate      int64     // admitted per second, smoothed
	lastTaken int64     // value of taken at the last tick
	lastMoved int64     // last tick at which anything moved, Unix milliseconds
	heldSince time.Time // since when this node has been the holder in generation b.Gen; zero: it is not
	finalSent bool      // the final release of generation b.Gen is on its way or applied
}

// credit is a grant that the leader has told of and the replica has not shown yet.
type credit struct {
	amount int64
	index  uint64 // log index of the grant
}

// Kinds of budget, for readers without a lock.
const (
	kindLeased uint32 = iota + 1
	kindSoft
	kindUnlimited
)

const (
	// closed is avail of a dropped slot. No sum of amounts brings it near zero.
	closed = math.MinInt64 / 2
	// unlimited stands for the limit of an unlimited budget; sums with it do not overflow.
	unlimited = math.MaxInt64 / 4
	// maxCredits bounds grants on their way into the replica, per budget.
	maxCredits = 8
)

func newSlot(key fsm.BudgetKey, start, end int64, account string, me fsm.NodeNum) *slot {
	s := &slot{key: key, start: start, end: end, account: account, me: me}
	s.low.Store(math.MinInt64)
	return s
}

// take sets a aside if there is that much and returns what is left.
func (s *slot) take(a int64) (left int64, ok bool) {
	for {
		v := s.avail.Load()
		if v < a {
			return v, false
		}
		if s.avail.CompareAndSwap(v, v-a) {
			s.taken.Add(a)
			return v - a, true
		}
	}
}

// takeAnyway sets a aside without a gate, for budgets that never refuse. It fails only on a dropped slot.
func (s *slot) takeAnyway(a int64) bool {
	for {
		v := s.avail.Load()
		if v <= closed/2 {
			return false
		}
		if s.avail.CompareAndSwap(v, v-a) {
			s.taken.Add(a)
			return true
		}
	}
}

// takeUpTo sets aside as much of a as there is.
func (s *slot) takeUpTo(a int64) int64 { return s.takeBelow(a, 0) }

// giveUp takes up to a of what is not held, also what is held back as excess,
// for a release: giving a lease back is safe even where it cannot be spent. mu is held.
func (s *slot) giveUp(a int64) int64 { return s.takeBelow(a, s.excess()) }

// takeBelow sets aside as much of a as leaves avail at −below or above.
func (s *slot) takeBelow(a, below int64) int64 {
	for {
		v := s.avail.Load()
		got := min(a, v+below)
		if got <= 0 {
			return 0
		}
		if s.avail.CompareAndSwap(v, v-got) {
			return got
		}
	}
}

// put undoes a take. The caller tells whoever watches (see Enforcer.give).
func (s *slot) put(a int64) { s.avail.Add(a) }

// terms returns the sum that avail and held share out: floor before it is stored.
func (s *slot) terms() int64 {
	if s.b.Leased {
		return s.b.LeaseOf(s.me) + s.creditSum() - s.pending - s.releasing - s.excess()
	}
	return s.shownLimit() - s.b.Used - s.overdraft - s.pending
}

// rebase is the one way terms reach avail: after a change of terms under mu, it
// moves avail by the difference, plus what was held and is now free.
func (s *slot) rebase(freed int64) {
	next := s.terms()
	d := next - s.floor + freed
	s.floor = next
	if d != 0 {
		s.avail.Add(d)
	}
	s.publish()
}

// setBudget takes over what the log says at index, unless something newer has been seen.
func (s *slot) setBudget(b fsm.Budget, index uint64, r *roster) {
	if index < s.index {
		return
	}
	wasLeased := s.b.Leased
	if b.Gen != s.b.Gen {
		s.finalSent, s.heldSince = false, time.Time{}
	}
	if s.b.Acked(s.me) && !b.Acked(s.me) {
		s.finalSent = false // a node that was dead and is back says once more that it has given up what it had
	}
	s.b, s.index = b, index
	s.setRoster(r)
	s.credits = dropCredits(s.credits, index)
	if b.Leased && !wasLeased {
		// Leases begin here; what is held already was held without one.
		s.debt = max(0, -(s.terms() + s.excess() - s.heldNow()))
	}
}

// setRoster recomputes what depends on who is alive.
func (s *slot) setRoster(r *roster) {
	s.dead = s.b.DeadSum(r.Dead, r.me)
	s.allAck = s.b.Holder == r.me && s.b.AllAcked(r.Live)
}

func dropCredits(cs []credit, index uint64) []credit {
	kept := cs[:0]
	for _, c := range cs {
		if c.index > index {
			kept = append(kept, c)
		}
	}
	return kept
}

// settleDrain follows DrainNode: what it gave back is no longer on the lease.
func (s *slot) settleDrain(r *roster) {
	if r.self.Drained {
		s.releasing -= s.drained
		s.drained = 0
	}
}

// addCredit counts a grant until the replica passes its index.
func (s *slot) addCredit(amount int64, index uint64) {
	if amount <= 0 || index <= s.index {
		return
	}
	s.credits = append(s.credits, credit{amount, index})
	s.rebase(0)
}

func (s *slot) creditSum() int64 {
	var sum int64
	for _, c := range s.credits {
		sum += c.amount
	}
	return sum
}

// excess is what this node holds back because the budget is overcommitted.
func (s *slot) excess() int64 {
	if !s.b.Leased {
		return 0
	}
	return max(0, s.overdraft-s.b.Free())
}

// heldNow is what live reservations and checks in flight have set aside.
func (s *slot) heldNow() int64 { return s.floor - s.avail.Load() }

// reserved is all this node has set aside or accepted that is not in used.
func (s *slot) reserved() int64 { return max(0, s.heldNow()+s.pending+s.overdraft) }

// freePool is the part of the budget that is on nobody's lease.
func (s *slot) freePool() int64 { return max(0, s.b.Free()-s.overdraft) }

// idle reports whether the slot holds nothing that the replica does not know.
func (s *slot) idle() bool {
	return s.heldNow() == 0 && s.pending == 0 && s.overdraft == 0 && s.releasing == 0 &&
		len(s.credits) == 0 && s.queue.len() == 0 && s.needed == 0
}

// drop closes an idle slot for ever. It fails if something was taken meanwhile.
func (s *slot) drop() bool {
	if !s.idle() || !s.avail.CompareAndSwap(s.floor, closed) {
		return false
	}
	s.gone = true
	return true
}

// shortfall is how far INV2 is from holding without debt.
func (s *slot) shortfall() int64 {
	if !s.b.Leased {
		return 0
	}
	return max(0, -(s.avail.Load() + s.excess()))
}

// checkInvariant asserts INV2 and forgives debt that has been made good. It
// returns false where the books do not add up: the caller must stop admitting.
func (s *slot) checkInvariant() bool {
	short := s.shortfall()
	ok := short <= s.debt
	if invariants.Enabled {
		invariants.Check(ok, "INV2: budget %v: lease %d credit %d pending %d held %d releasing %d debt %d excess %d",
			s.key, s.b.LeaseOf(s.me), s.creditSum(), s.pending, s.heldNow(), s.releasing, s.debt, s.excess())
	}
	s.debt = min(s.debt, short)
	return ok
}

// shownLimit is the limit in sums.
func (s *slot) shownLimit() int64 {
	if s.b.Unlimited {
		return unlimited
	}
	return s.b.Limit
}

// publish copies terms to where the fast path reads them.
func (s *slot) publish() {
	s.limit.Store(s.shownLimit())
	s.used.Store(s.b.Used)
	switch {
	case s.b.Leased:
		s.kind.Store(kindLeased)
		s.beyond.Store(s.b.Left() - s.dead - s.overdraft - s.floor - s.pending)
	case s.b.Unlimited:
		s.kind.Store(kindUnlimited)
	default:
		s.kind.Store(kindSoft)
		s.beyond.Store(0)
	}
	s.watched.Store(s.queue.len() > 0 || s.elsewhere())
}

// elsewhere reports whether another node holds the rest of the budget.
func (s *slot) elsewhere() bool {
	return s.b.Leased && s.b.Holder != 0 && s.b.Holder != s.me
}

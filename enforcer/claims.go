package enforcer

import "github.com/bursar-dev/bursar/fsm"

// Journal and outbox may know more than the replica: it is not synced, and after a
// crash its tail comes back from the leader only. What they say is set aside of a
// budget that the replica does not know yet is a claim on the slot to come. The
// slot is born with it; what ends before is taken off the claim.
type claim struct {
	held, pending, overdraft int64
}

// claim adds to what is claimed of a budget that has no slot.
func (b *book) claim(key fsm.BudgetKey, c claim) {
	sh := b.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.addClaim(key, c)
}

// addClaim: sh.mu is held.
func (sh *bookShard) addClaim(key fsm.BudgetKey, c claim) {
	was := sh.claims[key]
	c = claim{was.held + c.held, was.pending + c.pending, was.overdraft + c.overdraft}
	if c == (claim{}) {
		delete(sh.claims, key)
		return
	}
	if sh.claims == nil {
		sh.claims = make(map[fsm.BudgetKey]claim)
	}
	sh.claims[key] = c
}

// honour gives a new slot what is claimed of it. sh.mu is held and nobody has the slot yet.
func (sh *bookShard) honour(s *slot) {
	c, ok := sh.claims[s.key]
	if !ok {
		return
	}
	delete(sh.claims, s.key)
	s.pending, s.overdraft = c.pending, c.overdraft
	s.rebase(-c.held)
	s.debt = s.shortfall()
}

// findOr returns the slot of a budget, or takes ended off what is claimed of it.
func (b *book) findOr(key fsm.BudgetKey, ended claim) *slot {
	sh := b.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.find(key)
	if _, claimed := sh.claims[key]; s == nil && claimed {
		sh.addClaim(key, claim{-ended.held, -ended.pending, -ended.overdraft})
	}
	return s
}

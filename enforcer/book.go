package enforcer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// book holds this node's slots by budget.
//
// Lock order: fsm view, then a shard, then a slot's mu. Nothing takes a view
// while it holds a shard or a slot.
type book struct {
	shards [bookShards]bookShard
}

const bookShards = 64 // a power of two

type bookShard struct {
	mu     sync.Mutex
	slots  map[uint64]*slot        // by assignment, those of other periods linked behind; see slot.next
	claims map[fsm.BudgetKey]claim // of slots to come
}

// meter leads from an assignment to the slot of its present period, where a check finds it without a lock.
type meter struct {
	num uint64
	now atomic.Pointer[slot]
	mu  sync.Mutex // one goroutine at a time turns to a new period
}

func newBook() *book {
	b := &book{}
	for i := range b.shards {
		b.shards[i].slots = make(map[uint64]*slot)
	}
	return b
}

func (b *book) shard(key fsm.BudgetKey) *bookShard { return &b.shards[key.Assignment%bookShards] }

// find returns the slot of a budget if this node has one.
func (b *book) find(key fsm.BudgetKey) *slot {
	sh := b.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.find(key)
}

// find returns the slot of a budget, or nil. sh.mu is held, as for all that follow.
func (sh *bookShard) find(key fsm.BudgetKey) *slot {
	s := sh.slots[key.Assignment]
	for s != nil && s.start != key.Start {
		s = s.next
	}
	return s
}

func (sh *bookShard) add(s *slot) {
	s.next = sh.slots[s.key.Assignment]
	sh.slots[s.key.Assignment] = s
}

func (sh *bookShard) remove(s *slot) {
	first := sh.slots[s.key.Assignment]
	at := &first
	for *at != s {
		at = &(*at).next
	}
	if *at = s.next; first == nil {
		delete(sh.slots, s.key.Assignment)
		return
	}
	sh.slots[s.key.Assignment] = first
}

// all yields every slot. What it yields may be removed meanwhile.
func (sh *bookShard) all(yield func(*slot) bool) {
	for _, s := range sh.slots {
		for s != nil {
			next := s.next
			if !yield(s) {
				return
			}
			s = next
		}
	}
}

// of calls f for every slot of an assignment.
func (b *book) of(num uint64, f func(*slot)) {
	var room [4]*slot
	slots := room[:0]
	sh := b.shard(fsm.BudgetKey{Assignment: num})
	sh.mu.Lock()
	for s := sh.slots[num]; s != nil; s = s.next {
		slots = append(slots, s)
	}
	sh.mu.Unlock()
	for _, s := range slots {
		f(s)
	}
}

// each calls f for every slot. f must not add or remove slots.
func (b *book) each(f func(*slot)) {
	var slots []*slot
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		slots = slots[:0]
		for s := range sh.all {
			slots = append(slots, s)
		}
		sh.mu.Unlock()
		for _, s := range slots {
			f(s)
		}
	}
}

// states counts the slots by who gives their budgets out.
func (b *book) states() map[string]int {
	n := map[string]int{"leased": 0, "held": 0, "held_elsewhere": 0, "not_leased": 0}
	b.each(func(s *slot) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case !s.b.Leased:
			n["not_leased"]++
		case s.b.Holder == 0:
			n["leased"]++
		case s.elsewhere():
			n["held_elsewhere"]++
		default:
			n["held"]++
		}
	})
	return n
}

// sweep drops the slots that f picks and that are idle. f is called with the slot locked.
func (b *book) sweep(f func(*slot) bool) (dropped int) {
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		for s := range sh.all {
			s.mu.Lock()
			if f(s) && s.drop() {
				sh.remove(s)
				dropped++
			}
			s.mu.Unlock()
		}
		sh.mu.Unlock()
	}
	return dropped
}

// slotAt returns the slot of an assignment's period that contains now. The
// common case is two loads and two comparisons.
func (e *Enforcer) slotAt(m *meter, t *fsm.Terms, now int64) *slot {
	if s := m.now.Load(); s != nil && s.start <= now && now < s.end && s.avail.Load() > closed/2 {
		return s
	}
	return e.turn(m, t, now)
}

// turn finds or makes the slot of the period that contains now. The slices a
// node is born with come out of the view without a message, so a new period
// costs this and nothing else.
func (e *Enforcer) turn(m *meter, t *fsm.Terms, now int64) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.now.Load(); s != nil && s.start <= now && now < s.end && s.avail.Load() > closed/2 {
		return s
	}
	start, _ := t.Cadence.Period(now)
	s := e.slot(fsm.BudgetKey{Assignment: m.num, Start: start})
	if s == nil {
		return nil
	}
	// A clock that steps back must not make checks flap between two periods' slots.
	if old := m.now.Load(); old == nil || old.start <= s.start || old.avail.Load() <= closed/2 {
		m.now.Store(s)
	}
	return s
}

// slot returns the slot of a budget, made from the replica if need be; nil if
// the assignment is gone. The slot may be dropped before the caller locks it: see lockSlot.
func (e *Enforcer) slot(key fsm.BudgetKey) *slot {
	if s := e.book.find(key); s != nil {
		return s
	}
	var s *slot
	e.m.View(func(v *fsm.View) {
		a := v.AssignmentByNum(key.Assignment)
		if a == nil {
			return
		}
		_, end := a.Cadence.Period(key.Start)
		fresh := newSlot(key, key.Start, end, a.Account, e.c.Node)
		fresh.lastMoved = time.Now().UnixMilli()
		fresh.setBudget(v.Budget(a, key.Start), v.Index(), e.roster.Load())
		fresh.debt = 0
		fresh.rebase(0)
		// Inserted under the view: every later change finds it.
		sh := e.book.shard(key)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if s = sh.find(key); s == nil {
			sh.honour(fresh)
			sh.add(fresh)
			s = fresh
		}
	})
	return s
}

// lockSlot returns the slot of a budget with its mu held, or nil if the assignment is gone.
func (e *Enforcer) lockSlot(key fsm.BudgetKey) *slot {
	for {
		s := e.slot(key)
		if s == nil {
			return nil
		}
		s.mu.Lock()
		if !s.gone {
			return s
		}
		s.mu.Unlock()
	}
}

// give puts an amount of a slot back and tells whoever waits for room there.
func (e *Enforcer) give(s *slot, a int64) {
	s.put(a)
	if s.watched.Load() {
		e.stir(s)
	}
}

// stir wakes the checks that a slot now has room for, and the agent.
func (e *Enforcer) stir(s *slot) {
	s.mu.Lock()
	s.wakeReady()
	s.mu.Unlock()
	e.agent.attend(s)
}

package fsm

import (
	"cmp"
	"slices"
)

// state is the hot part of the replicated state. Machine guards it with a
// read-write lock: the apply goroutine writes, views read.
type state struct {
	index, term uint64 // last applied entry
	sum         uint64 // running checksum of all writes up to index
	now         int64  // logical clock: the largest Command.At seen

	settings *Settings
	nodes    []*Node    // nodes[i].Num == i+1
	seen     []releases // seen[i] is of nodes[i]

	types    map[string]*EntityType
	caps     map[string]*Capability // built-in ones included
	accounts map[string]*tenant

	nextAssignment uint64 // the number the next assignment gets
	assignments    map[uint64]*Assignment

	// budgets holds, by assignment and ascending by start, every stored budget
	// whose period ended less than budgetKeep ago, and perhaps some older ones.
	budgets map[uint64][]*cachedBudget
	held    map[BudgetKey]struct{} // those of budgets that have a holder
	expiry  expiryQueue            // when to forget which budget

	tokens   map[[32]byte]*Token // by digest
	tokenIDs map[string]*Token

	prices priceList

	auditSeq  uint64
	auditHash [32]byte

	memory memory

	rollups rollups
	chain   chainScratch

	settledFrom uint32 // hour; markers of reservations settled before it are deleted
}

// tenant is an account with its tree.
type tenant struct {
	Account
	entities    map[string]*Entity
	children    map[string][]string      // by parent, ascending
	assignments map[string][]*Assignment // by entity, ascending by Num
	carved      carved                   // those that are allocated
	moves       uint64                   // entities that were hung elsewhere since the state was loaded; see Machine.Rows
	ledgerSeq   uint64
	chain       *ledgerChain // of its ledger's lines; nil: to be found in the store
	index       *ledgerIndex // of its ledger's block under way; nil: to be found in the store
}

// newState returns the state before the first entry.
func newState() *state {
	s := &state{
		types:          map[string]*EntityType{},
		caps:           map[string]*Capability{},
		accounts:       map[string]*tenant{},
		nextAssignment: 1,
		assignments:    map[uint64]*Assignment{},
		budgets:        map[uint64][]*cachedBudget{},
		held:           map[BudgetKey]struct{}{},
		tokens:         map[[32]byte]*Token{},
		tokenIDs:       map[string]*Token{},
		memory:         newMemory(),
	}
	for _, c := range Builtins() {
		s.caps[c.ID] = &c
	}
	return s
}

// newTenant returns an account without entities.
func newTenant(a Account) *tenant {
	return &tenant{
		Account:     a,
		entities:    map[string]*Entity{},
		children:    map[string][]string{},
		assignments: map[string][]*Assignment{},
		carved:      carved{},
	}
}

// addEntity files e in the tree, or replaces the entity of the same id and parent.
func (t *tenant) addEntity(e *Entity) {
	if old := t.entities[e.ID]; old != nil && old.ID != t.ID && old.Parent != e.Parent {
		t.children[old.Parent] = without(t.children[old.Parent], e.ID)
		t.moves++
	}
	t.entities[e.ID] = e
	if e.ID == t.ID {
		return // the root hangs under nobody
	}
	if i, found := slices.BinarySearch(t.children[e.Parent], e.ID); !found {
		t.children[e.Parent] = slices.Insert(t.children[e.Parent], i, e.ID)
	}
}

// addAssignment files a under its entity and its number, or replaces the one of the same number.
func (s *state) addAssignment(a *Assignment) {
	s.assignments[a.Num] = a
	t := s.accounts[a.Account]
	list := t.assignments[a.Entity]
	i, found := slices.BinarySearchFunc(list, a.Num, func(a *Assignment, num uint64) int { return cmp.Compare(a.Num, num) })
	if found {
		t.carved.replace(list[i], a)
		list[i] = a
		return
	}
	t.carved.replace(nil, a)
	t.assignments[a.Entity] = slices.Insert(list, i, a)
}

// removeAssignment takes a out of the state. Its budgets stay: see txn.deleteBudgets.
func (s *state) removeAssignment(a *Assignment) {
	delete(s.assignments, a.Num)
	t := s.accounts[a.Account]
	t.carved.replace(a, nil)
	list := slices.DeleteFunc(t.assignments[a.Entity], func(b *Assignment) bool { return b.Num == a.Num })
	if len(list) == 0 {
		delete(t.assignments, a.Entity)
		return
	}
	t.assignments[a.Entity] = list
}

func without(sorted []string, id string) []string {
	if i, found := slices.BinarySearch(sorted, id); found {
		return slices.Delete(sorted, i, i+1)
	}
	return sorted
}

// roster returns membership as lease decisions see it, for an entry that leader proposed.
func (s *state) roster(leader NodeNum) Roster {
	r := Roster{Leader: leader, Shares: DefaultShares}
	if s.settings != nil {
		r.Shares = s.settings.Shares
	}
	for _, n := range s.nodes {
		switch {
		case n.RemovedAt != 0:
		case n.Dead:
			r.Dead = append(r.Dead, n.Num)
		case !n.Drained:
			r.Live = append(r.Live, n.Num)
		}
	}
	return r
}

// maxStaleness returns the staleness bound in milliseconds.
func (s *state) maxStaleness() int64 {
	if s.settings == nil {
		return DefaultMaxStaleness.Milliseconds()
	}
	return s.settings.MaxStalenessMS
}

// node returns the node with the number, or nil.
func (s *state) node(n NodeNum) *Node {
	if n == 0 || int(n) > len(s.nodes) {
		return nil
	}
	return s.nodes[n-1]
}

// member returns the node of that name that is not removed, or nil.
func (s *state) member(name string) *Node {
	for _, n := range s.nodes {
		if n.Name == name && n.RemovedAt == 0 {
			return n
		}
	}
	return nil
}

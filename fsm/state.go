package fsm

// state is the hot part of the replicated state. Machine guards it with a
// read-write lock: the apply goroutine writes, views read.
type state struct {
	index, term uint64 // last applied entry
	sum         uint64 // running checksum of all writes up to index
	now         int64  // logical clock: the largest Command.At seen
	version     uint8  // the highest of an entry that was packed; 0: none was

	settings *Settings
	nodes    []*Node    // nodes[i].Num == i+1
	seen     []releases // seen[i] is of nodes[i]

	types    map[string]*EntityType
	caps     map[string]*Capability // built-in ones included
	accounts map[string]*tenant

	nextAssignment uint64 // the number the next assignment gets
	// records are the assignments, each with every stored budget
	// whose period ended less than budgetKeep ago, and perhaps some older ones.
	records records
	terms   map[termsKey]*Terms    // shared by records
	oddIDs  map[uint64]string      // ids of assignments that are no ULID
	seeds   seeds                  // shared by records
	held    map[BudgetKey]struct{} // those of budgets that have a holder
	expiry  expiryQueue            // when to forget which budget

	tokens   map[[32]byte]*Token // by digest
	tokenIDs map[string]*Token

	prices priceList

	auditSeq  uint64
	auditHash [32]byte

	memory memory

	rollups  rollups
	retained map[string]struct{} // accounts whose lines are dropped some day
	chain    chainScratch
	scratch  scratch
	calls    uint64 // of Apply, in this process

	settledFrom uint32 // hour; markers of reservations settled before it are deleted
}

// scratch is memory of the apply goroutine that every entry uses again.
type scratch struct {
	command    unpackMemory // of the entry under way
	key, value []byte       // of the write under way
	known      dedup
	line       LedgerLine
	born       Budget
	packer     eventPacker
}

// tenant is an account with its tree.
type tenant struct {
	Account
	entities  map[string]*member
	order     byID             // all of them
	orphans   []*member        // whose parent is yet to come; empty between entries
	carved    carved           // assignments that are allocated
	given     map[meter]*given // what was summed of them since the tree last changed; see allocated_sum.go
	moves     uint64           // entities that were hung elsewhere since the state was loaded; see Machine.Rows
	ledgerSeq uint64
	mark      ledgerMark
	chain     *ledgerChain // of its ledger's lines; nil: to be found in the store
	index     *ledgerIndex // of its ledger's block under way; nil: to be found in the store
}

// newState returns the state before the first entry.
func newState() *state {
	s := &state{
		types:          map[string]*EntityType{},
		caps:           map[string]*Capability{},
		accounts:       map[string]*tenant{},
		nextAssignment: 1,
		terms:          map[termsKey]*Terms{},
		oddIDs:         map[uint64]string{},
		seeds:          seeds{},
		held:           map[BudgetKey]struct{}{},
		tokens:         map[[32]byte]*Token{},
		tokenIDs:       map[string]*Token{},
		retained:       map[string]struct{}{},
		memory:         newMemory(),
	}
	for _, c := range Builtins() {
		s.caps[c.ID] = &c
	}
	return s
}

// newTenant returns an account without entities.
func newTenant(a Account) *tenant {
	return &tenant{Account: a, entities: map[string]*member{}, carved: carved{}, given: map[meter]*given{}}
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

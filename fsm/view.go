package fsm

// View is a consistent read of the hot state, valid only inside Machine.View.
// What it returns is shared: read it, copy what outlives the call, change nothing.
type View struct {
	s  *state
	st *store
}

// View calls f with the state locked against change. Keep f short: applying waits for it.
func (m *Machine) View(f func(v *View)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(&View{s: m.s, st: m.store})
}

// Index is the log index the view stands at.
func (v *View) Index() uint64 { return v.s.index }

// Settings returns the cluster's settings; ok is false before Init.
func (v *View) Settings() (s Settings, ok bool) {
	if v.s.settings == nil {
		return Settings{}, false
	}
	return *v.s.settings, true
}

// Nodes returns every node, ascending by number, removed ones included.
func (v *View) Nodes() []*Node { return v.s.nodes }

// Node returns the node with the number, or nil.
func (v *View) Node(n NodeNum) *Node { return v.s.node(n) }

// Roster returns membership as lease decisions see it. Leader is zero.
func (v *View) Roster() Roster { return v.s.roster(0) }

// Account returns an account, or nil.
func (v *View) Account(id string) *Account {
	if t := v.s.accounts[id]; t != nil {
		return &t.Account
	}
	return nil
}

// EntityType returns an entity type, or nil.
func (v *View) EntityType(id string) *EntityType { return v.s.types[id] }

// Capability returns a capability, or nil.
func (v *View) Capability(id string) *Capability { return v.s.caps[id] }

// Entity returns an entity of an account, or nil.
func (v *View) Entity(account, id string) *Entity {
	if t := v.s.accounts[account]; t != nil {
		if m := t.entities[id]; m != nil {
			return &m.Entity
		}
	}
	return nil
}

// Assignments returns the assignments made to one entity, ascending by Num.
func (v *View) Assignments(account, entity string) []*Assignment {
	if t := v.s.accounts[account]; t != nil {
		return v.s.assignmentsOf(t.entities[entity])
	}
	return nil
}

// EachAssignment calls f for each assignment made to an entity, ascending by number. It makes nothing, as Assignments does.
func (v *View) EachAssignment(account, entity string, f func(num uint64, t *Terms)) {
	if t := v.s.accounts[account]; t != nil {
		for r := range t.entities[entity].records() {
			f(r.num, r.terms)
		}
	}
}

// AssignmentByNum returns an assignment by its number, or nil.
func (v *View) AssignmentByNum(num uint64) *Assignment {
	if r := v.s.records.get(num); r != nil {
		return v.s.assignment(r)
	}
	return nil
}

// Held calls f for every budget that has a holder, in no order, whenever its period
// is: one that begins soon may have been consolidated already. Periods that ended more than an hour ago are left out.
func (v *View) Held(f func(*Budget)) {
	for k := range v.s.held {
		if b, ok := v.s.peek(k); ok {
			f(&b)
		}
	}
}

// Budget returns the budget of a's period that starts at start: the stored one,
// or what a first touch would make it (births included). Its slices are never changed in place.
func (v *View) Budget(a *Assignment, start int64) Budget {
	k := BudgetKey{Assignment: a.Num, Start: start}
	if b, ok := v.s.peek(k); ok {
		return b
	}
	r := v.s.records.get(a.Num)
	if r == nil { // it was deleted since the caller looked
		r = newRecord(a)
	}
	b := v.s.derive(r, start)
	if !v.s.recent(b.end) {
		var old Budget
		if ok, _ := getFrom(v.st.db, budgetKey(k), &old); ok { // a failed read fails the machine at its next entry
			return old
		}
	}
	return b.Budget
}

// TokenByDigest returns the token with the digest, or nil.
func (v *View) TokenByDigest(digest [32]byte) *Token { return v.s.tokens[digest] }

// Event reports whether (account, id) is in the ledger, with its body hash and
// the line's sequence number. It reads the store and may be called outside View. Unlike all that read the store, it is
// called for each event, and leaves the tail where it is.
func (m *Machine) Event(account, id string) (hash [32]byte, seq uint64, ok bool, err error) {
	m.mu.RLock()
	d, ok := m.tail.events[eventName{account, id}]
	pinned := !ok && !m.tail.indexed && m.fail.err() == nil
	st := m.store
	if pinned {
		st.users.Add(1)
	}
	m.mu.RUnlock()
	switch {
	case pinned:
		ok, err = st.get(eventKey(account, id), &d)
	case !ok:
		ok, err = m.get(eventKey(account, id), &d)
	}
	return d.Hash, d.Seq, ok, err
}

// ReservationSettled reports whether an event of account that names the reservation has
// been settled within the last MaxReserveTTL and some. Reads the store.
func (m *Machine) ReservationSettled(account, id string) (bool, error) {
	m.mu.RLock()
	hour := hourOf(m.s.now)
	m.mu.RUnlock()
	for i := range uint32(settledHours) {
		if i > hour {
			break
		}
		var at int64
		if ok, err := m.get(reservationKey(hour-i, marker(account, id)), &at); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

package fsm

// View is a consistent read of the hot state, valid only inside Machine.View.
// What it returns is shared: read it, copy what outlives the call, change nothing.
type View struct{}

// View calls f with the state locked against change. Keep f short: applying waits for it.
func (m *Machine) View(f func(v *View)) { panic("unwritten") }

// Index is the log index the view stands at.
func (v *View) Index() uint64 { panic("unwritten") }

// Settings returns the cluster's settings; ok is false before Init.
func (v *View) Settings() (s Settings, ok bool) { panic("unwritten") }

// Nodes returns every node, ascending by number, removed ones included.
func (v *View) Nodes() []*Node { panic("unwritten") }

// Node returns the node with the number, or nil.
func (v *View) Node(n NodeNum) *Node { panic("unwritten") }

// Roster returns membership as lease decisions see it. Leader is zero.
func (v *View) Roster() Roster { panic("unwritten") }

// Account returns an account, or nil.
func (v *View) Account(id string) *Account { panic("unwritten") }

// EntityType returns an entity type, or nil.
func (v *View) EntityType(id string) *EntityType { panic("unwritten") }

// Capability returns a capability, or nil.
func (v *View) Capability(id string) *Capability { panic("unwritten") }

// Entity returns an entity of an account, or nil.
func (v *View) Entity(account, id string) *Entity { panic("unwritten") }

// Assignments returns the assignments made to one entity, ascending by Num.
func (v *View) Assignments(account, entity string) []*Assignment { panic("unwritten") }

// AssignmentByNum returns an assignment by its number, or nil.
func (v *View) AssignmentByNum(num uint64) *Assignment { panic("unwritten") }

// Budget returns the budget of a's period that starts at start: the stored one,
// or what a first touch would make it (births included).
func (v *View) Budget(a *Assignment, start int64) Budget { panic("unwritten") }

// TokenByDigest returns the token with the digest, or nil.
func (v *View) TokenByDigest(digest [32]byte) *Token { panic("unwritten") }

// Event reports whether (account, id) is in the ledger, with its body hash and
// the line's sequence number. It reads the store and may be called outside View.
func (m *Machine) Event(account, id string) (hash [32]byte, seq uint64, ok bool, err error) {
	panic("unwritten")
}

// ReservationSettled reports whether an event that names the reservation has
// been settled within the last MaxReserveTTL and some. Reads the store.
func (m *Machine) ReservationSettled(id string) (bool, error) { panic("unwritten") }

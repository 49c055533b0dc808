package fsm

// Enforcement says what an assignment does at its limit.
type Enforcement string

// The enforcements.
const (
	Hard Enforcement = "hard" // blocks at the limit
	Soft Enforcement = "soft" // grants past it and marks the overage
)

// Mode says where an assignment's limit comes from.
type Mode string

// The modes.
const (
	Cap       Mode = "cap"       // an independent gate
	Allocated Mode = "allocated" // carved out of the nearest ancestor's assignment of the same capability, scope and cadence
)

// Assignment gives an entity a budget per period. Its identity is (account,
// entity, capability, scope, cadence); a PUT of the same identity keeps ID and Num.
type Assignment struct {
	ID          string      `msgpack:"id"`  // "asg_" and a ULID
	Num         uint64      `msgpack:"num"` // small number given by the state machine, never reused; keys budgets
	Account     string      `msgpack:"account"`
	Entity      string      `msgpack:"entity"`
	Capability  string      `msgpack:"capability"`
	Scope       []string    `msgpack:"scope,omitempty"` // sorted, without repeats
	Cadence     Cadence     `msgpack:"cadence"`
	Limit       int64       `msgpack:"limit"` // meaningless when Unlimited
	Unlimited   bool        `msgpack:"unlimited,omitempty"`
	Enforcement Enforcement `msgpack:"enforcement"`
	Mode        Mode        `msgpack:"mode"`
	Thresholds  []int       `msgpack:"thresholds,omitempty"` // percent, ascending; stored only
	Backfill    bool        `msgpack:"backfill,omitempty"`   // it was made to count what its first period had seen before
	// BirthFrom is the time from which periods are born with unlogged slices:
	// those that start after it. It is the time of creation, and moves forward
	// when a change (soft to hard, unlimited to limited) gives the assignment leases it did not have.
	BirthFrom int64 `msgpack:"birth_from"`
	CreatedAt int64 `msgpack:"created_at"`
	UpdatedAt int64 `msgpack:"updated_at"`
}

// Leased reports whether the assignment's budgets are handed out as leases.
// Only hard limits are: the others never refuse, so they need no proof of room.
func (a *Assignment) Leased() bool { return a.Enforcement == Hard && !a.Unlimited }

package fsm

// memorySize is how many commands are remembered. A proposal whose outcome is
// unknown is repeated within seconds; this is minutes of administration.
const memorySize = 4096

// memory remembers the outcomes of the latest commands that carry an id, so
// that a command proposed twice takes effect once. It is a ring: slot i of the
// store holds the command with sequence ≡ i.
type memory struct {
	next uint64 // sequence of the next command
	ring [memorySize]string
	byID map[string]*remembered
}

// remembered is a stored outcome. Grants are left out: only Reconcile has any,
// and it carries no id.
type remembered struct {
	Seq     uint64       `msgpack:"s"`
	ID      string       `msgpack:"id"`
	Index   uint64       `msgpack:"i"`
	Code    Code         `msgpack:"c,omitempty"` // empty: accepted
	Message string       `msgpack:"m,omitempty"`
	Fields  []FieldError `msgpack:"f,omitempty"`
	Numbers []number     `msgpack:"n,omitempty"` // ascending by name, unlike a map the same on every replica
}

type number struct {
	Name  string `msgpack:"n"`
	Value int64  `msgpack:"v"`
}

func newMemory() memory { return memory{byID: map[string]*remembered{}} }

// add files r, forgetting the command whose slot it takes.
func (m *memory) add(r *remembered) {
	slot := r.Seq % memorySize
	delete(m.byID, m.ring[slot])
	m.ring[slot] = r.ID
	m.byID[r.ID] = r
	m.next = max(m.next, r.Seq+1)
}

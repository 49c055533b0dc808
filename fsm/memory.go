package fsm

import (
	"cmp"
	"slices"
)

// memorySize is how many commands are remembered. A proposal whose outcome is
// unknown is repeated within seconds; this is minutes of administration.
const memorySize = 4096

// memory remembers the outcomes of the latest commands that carry an id, so
// that a command proposed twice takes effect once. It is a ring: the command of
// sequence q is in slot q modulo memorySize.
type memory struct {
	next uint64 // sequence of the next command
	ring []string
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
	Numbers []number     `msgpack:"n,omitempty"` // ascending by name: a map has no order that replicas share
}

type number struct {
	Name  string `msgpack:"n"`
	Value int64  `msgpack:"v"`
}

func newMemory() memory {
	return memory{ring: make([]string, memorySize), byID: map[string]*remembered{}}
}

// add files r, forgetting the command whose slot it takes.
func (m *memory) add(r *remembered) {
	slot := r.Seq % memorySize
	if m.ring[slot] != "" {
		delete(m.byID, m.ring[slot])
	}
	m.ring[slot] = r.ID
	m.byID[r.ID] = r
	m.next = max(m.next, r.Seq+1)
}

// outcome returns what the command was answered.
func (r *remembered) outcome() Outcome {
	o := Outcome{Index: r.Index}
	if r.Code == "" {
		return o
	}
	o.Err = &Error{Code: r.Code, Message: r.Message, Fields: r.Fields}
	for _, n := range r.Numbers {
		if o.Err.Numbers == nil {
			o.Err.Numbers = map[string]int64{}
		}
		o.Err.Numbers[n.Name] = n.Value
	}
	return o
}

// learn remembers the outcome of the entry's command, if it carries an id and is not a repeat.
func (t *txn) learn(o Outcome) {
	m := &t.s.memory
	if t.cmd.ID == "" || m.byID[t.cmd.ID] != nil {
		return
	}
	r := &remembered{Seq: m.next, ID: t.cmd.ID, Index: o.Index}
	if o.Err != nil {
		r.Code, r.Message, r.Fields = o.Err.Code, o.Err.Message, o.Err.Fields
		for name, v := range o.Err.Numbers {
			r.Numbers = append(r.Numbers, number{name, v})
		}
		slices.SortFunc(r.Numbers, func(a, b number) int { return cmp.Compare(a.Name, b.Name) })
	}
	m.add(r)
	t.put(memoryKey(uint16(r.Seq%memorySize)), r)
}

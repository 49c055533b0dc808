package fsm

import (
	"cmp"
	"maps"
	"slices"
)

// UnattributedPage is what some of an account's unattributed events add up to, corrections included: those no entity
// of which was provisioned when they were accepted. They are charged to the account's root.
type UnattributedPage struct {
	Entities []UnattributedSum // by the entities that the events named, those with the most events first
	Total    UnattributedSum   // each event once; its entity is empty
	Next     uint64            // after which line the next page begins; 0: there is none
}

// UnattributedSum is a part of an UnattributedPage.
type UnattributedSum struct {
	Entity string // as the events named it; empty: they named none
	Events int64
	Usage  []Quantity // ascending by capability
}

// The bounds of one page.
const (
	maxUnattributedLines    = 10 * MaxPage
	maxUnattributedEntities = 1000
)

// Unattributed adds up an account's unattributed events of [from, to), Unix milliseconds, 0 for no bound, oldest first after a
// line. An event that named several entities counts under each of them. Errors: *Error with CodeConflict for a sum beyond int64.
func (m *Machine) Unattributed(account string, from, to int64, after uint64) (*UnattributedPage, error) {
	total, entities := &rollup{}, map[string]*rollup{}
	f := LedgerFilter{Unattributed: true, From: from, To: to, OldestFirst: true}
	for read := 0; read < maxUnattributedLines && len(entities) < maxUnattributedEntities; {
		lines, next, err := m.ListLedger(account, f, after, MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range lines {
			e, events := &lines[i].Event, lines[i].counts()
			total.addEvent(e, events)
			named := slices.Clone(e.Entities)
			if len(named) == 0 {
				named = append(named, "")
			}
			slices.Sort(named)
			for _, id := range slices.Compact(named) {
				if entities[id] == nil {
					entities[id] = &rollup{}
				}
				entities[id].addEvent(e, events)
			}
		}
		read += len(lines)
		if after = next; next == 0 {
			break
		}
	}
	page := &UnattributedPage{Next: after}
	var err error
	if page.Total, err = unattributedSum("", total); err != nil {
		return nil, err
	}
	for id := range maps.Keys(entities) {
		s, err := unattributedSum(id, entities[id])
		if err != nil {
			return nil, err
		}
		page.Entities = append(page.Entities, s)
	}
	slices.SortFunc(page.Entities, func(a, b UnattributedSum) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Entity, b.Entity))
	})
	return page, nil
}

// counts returns how many events a line adds: 1 for one, -1 for one that it takes back.
func (l *LedgerLine) counts() int64 {
	switch l.Kind {
	case KindUsage:
		return 1
	case KindVoid:
		return -1
	}
	return 0
}

// addEvent adds what a line used.
func (r *rollup) addEvent(e *Event, events int64) {
	r.events += events
	for _, q := range e.Usage {
		r.add(q.Capability, q.Amount, events)
	}
}

func unattributedSum(id string, r *rollup) (UnattributedSum, error) {
	s := UnattributedSum{Entity: id, Events: r.events}
	for _, c := range r.sums {
		amount, fits := c.amount()
		if !fits {
			return s, conflict("the sum of %s is beyond the largest integer; ask for a shorter time", c.capability)
		}
		s.Usage = append(s.Usage, Quantity{c.capability, amount})
	}
	return s, nil
}

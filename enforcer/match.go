package enforcer

import (
	"fmt"
	"slices"
	"sync"

	"github.com/bursar-dev/bursar/fsm"
)

// target is one matching assignment of a call with the amount it charges.
type target struct {
	item   *planItem
	level  *compiled // that the item is of
	slot   *slot
	amount int64
	// undecided is what is counted as such in the slot for this call.
	undecided int64
	use       uint16      // the place in usage of what is charged
	drawn     fsm.NodeNum // the node that has set it aside; 0: nobody
	// session is the one of that node that was asked. If it has begun another one by the
	// time that the reservation is made, it may not know of the draw.
	session uint64
}

// scratch is the working memory of one decision, pooled.
type scratch struct {
	usage   []unitAmount
	path    []*compiled // the chains of the entities that the call names, one after the other
	named   []int       // where each of them begins in path
	targets []target
	seen    map[uint64]struct{} // assignments already among targets, for calls with several entities
	holds   []heldLine
}

type unitAmount struct {
	unit   uint32
	amount int64
	shown  int // 1 + the place in Decision.Remaining; 0: nothing that limits it was seen
}

var scratchPool = sync.Pool{New: func() any { return &scratch{seen: make(map[uint64]struct{})} }}

func getScratch() *scratch { return scratchPool.Get().(*scratch) }

// putScratch keeps what it is given for another call. What its pointers lead to stays
// until they are overwritten: the levels and slots of one call at most.
func putScratch(sc *scratch) {
	clear(sc.seen)
	sc.usage, sc.path, sc.named, sc.targets, sc.holds = sc.usage[:0], sc.path[:0], sc.named[:0], sc.targets[:0], sc.holds[:0]
	scratchPool.Put(sc)
}

// addUsage takes one amount of a call over.
func (sc *scratch) addUsage(e *Enforcer, capability []byte, amount int64) error {
	if amount < 0 || amount > fsm.MaxAmount {
		return &RequestError{Field: "usage." + string(capability), Message: fmt.Sprintf("must be between 0 and %d", fsm.MaxAmount)}
	}
	u, ok := e.unit(capability)
	if !ok {
		return &RequestError{Field: "usage." + string(capability), Message: "is not a defined capability"}
	}
	sc.usage = append(sc.usage, unitAmount{unit: u, amount: amount})
	return nil
}

// deriveTokens adds tokens = input + output where they were not given.
func (sc *scratch) deriveTokens() error {
	var sum int64
	derive := false
	for i := range sc.usage {
		switch sc.usage[i].unit {
		case unitTokens:
			return nil
		case unitInput, unitOutput:
			sum, derive = satAdd(sum, sc.usage[i].amount), true
		}
	}
	if sum > fsm.MaxAmount {
		return &RequestError{Field: fieldTokens, Message: fmt.Sprintf("which is input_tokens + output_tokens, must be between 0 and %d", fsm.MaxAmount)}
	}
	if derive {
		sc.usage = append(sc.usage, unitAmount{unit: unitTokens, amount: sum})
	}
	return nil
}

// fieldTokens is the field of the amount that is derived when it is not given.
const fieldTokens = "usage." + fsm.CapTokens

// addEntity takes one named entity over, with those above it.
func (sc *scratch) addEntity(e *Enforcer, c *catalog, ap *accountPlans, entity []byte) {
	sc.named = append(sc.named, len(sc.path))
	at := e.level(c, ap, entity)
	sc.path = append(sc.path, at)
	// A level that a change is just being made to may lead around in a circle with one of before it.
	for range fsm.MaxDepth {
		if at.up == nil {
			return
		}
		at = e.above(ap, at)
		sc.path = append(sc.path, at)
	}
}

// match collects the assignments that the call charges, each once. The chain of
// a call is the union of the chains of all its entities.
func (sc *scratch) match() error {
	single := len(sc.named) == 1
	for _, at := range sc.path {
		for i := range at.items {
			it := &at.items[i]
			u := sc.find(it.unit)
			if u < 0 || (it.scoped && !sc.inChain(it.terms.Scope)) {
				continue
			}
			if !single {
				if _, dup := sc.seen[it.meter.num]; dup {
					continue
				}
				sc.seen[it.meter.num] = struct{}{}
			}
			if len(sc.targets) == fsm.MaxCallAssignments {
				return &RequestError{Field: "entities", Message: fmt.Sprintf("more than %d assignments match", fsm.MaxCallAssignments)}
			}
			sc.targets = append(sc.targets, target{item: it, level: at, amount: sc.usage[u].amount, use: uint16(u)})
		}
	}
	return nil
}

// find returns the place of a capability in usage, or −1.
func (sc *scratch) find(unit uint32) int {
	for i := range sc.usage {
		if sc.usage[i].unit == unit {
			return i
		}
	}
	return -1
}

// inChain reports whether every id of a scope is in the call's chain.
func (sc *scratch) inChain(scope []string) bool {
	for _, id := range scope {
		if !sc.chainHas(id) {
			return false
		}
	}
	return true
}

func (sc *scratch) chainHas(id string) bool {
	for _, at := range sc.path {
		if at.id == id {
			return true
		}
	}
	return false
}

// place finds the slots of the targets in the periods that contain at. Targets
// whose assignment is gone are left out.
func (sc *scratch) place(e *Enforcer, at int64) {
	gone := false
	for i := range sc.targets {
		t := &sc.targets[i]
		t.slot = e.slotAt(&t.item.meter, t.item.terms, at)
		gone = gone || t.slot == nil
	}
	if gone {
		sc.targets = slices.DeleteFunc(sc.targets, func(t target) bool { return t.slot == nil })
	}
}

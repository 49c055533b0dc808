package fsm

import "github.com/bursar-dev/bursar/fsm/price"

// Quantity is an amount of one capability.
type Quantity struct {
	Capability string `msgpack:"c"`
	Amount     int64  `msgpack:"a"`
}

// Line charges one budget. The node that accepted the event resolved it; the
// state machine applies it as it stands, unless the assignment is gone.
//
// Amount is what was used. Drawn is the part that comes out of a lease of node
// On: the hold of the reservation being settled, or what the accepting node
// had to spare. The rest (Amount − Drawn) is an overdraft: it was spent without
// having been set aside, so it can only push the budget over.
type Line struct {
	Budget BudgetKey `msgpack:"b"`
	Amount int64     `msgpack:"a"`
	Drawn  int64     `msgpack:"d,omitempty"`
	On     NodeNum   `msgpack:"o,omitempty"`
}

// Event is one accepted ingest event on its way into the ledger. Exactly-once is by (Account, ID).
type Event struct {
	Account      string            `msgpack:"ac"`
	ID           string            `msgpack:"id"`
	Hash         [32]byte          `msgpack:"h"` // of the canonical body; tells a duplicate from a conflict
	Entities     []string          `msgpack:"en,omitempty"`
	Chain        []string          `msgpack:"ch,omitempty"` // every entity charged, named ones first, each with its ancestors
	Key          string            `msgpack:"ky,omitempty"`
	Member       string            `msgpack:"me,omitempty"`
	Model        string            `msgpack:"mo,omitempty"`
	Tier         price.Tier        `msgpack:"ti,omitempty"` // service tier that the model was used in
	Pricing      *Pricing          `msgpack:"pr,omitempty"` // nil: usd was given, or no model was
	Usage        []Quantity        `msgpack:"us"`           // derived amounts included, ascending by capability
	At           int64             `msgpack:"at"`
	ReceivedAt   int64             `msgpack:"rt"`
	Node         NodeNum           `msgpack:"no"` // that accepted it
	Reservation  string            `msgpack:"rs,omitempty"`
	Unattributed bool              `msgpack:"un,omitempty"` // no entity of it is provisioned
	Metadata     map[string]string `msgpack:"md,omitempty"`
	Lines        []Line            `msgpack:"ln,omitempty"`
}

// EventOutcome says what became of one event of a Reconcile command.
type EventOutcome uint8

// The outcomes of an event.
const (
	Settled    EventOutcome = iota + 1 // charged now
	Duplicate                          // the same event had been charged before
	IDConflict                         // the id was used before with another body
	Dropped                            // its account is gone
	TooOld                             // it is of a time that retention has closed: it may have been charged before
)

// LedgerLine is an event as the ledger keeps it: one line an event, and one for each
// correction of it. Append-only.
type LedgerLine struct {
	Seq     uint64 `msgpack:"seq"` // 1, 2, 3 … per account, without gaps
	Kind    string `msgpack:"kind"`
	Index   uint64 `msgpack:"index"` // log index that settled it
	Settled int64  `msgpack:"settled"`
	Overage bool   `msgpack:"overage,omitempty"` // a budget was over its limit after it
	Late    bool   `msgpack:"late,omitempty"`    // its time lies in a period that had ended when it was settled
	Event   Event  `msgpack:"event"`

	// Of a line that corrects one; Event.Usage and Event.Lines are differences there.
	Corrects   uint64 `msgpack:"corrects,omitempty"`   // Seq of the event's line
	Correction string `msgpack:"correction,omitempty"` // the correction's id
	Reason     string `msgpack:"reason,omitempty"`

	// Hash chains the line to the one before it (see chain.go). Zero: it was written before the account's chain began.
	Hash [32]byte `msgpack:"hash"`
}

// KindUsage is the kind of a line that records an event; those that correct one are in correct.go.
const KindUsage = "usage"

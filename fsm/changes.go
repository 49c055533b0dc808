package fsm

// Observer is told what a batch of log entries changed. It is called by the
// apply goroutine, after the changes are in the state, and for whoever reads it in the store, and
// before the next batch; it must not block and must not call Apply. The slices
// belong to the observer.
type Observer interface {
	Applied(c *Changes)
}

// Changes is what a batch of log entries changed.
type Changes struct {
	Index  uint64     // of the last entry of the batch
	Full   bool       // a snapshot replaced everything: read all from a View, trust nothing kept
	Config []string   // accounts that are new, or changed themselves: name, time zone, freezing
	Tree   []EntityID // entities that are new, changed, hang elsewhere, or whose assignments changed
	Terms  []uint64   // assignments that are new or changed
	Global bool       // entity types, capabilities or settings changed
	Tokens bool       // tokens changed
	Prices bool       // the price book has a new version
	Nodes  bool       // membership, deaths, boots changed
	// Budgets is every budget touched, as it is now; but for those of which a node that stops gave back
	// the slice it was born with, and that are unused and stay so. Then Nodes is set.
	Budgets []Budget
	Deleted []uint64        // assignments deleted
	Events  []EventApplied  // every event seen, with what became of it
	Seen    []ReleaseResult // every release seen
}

// EntityID names an entity.
type EntityID struct{ Account, ID string }

// EventApplied is one event of the batch.
type EventApplied struct {
	Account     string
	ID          string
	Node        NodeNum // whose part carried it
	Reservation string
	Outcome     EventOutcome
	Lines       []Line // as applied; empty unless Settled
}

// ReleaseResult is one release of the batch, applied now or earlier.
type ReleaseResult struct {
	Node NodeNum
	Boot uint64
	Seq  uint64
}

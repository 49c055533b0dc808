package baseline

import "context"

// Tree is the budgets that a Store keeps: one for each entity named by a chain.
type Tree struct {
	Chains [][]string // of each caller: itself first, the root last
	Limit  int64      // of every entity
}

// Event is one call to be recorded.
type Event struct {
	ID     string
	Caller int // index in Tree.Chains
	Amount int64
}

// Store keeps budgets outside Bursar. Charge and Record are safe for concurrent use.
type Store interface {
	// Name says what it is and how durable.
	Name() string
	// Setup makes the budgets, under a name of this run's own.
	Setup(ctx context.Context, t Tree) error
	// Charge takes the amount from every budget of the caller's chain if all of
	// them have room, and reports whether they had.
	Charge(ctx context.Context, e Event) (granted bool, err error)
	// Record charges events that have happened, over the limit too, each id once.
	Record(ctx context.Context, events []Event) error
	// Used returns what has been charged to an entity.
	Used(ctx context.Context, entity string) (int64, error)
	// Close removes what Setup made and closes the connections.
	Close() error
}

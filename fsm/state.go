package fsm

import "github.com/cockroachdb/pebble/v2"

// state is the hot part of the replicated state. Machine guards it with a
// read-write lock: the apply goroutine writes, views read.
type state struct {
	index, term uint64 // last applied entry
	sum         uint64 // running checksum of all writes up to index
	now         int64  // logical clock: the largest Command.At seen

	settings *Settings
	nodes    []*Node // nodes[i].Num == i+1

	types    map[string]*EntityType
	caps     map[string]*Capability
	accounts map[string]*tenant

	nextAssignment uint64
	assignments    map[uint64]*Assignment

	budgets map[BudgetKey]*Budget  // recent periods; older ones are in the store only
	held    map[BudgetKey]struct{} // those of budgets that have a holder

	tokens   map[[32]byte]*Token // by digest
	tokenIDs map[string]*Token

	auditSeq  uint64
	auditHash [32]byte
}

// tenant is an account with its tree.
type tenant struct {
	Account
	entities    map[string]*Entity
	children    map[string][]string      // by parent, ascending
	assignments map[string][]*Assignment // by entity, ascending by Num
	ledgerSeq   uint64
}

// txn is one log entry being applied: it changes the state and collects the same
// changes as store writes and for the observer. Nothing is changed before the
// command has been validated, so a rejection leaves no trace but its outcome.
type txn struct {
	s       *state
	cmd     *Command
	index   uint64
	batch   *pebble.Batch // of the whole ApplyBatch call
	changes *Changes
	roster  Roster // as of this entry, Leader set from the command
}

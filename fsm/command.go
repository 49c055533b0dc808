package fsm

// Actor is who asked for a change. It goes into the audit trail.
type Actor struct {
	Type string `msgpack:"t"` // "token", or "node" for what the cluster does by itself
	ID   string `msgpack:"i"` // token id or node name
	Name string `msgpack:"n,omitempty"`
	IP   string `msgpack:"p,omitempty"`
}

// Command is one change of the replicated state. ID makes it idempotent: a
// command whose outcome is unknown is proposed again under the same ID and
// takes effect once. At and Leader are stamped by the leader that proposes it;
// the state machine has no other clock.
type Command struct {
	ID     string  `msgpack:"id"` // a ULID; empty for Reconcile, whose parts carry their own identities
	At     int64   `msgpack:"at"`
	Leader NodeNum `msgpack:"ld"`
	Actor  Actor   `msgpack:"ac"`
	Body   Body    `msgpack:"-"`
}

// Body is the variant part of a command: one of the structs in this file.
type Body interface{ kind() kind }

// kind is a command's tag in the log. Numbers are never reused.
type kind uint8

const (
	kindInit kind = iota + 1
	kindPutAccount
	kindFreezeAccount
	kindPutEntityTypes
	kindPutCapabilities
	kindPutEntities
	kindArchiveEntity
	kindMoveEntity
	kindPutAssignments
	kindDeleteAssignment
	kindPutToken
	kindDeleteToken
	kindReconcile
	kindAdmitNode
	kindRemoveNode
	kindBootNode
	kindDeadNode
	kindRecoverNode
	kindDrainNode
	kindForfeit
	kindBackup
	kindRestore
	kindEndDoubt
	kindPutPrices
	kindCorrect
	kindFinalizeStatement
	kindPutInvoice
	kindSetRetention
	kindMarkExported
	kindDropLines
)

// Init creates the cluster's settings. Every later Init is a no-op.
type Init struct {
	ClusterID      string `msgpack:"c"`
	Shares         int64  `msgpack:"s"` // DefaultShares
	MaxStalenessMS int64  `msgpack:"m"`
}

// PutAccount creates or renames an account. Creating one creates its root entity.
type PutAccount struct {
	ID       string `msgpack:"id"`
	Name     string `msgpack:"name"`
	Timezone string `msgpack:"timezone,omitempty"` // empty: UTC of a new account, as it is of another
}

// FreezeAccount freezes or unfreezes: a frozen account is refused every check and keeps recording events.
type FreezeAccount struct {
	ID     string `msgpack:"id"`
	Frozen bool   `msgpack:"frozen"`
}

// PutEntityTypes upserts entity types, all or none.
type PutEntityTypes struct {
	Items []EntityType `msgpack:"items"`
}

// PutCapabilities upserts capabilities, all or none. Decimals and unit of an existing one cannot change.
type PutCapabilities struct {
	Items []Capability `msgpack:"items"`
}

// PutEntities upserts entities, all or none. Parents may precede children in the same call.
// Of an existing entity, name and metadata change; a new parent or type is a conflict that points to move.
type PutEntities struct {
	Account string   `msgpack:"account"`
	Items   []Entity `msgpack:"items"` // Parent empty: the account's root
}

// ArchiveEntity archives or unarchives an entity and its subtree.
type ArchiveEntity struct {
	Account  string `msgpack:"account"`
	ID       string `msgpack:"id"`
	Archived bool   `msgpack:"archived"`
}

// MoveEntity hangs an entity with its subtree under another parent.
type MoveEntity struct {
	Account string `msgpack:"account"`
	ID      string `msgpack:"id"`
	Parent  string `msgpack:"parent"`
}

// PutAssignments upserts assignments, all or none.
type PutAssignments struct {
	Account string          `msgpack:"account"`
	Items   []AssignmentPut `msgpack:"items"`
}

// AssignmentPut is one assignment of a PutAssignments. Num and the times of the Assignment are ignored;
// its ID is the one a new assignment gets.
type AssignmentPut struct {
	Assignment Assignment `msgpack:"a"`
	Backfill   bool       `msgpack:"b,omitempty"` // count what the present period already saw; only without scope, and only of one that is new or was made so
}

// DeleteAssignment removes an assignment and its budgets. Ledger lines stay.
type DeleteAssignment struct {
	Account string `msgpack:"account"`
	ID      string `msgpack:"id"`
}

// PutToken stores an access token's digest.
type PutToken struct {
	Token Token `msgpack:"token"`
}

// DeleteToken revokes a token.
type DeleteToken struct {
	ID string `msgpack:"id"`
}

// Reconcile is the hot command: what arrived at the leader from many nodes
// within a few milliseconds. Parts are applied in order; within a part events,
// then releases, then asks, then exits.
type Reconcile struct {
	Parts []Part `msgpack:"p"`
}

// Part is what one node says: lines to settle, slices to give back, slices it needs.
type Part struct {
	Node         NodeNum   `msgpack:"n"`
	Boot         uint64    `msgpack:"b"` // the node's epoch; asks, releases and exits of an older one are ignored, events never
	ReleaseFloor uint64    `msgpack:"f"` // every release sequence below it is known to the node as applied
	Events       []Event   `msgpack:"e,omitempty"`
	Releases     []Release `msgpack:"r,omitempty"`
	Asks         []Ask     `msgpack:"a,omitempty"`
	Exits        []Exit    `msgpack:"x,omitempty"`
}

// Release gives a slice back. (Node, Boot, Seq) makes it exactly-once.
type Release struct {
	Seq    uint64    `msgpack:"s"`
	Budget BudgetKey `msgpack:"b"`
	Amount int64     `msgpack:"a"`
	Final  bool      `msgpack:"f,omitempty"`
	Gen    uint32    `msgpack:"g,omitempty"`
}

// Ask requests a slice; see Budget.ask for what the numbers mean.
type Ask struct {
	Budget  BudgetKey `msgpack:"b"`
	NeedMin int64     `msgpack:"m,omitempty"`
	NeedSum int64     `msgpack:"s,omitempty"`
	Want    int64     `msgpack:"w,omitempty"`
}

// Exit ends the consolidation of a budget the node holds.
type Exit struct {
	Budget BudgetKey `msgpack:"b"`
	Gen    uint32    `msgpack:"g"`
}

// AdmitNode makes a node a member and gives it a NodeNum. A name that is a member keeps its number.
type AdmitNode struct {
	Name string `msgpack:"n"`
	Addr string `msgpack:"a"` // peer address
}

// RemoveNode ends a membership. What the node still has stays in doubt until forfeited.
type RemoveNode struct {
	Name string `msgpack:"n"`
}

// BootNode starts session Boot of a node: releases and asks of older sessions are void.
type BootNode struct {
	Node NodeNum `msgpack:"n"`
	Boot uint64  `msgpack:"b"`
}

// DeadNode says that the leader has not heard from a node for a second. Budgets it held pass to the leader.
type DeadNode struct {
	Node NodeNum `msgpack:"n"`
}

// RecoverNode ends DeadNode: sent by the node itself in session Boot once its outbox is drained.
type RecoverNode struct {
	Node NodeNum `msgpack:"n"`
	Boot uint64  `msgpack:"b"`
}

// DrainNode says, at a graceful stop, that the node has given up everything but
// Keep. Its leases shrink to Keep, and it is not born with slices until its next boot.
type DrainNode struct {
	Node NodeNum `msgpack:"n"`
	Boot uint64  `msgpack:"b"`
	Keep []Keep  `msgpack:"k,omitempty"`
}

// Keep is what a stopping node's live reservations still hold of a budget.
type Keep struct {
	Budget BudgetKey `msgpack:"b"`
	Amount int64     `msgpack:"a"`
}

// Forfeit gives up what a lost node holds. Charge: count it as used; otherwise free it.
type Forfeit struct {
	Name   string `msgpack:"n"`
	Charge bool   `msgpack:"c"`
}

// Backup changes nothing: it puts on record that a copy of everything was taken.
type Backup struct{}

// Restore makes the state of a backup that of a new cluster with one node. It is
// the first entry of that cluster, applied to the backup by `bursar restore`.
type Restore struct {
	ClusterID string  `msgpack:"c"` // of the new cluster
	Node      string  `msgpack:"n"` // its first node
	InDoubt   InDoubt `msgpack:"d"`
}

// InDoubt says what becomes of the leases that the nodes of the cluster that was backed up had.
type InDoubt uint8

// The fates of leases in doubt.
const (
	DoubtWaits   InDoubt = iota // in doubt until no reservation of the time of the backup can be live, then free
	DoubtFreed                  // free at once: it is known that none of it was spent
	DoubtCharged                // used: all of it may have been spent
)

// EndDoubt frees what Restore left in doubt. Rejected before its time has come.
type EndDoubt struct{}

func (Init) kind() kind             { return kindInit }
func (PutAccount) kind() kind       { return kindPutAccount }
func (FreezeAccount) kind() kind    { return kindFreezeAccount }
func (PutEntityTypes) kind() kind   { return kindPutEntityTypes }
func (PutCapabilities) kind() kind  { return kindPutCapabilities }
func (PutEntities) kind() kind      { return kindPutEntities }
func (ArchiveEntity) kind() kind    { return kindArchiveEntity }
func (MoveEntity) kind() kind       { return kindMoveEntity }
func (PutAssignments) kind() kind   { return kindPutAssignments }
func (DeleteAssignment) kind() kind { return kindDeleteAssignment }
func (PutToken) kind() kind         { return kindPutToken }
func (DeleteToken) kind() kind      { return kindDeleteToken }
func (Reconcile) kind() kind        { return kindReconcile }
func (AdmitNode) kind() kind        { return kindAdmitNode }
func (RemoveNode) kind() kind       { return kindRemoveNode }
func (BootNode) kind() kind         { return kindBootNode }
func (DeadNode) kind() kind         { return kindDeadNode }
func (RecoverNode) kind() kind      { return kindRecoverNode }
func (DrainNode) kind() kind        { return kindDrainNode }
func (Forfeit) kind() kind          { return kindForfeit }
func (Backup) kind() kind           { return kindBackup }
func (Restore) kind() kind          { return kindRestore }
func (EndDoubt) kind() kind         { return kindEndDoubt }

// Grant answers an Ask.
type Grant struct {
	Budget BudgetKey `msgpack:"b"`
	Amount int64     `msgpack:"a"`
	Short  bool      `msgpack:"s,omitempty"` // not even NeedMin was free
}

// Outcome is what applying one log entry gave. Err is a rejection, the same on
// every replica; Grants are the answers to each part's asks, in order.
type Outcome struct {
	Index  uint64    `msgpack:"i"`
	Err    *Error    `msgpack:"e,omitempty"`
	Grants [][]Grant `msgpack:"g,omitempty"`
}

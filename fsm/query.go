package fsm

// Queries page through what the store holds, in key order, each at a consistent
// point. after is exclusive and empty at the start; next is empty at the end.
// They take no lock that applying waits for.

// ListAccounts lists accounts by id.
func (m *Machine) ListAccounts(after string, limit int) (items []Account, next string, err error) {
	panic("unwritten")
}

// ListEntityTypes lists entity types by id.
func (m *Machine) ListEntityTypes(after string, limit int) (items []EntityType, next string, err error) {
	panic("unwritten")
}

// ListCapabilities lists capabilities by id, built-in ones included.
func (m *Machine) ListCapabilities(after string, limit int) (items []Capability, next string, err error) {
	panic("unwritten")
}

// ListEntities lists an account's entities by id, the root included.
func (m *Machine) ListEntities(account, after string, limit int) (items []Entity, next string, err error) {
	panic("unwritten")
}

// AssignmentFilter narrows ListAssignments; empty fields match all.
type AssignmentFilter struct {
	Entity     string
	Capability string
}

// ListAssignments lists an account's assignments by id (which is by creation time).
func (m *Machine) ListAssignments(account string, f AssignmentFilter, after string, limit int) (items []Assignment, next string, err error) {
	panic("unwritten")
}

// Assignment returns one assignment of an account by id, or ErrNotFound.
func (m *Machine) Assignment(account, id string) (Assignment, error) { panic("unwritten") }

// ListTokens lists tokens by id; account empty: all, otherwise only those of the account.
func (m *Machine) ListTokens(account, after string, limit int) (items []Token, next string, err error) {
	panic("unwritten")
}

// AuditFilter narrows ListAudit; zero fields match all. From is inclusive, To exclusive.
type AuditFilter struct {
	Account  string
	Action   string // exact, or a prefix that ends with "."
	Actor    string // id
	Target   string
	From, To int64
}

// ListAudit lists audit entries newest first; after is the sequence number to continue below, 0 at the start.
func (m *Machine) ListAudit(f AuditFilter, after uint64, limit int) (items []AuditEntry, next uint64, err error) {
	panic("unwritten")
}

// VerifyAudit recomputes the audit trail's hash chain and returns its length, or
// the first sequence number at which it breaks.
func (m *Machine) VerifyAudit() (entries, brokenAt uint64, err error) { panic("unwritten") }

// LedgerFilter narrows ListLedger; zero fields match all.
type LedgerFilter struct {
	Entity       string // in the event's chain
	Model        string
	Key          string
	Capability   string
	EventID      string
	From, To     int64 // of the event's time, [From, To)
	Unattributed bool
	OldestFirst  bool
}

// ListLedger lists an account's lines by sequence number, newest first unless
// OldestFirst; after is exclusive, 0 at the start. It reads at most
// maxLedgerScan lines a call: a page may be short, or empty, and still have a next.
func (m *Machine) ListLedger(account string, f LedgerFilter, after uint64, limit int) (items []LedgerLine, next uint64, err error) {
	panic("unwritten")
}

// TreeRow is one assignment of one entity with its present budget.
type TreeRow struct {
	Entity     Entity
	Depth      int // of the entity; the root is 1
	Assignment Assignment
	Budget     Budget
	Start, End int64
}

// Rows calls f for every assignment of account whose entity lies in the subtree
// of root (empty: the whole account), parents before children, siblings by id, at most depth levels
// down (0: all), with the budget of the period that contains now. Archived
// entities are left out. f returning false stops it.
func (v *View) Rows(account, root string, depth int, now int64, f func(TreeRow) bool) {
	panic("unwritten")
}

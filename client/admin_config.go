package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// PutEntityTypes creates or changes entity types and returns them as stored.
func (a *Admin) PutEntityTypes(ctx context.Context, types []EntityType) ([]EntityType, error) {
	out, err := write[EntityTypes](ctx, a, http.MethodPut, "/v1/entity-types", repeatable, EntityTypes{EntityTypes: types})
	return out.EntityTypes, err
}

// EntityTypes lists the cluster's entity types by id.
func (a *Admin) EntityTypes(ctx context.Context) iter.Seq2[EntityType, error] {
	return pages[EntityType](ctx, a, "/v1/entity-types", nil)
}

// PutCapabilities creates or changes capabilities and returns them as stored.
// Unit and decimals of an existing one cannot change.
func (a *Admin) PutCapabilities(ctx context.Context, caps []Capability) ([]Capability, error) {
	out, err := write[Capabilities](ctx, a, http.MethodPut, "/v1/capabilities", repeatable, Capabilities{Capabilities: caps})
	return out.Capabilities, err
}

// Capabilities lists what is metered, by id, built-in ones included.
func (a *Admin) Capabilities(ctx context.Context) iter.Seq2[Capability, error] {
	return pages[Capability](ctx, a, "/v1/capabilities", nil)
}

// PutAccount creates an account, or changes the name and, if given, the time zone of one.
func (a *Admin) PutAccount(ctx context.Context, account Account) (Account, error) {
	return write[Account](ctx, a, http.MethodPut, accountPath(account.ID), repeatable, Account{Name: account.Name, Timezone: account.Timezone})
}

// Account returns an account.
func (a *Admin) Account(ctx context.Context, id string) (Account, error) {
	return get[Account](ctx, a, accountPath(id))
}

// Accounts lists the accounts that the token covers, by id.
func (a *Admin) Accounts(ctx context.Context) iter.Seq2[Account, error] {
	return pages[Account](ctx, a, "/v1/accounts", nil)
}

// FreezeAccount makes every check of an account be refused; what was used is
// still recorded. UnfreezeAccount ends that.
func (a *Admin) FreezeAccount(ctx context.Context, id string) (Account, error) {
	return write[Account](ctx, a, http.MethodPost, accountPath(id)+"/freeze", repeatable, nil)
}

// UnfreezeAccount: see FreezeAccount.
func (a *Admin) UnfreezeAccount(ctx context.Context, id string) (Account, error) {
	return write[Account](ctx, a, http.MethodPost, accountPath(id)+"/unfreeze", repeatable, nil)
}

// PutEntities creates entities or changes their names and metadata, and returns
// them as stored. Parents may come before or after their children. The parent of an existing
// entity is changed with MoveEntity.
func (a *Admin) PutEntities(ctx context.Context, account string, entities []Entity) ([]Entity, error) {
	out, err := write[Entities](ctx, a, http.MethodPut, accountPath(account)+"/entities", repeatable, Entities{Entities: entities})
	return out.Entities, err
}

// Entities lists an account's entities by id, the root and archived ones included.
func (a *Admin) Entities(ctx context.Context, account string) iter.Seq2[Entity, error] {
	return pages[Entity](ctx, a, accountPath(account)+"/entities", nil)
}

// Entity returns one entity.
func (a *Admin) Entity(ctx context.Context, account, id string) (Entity, error) {
	return get[Entity](ctx, a, entityPath(account, id))
}

// MoveEntity hangs an entity with its subtree under another parent. What was charged stays where it was.
func (a *Admin) MoveEntity(ctx context.Context, account, id, parent string) (Entity, error) {
	return write[Entity](ctx, a, http.MethodPost, entityPath(account, id)+"/move", repeatable, MoveEntity{Parent: parent})
}

// ArchiveEntity archives an entity with its subtree: their checks are refused. UnarchiveEntity ends that.
func (a *Admin) ArchiveEntity(ctx context.Context, account, id string) (Entity, error) {
	return write[Entity](ctx, a, http.MethodPost, entityPath(account, id)+"/archive", repeatable, nil)
}

// UnarchiveEntity: see ArchiveEntity.
func (a *Admin) UnarchiveEntity(ctx context.Context, account, id string) (Entity, error) {
	return write[Entity](ctx, a, http.MethodPost, entityPath(account, id)+"/unarchive", repeatable, nil)
}

// PutAssignments creates or changes assignments and returns them as stored. An
// assignment is the one it was if entity, capability, scope and cadence are.
func (a *Admin) PutAssignments(ctx context.Context, account string, assignments []Assignment) ([]Assignment, error) {
	out, err := write[Assignments](ctx, a, http.MethodPut, accountPath(account)+"/assignments", repeatable, Assignments{Assignments: assignments})
	return out.Assignments, err
}

// Assignments lists an account's assignments. Empty filters match all.
func (a *Admin) Assignments(ctx context.Context, account string, f AssignmentFilter) iter.Seq2[Assignment, error] {
	return pages[Assignment](ctx, a, accountPath(account)+"/assignments", f.query())
}

// Assignment returns one assignment by id.
func (a *Admin) Assignment(ctx context.Context, account, id string) (Assignment, error) {
	return get[Assignment](ctx, a, accountPath(account)+"/assignments/"+url.PathEscape(id))
}

// DeleteAssignment removes an assignment and its budgets. The ledger keeps what was charged.
func (a *Admin) DeleteAssignment(ctx context.Context, account, id string) error {
	return a.remove(ctx, accountPath(account)+"/assignments/"+url.PathEscape(id))
}

// CreateToken makes an access token. Its secret is in the answer's Token, this once.
func (a *Admin) CreateToken(ctx context.Context, t Token) (Token, error) {
	return write[Token](ctx, a, http.MethodPost, "/v1/tokens", once, t)
}

// Tokens lists access tokens by id, without their secrets.
func (a *Admin) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return pages[Token](ctx, a, "/v1/tokens", nil)
}

// DeleteToken revokes a token. It is dead on every node when this returns.
func (a *Admin) DeleteToken(ctx context.Context, id string) error {
	return a.remove(ctx, "/v1/tokens/"+url.PathEscape(id))
}

// AssignmentFilter narrows Assignments and Balances. Empty fields match all.
type AssignmentFilter struct {
	Entity     string
	Capability string
}

func (f AssignmentFilter) query() url.Values {
	q := url.Values{}
	setText(q, "entity", f.Entity)
	setText(q, "capability", f.Capability)
	return q
}

func accountPath(account string) string { return "/v1/accounts/" + url.PathEscape(account) }

func entityPath(account, id string) string {
	return accountPath(account) + "/entities/" + url.PathEscape(id)
}

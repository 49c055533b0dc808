package fsm

import "time"

// Documents are what the audit trail keeps of a thing before and after a change: JSON in
// the API's shape, without secrets. Their bytes are part of the replicated state.

type accountDocument struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Frozen    bool   `json:"frozen"`
	Timezone  string `json:"timezone"`
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
}

func (a *Account) document() any {
	return accountDocument{ID: a.ID, Name: a.Name, Frozen: a.Frozen, Timezone: a.Zone(), CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(a.UpdatedAt)}
}

type entityTypeDocument struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Parents []string `json:"parents"`
}

func (e *EntityType) document() any {
	return entityTypeDocument{ID: e.ID, Name: e.Name, Parents: list(e.Parents)}
}

type capabilityDocument struct {
	ID       string `json:"id"`
	Unit     string `json:"unit"`
	Decimals uint8  `json:"decimals"`
}

func (c *Capability) document() any {
	return capabilityDocument{ID: c.ID, Unit: c.Unit, Decimals: c.Decimals}
}

type entityDocument struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Parent     string            `json:"parent,omitempty"`
	Name       string            `json:"name"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	Archived   bool              `json:"archived"`
	ArchivedBy string            `json:"archived_by,omitempty"`
	CreatedAt  string            `json:"created_at"`
	UpdatedAt  string            `json:"updated_at"`
}

func (e *Entity) document() any {
	return entityDocument{
		ID: e.ID, Type: e.Type, Parent: e.Parent, Name: e.Name, Metadata: e.Metadata,
		Archived: e.Archived, ArchivedBy: e.ArchivedBy, CreatedAt: timestamp(e.CreatedAt), UpdatedAt: timestamp(e.UpdatedAt),
	}
}

type cadenceDocument struct {
	Every    Every  `json:"every"`
	Timezone string `json:"timezone"`
	Anchor   string `json:"anchor,omitempty"`
}

func (c Cadence) document() cadenceDocument {
	d := cadenceDocument{Every: c.Every, Timezone: c.Timezone}
	if c.Anchored {
		d.Anchor = timestamp(c.Anchor)
	}
	return d
}

type assignmentDocument struct {
	ID          string          `json:"id"`
	Entity      string          `json:"entity"`
	Capability  string          `json:"capability"`
	Limit       *int64          `json:"limit"`
	Cadence     cadenceDocument `json:"cadence"`
	Enforcement Enforcement     `json:"enforcement"`
	Mode        Mode            `json:"mode"`
	Scope       []string        `json:"scope"`
	Thresholds  []int           `json:"alert_thresholds"`
	Backfill    bool            `json:"backfill"`
	CreatedAt   string          `json:"created_at"`
	UpdatedAt   string          `json:"updated_at"`
}

func (a *Assignment) document() any {
	d := assignmentDocument{
		ID: a.ID, Entity: a.Entity, Capability: a.Capability, Cadence: a.Cadence.document(),
		Enforcement: a.Enforcement, Mode: a.Mode, Scope: list(a.Scope), Thresholds: list(a.Thresholds), Backfill: a.Backfill,
		CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(a.UpdatedAt),
	}
	if !a.Unlimited {
		d.Limit = &a.Limit
	}
	return d
}

type tokenDocument struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Role      Role    `json:"role"`
	Account   *string `json:"account"`
	ExpiresAt *string `json:"expires_at"`
	CreatedAt string  `json:"created_at"`
}

// document leaves the digest out: it is not the secret, but what a login is compared with.
func (k *Token) document() any {
	d := tokenDocument{ID: k.ID, Name: k.Name, Role: k.Role, CreatedAt: timestamp(k.CreatedAt)}
	if k.Account != "" {
		d.Account = &k.Account
	}
	if k.ExpiresAt != 0 {
		at := timestamp(k.ExpiresAt)
		d.ExpiresAt = &at
	}
	return d
}

type nodeDocument struct {
	ID         string `json:"id"`
	Num        uint16 `json:"num"`
	Addr       string `json:"addr"`
	AdmittedAt string `json:"admitted_at"`
	RemovedAt  string `json:"removed_at,omitempty"`
}

func (n *Node) document() any {
	d := nodeDocument{ID: n.Name, Num: uint16(n.Num), Addr: n.Addr, AdmittedAt: timestamp(n.AdmittedAt)}
	if n.RemovedAt != 0 {
		d.RemovedAt = timestamp(n.RemovedAt)
	}
	return d
}

// forfeitDocument is the "to" of a node.forfeit: how many budgets gave how much of the node's leases up.
type forfeitDocument struct {
	ID      string `json:"id"`
	Charge  bool   `json:"charge"`
	Budgets int    `json:"budgets"`
}

// restoreDocument is the "from" and "to" of a cluster.restore.
type restoreDocument struct {
	ID         string `json:"id"` // of the cluster
	At         string `json:"at"` // of the backup; the restoring
	Nodes      int    `json:"nodes"`
	InDoubt    string `json:"in_doubt,omitempty"` // what became of the former nodes' leases
	DoubtUntil string `json:"doubt_until,omitempty"`
}

// endDoubtDocument is the "to" of a cluster.end_doubt.
type endDoubtDocument struct {
	Budgets int `json:"budgets"` // in which something was set free
}

// timestamp writes Unix milliseconds as RFC 3339 in UTC.
func timestamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// list makes an absent list an empty one, as the API writes it.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

package client

import (
	"encoding/json"
	"time"
)

// This file holds the control plane's wire types, as the contract shapes them.
// The server uses the same ones, so the two cannot drift apart. Pointers are
// fields that may be null or left out. Doc tags become the OpenAPI document.

// List is the shape of every list. Next is null at the end; pass it as after to continue.
type List[T any] struct {
	Items []T     `json:"items" nullable:"false"`
	Next  *string `json:"next" nullable:"true" doc:"cursor of the next page; null at the end"`
}

// Problem is an RFC 9457 error.
type Problem struct {
	Type    string           `json:"type"`
	Title   string           `json:"title"`
	Status  int              `json:"status"`
	Code    string           `json:"code"`
	Detail  string           `json:"detail"`
	Errors  []FieldError     `json:"errors,omitempty"`
	Numbers map[string]int64 `json:"numbers,omitempty"`
}

// FieldError names one wrong field of a request.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// EntityType is a kind of node in the tree.
type EntityType struct {
	ID      string   `json:"id"`
	Name    string   `json:"name" required:"false"`
	Parents []string `json:"parents" required:"false" nullable:"false" doc:"types it may hang under; empty: any"`
}

// EntityTypes is the body of PUT /v1/entity-types and its answer.
type EntityTypes struct {
	EntityTypes []EntityType `json:"entity_types" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Capability is something metered.
type Capability struct {
	ID       string `json:"id"`
	Unit     string `json:"unit" minLength:"1"`
	Decimals int    `json:"decimals" required:"false" minimum:"0" maximum:"18" doc:"10^decimals of the smallest unit make one unit"`
	Builtin  bool   `json:"builtin" required:"false" readOnly:"true"`
}

// Capabilities is the body of PUT /v1/capabilities and its answer.
type Capabilities struct {
	Capabilities []Capability `json:"capabilities" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Account is a tenant.
type Account struct {
	ID        string     `json:"id,omitempty" readOnly:"true"`
	Name      string     `json:"name" minLength:"1"`
	Timezone  string     `json:"timezone,omitempty" doc:"IANA name of the time zone that usage is summed in; UTC unless given; fixed once there are ledger lines"`
	Frozen    bool       `json:"frozen" required:"false" readOnly:"true"`
	CreatedAt *time.Time `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt *time.Time `json:"updated_at,omitempty" readOnly:"true"`
}

// Entity is a node of an account's tree.
type Entity struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Parent    *string           `json:"parent" required:"false" doc:"default: the account's root; null for the root itself"`
	Name      string            `json:"name" required:"false"`
	Metadata  map[string]string `json:"metadata" required:"false"`
	Archived  bool              `json:"archived" required:"false" readOnly:"true"`
	CreatedAt *time.Time        `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt *time.Time        `json:"updated_at,omitempty" readOnly:"true"`
}

// Entities is the body of PUT …/entities and its answer.
type Entities struct {
	Entities []Entity `json:"entities" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Cadence says when a budget starts anew. On the wire it is an object, or a bare string for the cadence in UTC.
type Cadence struct {
	Every    string     `json:"every" enum:"minute,hour,day,week,month,quarter,year,never"`
	Timezone string     `json:"timezone,omitempty" doc:"IANA name; default UTC"`
	Anchor   *time.Time `json:"anchor,omitempty" doc:"a moment at which a period starts; default: calendar boundaries"`
}

// UnmarshalJSON accepts the object and the bare string.
func (c *Cadence) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*c = Cadence{}
		return json.Unmarshal(data, &c.Every)
	}
	type object Cadence
	return json.Unmarshal(data, (*object)(c))
}

// Assignment gives an entity a budget. Limit nil is unlimited but metered.
type Assignment struct {
	ID              string     `json:"id,omitempty" readOnly:"true"`
	Entity          string     `json:"entity"`
	Capability      string     `json:"capability"`
	Limit           *int64     `json:"limit" minimum:"0" maximum:"1000000000000000000" doc:"in the capability's smallest unit; null: unlimited but metered"`
	Cadence         Cadence    `json:"cadence"`
	Enforcement     string     `json:"enforcement,omitempty" enum:"hard,soft" doc:"default hard"`
	Mode            string     `json:"mode,omitempty" enum:"cap,allocated" doc:"default cap"`
	Scope           []string   `json:"scope" required:"false" nullable:"false" doc:"entities that must all be in a call's chain for it to apply"`
	AlertThresholds []int      `json:"alert_thresholds" required:"false" nullable:"false" doc:"percent"`
	Backfill        bool       `json:"backfill" required:"false" doc:"count what the period already saw when the assignment is made; not with a scope. Of one that exists it says how that was made, and does not change"`
	CreatedAt       *time.Time `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt       *time.Time `json:"updated_at,omitempty" readOnly:"true"`
}

// Assignments is the body of PUT …/assignments and its answer.
type Assignments struct {
	Assignments []Assignment `json:"assignments" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Balance is the present account of one assignment.
type Balance struct {
	Assignment  string           `json:"assignment"`
	Entity      string           `json:"entity"`
	Capability  string           `json:"capability"`
	Scope       []string         `json:"scope" nullable:"false"`
	Cadence     Cadence          `json:"cadence"`
	Enforcement string           `json:"enforcement"`
	Limit       *int64           `json:"limit"`
	Used        int64            `json:"used"`
	Reserved    int64            `json:"reserved" doc:"live reservations and events on their way into the ledger, on live nodes"`
	Leased      map[string]int64 `json:"leased" nullable:"false" doc:"by node"`
	InDoubt     int64            `json:"in_doubt" doc:"leased to nodes that are dead, stopped or removed"`
	Available   *int64           `json:"available" doc:"limit - used - reserved - in_doubt, at least 0; null: unlimited"`
	PeriodStart time.Time        `json:"period_start"`
	ResetsAt    *time.Time       `json:"resets_at" doc:"null: never"`
}

// TreeRow is one (entity, assignment) of GET …/tree.
type TreeRow struct {
	ID        string     `json:"id"`
	Type      string     `json:"type"`
	Parent    *string    `json:"parent"`
	Name      string     `json:"name"`
	Depth     int        `json:"depth"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	Balance
	Utilization *float64 `json:"utilization" doc:"used / limit, for display; null: unlimited"`
}

// Token is an access token. Token.Token is present once, in the answer that made it.
type Token struct {
	ID        string     `json:"id,omitempty" readOnly:"true"`
	Name      string     `json:"name" minLength:"1"`
	Role      string     `json:"role" enum:"root,admin,auditor,service"`
	Account   *string    `json:"account" required:"false" doc:"null: all accounts"`
	ExpiresAt *time.Time `json:"expires_at" required:"false"`
	Token     string     `json:"token,omitempty" readOnly:"true"`
	CreatedAt *time.Time `json:"created_at,omitempty" readOnly:"true"`
}

// AuditEntry is one change of the configuration.
type AuditEntry struct {
	Seq     uint64          `json:"seq"`
	At      time.Time       `json:"at"`
	Actor   Actor           `json:"actor"`
	Action  string          `json:"action"`
	Account *string         `json:"account"`
	Target  string          `json:"target"`
	From    json.RawMessage `json:"from"`
	To      json.RawMessage `json:"to"`
	IP      string          `json:"ip" doc:"empty: the change was not asked for over HTTP"`
	Index   uint64          `json:"index"`
	Hash    string          `json:"hash"`
}

// Actor is who made a change.
type Actor struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// LedgerLine is one event as the ledger keeps it.
type LedgerLine struct {
	Seq          uint64            `json:"seq"`
	EventID      string            `json:"event_id"`
	Kind         string            `json:"kind"`
	Account      string            `json:"account"`
	Entities     []string          `json:"entities" nullable:"false"`
	Chain        []string          `json:"chain" nullable:"false"`
	Key          *string           `json:"key"`
	Member       *string           `json:"member"`
	Model        *string           `json:"model"`
	Usage        map[string]int64  `json:"usage"`
	PriceVersion *int64            `json:"price_version"` // of the price book that usd was derived by; nil: it was not
	PriceModel   *string           `json:"price_model"`   // name in that price map that Model was found under
	PriceTerms   []PriceTerm       `json:"price_terms" nullable:"false"`
	ServiceTier  string            `json:"service_tier"` // of the model: "standard", "batch", "flex" or "priority"
	Unpriced     bool              `json:"unpriced"`     // the model, or some of what was used, has no price
	At           time.Time         `json:"at"`
	ReceivedAt   time.Time         `json:"received_at"`
	SettledAt    time.Time         `json:"settled_at"`
	Node         string            `json:"node"`
	NodeNumber   int               `json:"node_number"` // Hash covers it instead of the name
	Index        uint64            `json:"index"`
	Reservation  *string           `json:"reservation"`
	Overage      bool              `json:"overage"`
	Late         bool              `json:"late"`
	Unattributed bool              `json:"unattributed"`
	Metadata     map[string]string `json:"metadata"`
	Corrects     *uint64           `json:"corrects"`   // of a void, adjust or reprice: seq of the event's line, to which Usage is the difference
	Correction   *string           `json:"correction"` // the id of the adjustment
	Reason       string            `json:"reason"`
	Charges      []LedgerCharge    `json:"charges" nullable:"false"`
	BodyHash     string            `json:"body_hash"` // of what the caller sent: SHA-256, hex
	Hash         *string           `json:"hash"`      // chains the line to the one before it: SHA-256, hex; see ChainHash. Nil: the line is older than the account's chain
}

// LedgerCharge is what a line charged one budget.
type LedgerCharge struct {
	Assignment       *string   `json:"assignment"` // id; nil: the assignment has been deleted
	AssignmentNumber uint64    `json:"assignment_number"`
	PeriodStart      time.Time `json:"period_start"`
	Amount           int64     `json:"amount"`
	Drawn            int64     `json:"drawn"`    // the part of Amount that had been set aside
	DrawnOn          int       `json:"drawn_on"` // number of the node that had set it aside; 0: none
}

// Adjustment corrects what one event counts as.
type Adjustment struct {
	ID           string           `json:"id" required:"false" maxLength:"128" doc:"of the caller's choice: the same one takes effect once; left out: one is made"`
	EventID      string           `json:"event_id" minLength:"1"`
	Kind         string           `json:"kind" enum:"void,adjust,reprice" doc:"void: it counts for nothing; adjust: with the amounts given; reprice: with the usd that the price book gives"`
	Usage        map[string]int64 `json:"usage,omitempty" doc:"with adjust: what the event counts as, of these capabilities; the others, derived ones too, stay"`
	PriceVersion uint64           `json:"price_version,omitempty" doc:"with reprice: the version of the price book; left out: the one that is effective at the event's time"`
	Reason       string           `json:"reason" required:"false"`
	DryRun       bool             `json:"dry_run" required:"false" doc:"only show what the event would count as"`
	Seq          *uint64          `json:"seq" required:"false" readOnly:"true" doc:"of the line in the ledger; null in a dry run, or if nothing changes"`
	CountsAs     map[string]int64 `json:"counts_as" required:"false" readOnly:"true" doc:"what the event counts as afterwards"`
}

// Repricing says which events are priced anew.
type Repricing struct {
	Model        string     `json:"model" minLength:"1"`
	From         *time.Time `json:"from,omitempty" doc:"only events at or after this time"`
	To           *time.Time `json:"to,omitempty" doc:"only events before this time"`
	PriceVersion uint64     `json:"price_version,omitempty" doc:"left out: the one that is effective at each event's time"`
	Reason       string     `json:"reason" required:"false"`
	DryRun       bool       `json:"dry_run" required:"false" doc:"only show the differences"`
	Limit        int        `json:"limit,omitempty" minimum:"1" maximum:"1000" doc:"lines to look at; 500 if left out"`
	After        string     `json:"after,omitempty" doc:"next of the page before"`
}

// Repriced is one page of a Repricing.
type Repriced struct {
	Items  []RepricedEvent `json:"items" nullable:"false" doc:"events whose cost differs"`
	Looked int             `json:"looked" doc:"events that were looked at"`
	DryRun bool            `json:"dry_run"`
	Next   *string         `json:"next"`
}

// RepricedEvent is an event whose cost differs, in nano-dollars.
type RepricedEvent struct {
	EventID string `json:"event_id"`
	From    int64  `json:"from"`
	To      int64  `json:"to"`
}

// UsageSum is the sum of the ledger lines of one group in one bucket of time.
type UsageSum struct {
	Group  map[string]*string `json:"group" doc:"a value for each dimension of group_by; model is null of events that name none"`
	Bucket time.Time          `json:"bucket" doc:"when the hour, day or month begins"`
	Usage  map[string]int64   `json:"usage"`
	Events int64              `json:"events"`
}

// Cluster is the answer of GET /v1/cluster.
type Cluster struct {
	ID      string   `json:"id"`
	Node    string   `json:"node"`
	Leader  *string  `json:"leader"`
	State   string   `json:"state"`
	Term    uint64   `json:"term"`
	Commit  uint64   `json:"commit"`
	Applied uint64   `json:"applied"`
	Members []Member `json:"members" nullable:"false"`
}

// Member is one node of a Cluster.
type Member struct {
	ID        string           `json:"id"`
	Address   string           `json:"address"`
	Voter     bool             `json:"voter"`
	Leader    bool             `json:"leader"`
	Status    string           `json:"status" enum:"live,dead,drained,removed"`
	Session   uint64           `json:"session" doc:"epoch: grows with every start of the node"`
	Applied   uint64           `json:"applied"`
	LastHeard *time.Time       `json:"last_heard"`
	InDoubt   map[string]int64 `json:"in_doubt" nullable:"false" doc:"amounts leased to a dead or removed node, by capability"`
}

// MoveEntity is the body of POST …/entities/{id}/move.
type MoveEntity struct {
	Parent string `json:"parent" minLength:"1" doc:"entity to hang it under, with its subtree"`
}

// ForfeitNode is the body of POST /v1/cluster/nodes/{id}/forfeit.
type ForfeitNode struct {
	Charge bool `json:"charge" doc:"true counts what the lost node held as used, for it may have been spent; false sets it free, for it is known not to have been"`
}

// TransferLeadership is the body of POST /v1/cluster/transfer-leadership.
type TransferLeadership struct {
	To string `json:"to,omitempty" doc:"node id; empty: the most suitable"`
}

// AuditVerification is the answer of GET /v1/audit/verify.
type AuditVerification struct {
	Valid    bool    `json:"valid"`
	Entries  uint64  `json:"entries" doc:"length of the trail"`
	BrokenAt *uint64 `json:"broken_at" doc:"sequence number of the first entry whose hash does not follow; null: none"`
}

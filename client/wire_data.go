package client

import "time"

// This file holds the data plane's wire types, as the contract shapes them.
// Amounts are integers in the capability's smallest unit.

// Usage is an amount per capability, in the capability's smallest unit.
type Usage map[string]int64

// Code is the stable name of a decision.
type Code string

// The codes of a decision. CodeUnavailable never comes over the wire as a
// decision: the client gives it to one it made itself under FailOpen.
const (
	CodeOK              Code = "ok"
	CodeUngoverned      Code = "ungoverned"
	CodeBudgetExhausted Code = "budget_exhausted"
	CodeExceedsLimit    Code = "exceeds_limit"
	CodeRateLimited     Code = "rate_limited"
	CodeModelBlocked    Code = "model_blocked"
	CodeIPBlocked       Code = "ip_blocked"
	CodeMemberBlocked   Code = "member_blocked"
	CodeKeyUnknown      Code = "key_unknown"
	CodeKeyRevoked      Code = "key_revoked"
	CodeKeyExpired      Code = "key_expired"
	CodeAccountFrozen   Code = "account_frozen"
	CodeEntityArchived  Code = "entity_archived"
	CodeUnavailable     Code = "unavailable"
)

// CheckRequest is the body of POST /v1/check: may this call be made?
// It names Account and Entities, or the end user's Key.
type CheckRequest struct {
	Account      string   `json:"account,omitempty"`
	Entities     []string `json:"entities,omitempty"`
	Key          string   `json:"key,omitempty"`
	Usage        Usage    `json:"usage,omitempty"` // empty: one request
	Model        string   `json:"model,omitempty"`
	ServiceTier  string   `json:"service_tier,omitempty"` // of the model: "batch", "flex" or "priority"; empty: standard
	IP           string   `json:"ip,omitempty"`
	Member       string   `json:"member,omitempty"`
	ReserveTTLMS int64    `json:"reserve_ttl_ms,omitempty"` // 0: decide without holding the amounts; else 1,000 to 3,600,000
	Explain      bool     `json:"explain,omitempty"`        // answer with Chain
}

// CheckResponse is a decision.
type CheckResponse struct {
	Allowed      bool       `json:"allowed"`
	Code         Code       `json:"code"`
	Reservation  string     `json:"reservation,omitempty"` // id of the hold; empty: none was asked for
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`  // of the hold
	Remaining    Usage      `json:"remaining,omitempty"`   // the least over the chain, per capability asked for
	Warnings     []Warning  `json:"warnings,omitempty"`
	DeniedBy     *Denial    `json:"denied_by,omitempty"`
	RetryAfterMS int64      `json:"retry_after_ms,omitempty"`
	Policy       string     `json:"policy,omitempty"` // that said no
	Chain        []ChainRow `json:"chain,omitempty"`  // only with Explain
	Index        uint64     `json:"index,omitempty"`  // log index of the state decided on

	// Degraded says that no node of Bursar answered and this client granted the
	// call by itself, because its options say FailOpen.
	Degraded bool `json:"-"`
}

// Warning is a soft limit that is exceeded.
type Warning struct {
	Code       string `json:"code"`
	Entity     string `json:"entity"`
	Capability string `json:"capability"`
	Limit      int64  `json:"limit"`
	Used       int64  `json:"used"`
}

// Denial is the assignment that had no room. Used + Reserved + Requested > Limit.
type Denial struct {
	Entity     string     `json:"entity"`
	Type       string     `json:"type"`
	Capability string     `json:"capability"`
	Scope      []string   `json:"scope"`
	Cadence    Cadence    `json:"cadence"`
	Limit      int64      `json:"limit"`
	Used       int64      `json:"used"`
	Reserved   int64      `json:"reserved"` // neither used nor spendable
	Requested  int64      `json:"requested"`
	ResetsAt   *time.Time `json:"resets_at"` // nil: never
}

// ChainRow is one matching assignment as the decision saw it.
type ChainRow struct {
	Entity      string     `json:"entity"`
	Type        string     `json:"type"`
	Parent      *string    `json:"parent"` // nil: it is the root
	Capability  string     `json:"capability"`
	Scope       []string   `json:"scope"`
	Cadence     Cadence    `json:"cadence"`
	Enforcement string     `json:"enforcement"`
	Limit       *int64     `json:"limit"` // nil: unlimited
	Used        int64      `json:"used"`
	Reserved    int64      `json:"reserved"`
	Remaining   *int64     `json:"remaining"` // nil: unlimited
	PeriodStart time.Time  `json:"period_start"`
	ResetsAt    *time.Time `json:"resets_at"` // nil: never
	Allowed     bool       `json:"allowed"`
}

// ChecksRequest is the body of POST /v1/checks: 1 to 100 checks, decided in order.
type ChecksRequest struct {
	Checks []CheckRequest `json:"checks"`
}

// Event is what a call used. (Account, ID) makes it exactly-once.
type Event struct {
	ID          string            `json:"id"`
	Account     string            `json:"account,omitempty"`
	Entities    []string          `json:"entities,omitempty"`
	Key         string            `json:"key,omitempty"`
	Usage       Usage             `json:"usage"`
	Model       string            `json:"model,omitempty"`
	ServiceTier string            `json:"service_tier,omitempty"` // of the model: "batch", "flex" or "priority"; empty: standard
	Member      string            `json:"member,omitempty"`
	At          time.Time         `json:"at,omitempty,omitzero"`
	Reservation string            `json:"reservation,omitempty"` // that this event settles
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// IngestRequest is the body of POST /v1/ingest: 1 to 1,000 events, at most 1 MiB.
type IngestRequest struct {
	Events []Event `json:"events"`
}

// The durabilities of an IngestResponse.
const (
	DurabilityQuorum = "quorum" // on the disks of a majority
	DurabilityNode   = "node"   // on one node's disk; it will be replicated
)

// IngestResponse says what became of the events.
type IngestResponse struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"` // had been recorded before; not counted again
	Rejected   []Rejection `json:"rejected"`
	Durability string      `json:"durability"`
}

// Rejection is one event that was not recorded, and never will be as it is.
type Rejection struct {
	Index  int    `json:"index"` // in the request
	ID     string `json:"id"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ExtendRequest is the body of POST /v1/reservations/{id}/extend.
type ExtendRequest struct {
	TTLMS int64 `json:"ttl_ms"`
}

// ExtendResponse answers an extend.
type ExtendResponse struct {
	ExpiresAt time.Time `json:"expires_at"`
}

// ReleaseResponse answers a release with the amounts set free.
type ReleaseResponse struct {
	Released Usage `json:"released"`
}

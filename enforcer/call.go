package enforcer

import (
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// Call is one check as parsed from a request. It is pooled: the byte slices
// point into the request and live as long as it does.
type Call struct {
	Account    []byte
	Entities   [][]byte
	Usage      []Usage // never empty: requests 1 when the caller gave none; ascending by capability, without repeats
	Key        []byte  // a key's secret; answered key_unknown until keys exist
	Model      []byte
	Tier       price.Tier // service tier of the model
	Member     []byte
	ReserveTTL int64 // milliseconds; 0: decide without reserving
	Explain    bool
}

// Usage is an amount of one capability.
type Usage struct {
	Capability []byte
	Amount     int64
}

// Code is the stable name of a decision.
type Code string

// The codes of a decision, as the contract lists them.
const (
	CodeOK              Code = "ok"
	CodeUngoverned      Code = "ungoverned"
	CodeBudgetExhausted Code = "budget_exhausted"
	CodeExceedsLimit    Code = "exceeds_limit"
	CodeKeyUnknown      Code = "key_unknown"
	CodeAccountFrozen   Code = "account_frozen"
	CodeEntityArchived  Code = "entity_archived"
)

// Decision answers a Call. It is pooled and reused: Reset before use. A granted
// decision without warnings or explain costs no allocation.
type Decision struct {
	Allowed      bool
	Code         Code
	Reservation  [MaxReservationID]byte // text form; ReservationLen bytes of it, 0: none
	ReservationN int
	ExpiresAt    int64       // of the reservation, Unix milliseconds
	Remaining    []Remaining // the least over the chain, per capability asked for that is limited
	Warnings     []Row       // soft limits that are exceeded, with what they count now
	RetryAfter   int64       // milliseconds; 0: none
	Denied       Row         // set iff Code is budget_exhausted or exceeds_limit
	Requested    int64       // the amount that did not fit
	Chain        []Row       // only with Explain
	Index        uint64      // log index of the state decided on
}

// MaxReservationID is the length of the text form of a reservation id.
const MaxReservationID = 40

// Remaining is what is left of one capability.
type Remaining struct {
	Capability string
	Amount     int64
}

// Row is one matching assignment as a decision saw it.
type Row struct {
	Assignment *fsm.Assignment
	EntityType string
	Parent     string // of the entity; empty: it is the root
	Limit      int64  // as Used and Reserved go with it; meaningless when unlimited
	Used       int64
	Reserved   int64 // neither used nor spendable
	Remaining  int64 // meaningless when unlimited
	Start, End int64 // of the period; End fsm.Forever: never resets
	Allowed    bool
}

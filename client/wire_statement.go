package client

import "time"

// StatementHead is a statement without its rows. Amounts are integers in the smallest unit of their capability.
type StatementHead struct {
	ID      *string         `json:"id" doc:"the month, as 2026-10; null of a preview that is no month"`
	Account string          `json:"account"`
	Final   bool            `json:"final" doc:"it never changes; false: a preview"`
	From    time.Time       `json:"from" doc:"of the lines' own times"`
	To      time.Time       `json:"to" doc:"exclusive"`
	Layout  StatementLayout `json:"layout"`

	Timezone   string  `json:"timezone"`
	Previous   *string `json:"previous" doc:"id of the statement that it continues; null: it is the first, or a preview of another range"`
	AfterSeq   uint64  `json:"after_seq" doc:"through_seq of the previous one: later lines of its time are adjustments here"`
	ThroughSeq uint64  `json:"through_seq" doc:"seq of the last ledger line that was looked at; lines after it are in a later statement"`
	Chained    bool    `json:"chained" doc:"it continues the account's statements, or begins them; false: a preview of just the lines of its range"`

	Lines  StatementLines   `json:"lines"`
	Totals []StatementTotal `json:"totals" nullable:"false" doc:"by capability"`

	Invoice     Invoice    `json:"invoice"`
	FinalizedAt *time.Time `json:"finalized_at"`
	Index       uint64     `json:"index" doc:"log index that finalized it, or that the preview was read at"`
}

// Statement says what an account used in a month, and what has been found out since about the months before.
type Statement struct {
	StatementHead
	Usage       []StatementUsage      `json:"usage" nullable:"false"`
	Adjustments []StatementAdjustment `json:"adjustments" nullable:"false"`
}

// StatementLayout says which lines share a row.
type StatementLayout struct {
	EntityType  string `json:"entity_type,omitempty" doc:"a line stands under the first entity of its chain that is of this type"`
	Depth       *int   `json:"depth,omitempty" minimum:"0" maximum:"31" doc:"or under the entity so many levels below the root, or under the one it names if that is higher; 0: the account as a whole; 1 unless an entity_type is given"`
	MergeModels bool   `json:"merge_models" required:"false" doc:"lines of all models share a row"`
}

// StatementLines says which lines of the ledger a statement accounts for.
type StatementLines struct {
	Count    uint64  `json:"count"`
	FirstSeq *uint64 `json:"first_seq"`
	LastSeq  *uint64 `json:"last_seq"`
	Late     uint64  `json:"late" doc:"of the usage of its own time, those that settled after the end of it"`
	Hash     string  `json:"hash" doc:"SHA-256, in hex, over the 32-byte hash of each line, in the order of seq"`
}

// StatementTotal is what a statement says of one capability.
type StatementTotal struct {
	Capability  string `json:"capability"`
	Unit        string `json:"unit"`
	Decimals    int    `json:"decimals"`
	Opening     int64  `json:"opening" doc:"closing of the statement before; of the first, what was used before it"`
	Usage       int64  `json:"usage"`
	Adjustments int64  `json:"adjustments"`
	Total       int64  `json:"total" doc:"usage + adjustments"`
	Closing     int64  `json:"closing" doc:"opening + total"`
}

// StatementUsage is the sum of some lines of a statement's own time.
type StatementUsage struct {
	Entity *string          `json:"entity" doc:"null: under none of the layout's type"`
	Name   string           `json:"name" doc:"of the entity, when the statement was made"`
	Model  *string          `json:"model"`
	Events int64            `json:"events"`
	Usage  map[string]int64 `json:"usage"`
}

// StatementAdjustment is the sum of some corrections, or of usage that arrived after its month was finalized.
type StatementAdjustment struct {
	Kind   string           `json:"kind" enum:"late,void,adjust,reprice" doc:"late: usage of a month that had been finalized"`
	Period time.Time        `json:"period" doc:"start of the month that is adjusted"`
	Entity *string          `json:"entity"`
	Name   string           `json:"name"`
	Model  *string          `json:"model"`
	Reason string           `json:"reason"`
	Lines  int64            `json:"lines"`
	Events int64            `json:"events" doc:"a void counts -1, an adjust or a reprice 0"`
	Usage  map[string]int64 `json:"usage" doc:"differences"`
}

// Invoice is what a statement took from the account's invoice settings when it was finalized.
type Invoice struct {
	Number     *string    `json:"number"`
	Date       *time.Time `json:"date" doc:"null of a preview"`
	Due        *time.Time `json:"due"`
	Seller     Party      `json:"seller"`
	Buyer      Party      `json:"buyer"`
	TaxNote    string     `json:"tax_note"`
	Currency   string     `json:"currency"`
	Capability string     `json:"capability" doc:"the one that is money"`
	Decimals   int        `json:"decimals" doc:"of capability"`
	Total      int64      `json:"total" doc:"usage and adjustments of capability, in its smallest unit"`
}

// Party is one side of an invoice.
type Party struct {
	Name    string   `json:"name" required:"false"`
	Address []string `json:"address" required:"false" nullable:"false" maxItems:"8" doc:"line by line"`
	TaxID   string   `json:"tax_id" required:"false"`
	Contact string   `json:"contact" required:"false"`
}

// InvoiceSettings is the body of PUT …/invoice and its answer: what the account's next statements take in.
type InvoiceSettings struct {
	Seller        Party            `json:"seller" required:"false"`
	Buyer         Party            `json:"buyer" required:"false"`
	TaxNote       string           `json:"tax_note" required:"false"`
	Currency      string           `json:"currency,omitempty" doc:"ISO 4217; USD if left out"`
	Capability    string           `json:"capability,omitempty" doc:"the one that is money; usd if left out"`
	DueDays       int              `json:"due_days" required:"false" minimum:"0" maximum:"3650" doc:"days after the date; 0: no due date"`
	Numbers       *InvoiceNumbers  `json:"numbers" required:"false" doc:"null: invoices are not numbered by themselves"`
	CloseLagHours *int             `json:"close_lag_hours,omitempty" minimum:"0" maximum:"744" doc:"a month can be finalized so long after its end; 24 if left out"`
	Layout        *StatementLayout `json:"layout,omitempty"`
	UpdatedAt     *time.Time       `json:"updated_at,omitempty" readOnly:"true"`
}

// InvoiceNumbers is a sequence of invoice numbers: the prefix, and 1, 2, 3 … with leading zeros.
type InvoiceNumbers struct {
	Prefix string `json:"prefix" required:"false"`
	Digits int    `json:"digits" required:"false" minimum:"0" maximum:"12"`
	Next   uint64 `json:"next" required:"false" doc:"left out: as it was, or 1"`
}

// FinalizeStatement is the body of POST …/statements. Nothing in it: the next month, as the invoice settings say.
type FinalizeStatement struct {
	Month  string           `json:"month,omitempty" doc:"as 2026-10, in the account's time zone; left out: the next"`
	Number string           `json:"number,omitempty" doc:"of the invoice; left out: the next of the sequence, if there is one"`
	Layout *StatementLayout `json:"layout,omitempty"`
}

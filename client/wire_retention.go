package client

import "time"

// Retention says how long an account's ledger lines are kept.
type Retention struct {
	Days          *int `json:"days" nullable:"true" doc:"since a line was settled, 30 to 36500; null: for ever"`
	RequireExport bool `json:"require_export" required:"false" doc:"drop only lines that were acknowledged as exported"`

	LastSeq         uint64     `json:"last_seq" required:"false" readOnly:"true"`
	ExportedThrough uint64     `json:"exported_through" required:"false" readOnly:"true" doc:"lines up to this one were acknowledged as exported"`
	DroppedThrough  uint64     `json:"dropped_through" required:"false" readOnly:"true" doc:"lines up to this one are gone"`
	DroppedUntil    *time.Time `json:"dropped_until" required:"false" readOnly:"true" nullable:"true" doc:"the latest time of an event that is gone; new ones of this time and before are refused"`
	DiskBytes       DiskBytes  `json:"disk_bytes" required:"false" readOnly:"true" doc:"about what the ledger takes on the answering node's disk; what was written or dropped lately is not in it yet"`
}

// DiskBytes is what an account's ledger takes on a node's disk.
type DiskBytes struct {
	Lines  uint64 `json:"lines" required:"false"`
	Index  uint64 `json:"index" required:"false"`
	Events uint64 `json:"events" required:"false"` // ids that make an event count once
	Sums   uint64 `json:"sums" required:"false"`
	Total  uint64 `json:"total" required:"false"`
}

// ExportMark says how far an account's ledger has been copied elsewhere.
type ExportMark struct {
	ThroughSeq uint64  `json:"through_seq" minimum:"1"`
	Hash       *string `json:"hash" required:"false" nullable:"true" doc:"of that line, which proves that it was copied; null of a line that has none"`
}

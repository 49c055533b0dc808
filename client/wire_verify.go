package client

// LedgerVerification is what recomputing an account's ledger from its lines found.
type LedgerVerification struct {
	Account        string        `json:"account"`
	Valid          bool          `json:"valid"` // nothing is wrong
	Index          uint64        `json:"index"` // log index it was read at
	Lines          uint64        `json:"lines"`
	FirstSeq       uint64        `json:"first_seq"`       // 0: there is no line
	LastSeq        uint64        `json:"last_seq"`        //
	ChainFrom      uint64        `json:"chain_from"`      // the first line that has a hash; 0: none has
	Head           string        `json:"head"`            // hash of the last line, hex; empty: it has none
	DroppedThrough uint64        `json:"dropped_through"` // lines up to this one were dropped by retention
	Checked        VerifiedRows  `json:"checked"`         // rows that were compared with the lines
	Unchecked      VerifiedRows  `json:"unchecked"`       // rows that the lines that there are cannot tell
	Faults         []LedgerFault `json:"faults" nullable:"false"`
	FaultCount     uint64        `json:"fault_count"` // Faults has the first 100
}

// VerifiedRows counts what was compared.
type VerifiedRows struct {
	Events     uint64 `json:"events"`     // ids that make an event count once
	IndexRows  uint64 `json:"index_rows"` // of the index by which queries find lines
	Budgets    uint64 `json:"budgets"`
	Sums       uint64 `json:"sums"` // of usage, by bucket, dimension, value and model
	Statements uint64 `json:"statements"`
}

// LedgerFault is one thing that is not as the lines say.
type LedgerFault struct {
	Kind     string `json:"kind" enum:"missing_line,unreadable,line_hash,double_event,price_terms,event_row,correction_row,index_row,budget_used,usage_row,statement,ledger_mark,foreign_account"`
	Seq      uint64 `json:"seq"`      // of the line; 0: it is no line's
	EventID  string `json:"event_id"` // empty: it is no event's
	Where    string `json:"where"`    // which row
	Expected string `json:"expected"` // by the lines
	Found    string `json:"found"`    // in the store
}

// VerifyProgress is how far a verification is.
type VerifyProgress struct {
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"` // at least
}

// VerifyReport is one line of a verification that is streamed: progress, and the result last.
type VerifyReport struct {
	Progress *VerifyProgress     `json:"progress,omitempty"`
	Result   *LedgerVerification `json:"result,omitempty"`
}

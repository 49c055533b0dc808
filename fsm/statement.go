package fsm

import (
	"cmp"
	"slices"
	"time"
)

// A statement says what an account used in one month, and what has been found out since about the months before.
// Finalized, it never changes. The statements of an account form a chain: each begins where the one before
// ended, and has been read up to a line S of the ledger that is not before that one's.
//
// A line belongs to the first statement that ends after its time and was read up
// to it or beyond. So of the lines that statement n (a month [from, to), read up to S) accounts for,
// those with from ≤ at < to are its usage, or adjustments to it if they are corrections, and those with at < from
// are adjustments of months that were finalized before: they came after S of the statement before. Every line is in
// exactly one statement of a chain that is long enough, whatever arrives when.

// The limits of a statement.
const (
	MaxStatementRows  = 10_000              // of usage and adjustments together
	MaxStatementBytes = 4 << 20             // of an encoded statement's rows
	MaxReasonRows     = 1_000               // adjustments are told apart by their reasons up to so many
	DefaultCloseLag   = 24 * time.Hour      // see InvoiceSettings.CloseLagMS
	MaxCloseLag       = 31 * 24 * time.Hour // the same
)

// maxStatementAmounts is how many amounts there may be in the rows of a statement that is being added up: an encoded Quantity has
// at least eight bytes, so one with more is beyond MaxStatementBytes in any case.
const maxStatementAmounts = MaxStatementBytes / 8

// AdjustmentLate is the kind of an adjustment that is usage of a month finalized before it
// arrived. The other kinds are those of the lines: KindVoid, KindAdjust and KindReprice.
const AdjustmentLate = "late"

// StatementLayout says which lines share a row.
type StatementLayout struct {
	// EntityType: a line stands under the first entity of its chain that is of this type, under none
	// if there is none. Empty: Depth decides.
	EntityType string `msgpack:"t,omitempty"`
	// Depth: a line stands under the ancestor of the first entity it names that is so many
	// levels below the root, or under that entity if it is higher. 0 is the account as a whole.
	Depth int `msgpack:"d,omitempty"`
	// MergeModels: lines of all models share a row.
	MergeModels bool `msgpack:"m,omitempty"`
}

// DefaultLayout is that of an account for which nothing else was said.
func DefaultLayout() StatementLayout { return StatementLayout{Depth: 1} }

// StatementHead is a statement without its rows.
type StatementHead struct {
	Account  string          `msgpack:"a"`
	ID       string          `msgpack:"i"` // the month, as 2026-10; empty of a draft that is no month
	From     int64           `msgpack:"f"` // of the lines' times, [From, To), Unix milliseconds
	To       int64           `msgpack:"t"`
	Timezone string          `msgpack:"z"`
	Layout   StatementLayout `msgpack:"y"`

	Previous string `msgpack:"p,omitempty"` // ID of the statement before; empty: the first
	After    uint64 `msgpack:"s"`           // Through of the statement before
	Through  uint64 `msgpack:"u"`           // the last line that was looked at: what comes after it is in a later statement
	Loose    bool   `msgpack:"o,omitempty"` // a draft that continues no chain: just the lines of its range

	Lines  StatementLines   `msgpack:"l"`
	Totals []StatementTotal `msgpack:"n"` // ascending by capability

	Invoice     Invoice `msgpack:"v"`
	FinalizedAt int64   `msgpack:"w,omitempty"` // zero: a draft
	Index       uint64  `msgpack:"x,omitempty"` // log index that finalized it, or that a draft was read at
}

// StatementLines says which lines a statement accounts for.
type StatementLines struct {
	Count uint64 `msgpack:"c"`
	First uint64 `msgpack:"f"` // Seq of the first; 0: none
	Last  uint64 `msgpack:"l"`
	Late  uint64 `msgpack:"t"` // of the usage of its own time, those settled after the end of it
	// Hash is SHA-256 over the hash of each, in the order of Seq. Of a line that was written before its ledger
	// was chained (its Hash is zero) that is its ChainHash after none.
	Hash [32]byte `msgpack:"h"`
}

// StatementTotal is what a statement says of one capability, in its smallest unit. Closing is Opening + Usage + Adjustments.
type StatementTotal struct {
	Capability string `msgpack:"c"`
	Unit       string `msgpack:"u,omitempty"`
	Decimals   uint8  `msgpack:"d,omitempty"`
	// Opening is Closing of the statement before. Of the first one it is the sum of the lines before its time.
	Opening     int64 `msgpack:"o"`
	Usage       int64 `msgpack:"s"`
	Adjustments int64 `msgpack:"a"`
	Closing     int64 `msgpack:"e"`
}

// Total is what the statement adds: usage and adjustments.
func (t *StatementTotal) Total() int64 { return t.Closing - t.Opening }

// StatementRow is the sum of some lines. Rows of usage have Entity, Name and Model;
// those of adjustments have Kind, Period and Reason too.
type StatementRow struct {
	Kind   string     `msgpack:"k,omitempty"`
	Period int64      `msgpack:"p,omitempty"` // start of the month that is adjusted, Unix milliseconds
	Entity string     `msgpack:"e,omitempty"` // empty: none of the layout's type
	Name   string     `msgpack:"n,omitempty"` // of the entity, as it was when the statement was made
	Model  string     `msgpack:"m,omitempty"`
	Reason string     `msgpack:"r,omitempty"`
	Lines  int64      `msgpack:"l"`
	Events int64      `msgpack:"v"` // a void counts -1, an adjustment or a repricing 0
	Usage  []Quantity `msgpack:"u"` // ascending by capability
}

// StatementRows are the rows of a statement, each list ascending by the fields of a row in their order.
type StatementRows struct {
	Usage       []StatementRow `msgpack:"u,omitempty"`
	Adjustments []StatementRow `msgpack:"a,omitempty"`
}

// Statement is a whole statement.
type Statement struct {
	StatementHead
	StatementRows
}

// monthOnly is how a statement's id is written.
const monthOnly = "2006-01"

// MonthOf returns the range of a calendar month in a time zone, given as 2026-10.
func MonthOf(timezone, month string) (from, to int64, err error) {
	t, bad := time.Parse(monthOnly, month)
	if bad != nil {
		return 0, 0, invalid("month", "is %q; write it as 2026-10", month)
	}
	middle := t.AddDate(0, 0, 14).UnixMilli() // in that month in every time zone
	if middle < minTime || middle > maxTime {
		return 0, 0, invalid("month", "is %q, which lies outside the years 2 to 9998", month)
	}
	from, to = Cadence{Every: EveryMonth, Timezone: timezone}.Period(middle)
	return from, to, nil
}

// monthAt returns the month that contains a time, as MonthOf takes it.
func monthAt(timezone string, at int64) (month string, from, to int64) {
	from, to = Cadence{Every: EveryMonth, Timezone: timezone}.Period(at)
	return time.UnixMilli(from + 14*dayMS).UTC().Format(monthOnly), from, to
}

// checkSize refuses rows that are too many or too long to be stored. Other errors are of the encoding.
func (r *StatementRows) checkSize() error {
	if n := len(r.Usage) + len(r.Adjustments); n > MaxStatementRows {
		err := tooLarge("the statement has more than %d rows", MaxStatementRows)
		err.Numbers["rows"] = int64(n)
		return err
	}
	data, err := encodeValue(r)
	if err != nil {
		return err
	}
	if len(data) > MaxStatementBytes {
		err := tooLarge("the statement's rows have more than %d bytes", MaxStatementBytes)
		err.Numbers["bytes"] = int64(len(data))
		return err
	}
	return nil
}

// total returns the statement's total of a capability, or nil.
func (s *StatementHead) total(capability string) *StatementTotal {
	i, found := slices.BinarySearchFunc(s.Totals, capability, func(t StatementTotal, c string) int { return cmp.Compare(t.Capability, c) })
	if !found {
		return nil
	}
	return &s.Totals[i]
}

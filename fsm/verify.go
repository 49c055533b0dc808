package fsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// VerifyLedger recomputes from an account's ledger lines everything that is derived from them, and compares:
//
//	chain        every number is there once, and each line has the hash of itself and the one before
//	prices       the terms and the usd of each event, by the version of the price book that it names
//	events       each event id points at its line, and nothing points at a line that is not there; corrections too
//	index        each block of lines stands under the values of its lines, and under no others (ledger_index.go)
//	budgets      used is what the lines charged, what a backfill counted, and what was forfeited
//	sums         each rollup row of each bucket and dimension
//	statements   lines, hashes, rows and totals of each finalized statement
//
// It reads one consistent point of the store while applying goes on. Memory is bounded, and lines are read once: what has many
// rows is compared by fingerprints (verify_print.go), and only what differs is compared row by row, in a pass over
// the lines for each part of at most verifyRows rows. Budgets take a pass for each verifyRows of them.
//
// What the lines cannot tell is counted as unchecked and is no fault: sums and budgets of periods
// that begin before a line that retention has dropped, sums that lines from before the chain are in, and
// statements some of whose lines were dropped.

// The kinds of faults.
const (
	FaultMissing    = "missing_line"    // a number without a line
	FaultUnreadable = "unreadable"      // a value that cannot be decoded, or a store that cannot be read
	FaultHash       = "line_hash"       // the line, or the one before it, is not what was written
	FaultDouble     = "double_event"    // two lines record one event
	FaultEvent      = "event_row"       // the row that makes the event count once
	FaultCorrection = "correction_row"  // the rows of a correction
	FaultPrice      = "price_terms"     // the cost of an event, by the price version that it names
	FaultIndex      = "index_row"       // a row of the ledger's index
	FaultBudget     = "budget_used"     // a budget's used
	FaultSum        = "usage_row"       // a sum of usage
	FaultStatement  = "statement"       // a finalized statement
	FaultMark       = "ledger_mark"     // where chain or retention stand
	FaultOther      = "foreign_account" // a line of another account
)

// LedgerFault is one thing that is not as the lines say.
type LedgerFault struct {
	Kind    string
	Seq     uint64 // of the line; 0: it is no line's
	EventID string // empty: it is no event's
	Where   string // which row
	Want    string // by the lines
	Found   string // in the store
}

// maxFaults is how many faults a verification describes. It counts them all.
const maxFaults = 100

// LedgerVerification says what was compared and what is wrong.
type LedgerVerification struct {
	Account   string
	Index     uint64 // log index it was read at
	First     uint64 // line; 0: there is none
	Last      uint64
	Lines     uint64
	ChainFrom uint64   // the first line of the chain; 0: there is none
	Head      [32]byte // hash of the last line
	Dropped   uint64   // lines up to this one were dropped by retention

	Events, IndexRows, Budgets, Sums, Statements         uint64 // rows that were compared
	UncheckedBudgets, UncheckedSums, UncheckedStatements uint64

	Faults     []LedgerFault // the first maxFaults
	FaultCount uint64
}

// Sound reports whether nothing is wrong.
func (v *LedgerVerification) Sound() bool { return v.FaultCount == 0 }

// VerifyOptions are the caller's part of a verification.
type VerifyOptions struct {
	// Step is called every few hundred lines or rows with how many of the work's units are done and how many
	// there are at least. It may wait, so that others get their turn; an error ends the verification. May be nil.
	Step func(done, total uint64) error
}

// Bounds of a verification.
const (
	verifyRows = 1 << 17 // of one kind, kept in memory: about 60 MB of the largest
	verifyStep = 256     // lines or rows between two calls of Step
)

// VerifyLedger verifies an account's ledger at the present index. Errors: ErrNotFound, ctx's or Step's.
func (m *Machine) VerifyLedger(ctx context.Context, account string, o VerifyOptions) (out *LedgerVerification, err error) {
	err = m.read(func(st *store) error {
		out, err = verifyLedger(ctx, st.db, account, &o)
		return err
	})
	return out, err
}

// verifyLedger verifies an account's ledger in a database.
func verifyLedger(ctx context.Context, db *pebble.DB, account string, o *VerifyOptions) (*LedgerVerification, error) {
	snap := db.NewSnapshot()
	defer snap.Close()
	v := &verifier{ctx: ctx, r: snap, o: o, account: account, out: &LedgerVerification{Account: account}, limit: verifyRows}
	err := v.run()
	if errors.Is(err, errStoreUnreadable) {
		v.fault(LedgerFault{Kind: FaultUnreadable, Where: "the store", Found: err.Error()})
		err = nil
	}
	return v.out, err
}

// errStoreUnreadable is a store that Pebble cannot read: a block whose checksum is wrong.
var errStoreUnreadable = errors.New("the store cannot be read")

// verifier is one verification under way.
type verifier struct {
	ctx     context.Context
	r       pebble.Reader // a snapshot
	o       *VerifyOptions
	account string
	out     *LedgerVerification
	limit   int // rows of one kind in memory

	zone string
	mark ledgerMark
	last uint64 // line
	// unsure is the latest time of a line that is gone, or that was written before the chain: what begins no later cannot be checked.
	unsure int64

	budgets *budgetCheck
	sums    *sumCheck

	done, total uint64
}

// get and scan make it a reader, of which errors are those of the store.

func (v *verifier) get(key []byte, into any) (bool, error) {
	value, closer, err := v.r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errStoreUnreadable, err)
	}
	defer closer.Close()
	return true, decodeValue(value, into)
}

func (v *verifier) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	var own error
	err := scan(v.r, lower, upper, reverse, func(key, value []byte) (bool, error) {
		var more bool
		more, own = f(key, value)
		return more, own
	})
	if err != nil && own == nil {
		return fmt.Errorf("%w: %w", errStoreUnreadable, err)
	}
	return err
}

// fault records something that is wrong.
func (v *verifier) fault(f LedgerFault) {
	v.out.FaultCount++
	if len(v.out.Faults) < maxFaults {
		v.out.Faults = append(v.out.Faults, f)
	}
}

// step counts one unit of work.
func (v *verifier) step() error {
	v.done++
	if v.done%verifyStep != 0 {
		return nil
	}
	if err := v.ctx.Err(); err != nil {
		return err
	}
	if v.o.Step == nil {
		return nil
	}
	return v.o.Step(v.done, max(v.done, v.total))
}

func (v *verifier) run() error {
	if err := v.open(); err != nil {
		return err
	}
	budgets, err := newBudgetCheck(v)
	if err != nil {
		return err
	}
	sums, err := newSumCheck(v)
	if err != nil {
		return err
	}
	v.budgets, v.sums = budgets, sums
	v.total = v.done + uint64(budgets.passes)*(v.last-v.mark.Dropped) + sums.stored
	differ, err := v.first()
	if err != nil {
		return err
	}
	for pass := 1; pass < budgets.passes || len(differ) > 0; pass++ {
		var part sumRange
		if len(differ) > 0 {
			part, differ = differ[0], differ[1:]
		}
		if err := v.again(pass, part); err != nil {
			return err
		}
	}
	return v.statements()
}

// first reads the lines and compares everything with them. It returns the parts of the sums that differ, if they are to be compared row by row.
func (v *verifier) first() ([]sumRange, error) {
	v.budgets.begin(0)
	v.sums.beginPrints()
	lines, rows, prices := newLineCheck(v), newRowCheck(v), newPriceCheck(v)
	blocks, err := newBlockCheck(v, rows)
	if err != nil {
		return nil, err
	}
	history := &historyCheck{v: v, rows: rows}
	err = v.eachLine(lines.unreadable, func(seq uint64, l *LedgerLine) error {
		lines.line(seq, l)
		return errors.Join(prices.line(seq, l), blocks.add(seq, l), history.line(seq, l), v.budgets.line(l), v.sums.line(l))
	})
	if err == nil {
		v.out.Head = lines.prev
		err = errors.Join(blocks.flush(), rows.compare(), history.links(), v.budgets.compare(), v.sums.compare())
	}
	if err != nil || v.sums.prints == nil {
		return nil, err
	}
	return v.sums.comparePrints()
}

// again reads the lines once more and compares other budgets and sums with them.
func (v *verifier) again(pass int, part sumRange) error {
	v.budgets.begin(pass)
	v.sums.begin(part)
	err := v.eachLine(nil, func(_ uint64, l *LedgerLine) error { return errors.Join(v.budgets.line(l), v.sums.line(l)) })
	return errors.Join(err, v.budgets.compare(), v.sums.compare())
}

// open reads what the verification starts from.
func (v *verifier) open() error {
	var a Account
	ok, err := v.get(accountKey(v.account), &a)
	if err != nil {
		return err
	}
	if !ok {
		return notFound("no account is called %q", v.account)
	}
	v.zone = a.Timezone
	if _, err := v.get(ledgerMarkKey(v.account), &v.mark); err != nil {
		return err
	}
	v.unsure = minTime
	if v.mark.Dropped > 0 {
		v.unsure = v.mark.DroppedLast
	}
	var s state
	if err := s.loadAppliedMark(v.r); err != nil {
		return err
	}
	v.out.Index, v.out.ChainFrom, v.out.Dropped = s.index, v.mark.ChainFrom, v.mark.Dropped
	v.last = v.mark.Dropped
	lower, upper := prefixRange(accountPrefix(tableLedger, v.account))
	err = v.scan(lower, upper, true, func(key, _ []byte) (bool, error) {
		v.last = max(v.last, binary.BigEndian.Uint64(key[len(key)-8:]))
		return false, nil
	})
	if err != nil || v.mark.ChainFrom == 1 {
		return err
	}
	if v.mark.ChainFrom != 0 {
		upper = ledgerKey(v.account, v.mark.ChainFrom)
	}
	var line lineReader
	return v.scan(lower, upper, false, func(_, value []byte) (bool, error) {
		if line.read(value) == nil {
			v.unsure = max(v.unsure, line.at)
		}
		return true, v.step()
	})
}

// eachLine calls f with the account's lines in order. A line is good for the call. unreadable, if any, is called with those that cannot be decoded.
func (v *verifier) eachLine(unreadable func(seq uint64, err error), f func(seq uint64, l *LedgerLine) error) error {
	var packed packedLine
	lower, upper := prefixRange(accountPrefix(tableLedger, v.account))
	return v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		if err := v.step(); err != nil {
			return false, err
		}
		seq := binary.BigEndian.Uint64(key[len(key)-8:])
		line, err := packed.decode(value)
		if err != nil {
			if unreadable != nil {
				unreadable(seq, err)
			}
			return true, nil
		}
		return true, f(seq, line)
	})
}

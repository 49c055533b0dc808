package fsm

import (
	"encoding/hex"
	"errors"
	"time"
)

// FinalizeStatement makes a draft the statement of its month, for good. The node that drafted it read the
// ledger up to Head.Through; applying adds up nothing. What settles between the draft and this entry has a
// number beyond Through and is in the next statement, so nothing is lost and nothing counts twice.
//
// A month that has a statement keeps it: the command changes nothing then.
type FinalizeStatement struct {
	Head   StatementHead `msgpack:"h"` // as drafted; Invoice, FinalizedAt and Index are set here
	Rows   StatementRows `msgpack:"r"`
	Number string        `msgpack:"n,omitempty"` // of the invoice; empty: the next of the account's sequence
}

func (FinalizeStatement) kind() kind { return kindFinalizeStatement }

func (t *txn) applyFinalizeStatement(c FinalizeStatement) *Error {
	h := &c.Head
	tn, err := t.account(h.Account)
	if err != nil {
		return err
	}
	var stored StatementHead
	if known, bad := t.get(statementKey(tn.ID, h.From), &stored); bad != nil {
		return nil // the whole Apply call fails
	} else if known {
		return stored.repeated(&c)
	}
	previous, bad := latestStatement(t, tn.ID)
	if bad != nil {
		return nil // the same
	}
	settings, bad := invoiceSettingsOf(t, tn.ID)
	if bad != nil {
		return nil // the same
	}
	if err := t.checkStatement(tn, &c, previous, &settings); err != nil {
		return err
	}
	zone, bad := Location(tn.Zone())
	if bad != nil {
		t.fail(bad)
		return nil
	}
	number, err := t.number(tn.ID, c.Number, &settings)
	if err != nil {
		return err
	}
	h.Invoice = settings.invoice(time.UnixMilli(t.s.now).In(zone))
	h.Invoice.Number = number
	h.FinalizedAt, h.Index = t.s.now, t.index
	t.put(statementKey(tn.ID, h.From), h)
	t.put(statementRowsKey(tn.ID, h.From), &c.Rows)
	t.audit(actionFinalize, tn.ID, h.ID, nil, h.document())
	return nil
}

// repeated answers a second finalization of a month.
func (s *StatementHead) repeated(c *FinalizeStatement) *Error {
	if c.Number != "" && c.Number != s.Invoice.Number {
		return conflict("statement %s is finalized, and its invoice number is %q", s.ID, s.Invoice.Number)
	}
	return nil
}

// checkStatement refuses a draft that does not continue the account's chain.
func (t *txn) checkStatement(tn *tenant, c *FinalizeStatement, previous *StatementHead, settings *InvoiceSettings) *Error {
	h := &c.Head
	id, from, to := monthAt(tn.Timezone, h.From)
	var f faults
	f.check("number", numberFault(c.Number))
	if h.ID != id || h.From != from || h.To != to || h.Timezone != tn.Zone() || h.Loose {
		f.add("month", "is %q, and the statement is not of a whole month in the account's time zone %s", h.ID, tn.Zone())
	}
	if err := f.err(); err != nil {
		return err
	}
	if err := h.mayFinalize(previous, settings.CloseLagMS, t.s.now); err != nil {
		return err
	}
	after, name := uint64(0), ""
	if previous != nil {
		after, name = previous.Through, previous.ID
	}
	switch {
	case h.Previous != name || h.After != after:
		return conflict("the draft follows statement %q up to line %d, and the latest is %q up to line %d; draft it anew", h.Previous, h.After, name, after)
	case h.Through < after || h.Through > tn.ledgerSeq || h.Through == 0:
		return conflict("the draft was read up to line %d, and the ledger has lines %d to %d; draft it anew", h.Through, after, tn.ledgerSeq)
	}
	return t.checkStatementContent(c, previous)
}

// mayFinalize refuses a month that is not next, or not over for so long.
func (h *StatementHead) mayFinalize(previous *StatementHead, lag, now int64) *Error {
	switch {
	case h.ID == "":
		return invalid("month", "is missing: only whole months are finalized")
	case previous != nil && h.From != previous.To:
		return outOfTurn(h.Timezone, previous, h.ID)
	case now < h.To+lag:
		return tooEarly(h.ID, h.To, lag, now)
	}
	return nil
}

// tooEarly says when a month can be finalized.
func tooEarly(month string, to, lag, now int64) *Error {
	err := conflict("month %s ends at %s and can be finalized from %s on: its close lag is %d h, for events that arrive late", month, timestamp(to), timestamp(to+lag), lag/hourMS)
	err.Numbers = map[string]int64{"close_lag_ms": lag, "wait_ms": to + lag - now}
	return err
}

// outOfTurn says which month is next.
func outOfTurn(timezone string, latest *StatementHead, asked string) *Error {
	next, _, _ := monthAt(timezone, latest.To)
	if asked < next {
		return conflict("month %s lies before the account's first statement; its usage is in the opening of that", asked)
	}
	return conflict("month %s is not next: the latest statement is %s, finalize %s first", asked, latest.ID, next)
}

// checkStatementContent bounds what is stored, and refuses a statement whose totals are not the sums of its rows.
func (t *txn) checkStatementContent(c *FinalizeStatement, previous *StatementHead) *Error {
	if err := c.Rows.checkSize(); err != nil {
		if refused, ok := errors.AsType[*Error](err); ok {
			return refused
		}
		t.fail(err)
		return nil
	}
	var usage, adjustments rollup
	for i := range c.Rows.Usage {
		usage.addRow(&c.Rows.Usage[i])
	}
	for i := range c.Rows.Adjustments {
		adjustments.addRow(&c.Rows.Adjustments[i])
	}
	for i := range c.Head.Totals {
		total := &c.Head.Totals[i]
		opening := int64(0)
		if previous == nil {
			opening = total.Opening
		} else if before := previous.total(total.Capability); before != nil {
			opening = before.Closing
		}
		if total.Opening != opening || !usage.take(total.Capability, total.Usage) || !adjustments.take(total.Capability, total.Adjustments) || !total.adds() {
			return corruptStatement(total.Capability)
		}
	}
	for _, left := range [][]rollupSum{usage.sums, adjustments.sums} {
		if len(left) > 0 {
			return corruptStatement(left[0].capability)
		}
	}
	if previous != nil {
		for i := range previous.Totals {
			if c.Head.total(previous.Totals[i].Capability) == nil {
				return corruptStatement(previous.Totals[i].Capability)
			}
		}
	}
	return nil
}

func corruptStatement(capability string) *Error {
	return &Error{Code: CodeCorrupt, Message: "the statement's totals of " + capability + " are not the sums of its rows"}
}

func (r *rollup) addRow(row *StatementRow) {
	for _, q := range row.Usage {
		r.add(q.Capability, q.Amount, 0)
	}
}

// take removes the sum of a capability and reports whether it is amount.
func (r *rollup) take(capability string, amount int64) bool {
	for i := range r.sums {
		if r.sums[i].capability == capability {
			n, fits := r.sums[i].amount()
			r.sums = append(r.sums[:i], r.sums[i+1:]...)
			return fits && n == amount
		}
	}
	return amount == 0
}

// adds reports whether closing is the sum of the rest.
func (t *StatementTotal) adds() bool {
	var sum rollupSum
	for _, n := range []int64{t.Opening, t.Usage, t.Adjustments} {
		sum.add(n>>63, uint64(n))
	}
	n, fits := sum.amount()
	return fits && n == t.Closing
}

type statementDocument struct {
	ID      string           `json:"id"`
	From    string           `json:"from"`
	To      string           `json:"to"`
	Through uint64           `json:"through_seq"`
	Lines   uint64           `json:"lines"`
	Hash    string           `json:"hash"`
	Number  string           `json:"number"`
	Totals  map[string]int64 `json:"totals"`
}

func (s *StatementHead) document() any {
	d := statementDocument{
		ID: s.ID, From: timestamp(s.From), To: timestamp(s.To), Through: s.Through,
		Lines: s.Lines.Count, Hash: hex.EncodeToString(s.Lines.Hash[:]), Number: s.Invoice.Number, Totals: map[string]int64{},
	}
	for i := range s.Totals {
		d.Totals[s.Totals[i].Capability] = s.Totals[i].Total()
	}
	return d
}

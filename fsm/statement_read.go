package fsm

import (
	"context"
	"errors"
	"time"
)

// StatementQuery asks for a draft of a statement. Either Month is given, or From and To, or none of them: the
// month that is to be finalized next.
type StatementQuery struct {
	Month    string // 2026-10, in the account's time zone
	From, To int64  // Unix milliseconds, [From, To)
	Layout   *StatementLayout
	// FinalizeAt is a time at which the draft is meant to be finalized, in Unix milliseconds. If it could not be, that
	// is said before the ledger is read. Zero: it is not.
	FinalizeAt int64
}

// draftPage is how many lines a draft holds in memory at once.
const draftPage = MaxPage

// DraftStatement adds up an account's lines as a statement that is not finalized. A month that is next in the account's
// chain, or any range as long as there is no chain, is drafted as it would be finalized; other ranges are loose: just their lines.
//
// It reads every line of the range, from one consistent point, without holding up what is applied; ctx ends it. Errors: *Error
// with CodeNotFound without the account, CodeInvalid, CodeTooLarge for more than MaxStatementRows or MaxStatementBytes,
// CodeConflict for a sum beyond int64, or if there is no line and no range.
func (m *Machine) DraftStatement(ctx context.Context, account string, q StatementQuery) (*Statement, error) {
	d, err := m.pinDraft(account)
	if err != nil {
		return nil, err
	}
	defer d.st.users.Done()
	var out *Statement
	err = func() (err error) {
		defer guard(&err)
		out, err = d.draft(ctx, &q)
		return err
	}()
	return out, err
}

// draft is a statement being drafted, with the store it is read from pinned.
type draft struct {
	m        *Machine
	st       *store
	account  string
	timezone string
	index    uint64
	now      int64  // the clock at that index
	last     uint64 // the ledger's last line
}

// pinDraft notes where the account's ledger ends and keeps the store of that moment open.
func (m *Machine) pinDraft(account string) (*draft, error) {
	d := &draft{m: m, account: account}
	st, err := m.pin(func(s *state) error {
		tn := s.accounts[account]
		if tn == nil {
			return notFound("no account is called %q", account)
		}
		d.timezone, d.index, d.now, d.last = tn.Zone(), s.index, s.now, tn.ledgerSeq
		return nil
	})
	d.st = st
	return d, err
}

func (d *draft) get(key []byte, into any) (bool, error) { return getFrom(d.st.db, key, into) }

func (d *draft) scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error {
	return scan(d.st.db, lower, upper, reverse, f)
}

func (d *draft) draft(ctx context.Context, q *StatementQuery) (*Statement, error) {
	settings, err := invoiceSettingsOf(d, d.account)
	if err != nil {
		return nil, err
	}
	latest, err := latestStatement(d, d.account)
	if err != nil {
		return nil, err
	}
	head := StatementHead{Account: d.account, Timezone: d.timezone, Through: d.last, Index: d.index, Layout: settings.Layout, Invoice: settings.invoice(time.Time{})}
	if q.Layout != nil {
		head.Layout = *q.Layout
	}
	if err := d.m.checkLayout(head.Layout); err != nil {
		return nil, err
	}
	if err := d.span(&head, q, latest); err != nil {
		return nil, err
	}
	var opening []StatementTotal
	if latest != nil {
		if head.Loose = head.From != latest.To; !head.Loose {
			head.Previous, head.After, opening = latest.ID, latest.Through, latest.Totals
		}
	}
	if q.FinalizeAt != 0 {
		if err := d.mayFinalize(&head, latest, settings.CloseLagMS, q.FinalizeAt); err != nil {
			return nil, err
		}
	}
	if err := d.kept(&head); err != nil {
		return nil, err
	}
	sum := newStatementSum(head, d.under(head.Layout))
	if err := d.read(ctx, sum); err != nil {
		return nil, err
	}
	if err := d.kept(&head); err != nil { // lines may have been dropped while they were read
		return nil, err
	}
	out, err := sum.finish(opening)
	if err != nil {
		return nil, err
	}
	d.m.name(out)
	if err := out.checkSize(); err != nil { // with the names; what could not be stored is not proposed
		return nil, err
	}
	return out, nil
}

// kept refuses a range of which lines have been dropped. Those of a draft that continues the chain are not: only
// lines that are in a finalized statement are dropped.
func (d *draft) kept(head *StatementHead) (err error) {
	d.m.View(func(v *View) {
		if tn := v.s.accounts[d.account]; head.Loose && tn.closed(head.From) {
			err = conflict("lines of events until %s were dropped by retention, so nothing before can be drafted any more; finalized statements and sums of usage have it", timestamp(tn.mark.DroppedLast))
		}
	})
	return err
}

// span sets the range of a draft.
func (d *draft) span(head *StatementHead, q *StatementQuery, latest *StatementHead) (err error) {
	switch {
	case q.Month != "":
		head.From, head.To, err = MonthOf(d.timezone, q.Month)
		head.ID = q.Month
		return err
	case q.From != 0 || q.To != 0:
		if q.From >= q.To {
			return invalid("to", "is not after from")
		}
		head.From, head.To = q.From, q.To
		if id, from, to := monthAt(d.timezone, q.From); from == q.From && to == q.To {
			head.ID = id
		}
		return nil
	case latest != nil:
		head.ID, head.From, head.To = monthAt(d.timezone, latest.To)
		return nil
	}
	first, ok, err := d.firstMonth()
	if err == nil && !ok {
		err = conflict("account %q has no ledger lines yet; there is nothing to state", d.account)
	}
	if err == nil {
		head.ID, head.From, head.To = monthAt(d.timezone, first)
	}
	return err
}

// mayFinalize refuses what applying would refuse, and a chain that would begin with empty months.
func (d *draft) mayFinalize(head, latest *StatementHead, lag, at int64) error {
	if err := head.mayFinalize(latest, lag, at); err != nil {
		return err
	}
	if latest != nil {
		return nil
	}
	first, ok, err := d.firstMonth()
	if err == nil && (!ok || head.To <= first) {
		err = conflict("account %q has no ledger lines before the end of %s; there is nothing to state", d.account, head.ID)
	}
	return err
}

// firstMonth returns the start of the first month that the ledger has lines in.
func (d *draft) firstMonth() (start int64, ok bool, err error) {
	prefix := rollupPrefix(nil, d.account, buckets[len(buckets)-1].code, dimEntity)
	lower, upper := prefixRange(prefix)
	err = d.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		if start, _, _, ok = splitRollupRow(key[len(prefix):]); !ok {
			return false, errRollup
		}
		return false, nil
	})
	return start, ok, err
}

// under says which entity a line stands under. Entities that were made since the draft began are not looked at: the lines
// read before them would stand elsewhere than those read after them.
func (d *draft) under(y StatementLayout) func(e *Event) string {
	if y.EntityType == "" {
		return y.byDepth
	}
	return func(e *Event) (id string) {
		d.m.View(func(v *View) {
			id = firstOfChain(e, func(id string) bool {
				x := v.Entity(d.account, id)
				return x != nil && x.Type == y.EntityType && x.CreatedAt <= d.now
			})
		})
		return id
	}
}

// read gives a sum all lines that may belong to it: those of its range up to the end of the statement
// before, then everything before the end of its range.
func (d *draft) read(ctx context.Context, sum *StatementSum) error {
	h := &sum.head
	inRange := LedgerFilter{From: h.From, To: h.To, OldestFirst: true}
	if h.Loose {
		return d.readLines(ctx, sum, &inRange, 0, h.Through)
	}
	if err := d.readLines(ctx, sum, &inRange, 0, h.After); err != nil {
		return err
	}
	return d.readLines(ctx, sum, &LedgerFilter{To: h.To, OldestFirst: true}, h.After, h.Through)
}

// readLines gives a sum the lines in (after, through] that pass a filter.
func (d *draft) readLines(ctx context.Context, sum *StatementSum, f *LedgerFilter, after, through uint64) (err error) {
	for after < through {
		if err := ctx.Err(); err != nil {
			return err
		}
		q := &ledgerQuery{r: d.st.db, account: d.account, f: f, limit: draftPage}
		var lines []LedgerLine
		next := uint64(0)
		if err = q.open(); err == nil {
			lines, next, err = q.page(after)
		}
		if err = errors.Join(err, q.close()); err != nil {
			return err
		}
		for i := range lines {
			if lines[i].Seq > through {
				return nil
			}
			if err := sum.Add(&lines[i]); err != nil {
				return err
			}
		}
		if err := sum.err(); err != nil {
			return err
		}
		if next == 0 {
			return nil
		}
		after = next
	}
	return nil
}

// checkLayout refuses a layout that names what is not there.
func (m *Machine) checkLayout(y StatementLayout) error {
	var f faults
	m.mu.RLock()
	defer m.mu.RUnlock()
	(&txn{s: m.s}).checkLayout(&f, "layout", y)
	if err := f.err(); err != nil {
		return err
	}
	return nil
}

// name puts in what the lines do not say: units of capabilities and names of entities.
func (m *Machine) name(s *Statement) {
	m.View(func(v *View) {
		for i := range s.Totals {
			if c := v.Capability(s.Totals[i].Capability); c != nil {
				s.Totals[i].Unit, s.Totals[i].Decimals = c.Unit, c.Decimals
			}
		}
		for _, rows := range [][]StatementRow{s.Usage, s.Adjustments} {
			for i := range rows {
				if e := v.Entity(s.Account, rows[i].Entity); e != nil {
					rows[i].Name = e.Name
				}
			}
		}
	})
}

// latestStatement returns the head of an account's last statement, nil if it has none.
func latestStatement(r reader, account string) (latest *StatementHead, err error) {
	lower, upper := prefixRange(accountPrefix(tableStatement, account))
	err = r.scan(lower, upper, true, func(_, value []byte) (bool, error) {
		latest = new(StatementHead)
		return false, decodeValue(value, latest)
	})
	return latest, err
}

// ListStatements lists an account's finalized statements, latest first. after is the id to continue below, empty at the start.
func (m *Machine) ListStatements(account, after string, limit int) (items []StatementHead, next string, err error) {
	lower, upper := prefixRange(accountPrefix(tableStatement, account))
	if after != "" {
		from, err := m.monthOf(account, after)
		if err != nil {
			return nil, "", invalid("after", "is not a cursor of this list")
		}
		upper = statementKey(account, from)
	}
	limit = pageSize(limit)
	err = m.scan(lower, upper, true, func(_, value []byte) (bool, error) {
		if len(items) == limit {
			next = items[limit-1].ID
			return false, nil
		}
		var h StatementHead
		err := decodeValue(value, &h)
		items = append(items, h)
		return true, err
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}

// Statement returns a finalized statement by its id, or ErrNotFound.
func (m *Machine) Statement(account, id string) (*Statement, error) {
	s := new(Statement)
	from, err := m.monthOf(account, id)
	if err != nil {
		return nil, notFound("account %q has no statement %q; ids are months, as 2026-10", account, id)
	}
	ok, err := m.get(statementKey(account, from), &s.StatementHead)
	if ok && err == nil {
		ok, err = m.get(statementRowsKey(account, from), &s.StatementRows)
	}
	if err == nil && !ok {
		return nil, notFound("account %q has no statement %q", account, id)
	}
	return s, err
}

// monthOf returns the beginning of a month in an account's time zone.
func (m *Machine) monthOf(account, month string) (from int64, err error) {
	timezone := ""
	m.View(func(v *View) {
		if a := v.Account(account); a != nil {
			timezone = a.Timezone
		}
	})
	from, _, err = MonthOf(timezone, month)
	return from, err
}

package fsm

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"slices"
)

// StatementSum adds up the lines of one statement. It is a function of the lines it is given and of
// the head it was made for: whoever has a ledger's lines can recompute a statement with it, see
// RecomputeStatement. It is not safe for concurrent use.
type StatementSum struct {
	head     StatementHead // what it is a sum for
	under    func(e *Event) string
	period   stretch // the month that was looked up last
	rows     map[rowKey]*rowSum
	adjusted int  // rows of adjustments
	amounts  int  // of rows, but for those of adjustments while these are told apart by reasons, of which there are few
	reasons  bool // adjustments are told apart by their reasons
	opening  rollup
	lines    StatementLines
	hash     hash.Hash
	last     uint64 // Seq of the line that was given last
	tooLarge *Error
}

// rowKey says which lines share a row.
type rowKey struct {
	kind   string // empty: usage
	period int64
	entity string
	model  string
	reason string
}

type rowSum struct {
	rollup
	lines int64
}

// newStatementSum returns a sum of no lines. under says which entity a line stands under.
func newStatementSum(head StatementHead, under func(e *Event) string) *StatementSum {
	return &StatementSum{head: head, under: under, rows: map[rowKey]*rowSum{}, reasons: true, hash: sha256.New()}
}

// RecomputeStatement returns a sum that Check compares with a finalized statement once all
// of the account's lines up to Through have been given to Add.
func RecomputeStatement(s *Statement) *StatementSum {
	head := s.StatementHead
	if head.Layout.EntityType == "" {
		return newStatementSum(head, head.Layout.byDepth)
	}
	// Entities get types at any time, so the tree of today cannot tell. A line stood under the first
	// entity of its chain that had the type then; each of those has a row.
	had := map[string]bool{}
	for _, rows := range [][]StatementRow{s.Usage, s.Adjustments} {
		for i := range rows {
			had[rows[i].Entity] = true
		}
	}
	return newStatementSum(head, func(e *Event) string {
		return firstOfChain(e, func(id string) bool { return had[id] })
	})
}

// firstOfChain returns the first entity of an event's chain that is wanted, "" if none is.
func firstOfChain(e *Event, wanted func(id string) bool) string {
	if i := slices.IndexFunc(e.Chain, wanted); i >= 0 {
		return e.Chain[i]
	}
	return ""
}

// byDepth returns the entity that an event stands under by its depth. A chain
// begins with the entity named first and its ancestors, up to the root.
func (y StatementLayout) byDepth(e *Event) string {
	root := slices.Index(e.Chain, e.Account)
	if root < 0 {
		root = len(e.Chain)
	}
	if i := max(0, root-y.Depth); y.Depth > 0 && i < len(e.Chain) {
		return e.Chain[i]
	}
	return e.Account
}

// Add counts a line if it belongs to the statement. Lines have to come in the order of Seq; those
// that belong to other statements, or to none yet, may be left out.
func (s *StatementSum) Add(l *LedgerLine) error {
	if l.Seq <= s.last {
		return fmt.Errorf("line %d comes after line %d", l.Seq, s.last)
	}
	s.last = l.Seq
	e := &l.Event
	if !s.wants(l) || s.tooLarge != nil { // memory stays bounded while the caller notices
		return nil
	}
	s.digest(l)
	if e.At < s.head.From && s.head.Previous == "" {
		s.opening.count(l)
		return nil
	}
	k := s.keyOf(l)
	row := s.rows[k]
	if row == nil {
		row = s.newRow(k)
	}
	before := len(row.sums)
	row.count(l)
	row.lines++
	if k.kind == "" || !s.reasons {
		s.amounts += len(row.sums) - before
	}
	if s.amounts > maxStatementAmounts && s.tooLarge == nil {
		s.tooLarge = tooLarge("the statement would have more than %d amounts in its rows", maxStatementAmounts)
	}
	return nil
}

// wants reports whether a line is one that the statement accounts for.
func (s *StatementSum) wants(l *LedgerLine) bool {
	at := l.Event.At
	return l.Seq <= s.head.Through && at < s.head.To && (at >= s.head.From || l.Seq > s.head.After && !s.head.Loose)
}

// digest counts a line among those of the statement.
func (s *StatementSum) digest(l *LedgerLine) {
	d := &s.lines
	if d.Count == 0 {
		d.First = l.Seq
	}
	d.Count, d.Last = d.Count+1, l.Seq
	if l.Kind == KindUsage && l.Event.At >= s.head.From && l.Settled >= s.head.To {
		d.Late++
	}
	sum := l.Hash
	if sum == ([32]byte{}) {
		sum = l.ChainHash(sum)
	}
	s.hash.Write(sum[:])
}

// count adds a line to a sum.
func (r *rollup) count(l *LedgerLine) {
	events := int64(0)
	switch l.Kind {
	case KindUsage:
		events = 1
	case KindVoid:
		events = -1
	}
	r.events += events
	for _, q := range l.Event.Usage {
		r.add(q.Capability, q.Amount, events)
	}
}

func (s *StatementSum) keyOf(l *LedgerLine) rowKey {
	e := &l.Event
	k := rowKey{entity: s.under(e)}
	if !s.head.Layout.MergeModels {
		k.model = e.Model
	}
	if l.Kind == KindUsage && e.At >= s.head.From {
		return k
	}
	if k.kind = l.Kind; k.kind == KindUsage {
		k.kind = AdjustmentLate
	}
	if e.At < s.period.start || e.At >= s.period.end {
		_, s.period.start, s.period.end = monthAt(s.head.Timezone, e.At)
	}
	k.period = s.period.start
	if s.reasons {
		k.reason = l.Reason
	}
	return k
}

// newRow begins a row. Adjustments give up their reasons when there are too many: which ones there are
// does not depend on the order of the lines.
func (s *StatementSum) newRow(k rowKey) *rowSum {
	row := &rowSum{}
	s.rows[k] = row
	if k.kind != "" {
		s.adjusted++
	}
	if s.reasons && s.adjusted > MaxReasonRows {
		s.forgetReasons()
		k.reason = ""
		row = s.rows[k]
	}
	if len(s.rows) > MaxStatementRows && s.tooLarge == nil {
		s.tooLarge = tooLarge("the statement would have more than %d rows", MaxStatementRows)
	}
	return row
}

// tooLarge refuses a statement that is beyond a limit, which the format names.
func tooLarge(format string, limit int) *Error {
	return &Error{
		Code:    CodeTooLarge,
		Message: fmt.Sprintf(format, limit) + "; choose a coarser layout: another entity_type, a smaller depth, or merge_models",
		Numbers: map[string]int64{"limit": int64(limit)},
	}
}

func (s *StatementSum) forgetReasons() {
	s.reasons = false
	merged := make(map[rowKey]*rowSum, len(s.rows))
	for k, row := range s.rows {
		k.reason = ""
		if same := merged[k]; same != nil {
			same.merge(&row.rollup)
			same.lines += row.lines
			continue
		}
		merged[k] = row
	}
	s.rows, s.adjusted, s.amounts = merged, 0, 0
	for k, row := range merged {
		if k.kind != "" {
			s.adjusted++
		}
		s.amounts += len(row.sums)
	}
}

// err returns why the lines given so far make no statement, or nil.
func (s *StatementSum) err() error {
	if s.tooLarge != nil {
		return s.tooLarge
	}
	return nil
}

// finish returns the statement: the head it was made for with lines and totals, and the rows. opening is what
// the totals of the statement before closed with, nil of the first.
func (s *StatementSum) finish(opening []StatementTotal) (*Statement, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	out := &Statement{StatementHead: s.head}
	out.Lines = s.lines
	out.Lines.Hash = [32]byte(s.hash.Sum(nil))
	var usage, adjustments rollup
	for k, sum := range s.rows {
		row, err := sum.row(k)
		if err != nil {
			return nil, err
		}
		if k.kind == "" {
			out.Usage = append(out.Usage, row)
			usage.merge(&sum.rollup)
			continue
		}
		out.Adjustments = append(out.Adjustments, row)
		adjustments.merge(&sum.rollup)
	}
	slices.SortFunc(out.Usage, compareRows)
	slices.SortFunc(out.Adjustments, compareRows)
	before := s.opening
	for i := range opening {
		before.add(opening[i].Capability, opening[i].Closing, 0)
	}
	var err error
	out.Totals, err = totalsOf(&before, &usage, &adjustments)
	return out, err
}

func (r *rowSum) row(k rowKey) (StatementRow, error) {
	row := StatementRow{
		Kind: k.kind, Period: k.period, Entity: k.entity, Model: k.model, Reason: k.reason,
		Lines: r.lines, Events: r.events, Usage: make([]Quantity, 0, len(r.sums)),
	}
	for i := range r.sums {
		n, fits := r.sums[i].amount()
		if !fits {
			return row, beyond(r.sums[i].capability)
		}
		row.Usage = append(row.Usage, Quantity{r.sums[i].capability, n})
	}
	return row, nil
}

// beyond is the rejection of a sum that no amount can hold.
func beyond(capability string) *Error {
	return conflict("a sum of %s is beyond the largest integer; find the lines of absurd amounts with the ledger, and choose a layout that does not add them up", capability)
}

func compareRows(a, b StatementRow) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Period, b.Period), cmp.Compare(a.Entity, b.Entity),
		cmp.Compare(a.Model, b.Model), cmp.Compare(a.Reason, b.Reason))
}

// totalsOf returns the totals of every capability that any of the sums has.
func totalsOf(opening, usage, adjustments *rollup) (totals []StatementTotal, err error) {
	by := map[string]*[4]rollupSum{} // opening, usage, adjustments, closing
	for i, part := range []*rollup{opening, usage, adjustments} {
		for _, sum := range part.sums {
			all := by[sum.capability]
			if all == nil {
				all = new([4]rollupSum)
				by[sum.capability] = all
			}
			all[i].add(sum.hi, sum.lo)
			all[3].add(sum.hi, sum.lo)
		}
	}
	for _, capability := range slices.Sorted(maps.Keys(by)) {
		t := StatementTotal{Capability: capability}
		for i, into := range []*int64{&t.Opening, &t.Usage, &t.Adjustments, &t.Closing} {
			n, fits := by[capability][i].amount()
			if !fits {
				return nil, beyond(capability)
			}
			*into = n
		}
		totals = append(totals, t)
	}
	return totals, nil
}

// Check compares what was added up with the statement that the sum was made for by RecomputeStatement, and
// with the one before it, nil for the first. It returns what differs, each as a short text, or none.
func (s *StatementSum) Check(stored *Statement, previous *StatementHead) []string {
	var opening []StatementTotal
	var wrong []string
	differs := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if previous != nil {
		opening = previous.Totals
		if previous.ID != stored.Previous || previous.To != stored.From || previous.Through != stored.After {
			differs("it does not follow statement %s", previous.ID)
		}
	} else if stored.Previous != "" {
		differs("statement %s, which it follows, is missing", stored.Previous)
	}
	got, err := s.finish(opening)
	if err != nil {
		return append(wrong, err.Error())
	}
	if a, b := got.Lines, stored.Lines; a.Count != b.Count || a.First != b.First || a.Last != b.Last || a.Late != b.Late {
		differs("it has lines %d to %d, %d of them, %d late, and the ledger gives %d to %d, %d of them, %d late",
			b.First, b.Last, b.Count, b.Late, a.First, a.Last, a.Count, a.Late)
	}
	if got.Lines.Hash != stored.Lines.Hash {
		differs("the hash of its lines is %x, and the ledger gives %x", stored.Lines.Hash, got.Lines.Hash)
	}
	compareLists(differs, "usage", got.Usage, stored.Usage)
	compareLists(differs, "adjustments", got.Adjustments, stored.Adjustments)
	compareTotals(differs, got.Totals, stored.Totals)
	return wrong
}

func compareLists(differs func(string, ...any), list string, got, stored []StatementRow) {
	if len(got) != len(stored) {
		differs("it has %d rows of %s, and the ledger gives %d", len(stored), list, len(got))
		return
	}
	for i := range got {
		a, b := &got[i], &stored[i]
		if compareRows(*a, *b) != 0 || a.Lines != b.Lines || a.Events != b.Events || !slices.Equal(a.Usage, b.Usage) {
			differs("%s says %+v, and the ledger gives %+v", item(list, i), *b, *a)
			return
		}
	}
}

func compareTotals(differs func(string, ...any), got, stored []StatementTotal) {
	if len(got) != len(stored) {
		differs("it has totals of %d capabilities, and the ledger gives %d", len(stored), len(got))
		return
	}
	for i := range got {
		a, b := got[i], stored[i]
		a.Unit, a.Decimals = b.Unit, b.Decimals // not of the lines
		if a != b {
			differs("its totals of %s are %+v, and the ledger gives %+v", b.Capability, b, a)
		}
	}
}

package fsm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ms is a moment as the ledger has it.
func ms(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// costs records an event of so many nano-dollars at a time.
func (d *desk) costs(t *testing.T, id, at string, usd int64, chain ...string) {
	t.Helper()
	if len(chain) == 0 {
		chain = []string{"alice", "a", "p", "o", "acme"}
	}
	e := Event{Account: "acme", ID: id, Chain: chain, Model: "gpt", Usage: []Quantity{{CapUSD, usd}}, At: ms(t, at), ReceivedAt: d.now, Node: 1}
	copy(e.Hash[:], id)
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
}

func (d *desk) draft(t *testing.T, q StatementQuery) *Statement {
	t.Helper()
	s, err := d.m.DraftStatement(context.Background(), "acme", q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return s
}

func finalize(s *Statement) FinalizeStatement {
	return FinalizeStatement{Head: s.StatementHead, Rows: s.StatementRows}
}

func TestOnlyADraftThatContinuesTheChainIsFinalized(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.costs(t, "1", "2026-09-10T00:00:00Z", 5)
	d.costs(t, "2", "2026-10-10T00:00:00Z", 7)
	sep, oct, nov := d.draft(t, StatementQuery{}), d.draft(t, StatementQuery{Month: "2026-10"}), d.draft(t, StatementQuery{Month: "2026-11"})
	if sep.ID != "2026-09" || oct.total(CapUSD).Opening != 5 || oct.total(CapUSD).Usage != 7 {
		t.Fatalf("%+v, %+v", sep, oct)
	}
	edit := func(s *Statement, f func(c *FinalizeStatement)) FinalizeStatement {
		c := finalize(s)
		c.Head.Totals = slices.Clone(c.Head.Totals)
		c.Rows.Usage = slices.Clone(c.Rows.Usage)
		f(&c)
		return c
	}
	for name, c := range map[string]struct {
		code Code
		body FinalizeStatement
	}{
		"the month is not over":           {CodeConflict, finalize(nov)},
		"no such account":                 {CodeNotFound, edit(sep, func(c *FinalizeStatement) { c.Head.Account = "globex" })},
		"not a whole month":               {CodeInvalid, edit(sep, func(c *FinalizeStatement) { c.Head.To -= dayMS })},
		"another name":                    {CodeInvalid, edit(sep, func(c *FinalizeStatement) { c.Head.ID = "2026-08" })},
		"another time zone":               {CodeInvalid, edit(sep, func(c *FinalizeStatement) { c.Head.Timezone = "Asia/Tokyo" })},
		"beyond the ledger":               {CodeConflict, edit(sep, func(c *FinalizeStatement) { c.Head.Through = 3 })},
		"follows what is not there":       {CodeConflict, edit(sep, func(c *FinalizeStatement) { c.Head.Previous = "2026-08" })},
		"totals are not the sums of rows": {CodeCorrupt, edit(sep, func(c *FinalizeStatement) { c.Rows.Usage = nil })},
		"closing is not the sum":          {CodeCorrupt, edit(sep, func(c *FinalizeStatement) { c.Head.Totals[0].Closing++ })},
		"a capability has no total":       {CodeCorrupt, edit(sep, func(c *FinalizeStatement) { c.Head.Totals = nil })},
		"too many rows":                   {CodeTooLarge, edit(sep, func(c *FinalizeStatement) { c.Rows.Usage = make([]StatementRow, MaxStatementRows+1) })},
		"too many bytes": {CodeTooLarge, edit(sep, func(c *FinalizeStatement) {
			c.Rows.Usage = append(c.Rows.Usage, StatementRow{Model: strings.Repeat("x", MaxStatementBytes)})
		})},
		"an endless number": {CodeInvalid, edit(sep, func(c *FinalizeStatement) { c.Number = strings.Repeat("1", MaxNumberBytes+1) })},
	} {
		if c.body.Head.Account != "acme" && c.code != CodeNotFound {
			t.Fatal(name)
		}
		d.refuse(c.code, c.body)
	}
	d.must(finalize(sep))
	stored, err := d.m.Statement("acme", "2026-09")
	if err != nil || stored.FinalizedAt != d.now || stored.Index != d.index {
		t.Fatalf("%+v, %v", stored, err)
	}
	d.must(finalize(sep)) // again: it is there
	d.refuse(CodeConflict, edit(sep, func(c *FinalizeStatement) { c.Number = "X" }))
	if again, err := d.m.Statement("acme", "2026-09"); err != nil || cmp.Diff(stored, again) != "" {
		t.Fatalf("finalized again it differs: %v %s", err, cmp.Diff(stored, again))
	}
	d.refuse(CodeConflict, finalize(oct)) // drafted before there was one to follow
	next := d.draft(t, StatementQuery{})
	d.refuse(CodeCorrupt, edit(next, func(c *FinalizeStatement) { c.Head.Totals[0].Opening--; c.Head.Totals[0].Closing-- }))
	d.must(finalize(next))
	if got := next.total(CapUSD); got.Opening != 5 || got.Closing != 12 || next.Previous != "2026-09" {
		t.Errorf("%+v", got)
	}
}

func TestTheCloseLagIsNamed(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.costs(t, "1", "2026-10-10T00:00:00Z", 5)
	d.must(PutInvoice{Account: "acme", Settings: InvoiceSettings{Currency: "USD", Capability: CapUSD, CloseLagMS: 25 * dayMS}})
	c := finalize(d.draft(t, StatementQuery{}))
	err := d.refuse(CodeConflict, c)
	if !strings.Contains(err.Message, "ends at 2026-11-01T00:00:00Z and can be finalized from 2026-11-26T00:00:00Z on: its close lag is 600 h") || err.Numbers["close_lag_ms"] != 25*dayMS {
		t.Errorf("%v %v", err, err.Numbers)
	}
	d.now = ms(t, "2026-11-26T00:00:00Z") - 1001
	d.refuse(CodeConflict, c) // a millisecond too early
	d.now = ms(t, "2026-11-26T00:00:00Z") - 1000
	d.must(c)
}

// Days until an invoice is due are those of the account's calendar, whatever its clocks do meanwhile.
func TestAnInvoiceIsDueOnADayOfTheCalendar(t *testing.T) {
	berlin, err := Location("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for finalized, c := range map[string]struct {
		days int
		due  string
	}{
		"2026-03-20T23:30:00+01:00": {14, "2026-04-03T23:30:00+02:00"}, // one hour is missing in between
		"2026-10-20T00:30:00+02:00": {14, "2026-11-03T00:30:00+01:00"}, // one hour is there twice
		"2026-03-15T02:30:00+01:00": {14, "2026-03-29T03:30:00+02:00"}, // there is no 02:30 on that day
		"2026-01-31T12:00:00+01:00": {28, "2026-02-28T12:00:00+01:00"},
		"2026-05-01T12:00:00+02:00": {0, ""},
	} {
		s := InvoiceSettings{DueDays: c.days}
		at := time.UnixMilli(ms(t, finalized)).In(berlin)
		got := ""
		if i := s.invoice(at); i.Due != 0 {
			got = time.UnixMilli(i.Due).In(berlin).Format(time.RFC3339)
		}
		if got != c.due {
			t.Errorf("finalized %s, due after %d days: %q, want %q", finalized, c.days, got, c.due)
		}
	}
	if i := (&InvoiceSettings{DueDays: 14}).invoice(time.Time{}); i.Date != 0 || i.Due != 0 {
		t.Errorf("a draft has a date: %+v", i)
	}
	d := newAcme(t)
	defer d.close()
	d.must(PutAccount{ID: "acme", Name: "Acme", Timezone: "Europe/Berlin"})
	settings := defaultInvoiceSettings()
	settings.DueDays = 14
	d.must(PutInvoice{Account: "acme", Settings: settings})
	d.costs(t, "1", "2026-02-10T00:00:00Z", 1)
	d.now = ms(t, "2027-03-20T22:30:00Z")
	d.must(finalize(d.draft(t, StatementQuery{})))
	stored, err := d.m.Statement("acme", "2026-02")
	if err != nil || stored.Invoice.Date != d.now || stored.Invoice.Due != ms(t, "2027-04-03T21:30:00Z")+d.now-ms(t, "2027-03-20T22:30:00Z") {
		t.Errorf("due %s, %v", timestamp(stored.Invoice.Due), err)
	}
}

func TestMonthsAreFinalizedInOrder(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.costs(t, "1", "2026-08-10T00:00:00Z", 1)
	d.must(finalize(d.draft(t, StatementQuery{})))
	_, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{Month: "2026-10", FinalizeAt: d.now})
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "the latest statement is 2026-08, finalize 2026-09 first") {
		t.Errorf("%v", err)
	}
	d.costs(t, "late", "2026-08-10T00:00:00Z", 1)
	d.costs(t, "2", "2026-09-10T00:00:00Z", 1)
	going := retiring{account: "acme", mark: ledgerMark{Retention: Retention{Days: 1}}, last: 3}
	if err := going.open(d.m); err != nil || going.limit != 1 || going.before != ms(t, "2026-09-01T00:00:00Z") {
		t.Errorf("retention may take lines up to %d of events before %s, %v; line 2 came too late for the statement", going.limit, timestamp(going.before), err)
	}
}

func TestALineStandsUnderOneEntity(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	two := []string{"b", "p", "o", "acme", "alice", "a", "p", "o", "acme"}
	d.costs(t, "1", "2026-10-10T00:00:00Z", 1)
	d.costs(t, "2", "2026-10-10T00:00:00Z", 2, two...)
	d.costs(t, "3", "2026-10-10T00:00:00Z", 4, "acme")
	d.costs(t, "4", "2026-10-10T00:00:00Z", 8, "x", "acme") // not provisioned
	for name, c := range map[string]struct {
		layout StatementLayout
		want   map[string]int64
	}{
		"account":    {StatementLayout{}, map[string]int64{"acme": 15}},
		"depth 1":    {StatementLayout{Depth: 1}, map[string]int64{"o": 3, "acme": 4, "x": 8}},
		"depth 3":    {StatementLayout{Depth: 3}, map[string]int64{"a": 1, "b": 2, "acme": 4, "x": 8}},
		"depth 9":    {StatementLayout{Depth: 9}, map[string]int64{"alice": 1, "b": 2, "acme": 4, "x": 8}},
		"team":       {StatementLayout{EntityType: "team"}, map[string]int64{"a": 1, "b": 2, "": 12}},
		"user":       {StatementLayout{EntityType: "user"}, map[string]int64{"alice": 3, "": 12}},
		"root":       {StatementLayout{EntityType: TypeAccount}, map[string]int64{"acme": 15}},
		"all models": {StatementLayout{Depth: 0, MergeModels: true}, map[string]int64{"acme": 15}},
	} {
		got := map[string]int64{}
		s := d.draft(t, StatementQuery{Layout: &c.layout})
		for _, row := range s.Usage {
			got[row.Entity] += row.Usage[0].Amount
			if (row.Model == "") != c.layout.MergeModels {
				t.Errorf("%s: model %q", name, row.Model)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, bad := range []StatementLayout{{EntityType: "galaxy"}, {Depth: -1}, {Depth: MaxDepth}, {EntityType: "team", Depth: 1}} {
		if _, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{Layout: &bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// What is altered, left out, put in or moved is found by adding up again.
func TestARecomputationFindsWhatWasTouched(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(PutInvoice{Account: "acme", Settings: InvoiceSettings{Currency: "USD", Capability: CapUSD, Layout: StatementLayout{EntityType: "team"}}})
	for i := range 6 {
		d.costs(t, fmt.Sprint(i), "2026-09-10T00:00:00Z", 1000)
	}
	d.must(finalize(d.draft(t, StatementQuery{})))
	d.costs(t, "6", "2026-09-10T00:00:00Z", 1000)
	d.costs(t, "7", "2026-10-10T00:00:00Z", 1000)
	d.must(Correct{Account: "acme", Items: []Correction{{ID: "c", Event: "7", Kind: KindVoid}}})
	d.must(finalize(d.draft(t, StatementQuery{})))
	lines, _, err := d.m.ListLedger("acme", LedgerFilter{OldestFirst: true}, 0, 100)
	if err != nil || len(lines) != 9 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	var all []*Statement
	for _, id := range []string{"2026-09", "2026-10"} {
		s, err := d.m.Statement("acme", id)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	wrong := func(lines []LedgerLine) (found []string) {
		for i, s := range all {
			sum := RecomputeStatement(s)
			for j := range lines {
				if err := sum.Add(&lines[j]); err != nil {
					return []string{err.Error()}
				}
			}
			var previous *StatementHead
			if i > 0 {
				previous = &all[i-1].StatementHead
			}
			found = append(found, sum.Check(s, previous)...)
		}
		return found
	}
	if found := wrong(lines); len(found) > 0 {
		t.Fatalf("nothing was touched: %q", found)
	}
	for name, touch := range map[string]func(l []LedgerLine) []LedgerLine{
		"amount":  func(l []LedgerLine) []LedgerLine { l[2].Event.Usage = []Quantity{{CapUSD, 1001}}; return l },
		"hash":    func(l []LedgerLine) []LedgerLine { l[2].Hash[31] ^= 1; return l },
		"missing": func(l []LedgerLine) []LedgerLine { return slices.Delete(l, 6, 7) },
		"doubled": func(l []LedgerLine) []LedgerLine { return slices.Insert(l, 3, l[2]) },
		"swapped": func(l []LedgerLine) []LedgerLine { l[1], l[2] = l[2], l[1]; return l },
		"model":   func(l []LedgerLine) []LedgerLine { l[0].Event.Model = "claude"; return l },
		"kind":    func(l []LedgerLine) []LedgerLine { l[8].Kind = KindAdjust; return l },
		"time":    func(l []LedgerLine) []LedgerLine { l[7].Event.At -= 31 * dayMS; return l },
		"chain":   func(l []LedgerLine) []LedgerLine { l[0].Event.Chain = []string{"acme"}; return l },
		"renamed": func(l []LedgerLine) []LedgerLine { l[0].Event.Usage = []Quantity{{CapTokens, 1000}}; return l },
	} {
		if found := wrong(touch(slices.Clone(lines))); len(found) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	for name, touch := range map[string]func(s *Statement){
		"hash":     func(s *Statement) { s.Lines.Hash[0] ^= 1 },
		"count":    func(s *Statement) { s.Lines.Count++ },
		"late":     func(s *Statement) { s.Lines.Late++ },
		"row":      func(s *Statement) { s.Adjustments[0].Usage[0].Amount++ },
		"rows":     func(s *Statement) { s.Adjustments = s.Adjustments[1:] },
		"opening":  func(s *Statement) { s.Totals[0].Opening++ },
		"previous": func(s *Statement) { s.Previous = "2026-08" },
		"through":  func(s *Statement) { s.Through-- },
	} {
		s, err := d.m.Statement("acme", "2026-10")
		if err != nil {
			t.Fatal(err)
		}
		kept := all[1]
		touch(s)
		all[1] = s
		if found := wrong(lines); len(found) == 0 {
			t.Errorf("%s of the statement: not found", name)
		}
		all[1] = kept
	}
}

func TestRowsAreBounded(t *testing.T) {
	notShort(t)
	line := func(seq uint64, kind, model, reason string) *LedgerLine {
		return &LedgerLine{Seq: seq, Kind: kind, Reason: reason, Event: Event{Account: "acme", Chain: []string{"acme"}, Model: model, At: 5, Usage: []Quantity{{CapUSD, 1}}}}
	}
	fill := func(y StatementLayout, n int, kind string, unique func(i int) (model, reason string)) (*Statement, error) {
		s := newStatementSum(StatementHead{Account: "acme", From: 1, To: 10, Through: 1 << 40, Timezone: "UTC", Layout: y}, y.byDepth)
		for i := range n {
			model, reason := unique(i)
			if err := s.Add(line(uint64(i+1), kind, model, reason)); err != nil {
				t.Fatal(err)
			}
		}
		return s.finish(nil)
	}
	models := func(i int) (string, string) { return fmt.Sprint("m", i), "" }
	if s, err := fill(StatementLayout{}, MaxStatementRows, KindUsage, models); err != nil || len(s.Usage) != MaxStatementRows {
		t.Errorf("at the limit: %v", err)
	}
	_, err := fill(StatementLayout{}, MaxStatementRows+1, KindUsage, models)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "10000 rows; choose a coarser layout") {
		t.Errorf("one more: %v", err)
	}
	if s, err := fill(StatementLayout{MergeModels: true}, MaxStatementRows+1, KindUsage, models); err != nil || len(s.Usage) != 1 || s.totals(t) != MaxStatementRows+1 {
		t.Errorf("merged: %v", err)
	}
	reasons := func(i int) (string, string) { return fmt.Sprint("m", i%2), fmt.Sprint("r", i) }
	if s, err := fill(StatementLayout{}, MaxReasonRows, KindAdjust, reasons); err != nil || len(s.Adjustments) != MaxReasonRows {
		t.Errorf("reasons at the limit: %v", err)
	}
	if s, err := fill(StatementLayout{}, MaxReasonRows+1, KindAdjust, reasons); err != nil || len(s.Adjustments) != 2 || s.totals(t) != MaxReasonRows+1 || s.Adjustments[0].Reason != "" {
		t.Errorf("more reasons: %v", err)
	}
	wide := make([]Quantity, MaxCapabilities)
	for i := range wide {
		wide[i] = Quantity{fmt.Sprintf("c%03d", i), 1}
	}
	widen := func(kind string, rows int) (*StatementSum, error) {
		s := newStatementSum(StatementHead{Account: "acme", From: 1, To: 10, Through: 1 << 40, Timezone: "UTC"}, StatementLayout{}.byDepth)
		for i := range rows {
			l := line(uint64(i+1), kind, fmt.Sprint("m", i), fmt.Sprint("r", i))
			l.Event.Usage = wide
			if err := s.Add(l); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.finish(nil)
		return s, err
	}
	fit := maxStatementAmounts / MaxCapabilities
	if _, err := widen(KindUsage, fit); err != nil {
		t.Errorf("as many amounts as may be: %v", err)
	}
	if _, err := widen(KindAdjust, fit+2); err != nil {
		t.Errorf("reasons that may yet be forgotten: %v", err)
	}
	for kind, rows := range map[string]int{KindUsage: fit + 2, KindAdjust: MaxReasonRows + 2} {
		s, err := widen(kind, rows)
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "amounts in its rows; choose a coarser layout") {
			t.Errorf("%s with more amounts: %v", kind, err)
		}
		if len(s.rows) > MaxReasonRows+1 {
			t.Errorf("%s: %d rows are kept of a statement that is too large", kind, len(s.rows))
		}
	}
	s := newStatementSum(StatementHead{Account: "acme", From: 1, To: 10, Through: 99}, StatementLayout{}.byDepth)
	for i := range 10 {
		l := line(uint64(i+1), KindUsage, "", "")
		l.Event.Usage = []Quantity{{CapUSD, MaxAmount}}
		if err := s.Add(l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.finish(nil); !errors.Is(err, ErrConflict) {
		t.Errorf("10 × 10^18: %v", err)
	}
}

// A draft that could not be stored is refused before it is proposed, and one that can be is stored.
func TestADraftIsBoundedInBytes(t *testing.T) {
	notShort(t)
	d := newAcme(t)
	defer d.close()
	usage := make([]Quantity, MaxCallUsage)
	for i := range usage {
		usage[i] = Quantity{fmt.Sprintf("%s%03d", strings.Repeat("c", MaxIDBytes-3), i), 1}
	}
	rows := MaxStatementBytes / (MaxCallUsage * MaxIDBytes) // at this many the names alone have MaxStatementBytes
	settle := func(from, to int) {
		part := Part{Node: 1}
		for i := from; i < to; i++ {
			e := Event{Account: "acme", ID: fmt.Sprint("e", i), Chain: []string{"acme"}, Model: fmt.Sprint("m", i), Usage: usage, At: ms(t, "2026-09-10T00:00:00Z"), ReceivedAt: d.now, Node: 1}
			copy(e.Hash[:], e.ID)
			part.Events = append(part.Events, e)
		}
		d.must(Reconcile{Parts: []Part{part}})
	}
	settle(0, rows*3/4)
	fits := d.draft(t, StatementQuery{})
	settle(rows*3/4, rows)
	for name, q := range map[string]StatementQuery{
		"to be finalized": {FinalizeAt: d.now},
		"a preview":       {},
		"a range":         {From: ms(t, "2026-09-10T00:00:00Z"), To: ms(t, "2026-09-11T00:00:00Z")},
	} {
		_, err := d.m.DraftStatement(context.Background(), "acme", q)
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != CodeTooLarge || refused.Numbers["bytes"] <= MaxStatementBytes || refused.Numbers["limit"] != MaxStatementBytes {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.must(finalize(fits))
}

// Lines that were written before their ledger was chained are covered by their content.
func TestTheHashCoversLinesWithoutOne(t *testing.T) {
	s := newStatementSum(StatementHead{Account: "acme", From: 1, To: 10, Through: 9, Timezone: "UTC"}, StatementLayout{}.byDepth)
	h := sha256.New()
	for seq := range uint64(3) {
		l := LedgerLine{Seq: seq + 1, Kind: KindUsage, Event: Event{Account: "acme", At: 5, Usage: []Quantity{{CapUSD, int64(seq)}}}}
		covered := l.ChainHash([32]byte{})
		if seq == 2 {
			l.Hash = [32]byte{7}
			covered = l.Hash
		}
		h.Write(covered[:])
		if err := s.Add(&l); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.finish(nil); err != nil || got.Lines.Hash != [32]byte(h.Sum(nil)) || got.Lines.Count != 3 {
		t.Errorf("%+v, %v; want %x", got.Lines, err, h.Sum(nil))
	}
}

func (s *Statement) totals(t *testing.T) int64 {
	t.Helper()
	if len(s.Totals) != 1 {
		t.Fatalf("%d totals", len(s.Totals))
	}
	return s.Totals[0].Closing
}

func TestInvoiceNumbersAreUsedOnce(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	settings := InvoiceSettings{Currency: "USD", Capability: CapUSD, DueDays: 30, Numbers: NumberSequence{Prefix: "A", Digits: 3}}
	d.must(PutInvoice{Account: "acme", Settings: settings})
	d.costs(t, "1", "2026-07-10T00:00:00Z", 5)
	var numbers []string
	for _, asked := range []string{"A002", "", "", "A001"} {
		c := finalize(d.draft(t, StatementQuery{}))
		if c.Number = asked; len(numbers) == 3 {
			d.refuse(CodeConflict, c)
			break
		}
		d.must(c)
		s, err := d.m.Statement("acme", c.Head.ID)
		if err != nil || s.Invoice.Date != d.now || s.Invoice.Due != d.now+30*dayMS {
			t.Fatalf("%+v, %v", s.Invoice, err)
		}
		numbers = append(numbers, s.Invoice.Number)
	}
	if diff := cmp.Diff([]string{"A002", "A001", "A003"}, numbers); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	d.must(PutInvoice{Account: "acme", Settings: settings}) // next is not named: it goes on
	if s, err := d.m.InvoiceSettings("acme"); err != nil || s.Numbers.Next != 4 {
		t.Errorf("%+v, %v", s.Numbers, err)
	}
	for field, edit := range map[string]func(s *InvoiceSettings){
		"currency":           func(s *InvoiceSettings) { s.Currency = "usd" },
		"capability":         func(s *InvoiceSettings) { s.Capability = "gold" },
		"due_days":           func(s *InvoiceSettings) { s.DueDays = MaxDueDays + 1 },
		"numbers.prefix":     func(s *InvoiceSettings) { s.Numbers.Prefix = strings.Repeat("x", 45) },
		"numbers.digits":     func(s *InvoiceSettings) { s.Numbers.Digits = -1 },
		"numbers.next":       func(s *InvoiceSettings) { s.Numbers.Next = 1<<53 + 1 },
		"close_lag_hours":    func(s *InvoiceSettings) { s.CloseLagMS = MaxCloseLag.Milliseconds() + 1 },
		"tax_note":           func(s *InvoiceSettings) { s.TaxNote = "a\x00" },
		"seller.name":        func(s *InvoiceSettings) { s.Seller.Name = strings.Repeat("x", MaxNameBytes+1) },
		"buyer.address":      func(s *InvoiceSettings) { s.Buyer.Address = make([]string, MaxAddressLines+1) },
		"buyer.address[1]":   func(s *InvoiceSettings) { s.Buyer.Address = []string{"", "\n"} },
		"layout.depth":       func(s *InvoiceSettings) { s.Layout.Depth = MaxDepth },
		"layout.entity_type": func(s *InvoiceSettings) { s.Layout.EntityType = "galaxy" },
	} {
		s := settings
		edit(&s)
		if err := d.refuse(CodeInvalid, PutInvoice{Account: "acme", Settings: s}); !slices.Contains(fieldsOf(err), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	d.refuse(CodeNotFound, PutInvoice{Account: "globex", Settings: settings})
}

func TestADraftOfAnyRangeIsJustItsLines(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	if _, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{}); !errors.Is(err, ErrConflict) {
		t.Errorf("without a line: %v", err)
	}
	if _, err := d.m.DraftStatement(context.Background(), "globex", StatementQuery{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("without the account: %v", err)
	}
	d.costs(t, "1", "2026-09-10T00:00:00Z", 1)
	d.costs(t, "2", "2026-10-10T00:00:00Z", 2)
	d.costs(t, "3", "2026-10-20T00:00:00Z", 4)
	d.must(finalize(d.draft(t, StatementQuery{})))
	d.costs(t, "4", "2026-09-11T00:00:00Z", 8)
	span := func(from, to string) StatementQuery { return StatementQuery{From: ms(t, from), To: ms(t, to)} }
	for _, c := range []struct {
		q                           StatementQuery
		id                          string
		loose                       bool
		opening, usage, adjustments int64
	}{
		{span("2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z"), "", false, 1, 2, 8},
		{span("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"), "2026-10", false, 1, 6, 8},
		{span("2026-10-15T00:00:00Z", "2026-11-15T00:00:00Z"), "", true, 0, 4, 0},
		{span("2026-09-01T00:00:00Z", "2026-12-01T00:00:00Z"), "", true, 0, 15, 0},
		{StatementQuery{Month: "2026-09"}, "2026-09", true, 0, 9, 0},
	} {
		s := d.draft(t, c.q)
		total := s.total(CapUSD)
		if s.ID != c.id || s.Loose != c.loose || total.Opening != c.opening || total.Usage != c.usage || total.Adjustments != c.adjustments || s.FinalizedAt != 0 {
			t.Errorf("%+v: %q, loose %v, %+v", c.q, s.ID, s.Loose, total)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.m.DraftStatement(ctx, "acme", StatementQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its caller has gone: %v", err)
	}
}

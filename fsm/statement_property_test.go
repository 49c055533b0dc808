package fsm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// accountant keeps an account's ledger and statements with a pencil.
type accountant struct {
	t        *rapid.T
	d        *desk
	timezone string
	events   int
	void     map[string]bool
	final    []*Statement // as they were when they were finalized
}

// Whatever arrives when, each line is in exactly one statement, and a chain of statements adds up to all lines.
func TestStatementsAddUpToTheLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newAcme(t)
		defer func() { d.close() }()
		b := &accountant{t: t, d: d, timezone: rapid.SampledFrom([]string{"UTC", "Asia/Kathmandu", "America/New_York"}).Draw(t, "zone"), void: map[string]bool{}}
		d.must(PutAccount{ID: "acme", Name: "Acme", Timezone: b.timezone})
		d.must(PutInvoice{Account: "acme", Settings: b.drawSettings()})
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			b.act(rapid.SampledFrom([]string{"event", "event", "event", "event", "correct", "correct", "wait", "finalize", "finalize", "provision", "reopen"}).Draw(t, "action"))
		}
		b.event()
		b.d.now += 70 * dayMS // every month that has a line is over
		for len(b.final) == 0 || b.final[len(b.final)-1].To < b.d.now-37*dayMS {
			if !b.finalize(false) {
				t.Fatalf("the month after %d statements cannot be finalized at %s", len(b.final), timestamp(b.d.now))
			}
		}
		b.finalize(false)
		b.check()
	})
}

func (b *accountant) drawSettings() InvoiceSettings {
	s := defaultInvoiceSettings()
	s.CloseLagMS = rapid.SampledFrom([]int64{0, hourMS, 5 * dayMS}).Draw(b.t, "lag")
	s.Layout = rapid.SampledFrom([]StatementLayout{{}, {Depth: 1}, {Depth: 3}, {EntityType: "team"}, {EntityType: "user", MergeModels: true}}).Draw(b.t, "layout")
	s.Numbers = NumberSequence{Prefix: "INV-", Digits: 4}
	return s
}

func (b *accountant) act(action string) {
	switch action {
	case "event":
		b.event()
	case "correct":
		b.correct()
	case "wait":
		b.d.now += rapid.Int64Range(1, 20).Draw(b.t, "days") * dayMS
	case "finalize":
		b.finalize(rapid.Bool().Draw(b.t, "something arrives meanwhile"))
	case "provision":
		b.d.do(PutEntities{Account: "acme", Items: []Entity{{ID: rapid.SampledFrom([]string{"x", "y"}).Draw(b.t, "entity"), Type: rapid.SampledFrom([]string{"team", "user"}).Draw(b.t, "type"), Parent: "p"}}})
	case "reopen":
		b.d.close()
		b.d.open()
	}
}

// event records usage of any time of the latest hundred days.
func (b *accountant) event() {
	at := b.d.now - rapid.Int64Range(0, 100*dayMS).Draw(b.t, "age")
	if rapid.Bool().Draw(b.t, "at the turn of the month") {
		_, at, _ = monthAt(b.timezone, at)
		at -= rapid.Int64Range(0, 1).Draw(b.t, "before it")
	}
	e := Event{
		Account: "acme", ID: fmt.Sprint("e", b.events), Node: 1, ReceivedAt: b.d.now, At: at,
		Chain: rapid.SampledFrom([][]string{
			{"alice", "a", "p", "o", "acme"}, {"b", "p", "o", "acme", "alice", "a", "p", "o", "acme"}, {"acme"}, {"x", "acme"}, {"y", "acme", "b", "p", "o", "acme"},
		}).Draw(b.t, "chain"),
		Model: rapid.SampledFrom([]string{"", "gpt-4o", "claude"}).Draw(b.t, "model"),
		Usage: []Quantity{{CapRequests, 1}, {CapUSD, rapid.Int64Range(0, MaxAmount/1000).Draw(b.t, "usd")}},
	}
	copy(e.Hash[:], e.ID)
	b.events++
	b.d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
}

func (b *accountant) correct() {
	if b.events == 0 {
		return
	}
	id := fmt.Sprint("e", rapid.IntRange(0, b.events-1).Draw(b.t, "corrected"))
	if b.void[id] {
		return
	}
	c := Correction{ID: fmt.Sprint("c", b.d.index), Event: id, Kind: KindVoid, Reason: rapid.SampledFrom([]string{"", "twice"}).Draw(b.t, "reason")}
	if b.void[id] = rapid.Bool().Draw(b.t, "void"); !b.void[id] {
		c.Kind, c.Usage = KindAdjust, []Quantity{{CapTokens, rapid.Int64Range(0, 9).Draw(b.t, "tokens")}, {CapUSD, rapid.Int64Range(0, MaxAmount/1000).Draw(b.t, "usd")}}
	}
	b.d.must(Correct{Account: "acme", Items: []Correction{c}})
}

// finalize drafts the next month and finalizes it if it may be.
func (b *accountant) finalize(meanwhile bool) bool {
	draft, err := b.d.m.DraftStatement(context.Background(), "acme", StatementQuery{})
	if err != nil {
		if b.events > 0 {
			b.t.Fatalf("draft: %v", err)
		}
		return false
	}
	if meanwhile {
		b.event()
	}
	if rejected := b.d.do(FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows}); rejected != nil {
		settings, _ := b.d.m.InvoiceSettings("acme")
		if rejected.Code != CodeConflict || b.d.now >= draft.To+settings.CloseLagMS {
			b.t.Fatalf("%s at %s: %v", draft.ID, timestamp(b.d.now), rejected)
		}
		return false
	}
	stored, err := b.d.m.Statement("acme", draft.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	b.final = append(b.final, stored)
	b.checkRetired(b.lines())
	return true
}

// lines reads the whole ledger, oldest first.
func (b *accountant) lines() (all []LedgerLine) {
	for after := uint64(0); ; {
		lines, next, err := b.d.m.ListLedger("acme", LedgerFilter{OldestFirst: true}, after, MaxPage)
		if err != nil {
			b.t.Fatal(err)
		}
		if all = append(all, lines...); next == 0 {
			return all
		}
		after = next
	}
}

type tally map[string]*big.Int

func (y tally) add(usage []Quantity) {
	for _, q := range usage {
		if y[q.Capability] == nil {
			y[q.Capability] = new(big.Int)
		}
		y[q.Capability].Add(y[q.Capability], big.NewInt(q.Amount))
	}
}

func (b *accountant) check() {
	lines := b.lines()
	all := tally{}         // of every line
	carried := tally{}     // of what statements add, the first one's opening included
	in := map[uint64]int{} // seq to statement
	for i := range lines {
		all.add(lines[i].Event.Usage)
		for n, s := range b.final {
			if lines[i].Event.At < s.To && lines[i].Seq <= s.Through {
				in[lines[i].Seq] = n
				break
			}
		}
	}
	if len(in) != len(lines) {
		b.t.Fatalf("%d of %d lines are in a statement", len(in), len(lines))
	}
	for n, s := range b.final {
		b.checkOne(n, s, lines, in)
		for _, total := range s.Totals {
			if n == 0 {
				carried.add([]Quantity{{total.Capability, total.Opening}})
			}
			carried.add([]Quantity{{total.Capability, total.Usage}, {total.Capability, total.Adjustments}})
		}
	}
	if diff := gocmp.Diff(all, carried, gocmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
		b.t.Fatalf("the statements do not add up to the ledger (-lines +statements)\n%s", diff)
	}
	for _, total := range b.final[len(b.final)-1].Totals {
		if all[total.Capability].Cmp(big.NewInt(total.Closing)) != 0 {
			b.t.Fatalf("the last statement closes with %d %s, the ledger has %v", total.Closing, total.Capability, all[total.Capability])
		}
	}
	b.checkListed()
	b.checkRetired(lines)
}

// checkOne computes a statement from the definition and compares.
func (b *accountant) checkOne(n int, s *Statement, lines []LedgerLine, in map[uint64]int) {
	stored, err := b.d.m.Statement("acme", s.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := gocmp.Diff(s, stored); diff != "" {
		b.t.Fatalf("statement %s changed (-finalized +now)\n%s", s.ID, diff)
	}
	var previous *StatementHead
	if n > 0 {
		previous = &b.final[n-1].StatementHead
	}
	again := RecomputeStatement(stored)
	hash, count, late := sha256.New(), uint64(0), uint64(0)
	rows := map[string]tally{}
	for i := range lines {
		l := &lines[i]
		if err := again.Add(l); err != nil {
			b.t.Fatal(err)
		}
		if in[l.Seq] != n {
			continue
		}
		count++
		hash.Write(l.Hash[:])
		if l.Kind == KindUsage && l.Event.At >= s.From && l.Settled >= s.To {
			late++
		}
		kind := ""
		switch {
		case l.Event.At < s.From && n == 0:
			continue
		case l.Event.At < s.From && l.Kind == KindUsage:
			kind = AdjustmentLate
		case l.Kind != KindUsage:
			kind = l.Kind
		}
		key := fmt.Sprintf("%s of %s", kind, l.Event.Model)
		if s.Layout.MergeModels {
			key = kind
		}
		if rows[key] == nil {
			rows[key] = tally{}
		}
		rows[key].add(l.Event.Usage)
		rows[key].add([]Quantity{{"events", map[string]int64{KindUsage: 1, KindVoid: -1}[l.Kind]}})
	}
	if s.Lines.Late != late {
		b.t.Fatalf("statement %s has %d late lines, want %d", s.ID, s.Lines.Late, late)
	}
	if s.Lines.Count != count || s.Lines.Hash != [32]byte(hash.Sum(nil)) {
		b.t.Fatalf("statement %s has %d lines, hash %x; want %d, %x", s.ID, s.Lines.Count, s.Lines.Hash, count, hash.Sum(nil))
	}
	got := map[string]tally{}
	for _, row := range slices.Concat(s.Usage, s.Adjustments) {
		key := fmt.Sprintf("%s of %s", row.Kind, row.Model)
		if s.Layout.MergeModels {
			key = row.Kind
		}
		if got[key] == nil {
			got[key] = tally{}
		}
		got[key].add(row.Usage)
		got[key].add([]Quantity{{"events", row.Events}})
	}
	if diff := gocmp.Diff(rows, got, gocmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
		b.t.Fatalf("rows of statement %s (-lines +statement)\n%s", s.ID, diff)
	}
	if wrong := again.Check(stored, previous); len(wrong) > 0 {
		b.t.Fatalf("statement %s recomputed: %q", s.ID, wrong)
	}
	if want := fmt.Sprintf("INV-%04d", n+1); s.Invoice.Number != want {
		b.t.Fatalf("statement %s has number %q, want %q", s.ID, s.Invoice.Number, want)
	}
}

// checkListed compares the list, page by page, with what was finalized.
func (b *accountant) checkListed() {
	var ids, want []string
	for after := ""; ; {
		heads, next, err := b.d.m.ListStatements("acme", after, 2)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, h := range heads {
			ids = append(ids, h.ID)
		}
		if after = next; next == "" {
			break
		}
	}
	for _, s := range b.final {
		want = append(want, s.ID)
	}
	slices.Reverse(want)
	if diff := gocmp.Diff(want, ids); diff != "" {
		b.t.Fatalf("list (-want +got)\n%s", diff)
	}
	if !slices.IsSortedFunc(b.final, func(x, y *Statement) int { return cmp.Compare(x.ID, y.ID) }) {
		b.t.Fatalf("ids are not in order: %v", want)
	}
}

// checkRetired compares the lines that retention may take, however old they have to be, with those in front of the first that is in no statement.
func (b *accountant) checkRetired(lines []LedgerLine) {
	last := b.final[len(b.final)-1]
	stated := slices.IndexFunc(lines, func(l LedgerLine) bool { return l.Event.At >= last.To || l.Seq > last.Through })
	if stated < 0 {
		stated = len(lines)
	}
	d := retiring{account: "acme", mark: ledgerMark{Retention: Retention{Days: 1}}, now: math.MaxInt64, last: lines[len(lines)-1].Seq}
	if err := d.open(b.d.m); err != nil {
		b.t.Fatal(err)
	}
	going, err := d.read(b.d.m, d.limit)
	if want := stated &^ (blockLines - 1); err != nil || len(going) != want || d.limit != last.Through || d.before != last.To {
		b.t.Fatalf("retention may take %d lines, those up to %d of events before %s, %v; want %d, as statement %s has %d", len(going), d.limit, timestamp(d.before), err, want, last.ID, stated)
	}
}

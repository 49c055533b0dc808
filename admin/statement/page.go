package statement

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// page is a statement as text: what HTML and PDF show, in their order.
type page struct {
	Title   string // "Invoice INV-0007", "Statement 2026-10"
	Draft   string // why it is none yet, or ""
	Seller  client.Party
	Buyer   client.Party
	Facts   []fact
	Money   string // how amounts of money are headed: "USD"
	Total   string // of this statement, with Money
	Totals  []total
	Groups  []group
	Changes []change
	Merged  bool // rows have no model
	TaxNote string
	Proof   []fact
}

// fact is a line of the head or the foot.
type fact struct{ Name, Value string }

// total is what the statement says of a capability.
type total struct{ Capability, Unit, Opening, Usage, Adjustments, Total, Closing string }

// group is the usage under one entity.
type group struct {
	Entity string // name and id
	Amount string // of money, all rows
	Rows   []row
}

// row is the usage of one model under an entity.
type row struct{ Model, Usage, Events, Amount string }

// change is one row of adjustments.
type change struct{ Kind, Period, Entity, Model, Reason, Usage, Amount string }

// notEntity stands for the entity of lines that have none of the layout's type.
const notEntity = "(none)"

// noModel stands for the model of events that have none.
const noModel = "(no model)"

// printer writes the amounts of one statement.
type printer struct {
	s        *client.Statement
	in       *time.Location
	decimals map[string]int
	digits   int // decimals of money at least
}

func newPrinter(s *client.Statement, in *time.Location) *printer {
	p := &printer{s: s, in: in, decimals: map[string]int{}, digits: minorDigits(s.Invoice.Currency)}
	for _, t := range s.Totals {
		p.decimals[t.Capability] = t.Decimals
	}
	p.decimals[s.Invoice.Capability] = s.Invoice.Decimals
	return p
}

func (p *printer) big(capability string, n *big.Int) string {
	digits := 0
	if capability == p.s.Invoice.Capability {
		digits = p.digits
	}
	return amount(n, p.decimals[capability], digits)
}

func (p *printer) amount(capability string, n int64) string { return p.big(capability, big.NewInt(n)) }

// money writes what a row has of the invoice's capability, "" if it has none.
func (p *printer) money(usage map[string]int64) string {
	n, ok := usage[p.s.Invoice.Capability]
	if !ok {
		return ""
	}
	return p.amount(p.s.Invoice.Capability, n)
}

// rest writes everything else that a row has.
func (p *printer) rest(usage map[string]int64) string {
	var parts []string
	for _, capability := range slices.Sorted(maps.Keys(usage)) {
		if capability != p.s.Invoice.Capability {
			parts = append(parts, p.amount(capability, usage[capability])+" "+capability)
		}
	}
	return strings.Join(parts, " · ")
}

// newPage lays a statement out.
func newPage(s *client.Statement, in *time.Location) *page {
	p := newPrinter(s, in)
	i := &s.Invoice
	out := &page{
		Title: "Statement " + text(s.ID, span(s.From, s.To, in)), Seller: i.Seller, Buyer: i.Buyer, TaxNote: i.TaxNote,
		Money: i.Currency, Total: i.Currency + " " + p.amount(i.Capability, i.Total), Merged: s.Layout.MergeModels,
	}
	if i.Number != nil {
		out.Title = "Invoice " + *i.Number
	}
	if !s.Final {
		out.Draft = "Preview. Not a bill: it may still change."
	}
	out.Facts = p.facts()
	for _, t := range s.Totals {
		write := func(n int64) string { return p.amount(t.Capability, n) }
		out.Totals = append(out.Totals, total{t.Capability, t.Unit, write(t.Opening), write(t.Usage), write(t.Adjustments), write(t.Total), write(t.Closing)})
	}
	out.Groups = p.groups()
	for i := range s.Adjustments {
		a := &s.Adjustments[i]
		out.Changes = append(out.Changes, change{
			Kind: p.kind(a), Period: a.Period.In(in).Format("2006-01"), Entity: entity(a.Entity, a.Name), Model: text(a.Model, noModel), Reason: a.Reason,
			Usage: p.rest(a.Usage), Amount: p.money(a.Usage),
		})
	}
	out.Proof = p.proof()
	return out
}

func (p *printer) facts() (facts []fact) {
	s := p.s
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{name, value})
		}
	}
	add("Account", s.Account)
	add("Period", span(s.From, s.To, p.in)+" ("+s.Timezone+")")
	if s.Invoice.Number != nil {
		add("Statement", text(s.ID, ""))
	}
	if s.Invoice.Date != nil {
		add("Date", date(*s.Invoice.Date, p.in))
	}
	if s.Invoice.Due != nil {
		add("Due", date(*s.Invoice.Due, p.in))
	}
	add("Continues statement", text(s.Previous, ""))
	return facts
}

// proof says which lines of the ledger the statement is made of.
func (p *printer) proof() []fact {
	s := p.s
	lines := "none"
	if s.Lines.FirstSeq != nil && s.Lines.LastSeq != nil {
		lines = fmt.Sprintf("%d, from %d to %d", s.Lines.Count, *s.Lines.FirstSeq, *s.Lines.LastSeq)
	}
	facts := []fact{{"Ledger lines", lines}, {"Read up to line", strconv.FormatUint(s.ThroughSeq, 10)}, {"SHA-256 of the lines' hashes", s.Lines.Hash}}
	if s.Lines.Late > 0 {
		facts = append(facts, fact{"Of them, settled after the period", strconv.FormatUint(s.Lines.Late, 10)})
	}
	if s.FinalizedAt != nil {
		facts = append(facts, fact{"Finalized", s.FinalizedAt.In(p.in).Format(time.RFC3339)})
	}
	return facts
}

func (p *printer) groups() (groups []group) {
	for i := 0; i < len(p.s.Usage); {
		first := &p.s.Usage[i]
		g := group{Entity: entity(first.Entity, first.Name)}
		sum, has := new(big.Int), false
		for ; i < len(p.s.Usage) && text(p.s.Usage[i].Entity, "") == text(first.Entity, ""); i++ {
			u := &p.s.Usage[i]
			if n, ok := u.Usage[p.s.Invoice.Capability]; ok {
				sum.Add(sum, big.NewInt(n))
				has = true
			}
			g.Rows = append(g.Rows, row{Model: p.model(u.Model), Usage: p.rest(u.Usage), Events: amount(big.NewInt(u.Events), 0, 0), Amount: p.money(u.Usage)})
		}
		if has {
			g.Amount = p.big(p.s.Invoice.Capability, sum)
		}
		groups = append(groups, g)
	}
	return groups
}

func (p *printer) model(model *string) string {
	if p.s.Layout.MergeModels {
		return "All models"
	}
	return text(model, noModel)
}

// kind says what an adjustment is.
func (p *printer) kind(a *client.StatementAdjustment) string {
	names := map[string]string{"late": "Arrived late", "void": "Voided", "adjust": "Adjusted", "reprice": "Priced anew"}
	name := cmp.Or(names[a.Kind], a.Kind)
	if a.Lines == 1 {
		return name
	}
	return fmt.Sprintf("%s (%s lines)", name, amount(big.NewInt(a.Lines), 0, 0))
}

// entity writes an entity's name and id.
func entity(id *string, name string) string {
	switch {
	case id == nil:
		return notEntity
	case name == "" || name == *id:
		return *id
	}
	return name + " (" + *id + ")"
}

func text(s *string, none string) string {
	if s == nil {
		return none
	}
	return *s
}

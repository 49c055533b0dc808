package statement

import (
	"encoding/csv"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// csvHeader names the columns. Statements of several months can be put below one another. section is opening, usage,
// adjustment, total or closing; amount is in units, smallest in the smallest unit: the first is the second, moved by decimals.
var csvHeader = []string{
	"account", "statement", "from", "to", "section", "kind", "period", "entity", "name", "model", "reason",
	"capability", "unit", "decimals", "amount", "smallest", "events", "lines",
}

// CSV writes a row for each amount of a statement. Text that a spreadsheet would take for a formula
// (it begins with = + - @, a tab or a carriage return) has an apostrophe before it.
func CSV(w io.Writer, s *client.Statement, in *time.Location) error {
	c := csvTable{csv: csv.NewWriter(w), p: newPrinter(s, in), units: map[string]string{}}
	for _, t := range s.Totals {
		c.units[t.Capability] = t.Unit
	}
	if err := c.csv.Write(csvHeader); err != nil {
		return err
	}
	for _, t := range s.Totals {
		c.row("opening", csvKey{}, t.Capability, t.Opening, "", "")
	}
	for i := range s.Usage {
		u := &s.Usage[i]
		c.rows("usage", csvKey{entity: u.Entity, name: u.Name, model: u.Model}, u.Usage, strconv.FormatInt(u.Events, 10), "")
	}
	for i := range s.Adjustments {
		a := &s.Adjustments[i]
		k := csvKey{kind: a.Kind, period: a.Period.In(in).Format("2006-01"), entity: a.Entity, name: a.Name, model: a.Model, reason: a.Reason}
		c.rows("adjustment", k, a.Usage, strconv.FormatInt(a.Events, 10), strconv.FormatInt(a.Lines, 10))
	}
	for _, t := range s.Totals {
		c.row("total", csvKey{}, t.Capability, t.Total, "", "")
	}
	for _, t := range s.Totals {
		c.row("closing", csvKey{}, t.Capability, t.Closing, "", "")
	}
	c.csv.Flush()
	return c.csv.Error()
}

type csvTable struct {
	csv   *csv.Writer
	p     *printer
	units map[string]string // by capability
}

// csvKey says what a row is about.
type csvKey struct {
	kind, period string
	entity       *string
	name         string
	model        *string
	reason       string
}

func (c *csvTable) rows(section string, k csvKey, usage map[string]int64, events, lines string) {
	for _, capability := range slices.Sorted(maps.Keys(usage)) {
		c.row(section, k, capability, usage[capability], events, lines)
	}
}

// row writes one amount; an error stays with the writer until it is flushed.
func (c *csvTable) row(section string, k csvKey, capability string, n int64, events, lines string) {
	s, decimals := c.p.s, c.p.decimals[capability]
	_ = c.csv.Write([]string{
		Inert(s.Account), text(s.ID, ""), s.From.Format(time.RFC3339), s.To.Format(time.RFC3339), section, k.kind, k.period,
		Inert(text(k.entity, "")), Inert(k.name), Inert(text(k.model, "")), Inert(k.reason),
		Inert(capability), Inert(c.units[capability]), strconv.Itoa(decimals), plain(n, decimals), strconv.FormatInt(n, 10), events, lines,
	})
}

// Inert keeps a text in a CSV file from being a formula where a spreadsheet opens it: one that begins as formulas do gets an apostrophe before it.
func Inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

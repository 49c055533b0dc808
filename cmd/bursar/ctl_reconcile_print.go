package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bursar-dev/bursar/admin/statement"
	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/reconcile"
)

// comparedDoc is the command's JSON. Amounts are exact decimals in the capability's unit, as text.
type comparedDoc struct {
	Account  string         `json:"account"`
	Entity   *string        `json:"entity"`
	Timezone string         `json:"timezone"` // of the days
	Bills    []readBill     `json:"bills"`
	LeftOut  leftOut        `json:"left_out"`
	Items    []comparedLine `json:"items"`
	Totals   []comparedLine `json:"totals"`
	Beyond   int            `json:"beyond_tolerance"`
}

// leftOut is what the bills have that was not compared.
type leftOut struct {
	Rows int    `json:"rows"`
	USD  string `json:"usd"`
}

// comparedLine is one comparison, or, without a day, a total.
type comparedLine struct {
	Day        string              `json:"day,omitempty"`
	From       *time.Time          `json:"from,omitempty"`
	To         *time.Time          `json:"to,omitempty"`
	Model      *string             `json:"model,omitempty"`
	Capability string              `json:"capability"`
	Ours       string              `json:"ours"`
	Theirs     string              `json:"theirs"`
	Difference string              `json:"difference"`
	Note       string              `json:"note"`
	Ledger     []string            `json:"ledger,omitempty"` // command lines that list what is behind ours
	Lines      []client.LedgerLine `json:"lines,omitempty"`
}

var comparedColumns = []column[comparedLine]{
	{title: "DAY", cell: func(l comparedLine) string { return l.Day }},
	{title: "MODEL", cell: func(l comparedLine) string { return text(l.Model) }},
	{title: "CAPABILITY", cell: func(l comparedLine) string { return l.Capability }},
	{title: "OURS", number: true, cell: func(l comparedLine) string { return l.Ours }},
	{title: "THEIRS", number: true, cell: func(l comparedLine) string { return l.Theirs }},
	{title: "DIFFERENCE", number: true, cell: func(l comparedLine) string { return l.Difference }},
	{title: "NOTE", cell: func(l comparedLine) string { return l.Note }},
}

// print writes the comparison. errDiffers: a line is beyond the tolerance.
func (rc *comparison) print(ctx context.Context) error {
	lines, totals := rc.sheet.Lines(&rc.allowed)
	left := rc.sheet.LeftOut()
	doc := comparedDoc{
		Account: rc.cmd.Account, Entity: nonEmpty(rc.cmd.Entity), Timezone: rc.cmd.Timezone, Bills: rc.bills,
		LeftOut: leftOut{left.Rows, left.Cost.Text(moneyDecimals)}, Items: []comparedLine{}, Totals: []comparedLine{},
	}
	shown := ""
	for i := range lines {
		l := &lines[i]
		if !l.Within {
			doc.Beyond++
		} else if rc.cmd.Differences {
			continue
		}
		item := rc.line(ctx, l)
		if group := item.Day + " " + l.Model; !l.Within && rc.cmd.Lines > 0 && group != shown { // once, whatever of it differs
			var err error
			shown = group
			if item.Lines, err = rc.behind(ctx, l); err != nil {
				return err
			}
		}
		doc.Items = append(doc.Items, item)
	}
	for i := range totals {
		t := &totals[i]
		total := comparedLine{Day: "total", Capability: t.Capability}
		rc.amounts(ctx, &total, &t.Ours, &t.Theirs, &t.Difference)
		if t.Beyond > 0 {
			total.Note = fmt.Sprintf("%d differ", t.Beyond)
		}
		doc.Totals = append(doc.Totals, total)
	}
	if err := rc.write(ctx, &doc); err != nil {
		return err
	}
	if doc.Beyond > 0 {
		return fmt.Errorf("%w in %d of %d lines by more than the tolerance", errDiffers, doc.Beyond, len(lines))
	}
	return nil
}

func (rc *comparison) write(ctx context.Context, doc *comparedDoc) error {
	switch rc.format {
	case outputJSON:
		for i := range doc.Totals {
			doc.Totals[i].Day = ""
		}
		return writeJSON(rc.out, doc)
	case outputCSV:
		return writeComparedCSV(rc.out, slices.Concat(doc.Items, doc.Totals))
	}
	if err := writeTable(rc.out, comparedColumns, slices.Concat(doc.Items, doc.Totals)); err != nil {
		return err
	}
	if doc.LeftOut.Rows > 0 {
		fmt.Fprintf(rc.out, "\nNot compared: %d rows of the bill, %s USD.\n", doc.LeftOut.Rows, doc.LeftOut.USD)
	}
	return rc.writeBehind(ctx, doc.Items)
}

// writeBehind says how to list the lines behind each difference, and shows those that were asked for.
func (rc *comparison) writeBehind(ctx context.Context, items []comparedLine) error {
	shown := ""
	for _, l := range items {
		heading := l.Day + " " + visible(text(l.Model))
		if len(l.Ledger) == 0 || heading == shown {
			continue
		}
		shown = heading
		fmt.Fprintf(rc.out, "\n%s:\n  %s\n", heading, strings.Join(l.Ledger, "\n  "))
		if len(l.Lines) == 0 {
			continue
		}
		rows := mapped(l.Lines, func(l client.LedgerLine) ledgerRow {
			return ledgerRow{LedgerLine: l, usage: usageText(ctx, rc.session, l.Usage)}
		})
		if err := writeTable(rc.out, ledgerColumns, rows); err != nil {
			return err
		}
	}
	return nil
}

// line states a comparison.
func (rc *comparison) line(ctx context.Context, l *reconcile.Line) comparedLine {
	from, to := time.UnixMilli(l.Day).UTC(), time.UnixMilli(l.End).UTC()
	out := comparedLine{Day: rc.sheet.Days.Label(l.Day), From: &from, To: &to, Model: nonEmpty(l.Model), Capability: l.Capability}
	rc.amounts(ctx, &out, &l.Ours, &l.Theirs, &l.Difference)
	switch {
	case !l.Within && l.OnlyOurs:
		out.Note = "only ours"
	case !l.Within && l.OnlyTheirs:
		out.Note = "only theirs"
	case !l.Within:
		out.Note = "differs"
	case l.Difference.Sign() != 0:
		out.Note = "within tolerance"
	}
	if !l.Within {
		for _, name := range l.OurNames {
			out.Ledger = append(out.Ledger, rc.ledgerCommand(name, from, to))
		}
	}
	return out
}

func (rc *comparison) amounts(ctx context.Context, out *comparedLine, ours, theirs, difference *reconcile.Amount) {
	decimals := 0
	if out.Capability == fsm.CapUSD {
		decimals = moneyDecimals
	}
	out.Ours, out.Theirs, out.Difference = ours.Text(decimals), theirs.Text(decimals), difference.Text(decimals)
}

// ledgerCommand is a command line that lists the lines of a model in a span of time. Lines
// without a model have no filter of their own: it lists all of the time.
func (rc *comparison) ledgerCommand(model string, from, to time.Time) string {
	words := []string{"bursar", "ledger", "list", quoted(rc.cmd.Account), "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339)}
	if model != "" {
		words = append(words, "--model", quoted(model))
	}
	if rc.cmd.Entity != "" {
		words = append(words, "--entity", quoted(rc.cmd.Entity))
	}
	return strings.Join(append(words, "--oldest-first", "--limit", "0"), " ")
}

// quoted writes a word for a shell. Bytes of what is not printable, which would act on the terminal that shows
// the word, are escaped: such a word is $'…', which bash, zsh and ksh read.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@") == "" && s[0] != '-' {
		return s
	}
	if utf8.ValidString(s) && strings.IndexFunc(s, notPrintable) < 0 {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var out strings.Builder
	out.WriteString("$'")
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\'' || r == '\\':
			out.WriteString(`\` + s[:size])
		case notPrintable(r) || r == utf8.RuneError && size == 1:
			for _, b := range []byte(s[:size]) {
				fmt.Fprintf(&out, `\x%02x`, b)
			}
		default:
			out.WriteString(s[:size])
		}
		s = s[size:]
	}
	return out.String() + "'"
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

// behind reads the first lines of ours behind a difference.
func (rc *comparison) behind(ctx context.Context, l *reconcile.Line) (lines []client.LedgerLine, err error) {
	for _, name := range l.OurNames {
		f := client.LedgerFilter{
			Model: name, Entity: rc.cmd.Entity, From: time.UnixMilli(l.Day), To: time.UnixMilli(l.End), OldestFirst: true,
		}
		for line, err := range rc.Ledger(ctx, rc.cmd.Account, f) {
			if err != nil {
				return nil, err
			}
			if len(lines) == rc.cmd.Lines {
				return lines, nil
			}
			if text(line.Model) == name {
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// writeComparedCSV writes a row a comparison, with models that no spreadsheet takes for formulas.
func writeComparedCSV(w io.Writer, lines []comparedLine) error {
	out := csv.NewWriter(w)
	out.Write([]string{"day", "model", "capability", "ours", "theirs", "difference", "note"})
	for _, l := range lines {
		out.Write([]string{l.Day, statement.Inert(text(l.Model)), l.Capability, l.Ours, l.Theirs, l.Difference, l.Note})
	}
	out.Flush()
	return out.Error()
}

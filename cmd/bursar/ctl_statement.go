package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/bursar-dev/bursar/client"
)

type statementCmd struct {
	List     statementListCmd     `cmd:"" help:"List an account's finalized statements, latest first."`
	Show     statementShowCmd     `cmd:"" help:"Show a finalized statement, or write it as PDF, HTML, CSV or JSON."`
	Preview  statementPreviewCmd  `cmd:"" help:"Show what a statement would say; nothing is finalized."`
	Finalize statementFinalizeCmd `cmd:"" help:"Finalize a month. It never changes again; what arrives later is in the next."`
	Settings statementSettingsCmd `cmd:"" help:"Show or set what an account's next statements take in: parties, numbers, currency, close lag, layout."`
}

var statementColumns = []column[client.StatementHead]{
	{title: "STATEMENT", cell: func(s client.StatementHead) string { return text(s.ID) }},
	{title: "NUMBER", cell: func(s client.StatementHead) string { return text(s.Invoice.Number) }},
	{title: "FINALIZED", cell: func(s client.StatementHead) string { return at(s.FinalizedAt) }},
	{title: "LINES", number: true, cell: func(s client.StatementHead) string { return strconv.FormatUint(s.Lines.Count, 10) }},
	{title: "TOTAL", number: true, cell: func(s client.StatementHead) string {
		return formatAmount(s.Invoice.Total, s.Invoice.Decimals) + " " + s.Invoice.Currency
	}},
	{title: "HASH", cell: func(s client.StatementHead) string { return s.Lines.Hash[:min(len(s.Lines.Hash), 12)] }},
}

type statementListCmd struct{ accountArg }

func (c *statementListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, statementColumns).all(s.Statements(ctx, c.Account))
	})
}

// documentFlags say where a statement goes and as what.
type documentFlags struct {
	Format string   `help:"table, json, csv, html or pdf." enum:"table,json,csv,html,pdf" default:"table"`
	Out    string   `short:"o" help:"File to write; standard output if left out." placeholder:"FILE"`
	Force  bool     `env:"-" help:"Replace the file if there is one."`
	Admin  []string `help:"Control plane of a node; several for several nodes." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	tokenFlags
}

// documentTypes are the content types of the formats that the server writes.
var documentTypes = map[string]string{"json": client.PlainJSON, "csv": client.CSV, "html": client.HTML, "pdf": client.PDF}

// write asks for a statement in the format and puts it where it is to go. A file is whole or not there.
func (f *documentFlags) write(k *kong.Context, ask func(s *session, contentType string, w io.Writer) error) error {
	if f.Format == "pdf" && f.Out == "" && isTerminal(k.Stdout) {
		return usageError{errors.New("a PDF is nothing for a terminal: name a file with -o, or send standard output somewhere")}
	}
	if f.Out != "" {
		if err := notThere(f.Out, f.Force); err != nil {
			return err
		}
	}
	return withAdmin(f.Admin, &f.tokenFlags, f.Format, k, func(s *session) error {
		if f.Out == "" {
			return f.into(k.Stdout, s, ask)
		}
		return writeWhole(f.Out, func(file *os.File) error { return f.into(file, s, ask) })
	})
}

func (f *documentFlags) into(w io.Writer, s *session, ask func(s *session, contentType string, w io.Writer) error) error {
	if contentType := documentTypes[f.Format]; contentType != "" {
		return ask(s, contentType, w)
	}
	var answer bytes.Buffer
	if err := ask(s, client.PlainJSON, &answer); err != nil {
		return err
	}
	var statement client.Statement
	if err := json.Unmarshal(answer.Bytes(), &statement); err != nil {
		return err
	}
	return printStatement(w, &statement)
}

var statementTotalColumns = []column[client.StatementTotal]{
	{title: "CAPABILITY", cell: func(t client.StatementTotal) string { return t.Capability }},
	{title: "OPENING", number: true, cell: func(t client.StatementTotal) string { return formatAmount(t.Opening, t.Decimals) }},
	{title: "USAGE", number: true, cell: func(t client.StatementTotal) string { return formatAmount(t.Usage, t.Decimals) }},
	{title: "ADJUSTMENTS", number: true, cell: func(t client.StatementTotal) string { return formatAmount(t.Adjustments, t.Decimals) }},
	{title: "TOTAL", number: true, cell: func(t client.StatementTotal) string { return formatAmount(t.Total, t.Decimals) }},
	{title: "CLOSING", number: true, cell: func(t client.StatementTotal) string { return formatAmount(t.Closing, t.Decimals) }},
}

// statementRow is a row of usage or adjustments.
type statementRow struct {
	kind, entity, model, money string
	events                     int64
}

func statementRowColumns(currency string) []column[statementRow] {
	return []column[statementRow]{
		{title: "KIND", cell: func(r statementRow) string { return r.kind }},
		{title: "ENTITY", cell: func(r statementRow) string { return r.entity }},
		{title: "MODEL", cell: func(r statementRow) string { return r.model }},
		{title: "EVENTS", number: true, cell: func(r statementRow) string { return strconv.FormatInt(r.events, 10) }},
		{title: currency, number: true, cell: func(r statementRow) string { return r.money }},
	}
}

// printStatement shows what fits on a terminal: totals, and the money of each row.
func printStatement(w io.Writer, s *client.Statement) error {
	what := "Preview"
	if s.Final {
		what = "Statement " + text(s.ID)
	}
	if s.Invoice.Number != nil {
		what += ", invoice " + *s.Invoice.Number
	}
	total := formatAmount(s.Invoice.Total, s.Invoice.Decimals) + " " + s.Invoice.Currency
	fmt.Fprintf(w, "%s of %s, %s to %s: %s\n\n", what, s.Account, at(&s.From), at(&s.To), total)
	if err := writeTable(w, statementTotalColumns, s.Totals); err != nil {
		return err
	}
	money := func(usage map[string]int64) string {
		n, ok := usage[s.Invoice.Capability]
		if !ok {
			return ""
		}
		return formatAmount(n, s.Invoice.Decimals)
	}
	var rows []statementRow
	for _, u := range s.Usage {
		rows = append(rows, statementRow{"usage", text(u.Entity), text(u.Model), money(u.Usage), u.Events})
	}
	for _, a := range s.Adjustments {
		rows = append(rows, statementRow{a.Kind, text(a.Entity), text(a.Model), money(a.Usage), a.Events})
	}
	fmt.Fprintln(w)
	if err := writeTable(w, statementRowColumns(s.Invoice.Currency), rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d ledger lines, read up to line %d, SHA-256 of their hashes %s\n", s.Lines.Count, s.ThroughSeq, s.Lines.Hash)
	return err
}

type statementShowCmd struct {
	Account   string `arg:"" help:"Id of the account."`
	Statement string `arg:"" help:"The month, as 2026-10."`
	documentFlags
}

func (c *statementShowCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.write(k, func(s *session, contentType string, w io.Writer) error {
		return s.WriteStatement(ctx, c.Account, c.Statement, contentType, w)
	})
}

// layoutFlags say which lines share a row.
type layoutFlags struct {
	EntityType  string `help:"Rows by the first entity of each event's chain that is of this type." xor:"rows" placeholder:"TYPE"`
	Depth       *int   `help:"Rows by the entity so many levels below the account's root; 0: the account as a whole." xor:"rows" placeholder:"N"`
	MergeModels bool   `help:"One row for all models."`
}

// layout returns nil if none was given: the account's settings say it.
func (f *layoutFlags) layout() *client.StatementLayout {
	if f.EntityType == "" && f.Depth == nil && !f.MergeModels {
		return nil
	}
	return &client.StatementLayout{EntityType: f.EntityType, Depth: f.Depth, MergeModels: f.MergeModels}
}

type statementPreviewCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Month   string `arg:"" optional:"" help:"The month, as 2026-10; the next if left out."`
	From    moment `help:"Instead of a month: from this moment on." placeholder:"TIME"`
	To      moment `help:"Before this moment." placeholder:"TIME"`
	layoutFlags
	documentFlags
}

func (c *statementPreviewCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.write(k, func(s *session, contentType string, w io.Writer) error {
		p := client.StatementPreview{Month: c.Month, From: c.From.Time, To: c.To.Time, Layout: c.layout()}
		return s.WritePreview(ctx, c.Account, p, contentType, w)
	})
}

type statementFinalizeCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Month   string `arg:"" optional:"" help:"The month, as 2026-10; the next if left out."`
	Number  string `help:"Invoice number; the next of the account's sequence if left out." placeholder:"NUMBER"`
	layoutFlags
	documentFlags
}

// Help implements kong's HelpProvider.
func (*statementFinalizeCmd) Help() string {
	return `A month can be finalized once it is over and its close lag (24 hours, unless the settings say otherwise) has
passed, and only after the months before it. Finalizing it again answers with the statement that is there.`
}

func (c *statementFinalizeCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.write(k, func(s *session, contentType string, w io.Writer) error {
		done, err := s.FinalizeStatement(ctx, c.Account, client.FinalizeStatement{Month: c.Month, Number: c.Number, Layout: c.layout()})
		if err != nil {
			return err
		}
		return s.WriteStatement(ctx, c.Account, text(done.ID), contentType, w)
	})
}

type statementSettingsCmd struct {
	Account string   `arg:"" help:"Id of the account."`
	File    string   `arg:"" optional:"" help:"YAML or JSON with all settings, as the command shows them; - reads standard input. Left out: they are shown." placeholder:"FILE"`
	Admin   []string `help:"Control plane of a node; several for several nodes." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	tokenFlags
}

// maxSettings is more bytes than any settings have.
const maxSettings = 1 << 20

func (c *statementSettingsCmd) Run(ctx context.Context, k *kong.Context) error {
	var settings client.InvoiceSettings
	if c.File != "" {
		var err error
		if settings, err = readInvoiceSettings(c.File); err != nil {
			return usageError{fmt.Errorf("%s: %w", c.File, err)}
		}
	}
	return withAdmin(c.Admin, &c.tokenFlags, outputJSON, k, func(s *session) error {
		var err error
		if c.File == "" {
			settings, err = s.InvoiceSettings(ctx, c.Account)
		} else {
			settings, err = s.PutInvoiceSettings(ctx, c.Account, settings)
		}
		if err != nil {
			return err
		}
		return writeJSON(s.out, settings)
	})
}

func readInvoiceSettings(path string) (s client.InvoiceSettings, err error) {
	in, err := openInput(path)
	if err != nil {
		return s, err
	}
	defer in.Close()
	var file map[string]any
	if err := yaml.NewDecoder(io.LimitReader(in, maxSettings)).Decode(&file); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return s, err
	}
	data, err := json.Marshal(file)
	if err != nil {
		return s, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return s, d.Decode(&s)
}

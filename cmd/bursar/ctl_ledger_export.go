package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/internal/ledgerfile"
)

// The formats of an export.
const formatParquet = "parquet"

// ledgerExportCmd writes lines into a file, oldest first.
type ledgerExportCmd struct {
	Account      string `arg:"" help:"Id of the account."`
	File         string `arg:"" help:"File to write." placeholder:"FILE"`
	Format       string `help:"parquet, csv or ndjson; left out: what the file's name ends in." enum:"parquet,csv,ndjson," default:"" env:"-"`
	Entity       string `help:"Only of this entity and what is below it." placeholder:"ID"`
	Key          string `help:"Only of this key." placeholder:"ID"`
	Model        string `help:"Only of this model."`
	Member       string `help:"Only of this member."`
	Capability   string `help:"Only lines that used this capability." placeholder:"ID"`
	Unattributed bool   `help:"Only events no entity of which was provisioned."`
	Unpriced     bool   `help:"Only events whose model, or some of whose usage, had no price."`
	From         moment `help:"Only from this moment on." placeholder:"TIME"`
	To           moment `help:"Only before this moment." placeholder:"TIME"`
	Force        bool   `env:"-" help:"Replace the file if there is one."`
	adminFlags
}

// exportReport is what an export came to.
type exportReport struct {
	File  string `json:"file"`
	Lines int64  `json:"lines"`
	Bytes int64  `json:"bytes"`
}

// Run writes a file that is whole or not there.
func (c *ledgerExportCmd) Run(ctx context.Context, k *kong.Context) error {
	format := cmp.Or(c.Format, strings.TrimPrefix(strings.ToLower(filepath.Ext(c.File)), "."))
	if !slices.Contains([]string{formatParquet, outputCSV, outputNDJSON}, format) {
		return usageError{fmt.Errorf("%s ends in no format: say --format parquet, csv or ndjson", c.File)}
	}
	if err := notThere(c.File, c.Force); err != nil {
		return err
	}
	return c.with(k, func(s *session) error {
		r, err := c.toFile(ctx, s, format, newProgress(k.Stderr))
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, r)
		}
		_, err = fmt.Fprintf(s.out, "%s: %d lines, %s\n", r.File, r.Lines, sizeText(r.Bytes))
		return err
	})
}

func (c *ledgerExportCmd) toFile(ctx context.Context, s *session, format string, shown *progress) (*exportReport, error) {
	defer shown.done()
	r := &exportReport{File: c.File}
	err := writeWhole(c.File, func(f *os.File) (err error) {
		if format == formatParquet {
			r.Lines, err = c.lines(ctx, s, ledgerfile.NewWriter(f), shown)
		} else {
			r.Lines, err = c.text(ctx, s, format, f, shown)
		}
		info, failed := f.Stat()
		if err = errors.Join(err, failed); err == nil {
			r.Bytes = info.Size()
		}
		return err
	})
	return r, err
}

func (c *ledgerExportCmd) filter() client.LedgerFilter {
	return client.LedgerFilter{
		Entity: c.Entity, Key: c.Key, Model: c.Model, Member: c.Member, Capability: c.Capability, From: c.From.Time, To: c.To.Time,
		Unattributed: c.Unattributed, Unpriced: c.Unpriced, OldestFirst: true,
	}
}

// exportRefresh is how many lines are written between two looks at the progress.
const exportRefresh = 1_000

// lines writes line by line.
func (c *ledgerExportCmd) lines(ctx context.Context, s *session, to *ledgerfile.Writer, shown *progress) (n int64, err error) {
	for l, err := range s.StreamLedger(ctx, c.Account, c.filter()) {
		if err == nil {
			err = to.Write(&l)
		}
		if err != nil {
			return n, err
		}
		if n++; n%exportRefresh == 0 {
			shown.step("%d lines, up to %s", n, l.At.UTC().Format(time.RFC3339))
		}
	}
	return n, to.Close()
}

// text writes what the node sends as it is, and counts its lines.
func (c *ledgerExportCmd) text(ctx context.Context, s *session, format string, f io.Writer, shown *progress) (n int64, err error) {
	types := map[string]string{outputCSV: client.CSV, outputNDJSON: client.NDJSON}
	out := bufio.NewWriter(f)
	counted := &countedRecords{progress: transferred{shown: shown, what: "exporting"}, csv: format == outputCSV}
	err = s.ExportLedger(ctx, c.Account, c.filter(), types[format], io.MultiWriter(out, counted))
	return counted.records(), errors.Join(err, out.Flush())
}

// countedRecords counts the records that go through it: line ends outside of quotes.
type countedRecords struct {
	progress transferred
	csv      bool // it has a header, and quotes
	quoted   bool
	ends     int64
}

// Write implements io.Writer.
func (c *countedRecords) Write(b []byte) (int, error) {
	for _, x := range b {
		switch {
		case x == '"' && c.csv:
			c.quoted = !c.quoted
		case x == '\n' && !c.quoted:
			c.ends++
		}
	}
	return c.progress.Write(b)
}

func (c *countedRecords) records() int64 {
	if c.csv {
		return max(0, c.ends-1)
	}
	return c.ends
}

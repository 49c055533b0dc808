package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type retentionCmd struct {
	Show     retentionShowCmd     `cmd:"" help:"Show how long an account's lines are kept, how far they were dropped, and what the ledger takes on disk."`
	Set      retentionSetCmd      `cmd:"" help:"Keep an account's lines for so many days; older ones go once they are in a finalized statement."`
	Exported retentionExportedCmd `cmd:"" help:"Verify an export and acknowledge that its lines are kept elsewhere."`
}

// retentionRow is what a table shows.
type retentionRow struct {
	client.Retention
	account string
}

var retentionColumns = []column[retentionRow]{
	{title: "ACCOUNT", cell: func(r retentionRow) string { return r.account }},
	{title: "DAYS", number: true, cell: func(r retentionRow) string {
		if r.Days == nil {
			return "for ever"
		}
		return strconv.Itoa(*r.Days)
	}},
	{title: "EXPORT REQUIRED", cell: func(r retentionRow) string { return yes(r.RequireExport) }},
	{title: "LAST LINE", number: true, cell: func(r retentionRow) string { return countOrNone(r.LastSeq) }},
	{title: "EXPORTED", number: true, cell: func(r retentionRow) string { return countOrNone(r.ExportedThrough) }},
	{title: "DROPPED", number: true, cell: func(r retentionRow) string { return countOrNone(r.DroppedThrough) }},
	{title: "UNTIL", cell: func(r retentionRow) string { return at(r.DroppedUntil) }},
	{title: "ON DISK", number: true, cell: func(r retentionRow) string { return sizeText(int64(r.DiskBytes.Total)) }},
}

func showRetention(s *session, account string, r client.Retention, err error) error {
	return tableOf(s, retentionColumns, func(r client.Retention) retentionRow { return retentionRow{r, account} }).one(r, err)
}

type retentionShowCmd struct{ accountArg }

func (c *retentionShowCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		r, err := s.Admin.Retention(ctx, c.Account)
		return showRetention(s, c.Account, r, err)
	})
}

type retentionSetCmd struct {
	accountArg
	Days          int  `help:"Days since a line was settled, 30 to 36500." xor:"days" env:"-" placeholder:"N"`
	ForEver       bool `help:"Keep all lines." xor:"days" env:"-"`
	RequireExport bool `help:"Drop only what retention exported has acknowledged." env:"-"`
}

func (c *retentionSetCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Days == 0 && !c.ForEver {
		return usageError{fmt.Errorf("say --days, or --for-ever")}
	}
	return c.with(k, func(s *session) error {
		want := client.Retention{RequireExport: c.RequireExport}
		if !c.ForEver {
			want.Days = &c.Days
		}
		r, err := s.SetRetention(ctx, c.Account, want)
		return showRetention(s, c.Account, r, err)
	})
}

// retentionExportedCmd acknowledges only what it has seen whole.
type retentionExportedCmd struct {
	accountArg
	File string `arg:"" help:"File that ledger export has written as NDJSON, from the first line that is not acknowledged yet, or before." placeholder:"FILE" type:"existingfile"`
}

func (c *retentionExportedCmd) Run(ctx context.Context, k *kong.Context) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	shown := newProgress(k.Stderr)
	defer shown.done()
	shown.step("verifying %s", c.File)
	found, err := checkExport(ctx, c.File, f, func(int) {})
	if err != nil {
		return err
	}
	shown.done()
	switch {
	case !found.Valid:
		return fmt.Errorf("%s is not sound: %d faults; bursar ledger verify --export %s names them", c.File, found.FaultCount, c.File)
	case found.Lines == 0:
		return fmt.Errorf("%s has no lines", c.File)
	case found.Account != c.Account:
		return usageError{fmt.Errorf("%s has the ledger of %s and not of %s", c.File, visible(found.Account), visible(c.Account))}
	}
	return c.with(k, func(s *session) error {
		now, err := s.Admin.Retention(ctx, c.Account)
		if err != nil {
			return err
		}
		if done := max(now.ExportedThrough, now.DroppedThrough); found.FirstSeq > done+1 {
			return fmt.Errorf("%s begins with line %d, and only lines up to %d have been acknowledged: export from line %d on", c.File, found.FirstSeq, done, done+1)
		}
		r, err := s.MarkExported(ctx, c.Account, client.ExportMark{ThroughSeq: found.LastSeq, Hash: nonEmpty(found.Head)})
		return showRetention(s, c.Account, r, err)
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/admin"
	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// ledgerVerifyCmd is `bursar ledger verify`.
type ledgerVerifyCmd struct {
	Account string `arg:"" optional:"" help:"Id of the account; left out: all accounts."`
	DataDir string `help:"Verify on the disk of a node that is stopped, instead of on a running one." placeholder:"DIR" type:"existingdir" xor:"where" env:"-"`
	Export  string `help:"Verify a file that ledger list --output ndjson has written." placeholder:"FILE" type:"existingfile" xor:"where" env:"-"`
	adminFlags
}

// Help implements kong's HelpProvider.
func (*ledgerVerifyCmd) Help() string {
	return `Recomputes from the lines of a ledger what is derived from them, and names whatever differs: the
chain of the lines' hashes, the ids that make an event count once, balances, sums of usage, the ledger's index, and
finalized statements. Exit code 1: something differs.

With --data-dir the node must be stopped; nothing in the directory changes. With --export the file's lines are checked: that
none is missing, doubled or changed, and what they add up to. It must have all lines of an account, from any one on.`
}

var faultColumns = []column[client.LedgerFault]{
	{title: "KIND", cell: func(f client.LedgerFault) string { return f.Kind }},
	{title: "SEQ", number: true, cell: func(f client.LedgerFault) string { return countOrNone(f.Seq) }},
	{title: "EVENT", cell: func(f client.LedgerFault) string { return f.EventID }},
	{title: "WHERE", cell: func(f client.LedgerFault) string { return f.Where }},
	{title: "EXPECTED", cell: func(f client.LedgerFault) string { return f.Expected }},
	{title: "FOUND", cell: func(f client.LedgerFault) string { return f.Found }},
}

func countOrNone(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (c *ledgerVerifyCmd) Run(ctx context.Context, k *kong.Context, root *cli) error {
	shown := newProgress(k.Stderr)
	defer shown.done()
	v := &verification{out: k.Stdout, format: c.Output, shown: shown, single: c.Account != ""}
	var err error
	switch {
	case c.Export != "":
		return c.verifyExport(ctx, v)
	case c.DataDir != "":
		err = c.verifyDir(ctx, v, newLogger(k.Stderr, logLevel(root.LogLevel, slog.LevelWarn)))
	default:
		err = c.with(k, func(s *session) error { return c.verifyOnline(ctx, v, s) })
	}
	if err != nil {
		return err
	}
	return v.end()
}

func (c *ledgerVerifyCmd) verifyOnline(ctx context.Context, v *verification, s *session) error {
	accounts := []string{c.Account}
	if c.Account == "" {
		all, err := client.Collect(s.Accounts(ctx))
		if err != nil {
			return err
		}
		accounts = mapped(all, func(a client.Account) string { return a.ID })
	}
	for _, account := range accounts {
		found, err := s.VerifyLedger(ctx, account, func(p client.VerifyProgress) { v.progress(account, p.Done, p.Total) })
		if err != nil {
			return err
		}
		if err := v.report(found); err != nil {
			return err
		}
	}
	return nil
}

func (c *ledgerVerifyCmd) verifyDir(ctx context.Context, v *verification, log *slog.Logger) (err error) {
	if _, err := os.Stat(filepath.Join(c.DataDir, stateDir)); err != nil {
		return fmt.Errorf("--data-dir %s is no node's: %w", c.DataDir, err)
	}
	lock, err := lockDataDir(c.DataDir)
	if err != nil {
		return fmt.Errorf("%w: stop the node first, or verify on the running one: leave --data-dir out", err)
	}
	defer lock.Close()
	books, err := fsm.OpenBooks(filepath.Join(c.DataDir, stateDir), fsm.Options{Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, books.Close()) }()
	accounts := []string{c.Account}
	if c.Account == "" {
		if accounts, err = books.Accounts(); err != nil {
			return err
		}
	}
	for _, account := range accounts {
		found, err := books.VerifyLedger(ctx, account, fsm.VerifyOptions{Step: func(done, total uint64) error {
			v.progress(account, done, total)
			return nil
		}})
		if err != nil {
			return err
		}
		out := admin.Verification(found)
		if err := v.report(&out); err != nil {
			return err
		}
	}
	return nil
}

// verification prints what is found, account by account.
type verification struct {
	out    io.Writer
	format string
	shown  *progress
	single bool // of one account: as JSON it is an object, and no list

	all    []*client.LedgerVerification // with JSON
	faults uint64
	wrong  []string // accounts
	told   int      // percent
}

func (v *verification) progress(account string, done, total uint64) {
	percent := 100
	if total > 0 {
		percent = int(min(100, 100*done/total))
	}
	if percent != v.told {
		v.told = percent
		v.shown.step("verifying the ledger of %s: %d %%", visible(account), percent)
	}
}

// report prints what was found of one account.
func (v *verification) report(found *client.LedgerVerification) error {
	v.shown.done()
	v.faults += found.FaultCount
	if !found.Valid {
		v.wrong = append(v.wrong, found.Account)
	}
	if v.format == outputJSON {
		v.all = append(v.all, found)
		return nil
	}
	if found.Valid {
		_, err := fmt.Fprintf(v.out, "%s: sound as of index %d: %d lines, %d event ids, %d index rows, %d budgets, %d sums, %d statements%s\n",
			visible(found.Account), found.Index, found.Lines, found.Checked.Events, found.Checked.IndexRows, found.Checked.Budgets, found.Checked.Sums, found.Checked.Statements, unchecked(found))
		return err
	}
	if err := writeTable(v.out, faultColumns, found.Faults); err != nil {
		return err
	}
	_, err := fmt.Fprintf(v.out, "%s: NOT sound as of index %d: %d faults in %d lines%s\n", visible(found.Account), found.Index, found.FaultCount, found.Lines, unchecked(found))
	return err
}

// unchecked says what the lines that there are could not tell.
func unchecked(v *client.LedgerVerification) string {
	u := v.Unchecked
	if u.Budgets+u.Sums+u.Statements == 0 {
		return ""
	}
	why := "lines without a hash"
	if v.DroppedThrough > 0 {
		why = fmt.Sprintf("lines up to %d, which retention has dropped", v.DroppedThrough)
	}
	return fmt.Sprintf("; not checked, because they need %s: %d budgets, %d sums, %d statements", why, u.Budgets, u.Sums, u.Statements)
}

// end prints what is printed at once, and fails if something was wrong.
func (v *verification) end() error {
	if v.format == outputJSON {
		var err error
		if v.single && len(v.all) == 1 {
			err = writeJSON(v.out, v.all[0])
		} else {
			err = writeJSON(v.out, client.List[*client.LedgerVerification]{Items: v.all})
		}
		if err != nil {
			return err
		}
	}
	if len(v.wrong) > 0 {
		return fmt.Errorf("the ledger of %s is not sound: %d faults", visible(strings.Join(v.wrong, ", ")), v.faults)
	}
	return nil
}

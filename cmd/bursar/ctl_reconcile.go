package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/reconcile"
)

// reconcileCmd compares the ledger with a provider's bill; docs/reconcile.md is its manual.
type reconcileCmd struct {
	Account     string   `arg:"" help:"Id of the account."`
	ProviderCSV []string `name:"provider-csv" required:"" sep:"none" help:"The provider's bill; several files add up; - reads standard input." placeholder:"FILE"`

	Map        []string `help:"Which columns hold what: date, model, cost, currency, end, or the id of a capability. Left out: OpenAI's costs or usage export." placeholder:"KEY=COLUMN"`
	Delimiter  string   `help:"What stands between fields: ${enum}." enum:"comma,semicolon,tab" default:"comma"`
	DateFormat string   `help:"Form of dates that are not ISO 8601, as DD.MM.YYYY." placeholder:"FORM"`
	CostUnit   string   `help:"What a cost of 1 in the bill is: ${enum}." enum:"usd,cent,micro,nano" default:"usd"`
	Timezone   string   `help:"Time zone of the provider's days." default:"UTC" placeholder:"ZONE"`

	Alias  []string `sep:"none" help:"Compare models that match PATTERN, theirs and ours, under NAME. The first that matches counts." placeholder:"PATTERN=NAME"`
	Only   []string `help:"Compare only models that match one of these." placeholder:"PATTERN"`
	Where  []string `sep:"none" help:"Read only rows of the bill with this value in the column." placeholder:"COLUMN=VALUE"`
	Entity string   `help:"Compare only what was charged to this entity and what is below it." placeholder:"ID"`
	From   date     `help:"Only from this day on, in the provider's time zone." placeholder:"DATE"`
	To     date     `help:"Only before this day." placeholder:"DATE"`

	Tolerance       string `help:"USD by which a day's model may differ." default:"0" placeholder:"USD"`
	AmountTolerance string `help:"The same for amounts other than cost, in the capability's unit." default:"0" placeholder:"N"`
	Differences     bool   `help:"Show only what differs by more than that."`
	Lines           int    `help:"Show up to N ledger lines behind each difference." placeholder:"N"`

	Admin  []string `help:"Control plane of a node; several for several nodes." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	Output string   `short:"o" help:"table, json or csv." env:"BURSAR_OUTPUT" enum:"table,json,csv" default:"table"`
	tokenFlags
}

// Help is shown below the flags' summary.
func (*reconcileCmd) Help() string {
	return "The exit code is 1 if a day's model differs by more than the tolerance, 2 if the bill cannot be read."
}

// date is a day without a time zone.
type date struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *date) UnmarshalText(b []byte) (err error) {
	if d.Time, err = time.Parse(time.DateOnly, string(b)); err != nil {
		return fmt.Errorf("%q is no date, as 2026-01-31", b)
	}
	return nil
}

// errDiffers is the outcome of a comparison, not of the command: exit code 1.
var errDiffers = errors.New("ledger and bill differ")

// Run reads the whole bill before it asks for anything.
func (c *reconcileCmd) Run(ctx context.Context, k *kong.Context) error {
	rc, err := c.prepare()
	if err != nil {
		return usageError{err}
	}
	return withAdmin(c.Admin, &c.tokenFlags, c.Output, k, func(s *session) error {
		rc.session, rc.progress = s, newProgress(k.Stderr)
		defer rc.progress.done()
		for _, name := range c.ProviderCSV {
			if err := rc.bill(ctx, name); err != nil {
				return err
			}
		}
		if err := rc.ours(ctx); err != nil {
			return err
		}
		rc.progress.done()
		return rc.print(ctx)
	})
}

// comparison is one run of the command.
type comparison struct {
	*session
	cmd      *reconcileCmd
	read     reconcile.Options
	sheet    reconcile.Sheet
	allowed  reconcile.Tolerance
	bills    []readBill
	progress *progress
}

// readBill says how a file was read.
type readBill struct {
	File   string `json:"file"`
	Format string `json:"format"`
	Rows   int    `json:"rows"`
}

// costShift is how many decimals a --cost-unit stands below a dollar.
var costShift = map[string]int{"usd": 0, "cent": 2, "micro": 6, "nano": 9}

// prepare turns the flags into what they say.
func (c *reconcileCmd) prepare() (*comparison, error) {
	zone, err := fsm.Location(c.Timezone)
	if err != nil {
		return nil, fmt.Errorf("--timezone: %w", err)
	}
	days := reconcile.Calendar{Zone: zone, Day: fsm.Cadence{Every: fsm.EveryDay, Timezone: c.Timezone}.Period}
	rc := &comparison{cmd: c, read: reconcile.Options{
		Days: days, Shift: costShift[c.CostUnit],
		Comma: map[string]rune{"comma": ',', "semicolon": ';', "tab": '\t'}[c.Delimiter],
	}}
	rc.sheet.Days = days
	rc.sheet.Names.Only = c.Only
	if !c.From.IsZero() {
		rc.sheet.From = days.Date(c.From.Time)
	}
	if !c.To.IsZero() {
		rc.sheet.To = days.Date(c.To.Time)
	}
	if !c.From.IsZero() && !c.To.IsZero() && rc.sheet.To <= rc.sheet.From {
		return nil, errors.New("--to: must be after --from")
	}
	if len(c.Map) > 0 {
		if rc.read.Map, err = reconcile.ParseMapping(c.Map); err != nil {
			return nil, fmt.Errorf("--map: %w", err)
		}
	}
	if c.DateFormat != "" {
		if rc.read.Layout, err = reconcile.DateLayout(c.DateFormat); err != nil {
			return nil, fmt.Errorf("--date-format: %w", err)
		}
	}
	for _, text := range c.Alias {
		a, err := reconcile.ParseAlias(text)
		if err != nil {
			return nil, fmt.Errorf("--alias: %w", err)
		}
		rc.sheet.Names.Aliases = append(rc.sheet.Names.Aliases, a)
	}
	for _, text := range c.Where {
		w, err := reconcile.ParseEqual(text)
		if err != nil {
			return nil, fmt.Errorf("--where: %w", err)
		}
		rc.read.Where = append(rc.read.Where, w)
	}
	for _, t := range []struct {
		flag, text string
		into       *reconcile.Amount
	}{{"--tolerance", c.Tolerance, &rc.allowed.Cost}, {"--amount-tolerance", c.AmountTolerance, &rc.allowed.Other}} {
		if *t.into, err = reconcile.ParseAmount(t.text, 0); err != nil {
			return nil, fmt.Errorf("%s: %q %w", t.flag, t.text, err)
		}
		if t.into.Sign() < 0 {
			return nil, fmt.Errorf("%s: must not be negative", t.flag)
		}
	}
	if c.Lines < 0 || c.Lines > 0 && c.Output == outputCSV {
		return nil, errors.New("--lines: a number of lines, for --output table or json")
	}
	return rc, nil
}

// bill adds a file to the sheet.
func (rc *comparison) bill(ctx context.Context, name string) error {
	in, err := openInput(name)
	if err != nil {
		return err
	}
	defer in.Close()
	rc.progress.step("Reading %s", name)
	rc.read.Units = func(capability string) (int, error) {
		known, err := rc.capability(ctx, capability)
		return known.Decimals, err
	}
	rows := 0
	m, err := reconcile.Read(in, &rc.read, func(row *reconcile.Row, columns []reconcile.Column) error {
		rows++
		return rc.sheet.Bill(row, columns)
	})
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", name, err)}
	}
	rc.bills = append(rc.bills, readBill{File: name, Format: m.Format, Rows: rows})
	return nil
}

// ours adds what the ledger has. Hours of the account that lie in one day of
// the provider are taken from the sums that the cluster keeps of them. An hour in which a day of
// the provider begins is read line by line: that is exact for time zones which are half an hour apart, too.
func (rc *comparison) ours(ctx context.Context) error {
	account, err := rc.Account(ctx, rc.cmd.Account)
	if err != nil {
		return err
	}
	from, to, ok := rc.sheet.Span()
	if !ok {
		return usageError{errors.New("no row of the bill is compared")}
	}
	hours := fsm.Cadence{Every: fsm.EveryHour, Timezone: account.Timezone}
	first, _ := hours.Period(from)
	split := map[int64]int64{} // beginning → end of hours in which a day begins
	f := client.UsageFilter{
		Bucket: "hour", GroupBy: []string{"model"}, Entity: rc.cmd.Entity,
		From: time.UnixMilli(first), To: time.UnixMilli(to),
	}
	seen := int64(0)
	for sum, err := range rc.Usage(ctx, rc.cmd.Account, f) {
		if err != nil {
			return err
		}
		start := sum.Bucket.UnixMilli()
		if start != seen {
			rc.progress.step("Adding up %s", sum.Bucket.Format(time.RFC3339))
			seen = start
		}
		_, end := hours.Period(start)
		if _, dayEnds := rc.sheet.Days.Day(start); end > dayEnds {
			split[start] = end
			continue
		}
		if err := rc.add(ctx, start, sum.Group["model"], sum.Usage); err != nil {
			return err
		}
	}
	return rc.split(ctx, split)
}

// split adds the lines of hours in which days of the provider begin, given as beginning → end.
func (rc *comparison) split(ctx context.Context, hours map[int64]int64) error {
	starts := slices.Sorted(maps.Keys(hours))
	for _, start := range starts {
		rc.progress.step("Reading the lines of %s", time.UnixMilli(start).UTC().Format(time.RFC3339))
		f := client.LedgerFilter{Entity: rc.cmd.Entity, From: time.UnixMilli(start), To: time.UnixMilli(hours[start])}
		for l, err := range rc.StreamLedger(ctx, rc.cmd.Account, f) {
			if err == nil {
				err = rc.add(ctx, l.At.UnixMilli(), l.Model, l.Usage)
			}
			if err != nil {
				return err
			}
		}
	}
	if len(starts) == 0 {
		return nil
	}
	// Asked after the lines were read: those that were dropped meanwhile are known of, too.
	kept, err := rc.Retention(ctx, rc.cmd.Account)
	if err != nil {
		return err
	}
	if until := kept.DroppedUntil; until != nil && starts[0] <= until.UnixMilli() {
		_, day := rc.sheet.Days.Day(starts[0])
		return fmt.Errorf("%s begins within an hour of the account's time zone, and only that hour's lines say what was used before and what after: "+
			"retention has dropped lines of events until %s; compare days after that, with --from",
			rc.sheet.Days.Label(day), until.UTC().Format(time.RFC3339))
	}
	return nil
}

// add adds amounts of ours at a moment.
func (rc *comparison) add(ctx context.Context, at int64, model *string, usage map[string]int64) error {
	for capability, n := range usage {
		if !rc.sheet.Compares(capability) {
			continue
		}
		known, err := rc.capability(ctx, capability)
		if err == nil {
			err = rc.sheet.Ours(at, text(model), capability, n, known.Decimals)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

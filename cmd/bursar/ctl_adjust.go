package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

// correctionFlags are of every command that corrects what events count as.
type correctionFlags struct {
	Reason string `help:"Why; it stands on the new line." placeholder:"TEXT"`
	DryRun bool   `help:"Only show what would come of it."`
	adminFlags
}

var adjustmentColumns = []column[adjustmentRow]{
	{title: "EVENT", cell: func(r adjustmentRow) string { return r.EventID }},
	{title: "KIND", cell: func(r adjustmentRow) string { return r.Kind }},
	{title: "LINE", cell: func(r adjustmentRow) string { return number(r.Seq) }},
	{title: "COUNTS AS", cell: func(r adjustmentRow) string { return r.usage }},
	{title: "REASON", cell: func(r adjustmentRow) string { return r.Reason }},
}

type adjustmentRow struct {
	client.Adjustment
	usage string
}

func number(n *uint64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

// adjust sends one correction and shows what the event counts as.
func (c *correctionFlags) adjust(ctx context.Context, s *session, account string, x client.Adjustment) error {
	x.Reason, x.DryRun = c.Reason, c.DryRun
	row := func(x client.Adjustment) adjustmentRow { return adjustmentRow{x, usageText(ctx, s, x.CountsAs)} }
	return tableOf(s, adjustmentColumns, row).one(s.Adjust(ctx, account, x))
}

type ledgerVoidCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Event   string `arg:"" help:"Id of the event."`
	ID      string `help:"Id of the correction: the same one takes effect once." placeholder:"ID"`
	correctionFlags
}

// Run implements kong's command.
func (c *ledgerVoidCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return c.adjust(ctx, s, c.Account, client.Adjustment{ID: c.ID, EventID: c.Event, Kind: "void"})
	})
}

type ledgerAdjustCmd struct {
	Account string            `arg:"" help:"Id of the account."`
	Event   string            `arg:"" help:"Id of the event."`
	Usage   map[string]string `short:"u" mapsep:"," required:"" help:"What it counts as, as tokens=1200 or usd=0.25; capabilities that are not named stay." placeholder:"CAPABILITY=AMOUNT"`
	ID      string            `help:"Id of the correction: the same one takes effect once." placeholder:"ID"`
	correctionFlags
}

// Run implements kong's command.
func (c *ledgerAdjustCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		x := client.Adjustment{ID: c.ID, EventID: c.Event, Kind: "adjust", Usage: map[string]int64{}}
		for _, id := range slices.Sorted(maps.Keys(c.Usage)) {
			capability, err := s.capability(ctx, id)
			if err != nil {
				return err
			}
			n, err := parseAmount(c.Usage[id], capability.Decimals)
			if err != nil {
				return usageError{fmt.Errorf("--usage %s: %w", id, err)}
			}
			x.Usage[id] = n
		}
		return c.adjust(ctx, s, c.Account, x)
	})
}

// ledgerRepriceCmd prices one event anew, or all of a model.
type ledgerRepriceCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Event   string `help:"Only this event." xor:"which" required:"" placeholder:"ID"`
	Model   string `help:"All events of this model." xor:"which" required:""`
	From    moment `help:"Only events from this moment on." placeholder:"TIME"`
	To      moment `help:"Only events before this moment." placeholder:"TIME"`
	Version uint64 `help:"Version of the price book; left out: the one that is effective at each event's time." placeholder:"N"`
	correctionFlags
}

var repricedColumns = []column[client.RepricedEvent]{
	{title: "EVENT", cell: func(r client.RepricedEvent) string { return r.EventID }},
	{title: "FROM USD", number: true, cell: func(r client.RepricedEvent) string { return formatAmount(r.From, usdDecimals) }},
	{title: "TO USD", number: true, cell: func(r client.RepricedEvent) string { return formatAmount(r.To, usdDecimals) }},
}

// usdDecimals are those of the built-in capability usd.
const usdDecimals = 9

// Run implements kong's command.
func (c *ledgerRepriceCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		if c.Event != "" {
			return c.adjust(ctx, s, c.Account, client.Adjustment{EventID: c.Event, Kind: "reprice", PriceVersion: c.Version})
		}
		shown := newProgress(k.Stderr)
		defer shown.done()
		q := client.Repricing{Model: c.Model, PriceVersion: c.Version, Reason: c.Reason, DryRun: c.DryRun, From: orUnset(c.From.Time), To: orUnset(c.To.Time)}
		events := []client.RepricedEvent{}
		looked := 0
		for {
			page, err := s.Reprice(ctx, c.Account, q)
			if err != nil {
				return fmt.Errorf("after %d events: %w", looked, err)
			}
			events, looked = append(events, page.Items...), looked+page.Looked
			shown.step("looked at %d events, %d differ", looked, len(events))
			if page.Next == nil {
				break
			}
			q.After = *page.Next
		}
		shown.done()
		return c.report(s, events, looked)
	})
}

func (c *ledgerRepriceCmd) report(s *session, events []client.RepricedEvent, looked int) error {
	if s.format == outputJSON {
		return writeJSON(s.out, map[string]any{"items": events, "looked": looked, "dry_run": c.DryRun})
	}
	if err := writeTable(s.out, repricedColumns, events); err != nil {
		return err
	}
	var from, to int64
	for _, e := range events {
		from, to = from+e.From, to+e.To
	}
	done := "priced anew"
	if c.DryRun {
		done = "would be priced anew"
	}
	_, err := fmt.Fprintf(s.out, "%d of %d events %s: usd %s instead of %s\n", len(events), looked, done, formatAmount(to, usdDecimals), formatAmount(from, usdDecimals))
	return err
}

func orUnset(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

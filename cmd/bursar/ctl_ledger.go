package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type ledgerCmd struct {
	List         ledgerListCmd         `cmd:"" help:"List an account's ledger, newest first."`
	Export       ledgerExportCmd       `cmd:"" help:"Write a ledger to a file: Parquet, CSV or NDJSON."`
	Rejected     ledgerRejectedCmd     `cmd:"" help:"List events that were rejected and are in no ledger."`
	Unattributed ledgerUnattributedCmd `cmd:"" help:"Add up events no entity of which was provisioned, by the entities that they named."`
	Void         ledgerVoidCmd         `cmd:"" help:"Make an event count for nothing, by a new line."`
	Adjust       ledgerAdjustCmd       `cmd:"" help:"Make an event count as other amounts, by a new line."`
	Reprice      ledgerRepriceCmd      `cmd:"" help:"Price events anew, by new lines."`
	Verify       ledgerVerifyCmd       `cmd:"" help:"Recompute balances, sums, statements and hashes from the lines, and name what differs."`
}

// ledgerListCmd shows lines. Its --output has the formats that the server streams, too.
type ledgerListCmd struct {
	Account      string `arg:"" help:"Id of the account."`
	Entity       string `help:"Only of this entity and what is below it."`
	Key          string `help:"Only of this key." placeholder:"ID"`
	Model        string `help:"Only of this model."`
	Member       string `help:"Only of this member."`
	Capability   string `help:"Only lines that used this capability."`
	EventID      string `help:"Only this event." placeholder:"ID"`
	Unattributed bool   `help:"Only events no entity of which was provisioned."`
	Unpriced     bool   `help:"Only events whose model, or some of whose usage, had no price."`
	OldestFirst  bool   `help:"Oldest first."`
	rangeFlags

	Admin  []string `help:"Control plane of a node; several for several nodes." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	Output string   `short:"o" help:"table or json (--limit lines), csv or ndjson (all lines, streamed)." env:"BURSAR_OUTPUT" enum:"table,json,csv,ndjson" default:"table"`
	tokenFlags
}

type ledgerRow struct {
	client.LedgerLine
	usage string
}

var ledgerColumns = []column[ledgerRow]{
	{title: "SEQ", number: true, cell: func(r ledgerRow) string { return strconv.FormatUint(r.Seq, 10) }},
	{title: "AT", cell: func(r ledgerRow) string { return r.At.UTC().Format(time.RFC3339) }},
	{title: "EVENT", cell: func(r ledgerRow) string { return r.EventID }},
	{title: "ENTITIES", cell: func(r ledgerRow) string { return strings.Join(r.Entities, ",") }},
	{title: "MODEL", cell: func(r ledgerRow) string { return text(r.Model) }},
	{title: "USAGE", cell: func(r ledgerRow) string { return r.usage }},
	{title: "NODE", cell: func(r ledgerRow) string { return r.Node }},
	{title: "MARKS", cell: func(r ledgerRow) string { return marks(r.LedgerLine) }},
}

func marks(l client.LedgerLine) string {
	var m []string
	if l.Overage {
		m = append(m, "overage")
	}
	if l.Late {
		m = append(m, "late")
	}
	if l.Unpriced {
		m = append(m, "unpriced")
	}
	if l.Unattributed {
		m = append(m, "unattributed")
	}
	return strings.Join(m, ",")
}

// usageText writes amounts by capability, as a person writes them.
func usageText(ctx context.Context, s *session, usage map[string]int64) string {
	parts := make([]string, 0, len(usage))
	for _, id := range slices.Sorted(maps.Keys(usage)) {
		parts = append(parts, id+"="+formatAmount(usage[id], s.decimals(ctx, id).Decimals))
	}
	return strings.Join(parts, " ")
}

func (c *ledgerListCmd) Run(ctx context.Context, k *kong.Context) error {
	return withAdmin(c.Admin, &c.tokenFlags, c.Output, k, func(s *session) error {
		f := client.LedgerFilter{
			Entity: c.Entity, Key: c.Key, Model: c.Model, Capability: c.Capability, EventID: c.EventID,
			Member: c.Member, From: c.From.Time, To: c.To.Time, Unattributed: c.Unattributed, Unpriced: c.Unpriced, OldestFirst: c.OldestFirst,
		}
		switch c.Output {
		case outputCSV:
			return s.ExportLedger(ctx, c.Account, f, client.CSV, s.out)
		case outputNDJSON:
			return s.ExportLedger(ctx, c.Account, f, client.NDJSON, s.out)
		}
		row := func(l client.LedgerLine) ledgerRow {
			return ledgerRow{LedgerLine: l, usage: usageText(ctx, s, l.Usage)}
		}
		return tableOf(s, ledgerColumns, row).list(first(s.Ledger(ctx, c.Account, f), c.Limit))
	})
}

package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type balanceCmd struct {
	List balanceListCmd `cmd:"" help:"List the budgets of an account with what they have used and have left."`
}

// balanceRow is a balance with how its amounts are written.
type balanceRow struct {
	client.Balance
	capability client.Capability
}

func (r balanceRow) amount(n int64) string { return formatAmount(n, r.capability.Decimals) }

func (r balanceRow) leased() string {
	parts := make([]string, 0, len(r.Leased))
	for _, node := range slices.Sorted(maps.Keys(r.Leased)) {
		parts = append(parts, node+"="+r.amount(r.Leased[node]))
	}
	return strings.Join(parts, " ")
}

var balanceColumns = []column[balanceRow]{
	{title: "ENTITY", cell: func(r balanceRow) string { return r.Entity }},
	{title: "CAPABILITY", cell: func(r balanceRow) string { return r.Capability }},
	{title: "SCOPE", cell: func(r balanceRow) string { return strings.Join(r.Scope, ",") }},
	{title: "EVERY", cell: func(r balanceRow) string { return describeCadence(r.Cadence) }},
	{title: "ENFORCEMENT", cell: func(r balanceRow) string { return r.Enforcement }},
	{title: "LIMIT", number: true, cell: func(r balanceRow) string { return formatLimit(r.Limit, r.capability.Decimals) }},
	{title: "USED", number: true, cell: func(r balanceRow) string { return r.amount(r.Used) }},
	{title: "RESERVED", number: true, cell: func(r balanceRow) string { return r.amount(r.Reserved) }},
	{title: "IN DOUBT", number: true, cell: func(r balanceRow) string { return r.amount(r.InDoubt) }},
	{title: "AVAILABLE", number: true, cell: func(r balanceRow) string { return formatLimit(r.Available, r.capability.Decimals) }},
	{title: "UNIT", cell: func(r balanceRow) string { return r.capability.Unit }},
	{title: "RESETS", cell: func(r balanceRow) string { return resets(r.ResetsAt) }},
}

var leasedColumn = column[balanceRow]{title: "LEASED", cell: balanceRow.leased}

func resets(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return at(t)
}

type balanceListCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Leases  bool   `help:"Also show which node holds how much."`
	assignmentFilterFlags
	adminFlags
}

func (c *balanceListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		columns := balanceColumns
		if c.Leases {
			columns = append(slices.Clip(columns), leasedColumn)
		}
		row := func(b client.Balance) balanceRow {
			return balanceRow{Balance: b, capability: s.decimals(ctx, b.Capability)}
		}
		return tableOf(s, columns, row).all(s.Balances(ctx, c.Account, c.filter()))
	})
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
		all, err := client.Collect(s.Balances(ctx, c.Account, c.filter()))
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return show(s, nil, all)
		}
		columns := balanceColumns
		if c.Leases {
			columns = append(slices.Clip(columns), leasedColumn)
		}
		rows := make([]balanceRow, len(all))
		for i, b := range all {
			rows[i] = balanceRow{Balance: b, capability: s.decimals(ctx, b.Capability)}
		}
		return show(s, columns, rows)
	})
}

// treeCmd shows the tree by indentation, unless it is sorted otherwise.
type treeCmd struct {
	Account        string   `arg:"" help:"Id of the account."`
	EntityTypes    []string `help:"Only entities of these types." placeholder:"TYPE"`
	Capabilities   []string `help:"Only budgets of these capabilities." placeholder:"CAPABILITY"`
	Search         string   `help:"Only entities with this in id or name." placeholder:"TEXT"`
	Subtree        string   `help:"Only this entity and what is below it." placeholder:"ENTITY"`
	Depth          int      `help:"Levels below that; all if left out." placeholder:"N"`
	MinUtilization string   `help:"Only budgets used to at least this ratio, as 0.8." placeholder:"RATIO"`
	Scope          string   `help:"all, unscoped or scoped." enum:"all,unscoped,scoped" default:"all"`
	SortBy         string   `help:"${enum}; tree order if left out." enum:"utilization,used,limit,id,created_at," default:"" placeholder:"FIELD"`
	Order          string   `help:"asc or desc." enum:"asc,desc," default:"" placeholder:"ORDER"`
	Limit          int      `help:"Rows at most; all if left out." placeholder:"N"`
	adminFlags
}

type treeRow struct {
	client.TreeRow
	balance balanceRow
	indent  int
}

var treeColumns = []column[treeRow]{
	{title: "ENTITY", cell: func(r treeRow) string { return strings.Repeat("  ", r.indent) + r.ID }},
	{title: "TYPE", cell: func(r treeRow) string { return r.Type }},
	{title: "NAME", cell: func(r treeRow) string { return r.Name }},
	{title: "CAPABILITY", cell: func(r treeRow) string { return r.Capability }},
	{title: "EVERY", cell: func(r treeRow) string { return describeCadence(r.Cadence) }},
	{title: "LIMIT", number: true, cell: func(r treeRow) string { return formatLimit(r.balance.Limit, r.balance.capability.Decimals) }},
	{title: "USED", number: true, cell: func(r treeRow) string { return r.balance.amount(r.Used) }},
	{title: "UNIT", cell: func(r treeRow) string { return r.balance.capability.Unit }},
	{title: "USED %", number: true, cell: func(r treeRow) string { return percent(r.Utilization) }},
}

func percent(ratio *float64) string {
	if ratio == nil {
		return ""
	}
	return strconv.FormatFloat(*ratio*100, 'f', 1, 64)
}

func (c *treeCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Depth < 0 || c.Limit < 0 {
		return usageError{fmt.Errorf("--depth and --limit cannot be negative")}
	}
	return c.with(k, func(s *session) error {
		all, err := first(s.Tree(ctx, c.Account, client.TreeFilter{
			EntityTypes: c.EntityTypes, Capabilities: c.Capabilities, Search: c.Search, Subtree: c.Subtree, Depth: c.Depth,
			MinUtilization: c.MinUtilization, Scope: c.Scope, SortBy: c.SortBy, Order: c.Order,
		}), c.Limit)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return show(s, nil, all)
		}
		return show(s, treeColumns, c.rows(ctx, s, all))
	})
}

func (c *treeCmd) rows(ctx context.Context, s *session, all []client.TreeRow) []treeRow {
	top := 0
	for i, r := range all {
		if i == 0 || r.Depth < top {
			top = r.Depth
		}
	}
	rows := make([]treeRow, len(all))
	for i, r := range all {
		rows[i] = treeRow{TreeRow: r, balance: balanceRow{Balance: r.Balance, capability: s.decimals(ctx, r.Capability)}}
		if c.SortBy == "" {
			rows[i].indent = r.Depth - top
		}
	}
	return rows
}

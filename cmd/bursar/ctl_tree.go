package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

// maxDrawnRows is how many rows are drawn as a tree. For more, the entities
// between them would take too many questions: they are listed.
const maxDrawnRows = 500

type treeCmd struct {
	Account        string   `arg:"" help:"Id of the account."`
	EntityTypes    []string `help:"Only entities of these types." placeholder:"TYPE"`
	Capabilities   []string `help:"Only budgets of these capabilities." placeholder:"CAPABILITY"`
	Search         string   `help:"Only entities with this in id or name." placeholder:"TEXT"`
	Subtree        string   `help:"Only this entity and what is below it." placeholder:"ENTITY"`
	Depth          *int     `help:"Levels below that; all if left out." placeholder:"N"`
	MinUtilization string   `help:"Only budgets used to at least this ratio, as 0.8." placeholder:"RATIO"`
	Scope          string   `help:"all, unscoped or scoped." enum:"all,unscoped,scoped" default:"all"`
	SortBy         string   `help:"List by utilization, used, limit, id or created_at instead of drawing the tree." enum:"utilization,used,limit,id,created_at," default:"" placeholder:"FIELD"`
	Order          string   `help:"asc or desc." enum:"asc,desc," default:"" placeholder:"ORDER"`
	Limit          int      `help:"Rows at most; 0: all." default:"0" placeholder:"N"`
	adminFlags
}

// treeRow is a line of the tree. One without a balance is an entity on the way to others.
type treeRow struct {
	id, kind, name string
	indent         int
	balance        *balanceRow
	utilization    *float64
}

// of shows a balance's part of a row, if it has one.
func of(f func(balanceRow) string) func(treeRow) string {
	return func(r treeRow) string {
		if r.balance == nil {
			return ""
		}
		return f(*r.balance)
	}
}

var treeColumns = []column[treeRow]{
	{title: "ENTITY", cell: func(r treeRow) string { return strings.Repeat("  ", r.indent) + r.id }},
	{title: "TYPE", cell: func(r treeRow) string { return r.kind }},
	{title: "NAME", cell: func(r treeRow) string { return r.name }},
	{title: "CAPABILITY", cell: of(func(b balanceRow) string { return b.Capability })},
	{title: "SCOPE", cell: of(func(b balanceRow) string { return strings.Join(b.Scope, ",") })},
	{title: "EVERY", cell: of(func(b balanceRow) string { return describeCadence(b.Cadence) })},
	{title: "LIMIT", number: true, cell: of(func(b balanceRow) string { return formatLimit(b.Limit, b.capability.Decimals) })},
	{title: "USED", number: true, cell: of(func(b balanceRow) string { return b.amount(b.Used) })},
	{title: "UNIT", cell: of(func(b balanceRow) string { return b.capability.Unit })},
	{title: "USED %", number: true, cell: func(r treeRow) string { return percent(r.utilization) }},
}

func percent(ratio *float64) string {
	if ratio == nil {
		return ""
	}
	return strconv.FormatFloat(*ratio*100, 'f', 1, 64)
}

func (c *treeCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Depth != nil && *c.Depth < 0 || c.Limit < 0 {
		return usageError{errors.New("--depth and --limit cannot be negative")}
	}
	return c.with(k, func(s *session) error {
		all, err := first(s.Tree(ctx, c.Account, client.TreeFilter{
			EntityTypes: c.EntityTypes, Capabilities: c.Capabilities, Search: c.Search, Subtree: c.Subtree, Depth: c.Depth,
			MinUtilization: c.MinUtilization, Scope: c.Scope, SortBy: c.SortBy, Order: c.Order,
		}), c.Limit)
		if err != nil {
			return err
		}
		if s.format == outputJSON || c.SortBy != "" || c.Order != "" || len(all) > maxDrawnRows {
			row := func(r client.TreeRow) treeRow { return budgetRow(ctx, s, &r) }
			return tableOf(s, treeColumns, row).list(all, nil)
		}
		t := &drawing{budgets: map[string][]treeRow{}, entities: map[string]client.Entity{}, children: map[string][]string{}}
		if err := t.collect(ctx, s, c.Account, c.Subtree, all); err != nil {
			return err
		}
		return table(s, treeColumns).list(t.rows(), nil)
	})
}

func budgetRow(ctx context.Context, s *session, r *client.TreeRow) treeRow {
	return treeRow{
		id: r.ID, kind: r.Type, name: r.Name, utilization: r.Utilization,
		balance: &balanceRow{Balance: r.Balance, capability: s.decimals(ctx, r.Capability)},
	}
}

// drawing is a tree put together from rows that come in another order.
type drawing struct {
	budgets  map[string][]treeRow     // by entity
	entities map[string]client.Entity // those with budgets, and all above them
	children map[string][]string
	tops     []string
}

// collect takes in the rows and asks for the entities above them that have none, up to top.
func (d *drawing) collect(ctx context.Context, s *session, account, top string, all []client.TreeRow) error {
	for i := range all {
		r := &all[i]
		d.budgets[r.ID] = append(d.budgets[r.ID], budgetRow(ctx, s, r))
		d.entities[r.ID] = client.Entity{ID: r.ID, Type: r.Type, Parent: r.Parent, Name: r.Name}
	}
	for _, id := range slices.Sorted(maps.Keys(d.budgets)) {
		for e := d.entities[id]; e.ID != top && e.Parent != nil; {
			above, known := d.entities[*e.Parent]
			if known {
				break
			}
			above, err := s.Entity(ctx, account, *e.Parent)
			if err != nil {
				return err
			}
			d.entities[above.ID] = above
			e = above
		}
	}
	for id, e := range d.entities {
		if id == top || e.Parent == nil {
			d.tops = append(d.tops, id)
		} else {
			d.children[*e.Parent] = append(d.children[*e.Parent], id)
		}
	}
	return nil
}

// rows lists the tree, parents before children, siblings by id.
func (d *drawing) rows() []treeRow {
	var rows []treeRow
	var visit func(ids []string, indent int)
	visit = func(ids []string, indent int) {
		slices.Sort(ids)
		for _, id := range ids {
			budgets := d.budgets[id]
			slices.SortStableFunc(budgets, func(a, b treeRow) int {
				return cmp.Compare(a.balance.Capability, b.balance.Capability)
			})
			if len(budgets) == 0 {
				e := d.entities[id]
				budgets = []treeRow{{id: e.ID, kind: e.Type, name: e.Name}}
			}
			for _, r := range budgets {
				r.indent = indent
				rows = append(rows, r)
			}
			visit(d.children[id], indent+1)
		}
	}
	visit(d.tops, 0)
	return rows
}

package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

// usageCmd shows sums of the ledger.
type usageCmd struct {
	Account    string   `arg:"" help:"Id of the account."`
	By         []string `help:"Group by: one of entity, entity_type, key and member, and model and capability." enum:"entity,entity_type,key,member,model,capability" placeholder:"DIMENSION"`
	Every      string   `help:"Sum by hour, day or month, in the account's time zone." enum:"hour,day,month" default:"day"`
	Entity     string   `help:"Only what was charged to this entity; by entity: it and what hangs below it." placeholder:"ID"`
	EntityType string   `help:"Only of entities of this type." placeholder:"TYPE"`
	Member     string   `help:"Only of this member."`
	Model      string   `help:"Only of this model."`
	Capability string   `help:"Only of this capability." placeholder:"ID"`
	rangeFlags
	adminFlags
}

type usageRow struct {
	client.UsageSum
	usage string
}

func (c *usageCmd) columns() []column[usageRow] {
	columns := []column[usageRow]{{title: "FROM", cell: func(r usageRow) string { return r.Bucket.UTC().Format(time.RFC3339) }}}
	for _, by := range c.By {
		columns = append(columns, column[usageRow]{title: strings.ToUpper(by), cell: func(r usageRow) string { return text(r.Group[by]) }})
	}
	return append(columns,
		column[usageRow]{title: "EVENTS", number: true, cell: func(r usageRow) string { return strconv.FormatInt(r.Events, 10) }},
		column[usageRow]{title: "USAGE", cell: func(r usageRow) string { return r.usage }})
}

// Run implements kong's command.
func (c *usageCmd) Run(ctx context.Context, k *kong.Context) error {
	slices.Sort(c.By)
	c.By = slices.Compact(c.By)
	return c.with(k, func(s *session) error {
		f := client.UsageFilter{
			Bucket: c.Every, GroupBy: c.By, From: c.From.Time, To: c.To.Time, Entity: c.Entity, EntityType: c.EntityType,
			Member: c.Member, Model: c.Model, Capability: c.Capability,
		}
		row := func(u client.UsageSum) usageRow { return usageRow{UsageSum: u, usage: usageText(ctx, s, u.Usage)} }
		return tableOf(s, c.columns(), row).list(first(s.Usage(ctx, c.Account, f), c.Limit))
	})
}

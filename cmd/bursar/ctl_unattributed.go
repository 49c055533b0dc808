package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

// ledgerUnattributedCmd adds up what no entity answers for.
type ledgerUnattributedCmd struct {
	Account string `arg:"" help:"Id of the account."`
	From    moment `help:"Only events from this moment on." placeholder:"TIME"`
	To      moment `help:"Only events before this moment." placeholder:"TIME"`
	adminFlags
}

// Run implements kong's command.
func (c *ledgerUnattributedCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		all, err := s.Unattributed(ctx, c.Account, client.UnattributedFilter{From: c.From.Time, To: c.To.Time})
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, all)
		}
		columns := []column[client.UnattributedSum]{
			{title: "ENTITY", cell: func(x client.UnattributedSum) string { return text(x.Entity) }},
			{title: "EVENTS", number: true, cell: func(x client.UnattributedSum) string { return strconv.FormatInt(x.Events, 10) }},
			{title: "USAGE", cell: func(x client.UnattributedSum) string { return usageText(ctx, s, x.Usage) }},
		}
		if err := writeTable(s.out, columns, all.Items); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "\n%d events: %s\n", all.Events, usageText(ctx, s, all.Usage))
		return nil
	})
}

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

// ledgerRejectedCmd shows what is in no ledger.
type ledgerRejectedCmd struct {
	Account string `arg:"" optional:"" help:"Id of the account. Left out: events that name no account there is."`
	Code    string `help:"Only those that were rejected by this code." placeholder:"CODE"`
	Limit   int    `help:"Rows at most." default:"100" placeholder:"N"`
	adminFlags
}

var rejectedColumns = []column[client.RejectedEvent]{
	{title: "AT", cell: func(r client.RejectedEvent) string { return r.At.UTC().Format(time.RFC3339) }},
	{title: "NODE", cell: func(r client.RejectedEvent) string { return r.Node }},
	{title: "ACCOUNT", cell: func(r client.RejectedEvent) string { return r.Account }},
	{title: "EVENT", cell: func(r client.RejectedEvent) string { return r.EventID }},
	{title: "CODE", cell: func(r client.RejectedEvent) string { return r.Code }},
	{title: "DETAIL", cell: func(r client.RejectedEvent) string { return r.Detail }},
	{title: "TOKEN", cell: func(r client.RejectedEvent) string { return r.Token }},
}

// Run implements kong's command.
func (c *ledgerRejectedCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		all, err := s.Rejected(ctx, c.Account, client.RejectedFilter{Code: c.Code, Limit: c.Limit})
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, all)
		}
		if err := writeTable(s.out, rejectedColumns, all.Items); err != nil {
			return err
		}
		fmt.Fprintln(s.out)
		for _, code := range slices.Sorted(maps.Keys(all.Codes)) {
			fmt.Fprintf(s.out, "%s: %d\n", code, all.Codes[code])
		}
		for _, n := range all.Nodes {
			if n.Since == nil {
				fmt.Fprintf(s.out, "%s did not answer: what it rejected is missing.\n", n.Node)
				continue
			}
			fmt.Fprintf(s.out, "%s counts since %s.\n", n.Node, at(n.Since))
		}
		return nil
	})
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List changes of the configuration, newest first."`
	Verify auditVerifyCmd `cmd:"" help:"Check that no entry of the trail was changed or taken out."`
}

var auditColumns = []column[client.AuditEntry]{
	{title: "SEQ", number: true, cell: func(e client.AuditEntry) string { return strconv.FormatUint(e.Seq, 10) }},
	{title: "AT", cell: func(e client.AuditEntry) string { return e.At.UTC().Format(time.RFC3339) }},
	{title: "ACTOR", cell: func(e client.AuditEntry) string { return cmp.Or(e.Actor.Name, e.Actor.ID) }},
	{title: "ACTION", cell: func(e client.AuditEntry) string { return e.Action }},
	{title: "ACCOUNT", cell: func(e client.AuditEntry) string { return text(e.Account) }},
	{title: "TARGET", cell: func(e client.AuditEntry) string { return e.Target }},
	{title: "IP", cell: func(e client.AuditEntry) string { return e.IP }},
}

type auditListCmd struct {
	Account string `help:"Only of this account."`
	Action  string `help:"Only this action, or all that begin so: assignment.put, entity."`
	Actor   string `help:"Only by this token or node." placeholder:"ID"`
	Target  string `help:"Only about this." placeholder:"ID"`
	rangeFlags
	adminFlags
}

// rangeFlags choose a part of a long list.
type rangeFlags struct {
	From  moment `help:"Only from this moment on." placeholder:"TIME"`
	To    moment `help:"Only before this moment." placeholder:"TIME"`
	Limit int    `help:"Rows at most; 0: all." default:"100" placeholder:"N"`
}

func (c *auditListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, auditColumns).list(first(s.Audit(ctx, client.AuditFilter{
			Account: c.Account, Action: c.Action, Actor: c.Actor, Target: c.Target, From: c.From.Time, To: c.To.Time,
		}), c.Limit))
	})
}

type auditVerifyCmd struct{ adminFlags }

func (c *auditVerifyCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		v, err := s.VerifyAudit(ctx)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			if err := writeJSON(s.out, v); err != nil {
				return err
			}
		}
		switch {
		case !v.Valid && v.BrokenAt != nil:
			return fmt.Errorf("the audit trail is broken at entry %d", *v.BrokenAt)
		case !v.Valid:
			return fmt.Errorf("the audit trail is broken")
		case s.format == outputTable:
			_, err = fmt.Fprintf(s.out, "The audit trail is whole: %d entries.\n", v.Entries)
		}
		return err
	})
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type accountCmd struct {
	Create   accountCreateCmd   `cmd:"" help:"Create an account."`
	Rename   accountRenameCmd   `cmd:"" help:"Give an account another name."`
	List     accountListCmd     `cmd:"" help:"List accounts."`
	Get      accountGetCmd      `cmd:"" help:"Show an account."`
	Freeze   accountFreezeCmd   `cmd:"" help:"Refuse every check of an account; what it uses is still recorded."`
	Unfreeze accountUnfreezeCmd `cmd:"" help:"End a freeze."`
}

var accountColumns = []column[client.Account]{
	{title: "ACCOUNT", cell: func(a client.Account) string { return a.ID }},
	{title: "NAME", cell: func(a client.Account) string { return a.Name }},
	{title: "TIME ZONE", cell: func(a client.Account) string { return a.Timezone }},
	{title: "FROZEN", cell: func(a client.Account) string { return yes(a.Frozen) }},
	{title: "CREATED", cell: func(a client.Account) string { return at(a.CreatedAt) }},
}

type accountCreateCmd struct {
	Account  string `arg:"" help:"Id of the account."`
	Name     string `arg:"" optional:"" help:"Name to show; the id if left out."`
	Timezone string `help:"IANA name of the time zone its usage is summed in, as Europe/Berlin. It stays once there are ledger lines." placeholder:"ZONE"`
	adminFlags
}

// Run looks first: the API's upsert would rename an account that is there.
func (c *accountCreateCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		switch _, err := s.Account(ctx, c.Account); {
		case err == nil:
			return fmt.Errorf("account %s exists; bursar account rename gives it another name", c.Account)
		case !errors.Is(err, client.ErrNotFound):
			return err
		}
		return table(s, accountColumns).one(s.PutAccount(ctx, client.Account{ID: c.Account, Name: cmp.Or(c.Name, c.Account), Timezone: c.Timezone}))
	})
}

type accountRenameCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Name    string `arg:"" help:"Name to show."`
	adminFlags
}

// Run looks first: the API's upsert would create an account that is not there.
func (c *accountRenameCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		if _, err := s.Account(ctx, c.Account); err != nil {
			return err
		}
		return table(s, accountColumns).one(s.PutAccount(ctx, client.Account{ID: c.Account, Name: c.Name}))
	})
}

type accountListCmd struct{ adminFlags }

func (c *accountListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, accountColumns).all(s.Accounts(ctx))
	})
}

// accountArg is a command about one account.
type accountArg struct {
	Account string `arg:"" help:"Id of the account."`
	adminFlags
}

func (c *accountArg) do(ctx context.Context, k *kong.Context, call func(*client.Admin, context.Context, string) (client.Account, error)) error {
	return c.with(k, func(s *session) error {
		return table(s, accountColumns).one(call(s.Admin, ctx, c.Account))
	})
}

type accountGetCmd struct{ accountArg }

func (c *accountGetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).Account)
}

type accountFreezeCmd struct{ accountArg }

func (c *accountFreezeCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).FreezeAccount)
}

type accountUnfreezeCmd struct{ accountArg }

func (c *accountUnfreezeCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).UnfreezeAccount)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make an access token. Its secret is printed this once."`
	List   tokenListCmd   `cmd:"" help:"List access tokens."`
	Delete tokenDeleteCmd `cmd:"" help:"Revoke an access token."`
}

var tokenColumns = []column[client.Token]{
	{title: "TOKEN", cell: func(t client.Token) string { return t.ID }},
	{title: "NAME", cell: func(t client.Token) string { return t.Name }},
	{title: "ROLE", cell: func(t client.Token) string { return t.Role }},
	{title: "ACCOUNT", cell: func(t client.Token) string {
		if t.Account == nil {
			return "all"
		}
		return *t.Account
	}},
	{title: "EXPIRES", cell: func(t client.Token) string {
		if t.ExpiresAt == nil {
			return "never"
		}
		return at(t.ExpiresAt)
	}},
	{title: "CREATED", cell: func(t client.Token) string { return at(t.CreatedAt) }},
}

var secretColumn = column[client.Token]{title: "SECRET (shown once)", cell: func(t client.Token) string { return t.Token }}

type tokenCreateCmd struct {
	Name      string        `arg:"" help:"What it is for."`
	Role      string        `required:"" enum:"root,admin,auditor,service" help:"root: everything; admin: the control plane; auditor: reads of it; service: the data plane." placeholder:"ROLE"`
	Account   string        `help:"The one account it covers; all if left out."`
	ExpiresAt moment        `xor:"expiry" help:"When it ends; never if left out." placeholder:"TIME"`
	ExpiresIn time.Duration `xor:"expiry" help:"How long it lasts, as 720h." placeholder:"DURATION"`
	adminFlags
}

func (c *tokenCreateCmd) Run(ctx context.Context, k *kong.Context) error {
	expires := c.ExpiresAt.orNil()
	if c.ExpiresIn < 0 {
		return usageError{fmt.Errorf("--expires-in cannot be negative")}
	}
	if c.ExpiresIn > 0 {
		t := time.Now().Add(c.ExpiresIn).UTC().Truncate(time.Second)
		expires = &t
	}
	return c.with(k, func(s *session) error {
		columns := append([]column[client.Token]{secretColumn}, tokenColumns...)
		return table(s, columns).one(s.CreateToken(ctx, client.Token{Name: c.Name, Role: c.Role, Account: nonEmpty(c.Account), ExpiresAt: expires}))
	})
}

type tokenListCmd struct{ adminFlags }

func (c *tokenListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, tokenColumns).all(s.Tokens(ctx))
	})
}

type tokenDeleteCmd struct {
	ID  string `arg:"" name:"id" help:"Id of the token (tok_…), not its secret."`
	Yes bool   `short:"y" env:"-" help:"Do not ask."`
	adminFlags
}

func (c *tokenDeleteCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := confirm(k, c.Yes, fmt.Sprintf("Revoke token %s?", c.ID)); err != nil {
		return err
	}
	return c.with(k, func(s *session) error { return s.DeleteToken(ctx, c.ID) })
}

package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type entityCmd struct {
	Set       entitySetCmd       `cmd:"" help:"Create an entity, or change its name and metadata."`
	List      entityListCmd      `cmd:"" help:"List an account's entities."`
	Get       entityGetCmd       `cmd:"" help:"Show an entity."`
	Move      entityMoveCmd      `cmd:"" help:"Hang an entity with all below it under another parent."`
	Archive   entityArchiveCmd   `cmd:"" help:"Archive an entity with all below it: their checks are refused."`
	Unarchive entityUnarchiveCmd `cmd:"" help:"End an archiving."`
}

var entityColumns = []column[client.Entity]{
	{title: "ENTITY", cell: func(e client.Entity) string { return e.ID }},
	{title: "TYPE", cell: func(e client.Entity) string { return e.Type }},
	{title: "PARENT", cell: func(e client.Entity) string { return text(e.Parent) }},
	{title: "NAME", cell: func(e client.Entity) string { return e.Name }},
	{title: "ARCHIVED", cell: func(e client.Entity) string { return yes(e.Archived) }},
	{title: "CREATED", cell: func(e client.Entity) string { return at(e.CreatedAt) }},
}

type entitySetCmd struct {
	Account  string            `arg:"" help:"Id of the account."`
	Entity   string            `arg:"" help:"Id of the entity."`
	Type     string            `arg:"" help:"Its entity type."`
	Parent   string            `help:"Entity it hangs under; the account's root if left out."`
	Name     string            `help:"Name to show."`
	Metadata map[string]string `help:"Notes of your own." placeholder:"KEY=VALUE"`
	adminFlags
}

func (c *entitySetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, entityColumns).list(s.PutEntities(ctx, c.Account, []client.Entity{{
			ID: c.Entity, Type: c.Type, Parent: nonEmpty(c.Parent), Name: c.Name, Metadata: c.Metadata,
		}}))
	})
}

type entityListCmd struct {
	Account string `arg:"" help:"Id of the account."`
	adminFlags
}

func (c *entityListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, entityColumns).all(s.Entities(ctx, c.Account))
	})
}

// entityArg is a command about one entity.
type entityArg struct {
	Account string `arg:"" help:"Id of the account."`
	Entity  string `arg:"" help:"Id of the entity."`
	adminFlags
}

func (c *entityArg) do(ctx context.Context, k *kong.Context, call func(*client.Admin, context.Context, string, string) (client.Entity, error)) error {
	return c.with(k, func(s *session) error {
		return table(s, entityColumns).one(call(s.Admin, ctx, c.Account, c.Entity))
	})
}

type entityGetCmd struct{ entityArg }

func (c *entityGetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).Entity)
}

type entityArchiveCmd struct{ entityArg }

func (c *entityArchiveCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).ArchiveEntity)
}

type entityUnarchiveCmd struct{ entityArg }

func (c *entityUnarchiveCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.do(ctx, k, (*client.Admin).UnarchiveEntity)
}

type entityMoveCmd struct {
	Account string `arg:"" help:"Id of the account."`
	Entity  string `arg:"" help:"Id of the entity."`
	Parent  string `arg:"" help:"Entity to hang it under."`
	adminFlags
}

func (c *entityMoveCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, entityColumns).one(s.MoveEntity(ctx, c.Account, c.Entity, c.Parent))
	})
}

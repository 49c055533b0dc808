package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type entityTypeCmd struct {
	Set  entityTypeSetCmd  `cmd:"" help:"Create or change an entity type."`
	List entityTypeListCmd `cmd:"" help:"List entity types."`
}

var entityTypeColumns = []column[client.EntityType]{
	{title: "TYPE", cell: func(t client.EntityType) string { return t.ID }},
	{title: "NAME", cell: func(t client.EntityType) string { return t.Name }},
	{title: "PARENTS", cell: func(t client.EntityType) string {
		if len(t.Parents) == 0 {
			return "any"
		}
		return strings.Join(t.Parents, ",")
	}},
}

type entityTypeSetCmd struct {
	Type    string   `arg:"" help:"Id of the entity type."`
	Name    string   `help:"Name to show."`
	Parents []string `help:"Types it may hang under; any if left out." placeholder:"TYPE"`
	adminFlags
}

func (c *entityTypeSetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, entityTypeColumns).list(s.PutEntityTypes(ctx, []client.EntityType{{ID: c.Type, Name: c.Name, Parents: c.Parents}}))
	})
}

type entityTypeListCmd struct{ adminFlags }

func (c *entityTypeListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, entityTypeColumns).all(s.EntityTypes(ctx))
	})
}

type capabilityCmd struct {
	Set  capabilitySetCmd  `cmd:"" help:"Create a capability. Unit and decimals cannot change later."`
	List capabilityListCmd `cmd:"" help:"List capabilities."`
}

var capabilityColumns = []column[client.Capability]{
	{title: "CAPABILITY", cell: func(c client.Capability) string { return c.ID }},
	{title: "UNIT", cell: func(c client.Capability) string { return c.Unit }},
	{title: "DECIMALS", number: true, cell: func(c client.Capability) string { return strconv.Itoa(c.Decimals) }},
	{title: "BUILT-IN", cell: func(c client.Capability) string { return yes(c.Builtin) }},
}

type capabilitySetCmd struct {
	Capability string `arg:"" help:"Id of the capability."`
	Unit       string `help:"What one of it is called: image, second."`
	Decimals   int    `help:"Digits after the point that amounts may have." default:"0"`
	adminFlags
}

func (c *capabilitySetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, capabilityColumns).list(s.PutCapabilities(ctx, []client.Capability{{ID: c.Capability, Unit: c.Unit, Decimals: c.Decimals}}))
	})
}

type capabilityListCmd struct{ adminFlags }

func (c *capabilityListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return table(s, capabilityColumns).all(s.Capabilities(ctx))
	})
}

package admin

import (
	"slices"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// This file translates between the state machine's types and the wire's.

// moment is a time on the wire: UTC, to the millisecond.
func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// momentOrNull is moment with zero as null.
func momentOrNull(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := moment(ms)
	return &t
}

// orNull is a string with the empty one as null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// orEmpty is the reverse of orNull.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// orNone is a list that is never null on the wire.
func orNone[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func wireAccount(x *fsm.Account) client.Account {
	return client.Account{
		ID: x.ID, Name: x.Name, Timezone: x.Zone(), Frozen: x.Frozen,
		CreatedAt: momentOrNull(x.CreatedAt), UpdatedAt: momentOrNull(x.UpdatedAt),
	}
}

func wireEntityType(x *fsm.EntityType) client.EntityType {
	return client.EntityType{ID: x.ID, Name: x.Name, Parents: orNone(x.Parents)}
}

func wireCapability(x *fsm.Capability) client.Capability {
	return client.Capability{ID: x.ID, Unit: x.Unit, Decimals: int(x.Decimals), Builtin: x.Builtin}
}

func wireEntity(x *fsm.Entity) client.Entity {
	e := client.Entity{
		ID: x.ID, Type: x.Type, Parent: orNull(x.Parent), Name: x.Name, Metadata: x.Metadata, Archived: x.Archived,
		CreatedAt: momentOrNull(x.CreatedAt), UpdatedAt: momentOrNull(x.UpdatedAt),
	}
	if e.Metadata == nil {
		e.Metadata = map[string]string{}
	}
	return e
}

func wireCadence(x fsm.Cadence) client.Cadence {
	c := client.Cadence{Every: string(x.Every), Timezone: x.Timezone}
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	if x.Anchored {
		t := moment(x.Anchor)
		c.Anchor = &t
	}
	return c
}

func domainCadence(x client.Cadence) fsm.Cadence {
	c := fsm.Cadence{Every: fsm.Every(x.Every), Timezone: x.Timezone}
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	if x.Anchor != nil {
		c.Anchor, c.Anchored = x.Anchor.UnixMilli(), true
	}
	return c
}

func wireAssignment(x *fsm.Assignment) client.Assignment {
	return client.Assignment{
		ID: x.ID, Entity: x.Entity, Capability: x.Capability, Limit: wireLimit(x.Limit, x.Unlimited),
		Cadence: wireCadence(x.Cadence), Enforcement: string(x.Enforcement), Mode: string(x.Mode),
		Scope: orNone(x.Scope), AlertThresholds: orNone(x.Thresholds), Backfill: x.Backfill,
		CreatedAt: momentOrNull(x.CreatedAt), UpdatedAt: momentOrNull(x.UpdatedAt),
	}
}

// domainAssignment fills in what the contract lets a caller leave out.
func domainAssignment(account, id string, x *client.Assignment) fsm.Assignment {
	d := fsm.Assignment{
		ID: id, Account: account, Entity: x.Entity, Capability: x.Capability, Cadence: domainCadence(x.Cadence),
		Unlimited: x.Limit == nil, Enforcement: fsm.Enforcement(x.Enforcement), Mode: fsm.Mode(x.Mode),
		Scope:      slices.Compact(slices.Sorted(slices.Values(x.Scope))),
		Thresholds: slices.Compact(slices.Sorted(slices.Values(x.AlertThresholds))),
	}
	if x.Limit != nil {
		d.Limit = *x.Limit
	}
	if d.Enforcement == "" {
		d.Enforcement = fsm.Hard
	}
	if d.Mode == "" {
		d.Mode = fsm.Cap
	}
	return d
}

// wireLimit is a limit on the wire: null when there is none.
func wireLimit(limit int64, unlimited bool) *int64 {
	if unlimited {
		return nil
	}
	return &limit
}

func wireToken(x *fsm.Token) client.Token {
	return client.Token{
		ID: x.ID, Name: x.Name, Role: string(x.Role), Account: orNull(x.Account),
		ExpiresAt: momentOrNull(x.ExpiresAt), CreatedAt: momentOrNull(x.CreatedAt),
	}
}

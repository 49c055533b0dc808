package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type assignmentCmd struct {
	Set    assignmentSetCmd    `cmd:"" help:"Give an entity a budget, or change one."`
	List   assignmentListCmd   `cmd:"" help:"List an account's assignments."`
	Get    assignmentGetCmd    `cmd:"" help:"Show an assignment."`
	Delete assignmentDeleteCmd `cmd:"" help:"Delete an assignment and its budgets. The ledger stays."`
}

// assignmentRow is an assignment with how its amounts are written.
type assignmentRow struct {
	client.Assignment
	capability client.Capability
}

var assignmentColumns = []column[assignmentRow]{
	{title: "ASSIGNMENT", cell: func(r assignmentRow) string { return r.ID }},
	{title: "ENTITY", cell: func(r assignmentRow) string { return r.Entity }},
	{title: "CAPABILITY", cell: func(r assignmentRow) string { return r.Capability }},
	{title: "LIMIT", number: true, cell: func(r assignmentRow) string { return formatLimit(r.Limit, r.capability.Decimals) }},
	{title: "UNIT", cell: func(r assignmentRow) string { return r.capability.Unit }},
	{title: "EVERY", cell: func(r assignmentRow) string { return describeCadence(r.Cadence) }},
	{title: "ENFORCEMENT", cell: func(r assignmentRow) string { return r.Enforcement }},
	{title: "MODE", cell: func(r assignmentRow) string { return r.Mode }},
	{title: "SCOPE", cell: func(r assignmentRow) string { return strings.Join(r.Scope, ",") }},
	{title: "ALERTS", cell: func(r assignmentRow) string { return describeThresholds(r.AlertThresholds) }},
}

// describeCadence writes a cadence on one line.
func describeCadence(c client.Cadence) string {
	s := c.Every
	if c.Timezone != "" && c.Timezone != "UTC" {
		s += " in " + c.Timezone
	}
	if c.Anchor != nil {
		s += " from " + c.Anchor.UTC().Format(time.RFC3339)
	}
	return s
}

func describeThresholds(percent []int) string {
	parts := make([]string, len(percent))
	for i, p := range percent {
		parts[i] = strconv.Itoa(p) + "%"
	}
	return strings.Join(parts, ",")
}

func assignmentTable(ctx context.Context, s *session) printer[client.Assignment, assignmentRow] {
	return tableOf(s, assignmentColumns, func(a client.Assignment) assignmentRow {
		return assignmentRow{Assignment: a, capability: s.decimals(ctx, a.Capability)}
	})
}

type assignmentSetCmd struct {
	Account    string `arg:"" help:"Id of the account."`
	Entity     string `arg:"" help:"Entity that gets the budget."`
	Capability string `arg:"" help:"What is limited: usd, tokens, requests, …"`
	Limit      string `arg:"" help:"Amount per period, as 250.00 or 1_000_000, or unlimited."`

	Every           string   `required:"" enum:"minute,hour,day,week,month,quarter,year,never" help:"When the budget starts anew: ${enum}." placeholder:"PERIOD"`
	Timezone        string   `help:"IANA time zone that periods begin in; UTC if left out." placeholder:"ZONE"`
	Anchor          moment   `help:"A moment at which a period begins; calendar boundaries if left out." placeholder:"TIME"`
	Hard            bool     `xor:"enforcement" help:"Refuse at the limit (the default)."`
	Soft            bool     `xor:"enforcement" help:"Grant past the limit and mark the overage."`
	Mode            string   `enum:"cap,allocated" default:"cap" help:"cap: a gate of its own; allocated: carved out of the nearest ancestor's."`
	Scope           []string `help:"Entities that must all be in a call's chain for it to apply." placeholder:"ENTITY"`
	AlertThresholds []int    `help:"Percentages of the limit at which to alert." placeholder:"PERCENT"`
	Backfill        bool     `help:"Count what the present period already saw. Only when the budget is made."`
	adminFlags
}

func (c *assignmentSetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		capability, err := s.capability(ctx, c.Capability)
		if err != nil {
			return err
		}
		limit, err := parseLimit(c.Limit, capability.Decimals)
		if err != nil {
			return usageError{fmt.Errorf("limit: %w", err)}
		}
		return assignmentTable(ctx, s).list(s.PutAssignments(ctx, c.Account, []client.Assignment{c.assignment(limit)}))
	})
}

func (c *assignmentSetCmd) assignment(limit *int64) client.Assignment {
	enforcement := "hard"
	if c.Soft {
		enforcement = "soft"
	}
	return client.Assignment{
		Entity: c.Entity, Capability: c.Capability, Limit: limit,
		Cadence:     client.Cadence{Every: c.Every, Timezone: c.Timezone, Anchor: c.Anchor.orNil()},
		Enforcement: enforcement, Mode: c.Mode, Scope: c.Scope, AlertThresholds: c.AlertThresholds, Backfill: c.Backfill,
	}
}

type assignmentListCmd struct {
	Account string `arg:"" help:"Id of the account."`
	assignmentFilterFlags
	adminFlags
}

type assignmentFilterFlags struct {
	Entity     string `help:"Only of this entity."`
	Capability string `help:"Only of this capability."`
}

func (f assignmentFilterFlags) filter() client.AssignmentFilter {
	return client.AssignmentFilter{Entity: f.Entity, Capability: f.Capability}
}

func (c *assignmentListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return assignmentTable(ctx, s).all(s.Assignments(ctx, c.Account, c.filter()))
	})
}

type assignmentGetCmd struct {
	Account    string `arg:"" help:"Id of the account."`
	Assignment string `arg:"" help:"Id of the assignment."`
	adminFlags
}

func (c *assignmentGetCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		return assignmentTable(ctx, s).one(s.Assignment(ctx, c.Account, c.Assignment))
	})
}

type assignmentDeleteCmd struct {
	Account    string `arg:"" help:"Id of the account."`
	Assignment string `arg:"" help:"Id of the assignment."`
	Yes        bool   `short:"y" env:"-" help:"Do not ask."`
	adminFlags
}

func (c *assignmentDeleteCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := confirm(k, c.Yes, fmt.Sprintf("Delete assignment %s and what its budget has counted?", c.Assignment)); err != nil {
		return err
	}
	return c.with(k, func(s *session) error { return s.DeleteAssignment(ctx, c.Account, c.Assignment) })
}

package main

// ctlCommands are the commands that talk to a running cluster. The root command
// line embeds it. Each Run takes a context.Context and a *kong.Context, whose
// Stdout and Stderr it writes to; the root binds the former with
// kong.BindTo(ctx, (*context.Context)(nil)).
type ctlCommands struct {
	Account    accountCmd    `cmd:"" group:"Configure:" help:"Accounts: the tenants."`
	EntityType entityTypeCmd `cmd:"" group:"Configure:" help:"Entity types: the kinds of nodes in a tree."`
	Capability capabilityCmd `cmd:"" group:"Configure:" help:"Capabilities: what is metered."`
	Entity     entityCmd     `cmd:"" group:"Configure:" help:"Entities: the nodes of an account's tree."`
	Assignment assignmentCmd `cmd:"" group:"Configure:" help:"Assignments: budgets of entities."`
	Prices     pricesCmd     `cmd:"" group:"Configure:" help:"The price book: what models cost."`
	Retention  retentionCmd  `cmd:"" group:"Configure:" help:"How long ledger lines are kept."`
	Apply      applyCmd      `cmd:"" group:"Configure:" help:"Bring the configuration to what a file says."`
	Token      tokenCmd      `cmd:"" group:"Configure:" help:"Access tokens."`

	Balance   balanceCmd   `cmd:"" group:"Look:" help:"What budgets have used and have left."`
	Tree      treeCmd      `cmd:"" group:"Look:" help:"Entities with their budgets."`
	Ledger    ledgerCmd    `cmd:"" group:"Look:" help:"Every event that was recorded."`
	Usage     usageCmd     `cmd:"" group:"Look:" help:"What the ledger adds up to, by time and group."`
	Statement statementCmd `cmd:"" group:"Look:" help:"What a month came to: statements and invoices."`
	Reconcile reconcileCmd `cmd:"" group:"Look:" help:"Compare the ledger with a provider's bill."`
	Audit     auditCmd     `cmd:"" group:"Look:" help:"Who changed what."`
	Cluster   clusterCmd   `cmd:"" group:"Look:" help:"The nodes and what they hold."`

	Check       checkCmd       `cmd:"" group:"Call:" help:"Ask whether a call may be made."`
	Ingest      ingestCmd      `cmd:"" group:"Call:" help:"Record what calls used."`
	Reservation reservationCmd `cmd:"" group:"Call:" help:"Amounts held for calls under way."`

	Completion completionCmd `cmd:"" help:"Print a script that completes commands in a shell."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" passthrough:""`
}

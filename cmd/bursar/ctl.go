package main

// ctlCommands are the commands that talk to a running cluster. The root command
// line embeds it. Each Run takes a context.Context and a *kong.Context, whose
// Stdout and Stderr it writes to; the root binds the former with
// kong.BindTo(ctx, (*context.Context)(nil)).
type ctlCommands struct{}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command tree.
type cli struct {
	Config   configFile `help:"YAML file with flags: at the top level for every command, or below the command's name." placeholder:"FILE"`
	LogLevel string     `help:"Least severe log line that is written: debug, info, warn or error." enum:"debug,info,warn,error,default" default:"default" placeholder:"LEVEL"`

	Serve   serveCmd   `cmd:"" help:"Run a node of a cluster."`
	Dev     devCmd     `cmd:"" help:"Run a cluster on this machine to try things out."`
	Certs   certsCmd   `cmd:"" help:"Make the certificates and the key that nodes know one another by."`
	Bench   benchCmd   `cmd:"" help:"Put load on a cluster, measure it and prove the books."`
	Backup  backupCmd  `cmd:"" help:"Copy everything out of a running cluster."`
	Restore restoreCmd `cmd:"" help:"Make a new cluster from a backup."`
	Salvage salvageCmd `cmd:"" help:"Make a backup from the disks of a cluster that has lost its majority."`
	Version versionCmd `cmd:"" help:"Print the version."`

	ctlCommands
}

func main() { os.Exit(run(os.Args[1:])) }

// run executes one command line and returns the exit code. The first interrupt
// or SIGTERM ends the context; a second one kills the process.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	var c cli
	parser, err := kong.New(&c,
		kong.Name("bursar"),
		kong.Description("Decides before each AI call whether it may be spent, and records what it cost."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.DefaultEnvars("BURSAR"),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return report(err, exitFailed)
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return report(fmt.Errorf("%w\nTry: %s --help", err, usedCommand(err)), exitUsage)
	}
	if err := kctx.Run(&c); err != nil {
		return report(err, exitFailed)
	}
	return exitDone
}

// report prints an error and returns the exit code it asks for, or code.
func report(err error, code int) int {
	fmt.Fprintf(os.Stderr, "bursar: error: %v\n", err)
	var coder kong.ExitCoder
	if code == exitFailed && errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return code
}

// usedCommand returns the part of the command line whose help explains a parse error.
func usedCommand(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			return "bursar " + node.Path()
		}
	}
	return "bursar"
}

// usageError is an error of a command that is the caller's to correct: exit code 2.
type usageError struct{ error }

func (usageError) ExitCode() int   { return exitUsage }
func (e usageError) Unwrap() error { return e.error }

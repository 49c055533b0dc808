package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/schollz/progressbar/v3"

	"github.com/bursar-dev/bursar/client"
)

// benchCmd is `bursar bench`.
type benchCmd struct {
	Replay benchReplayCmd `cmd:"" help:"Replay a trace of model calls and prove that ledger, balances and trace agree."`
	Load   benchLoadCmd   `cmd:"" help:"Put load on a cluster and hold its latencies against an objective."`
	Diff   benchDiffCmd   `cmd:"" help:"Compare two reports of load."`

	Compare  benchCompareCmd  `cmd:"" help:"Measure Bursar against a bare HTTP handler, Redis and PostgreSQL in one run."`
	Scale    benchScaleCmd    `cmd:"" help:"Measure what a node costs with a million entities, against ten thousand."`
	Overload benchOverloadCmd `cmd:"" help:"Offer nodes more than they can do, and see what they make of it."`
	Floor    benchFloorCmd    `cmd:"" hidden:"" help:"Answer every check alike, for bench compare."`
}

// benchTarget says where a load goes.
type benchTarget struct {
	Endpoint []string `help:"Data plane base URLs." default:"http://127.0.0.1:7070" sep:","`
	Admin    []string `help:"Control plane base URLs of all nodes." default:"http://127.0.0.1:7080" sep:","`
	tokenFlags
	Account  string `help:"Account to make for this run. Default: a new one." placeholder:"ID"`
	InFlight int    `help:"Calls under way at once, at most." default:"256"`
}

// connect makes the clients and, if none is named, the account's id.
func (t *benchTarget) connect(adminToken string) (*client.Client, *client.Admin, error) {
	if t.Account == "" {
		t.Account = "bench-" + strings.ToLower(ulid.Make().String())
	}
	t.Endpoint, t.Admin = withScheme(t.Endpoint), withScheme(t.Admin)
	token, err := t.secret()
	if err != nil {
		return nil, nil, usageError{err}
	}
	if adminToken == "" {
		adminToken = token
	}
	data, err := client.New(client.Options{Endpoints: t.Endpoint, Token: token})
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("--endpoint: %w", err)}
	}
	admin, err := client.NewAdmin(t.Admin, adminToken)
	if err != nil {
		data.Close()
		return nil, nil, usageError{fmt.Errorf("--admin: %w", err)}
	}
	return data, admin, nil
}

// newBenchProgress is newProgress for a benchmark, which always takes long.
func newBenchProgress(w io.Writer) *progress {
	p := newProgress(w)
	p.talk = time.Time{}
	return p
}

// benchBar shows progress on a terminal, and nothing in a pipe.
func benchBar(w io.Writer, steps int, what string) *progressbar.ProgressBar {
	const refresh = 100 * time.Millisecond
	return progressbar.NewOptions(steps, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(refresh),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetVisibility(isTerminal(w)))
}

// The formats of a benchmark's report, besides outputJSON.
const (
	outputText = "text"
	outputHTML = "html"
)

// textReport is a report that can be written as text, and as JSON as it is.
type textReport interface {
	WriteText(w io.Writer) error
}

// textOutput says how a report that makes no page is written.
type textOutput struct {
	Output string `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

func (o *textOutput) write(w io.Writer, r textReport) error { return writeText(w, o.Output, r) }

func writeText(w io.Writer, format string, r textReport) error {
	if format == outputJSON {
		return writeJSON(w, r)
	}
	return r.WriteText(w)
}

// benchReport is a report that can be written in all formats.
type benchReport interface {
	textReport
	WriteHTML(w io.Writer) error
}

// benchOutput says how a report is written.
type benchOutput struct {
	Output string   `short:"o" help:"text, json or html, to standard output." enum:"text,json,html" default:"text"`
	Save   []string `help:"Write the report to a file too; its ending, .txt, .json or .html, says how. Repeatable." placeholder:"FILE" type:"path"`
}

// formats of files by their ending.
var formats = map[string]string{".txt": outputText, ".json": outputJSON, ".html": outputHTML}

// Validate implements kong's hook.
func (o *benchOutput) Validate() error {
	for _, name := range o.Save {
		if formats[filepath.Ext(name)] == "" {
			return fmt.Errorf("--save %s: the file must end in .txt, .json or .html", name)
		}
	}
	return nil
}

// write writes the report everywhere it was asked for.
func (o *benchOutput) write(stdout io.Writer, r benchReport) error {
	for _, name := range o.Save {
		f, err := os.Create(name)
		if err != nil {
			return fmt.Errorf("--save: %w", err)
		}
		if err := errors.Join(writeReport(f, formats[filepath.Ext(name)], r), f.Close()); err != nil {
			return fmt.Errorf("--save %s: %w", name, err)
		}
	}
	return writeReport(stdout, o.Output, r)
}

func writeReport(w io.Writer, format string, r benchReport) error {
	if format == outputHTML {
		return r.WriteHTML(w)
	}
	return writeText(w, format, r)
}

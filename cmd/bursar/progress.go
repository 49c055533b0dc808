package main

import (
	"fmt"
	"io"
)

// progress shows on a terminal what a command is busy with, on one line that it
// rewrites, and shows nothing in a pipe.
type progress struct {
	w     io.Writer
	shown bool
	quiet bool
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, quiet: !isTerminal(w)}
}

// eraseLine moves to the start of the terminal's line and clears it.
const eraseLine = "\r\x1b[K"

// step replaces the line.
func (p *progress) step(format string, args ...any) {
	if p.quiet {
		return
	}
	fmt.Fprintf(p.w, eraseLine+format+" …", args...)
	p.shown = true
}

// done clears the line.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.w, eraseLine)
		p.shown = false
	}
}

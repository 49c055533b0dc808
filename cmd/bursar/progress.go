package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// plainPatience is how long work in a pipe goes on before it says anything: whoever
	// reads the output of a short command wants its result only.
	plainPatience = 10 * time.Second
	// plainEvery is the least time between two lines of one step in a pipe.
	plainEvery = 10 * time.Second
)

// progress shows what a command is busy with: on a terminal on one line that it
// rewrites; in a pipe, once the work takes long, on a plain line for each
// step and for each plainEvery that the step takes. It may be used by several goroutines.
type progress struct {
	w        io.Writer
	terminal bool
	talk     time.Time // in a pipe nothing is said before

	mu    sync.Mutex
	shown bool      // on the terminal is a line
	said  string    // format of the latest plain line
	at    time.Time // when that was written
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminal(w), talk: time.Now().Add(plainPatience)}
}

// eraseLine moves to the start of the terminal's line and clears it.
const eraseLine = "\r\x1b[K"

// step says what comes next, or how far it is: a format is a step, its arguments say how far.
func (p *progress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintf(p.w, eraseLine+format+" …", args...)
		p.shown = true
		return
	}
	now := time.Now()
	if now.Before(p.talk) || format == p.said && now.Sub(p.at) < plainEvery {
		return
	}
	fmt.Fprintf(p.w, format+"\n", args...)
	p.said, p.at = format, now
}

// done clears the terminal's line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, eraseLine)
		p.shown = false
	}
}

package simulation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// history is what happened, in order of virtual time, for whoever reads a failure.
// Lines are kept as they come and written only if the run fails.
type history struct {
	start time.Time
	debug bool // keep the nodes' debug logs

	mu    sync.Mutex
	lines []line
}

type line struct {
	at     time.Duration
	actor  string // a host, or whoever acts
	format string
	args   []any
}

// note adds a line. What args refer to must not change afterwards.
func (h *history) note(actor, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line{time.Since(h.start), actor, format, args})
}

// write writes the history.
func (h *history) write(w io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		text := l.format
		if len(l.args) > 0 {
			text = fmt.Sprintf(l.format, l.args...)
		}
		if _, err := fmt.Fprintf(w, "%10.4fs %-8s %s\n", l.at.Seconds(), l.actor, text); err != nil {
			return err
		}
	}
	return nil
}

// logger returns a logger that adds a process's messages to the history.
func (h *history) logger(p *process) *slog.Logger {
	return slog.New(&logHandler{h: h, p: p})
}

type logHandler struct {
	h     *history
	p     *process
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (l *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || l.h.debug
}

// Handle implements slog.Handler.
func (l *logHandler) Handle(_ context.Context, r slog.Record) error {
	l.h.note(l.p.h.name, "%v", logLine{r, l.attrs})
	switch r.Message {
	case wonElection:
		l.p.h.w.oracle.count(func(s *Stats) *int64 { return &s.Elections })
	case sentSnapshot:
		l.p.h.w.oracle.count(func(s *Stats) *int64 { return &s.Snapshots })
	case brokenBooks:
		l.h.note(l.p.h.name, "its log:\n%s", l.p.latestEntries())
		l.p.h.w.oracle.fail("%s says that its books do not add up: %v", l.p.h.name, logLine{r, l.attrs})
	}
	return nil
}

// Messages of the nodes that the oracle and the totals go by.
const (
	wonElection  = "this node leads"
	sentSnapshot = "streaming the state to a follower"
	brokenBooks  = "a budget's books do not add up; this node stops admitting until it is restarted"
)

// WithAttrs implements slog.Handler.
func (l *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *l
	next.attrs = append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...)
	return &next
}

// WithGroup implements slog.Handler.
func (l *logHandler) WithGroup(string) slog.Handler { return l }

// logLine formats a record when it is asked for.
type logLine struct {
	r     slog.Record
	attrs []slog.Attr
}

// String implements fmt.Stringer.
func (l logLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] %s", l.r.Level, l.r.Message)
	for _, a := range l.attrs {
		if a.Key != "node" {
			fmt.Fprintf(&b, " %s", a)
		}
	}
	l.r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
	return b.String()
}

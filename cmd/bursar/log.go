package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"
)

// newLogger returns the process's logger: text for a person at a terminal, JSON
// lines for whatever collects them otherwise.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// levelDefault is the --log-level that leaves it to the command.
const levelDefault = "default"

// logLevel returns the level that --log-level names, byDefault for levelDefault.
func logLevel(flag string, byDefault slog.Level) slog.Level {
	level := byDefault
	if err := level.UnmarshalText([]byte(flag)); err != nil {
		return byDefault
	}
	return level
}

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

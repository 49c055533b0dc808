package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"
)

// newLogger returns the process's logger: text for a person at a terminal, JSON
// lines for whatever collects them otherwise. level is the --log-level flag;
// "default" leaves it to the command.
func newLogger(w io.Writer, level string, byDefault slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevel(level, byDefault)}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func logLevel(level string, byDefault slog.Level) slog.Level {
	parsed := byDefault
	if err := parsed.UnmarshalText([]byte(level)); err != nil {
		return byDefault
	}
	return parsed
}

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

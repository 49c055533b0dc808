package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// hclogger lets raft log through slog. Its own "node" would be raft's name for a
// server; the node id is already on the logger.
type hclogger struct {
	log     *slog.Logger
	name    string
	implied []any
	inOrder func(msg string, args []any) bool // what is warned of and no cause for it
}

// raftLogger returns a logger for raft. What inOrder reports is logged at Info at most.
func raftLogger(l *slog.Logger, inOrder func(msg string, args []any) bool) hclog.Logger {
	return &hclogger{log: l.With("component", "raft"), name: "raft", inOrder: inOrder}
}

func (h *hclogger) level(l hclog.Level) slog.Level {
	switch {
	case l <= hclog.Debug:
		return slog.LevelDebug
	case l == hclog.Info:
		return slog.LevelInfo
	case l == hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// Log implements hclog.Logger.
func (h *hclogger) Log(l hclog.Level, msg string, args ...any) {
	if l == hclog.Off {
		return
	}
	level := h.level(l)
	if level > slog.LevelInfo && h.inOrder(msg, args) {
		level = slog.LevelInfo
	}
	if !h.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]any, 0, len(args)+1)
	for _, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		if e, ok := a.(error); ok {
			a = e.Error()
		}
		attrs = append(attrs, a)
	}
	if len(attrs)%2 != 0 { // hclog prints a lone last argument; slog would call it a bad key
		attrs = append(attrs[:len(attrs)-1], "extra", attrs[len(attrs)-1])
	}
	h.log.Log(context.Background(), level, msg, attrs...)
}

func (h *hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hclogger) enabled(l slog.Level) bool { return h.log.Enabled(context.Background(), l) }
func (h *hclogger) IsTrace() bool             { return false }
func (h *hclogger) IsDebug() bool             { return h.enabled(slog.LevelDebug) }
func (h *hclogger) IsInfo() bool              { return h.enabled(slog.LevelInfo) }
func (h *hclogger) IsWarn() bool              { return h.enabled(slog.LevelWarn) }
func (h *hclogger) IsError() bool             { return h.enabled(slog.LevelError) }

func (h *hclogger) ImpliedArgs() []any { return h.implied }
func (h *hclogger) Name() string       { return h.name }

// With implements hclog.Logger.
func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{log: h.log.With(args...), name: h.name, inOrder: h.inOrder, implied: append(h.implied[:len(h.implied):len(h.implied)], args...)}
}

// Named implements hclog.Logger.
func (h *hclogger) Named(name string) hclog.Logger { return h.ResetNamed(h.name + "." + name) }

// ResetNamed implements hclog.Logger.
func (h *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{log: h.log, name: name, inOrder: h.inOrder, implied: h.implied}
}

// SetLevel implements hclog.Logger. slog's handler decides the level.
func (h *hclogger) SetLevel(hclog.Level)  {}
func (h *hclogger) GetLevel() hclog.Level { return hclog.NoLevel }

// StandardLogger implements hclog.Logger.
func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.log.Handler(), slog.LevelInfo)
}

// StandardWriter implements hclog.Logger.
func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return h.StandardLogger(nil).Writer()
}

// memberlistLogger returns a logger for memberlist, whose lines begin with "[LEVEL] memberlist: ".
// While the node is leaving they are logged at Info at most: probes that are under way find the socket closed.
func memberlistLogger(l *slog.Logger, leaving *atomic.Bool) *log.Logger {
	return log.New(levelWriter{l.With("component", "memberlist"), leaving}, "", 0)
}

type levelWriter struct {
	log     *slog.Logger
	leaving *atomic.Bool
}

// Write implements io.Writer for one line.
func (w levelWriter) Write(line []byte) (int, error) {
	level, text := slog.LevelInfo, bytes.TrimSpace(line)
	for prefix, l := range map[string]slog.Level{
		"[DEBUG]": slog.LevelDebug, "[INFO]": slog.LevelInfo, "[WARN]": slog.LevelWarn,
		"[ERR]": slog.LevelError, "[ERROR]": slog.LevelError,
	} {
		if rest, ok := bytes.CutPrefix(text, []byte(prefix)); ok {
			level, text = l, rest
			break
		}
	}
	text = bytes.TrimPrefix(bytes.TrimSpace(text), []byte("memberlist: "))
	if w.leaving.Load() {
		level = min(level, slog.LevelInfo)
	}
	w.log.Log(context.Background(), level, string(text))
	return len(line), nil
}

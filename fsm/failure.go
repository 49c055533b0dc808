package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A failed disk must stop the node with an error that says so. Pebble reports
// it in three ways: as a returned error, as an event from its background work, and by
// calling Logger.Fatalf and relying on it not to return. Of a failure of its log it is not told (see
// walfs). All four latch here; every later call on the Machine returns the latched error and leaves Pebble alone, and
// what Pebble calls done is done only if nothing has latched by then.

// ErrClosed is returned by calls on a closed Machine.
var ErrClosed = errors.New("the state machine is closed")

// failure latches the first error of the store.
type failure struct {
	first atomic.Pointer[error]
	ended chan struct{} // closed once first is set
	log   *slog.Logger
}

func newFailure(log *slog.Logger) *failure {
	return &failure{ended: make(chan struct{}), log: log}
}

// set latches err, if it is the first.
func (f *failure) set(err error) {
	if !f.first.CompareAndSwap(nil, &err) {
		return
	}
	close(f.ended)
	if !errors.Is(err, ErrClosed) {
		f.log.Error("state store failed", "error", err)
	}
}

// err returns the latched error, or nil.
func (f *failure) err() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

// logFailed latches a failure of the store's log.
func (f *failure) logFailed(err error) { f.set(fmt.Errorf("the store's log: %w", err)) }

// guard turns Pebble giving up below the deferring function into its error.
// Other panics, ours and the runtime's, go on.
func guard(err *error) {
	p := recover()
	if p == nil {
		return
	}
	failed, isError := p.(error)
	if _, bug := p.(runtime.Error); bug || !isError {
		panic(p)
	}
	*err = failed
}

// storeLogger is Pebble's logger. Pebble is talkative, so its ordinary messages are for debugging.
type storeLogger struct{ f *failure }

// Infof implements pebble.Logger.
func (l storeLogger) Infof(format string, args ...any) {
	if l.f.log.Enabled(context.Background(), slog.LevelDebug) {
		l.f.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l storeLogger) Errorf(format string, args ...any) {
	l.f.log.Warn("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger: it latches the failure and does not return. On
// a goroutine that came through a guarded function of this package it unwinds to
// there; a background goroutine of Pebble's ends.
func (l storeLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("the store can no longer be trusted: "+format, args...)
	l.f.set(err)
	if calledByUs() {
		panic(err)
	}
	runtime.Goexit()
}

// calledByUs reports whether a function of this package is on the stack below Fatalf.
func calledByUs() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "bursar/fsm.") {
			return true
		}
		if !more {
			return false
		}
	}
}

// nothingToFlush recognizes how Pebble ends a flush whose memtables hold nothing to
// write, as the first one of a new store. It exports no error for it.
func nothingToFlush(err error) bool { return err != nil && err.Error() == "pebble: empty table" }

// listener reports what Pebble's background work meets.
func (f *failure) listener() *pebble.EventListener {
	failed := func(what string, err error) {
		if err != nil {
			f.log.Warn("state store", "event", what, "error", err)
		}
	}
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			f.set(fmt.Errorf("background work of the store: %w", err))
			if !errors.Is(f.err(), ErrClosed) && !calledByUs() {
				runtime.Goexit() // a flush that fails is tried again at once, without end; a store that is closed tries none again
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			f.set(fmt.Errorf("the store is damaged in %s: %w", i.Path, i.Details))
		},
		CompactionEnd: func(i pebble.CompactionInfo) { failed("compaction", i.Err) },
		FlushEnd: func(i pebble.FlushInfo) {
			if !nothingToFlush(i.Err) {
				failed("flush", i.Err)
			}
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { f.log.Warn("state store", "event", "disk slow", "detail", i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			f.log.Warn("state store", "event", "write stall", "reason", i.Reason)
		},
		WriteStallEnd: func() { f.log.Warn("state store", "event", "write stall over") },
	}
}

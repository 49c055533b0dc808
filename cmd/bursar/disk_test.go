package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLowDiskTakesTheNodeOutUntilThereIsRoom(t *testing.T) {
	var out error
	var free uint64
	w := &diskWatch{
		free: func() (uint64, error) { return free, nil },
		low:  func(why error) { out = why },
		log:  slog.New(slog.DiscardHandler),
	}
	low := false
	for _, tt := range []struct {
		free uint64
		out  bool
	}{
		{diskFreeMin, false},
		{diskFreeMin - 1, true},
		{diskFreeMin, true}, // not back at the brink: it would flap
		{diskFreeBack - 1, true},
		{diskFreeBack, false},
		{diskFreeMin, false},
		{0, true},
	} {
		free = tt.free
		low = w.checkRoom(low)
		if (out != nil) != tt.out {
			t.Fatalf("with %d bytes free the node is out: %v (%v), want %v", tt.free, out != nil, out, tt.out)
		}
	}
}

func TestDiskThatCannotBeWrittenFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func() error
		want  string
	}{
		{"error", func() error { return errors.New("input/output error") }, "input/output error"},
		{"stall", func() error { time.Sleep(time.Hour); return nil }, "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &diskWatch{
					write: tt.write,
					free:  func() (uint64, error) { return diskFreeBack, nil },
					low:   func(why error) { t.Errorf("low: %v", why) },
					log:   slog.New(slog.DiscardHandler),
				}
				err := w.run(t.Context())
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("run() = %v, want an error with %q", err, tt.want)
				}
				time.Sleep(2 * time.Hour) // lets the stalled write end
			})
		})
	}
}

func TestHealthyDiskIsWatchedUntilTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		w := newDiskWatch(dir, func(why error) { t.Errorf("low: %v", why) }, slog.New(slog.DiscardHandler))
		probe := w.write
		w.write = func() error { writes++; return probe() }
		ctx, cancel := context.WithTimeout(t.Context(), 3*diskCheckInterval+time.Second)
		defer cancel()
		if err := w.run(ctx); err != nil {
			t.Errorf("run() = %v", err)
		}
		if writes != 4 {
			t.Errorf("%d writes in three intervals, want 4", writes)
		}
	})
}

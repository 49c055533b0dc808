package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bursar-dev/bursar/cluster"
)

// Bounds of the disk watchdog.
const (
	diskCheckInterval = 2 * time.Second  // full load writes some tens of MB in it
	diskStallLimit    = 20 * time.Second // one small durable write; a healthy disk takes milliseconds
	diskFreeMin       = 96 << 20         // bytes; below it the node goes out of service: the state's next log takes 35 MiB at once, raft's 16
	diskFreeBack      = 2 * diskFreeMin  // bytes; above it the node comes back
	diskStartMin      = 64 << 20         // bytes; starting writes out what the log of the state holds, a memtable of 32 MiB
	diskFullBytes     = 1 << 20          // bytes; with fewer, what failed may have failed for want of room
)

// diskWatch looks after the disk that a node's promises rest on. A disk that is
// nearly full takes the node out of service until there is room again, early enough
// that what it has accepted can still be shipped. A disk that fails or hangs ends
// the process: a node that cannot write must not look alive to the others.
//
// The log store has a watchdog of its own (see package cluster), which sees a
// stall under load sooner; this one sees the idle node's disk, too.
type diskWatch struct {
	write func() error           // one small durable write
	free  func() (uint64, error) // bytes left for this user
	low   func(why error)        // called when room becomes short (why) and when it is back (nil)
	dir   string                 // for what is said to the operator
	log   *slog.Logger
}

// newDiskWatch watches the file system below dir.
func newDiskWatch(dir string, low func(error), log *slog.Logger) *diskWatch {
	return &diskWatch{
		write: func() error { return writeProbe(filepath.Join(dir, ".disk-check")) },
		free:  func() (uint64, error) { return freeBytes(dir) },
		low:   low,
		dir:   dir,
		log:   log,
	}
}

// run watches until ctx ends, or returns why the disk is not to be trusted any more.
func (w *diskWatch) run(ctx context.Context) error {
	ticker := time.NewTicker(diskCheckInterval)
	defer ticker.Stop()
	isLow := false
	for {
		wrote, stalled := make(chan error, 1), make(chan struct{})
		go func() { wrote <- w.write() }()
		limit := cluster.AfterAwake(diskStallLimit, func() { close(stalled) })
		select {
		case <-ctx.Done():
			limit.Stop()
			return nil
		case err := <-wrote:
			limit.Stop()
			if err != nil {
				return fmt.Errorf("the data directory cannot be written: %w", err)
			}
		case <-stalled:
			return fmt.Errorf("%w: a small write to the data directory has not returned for %v", cluster.ErrDiskStalled, diskStallLimit)
		}
		isLow = w.checkRoom(isLow)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// checkRoom reports whether room is short, given whether it was.
func (w *diskWatch) checkRoom(wasLow bool) bool {
	free, err := w.free()
	if err != nil {
		w.log.Warn("the free space of the data directory is unknown", "error", err)
		return wasLow
	}
	switch {
	case !wasLow && free < diskFreeMin:
		w.log.Error("the data directory is nearly full: the node goes out of service; make room and it comes back by itself",
			"data_dir", w.dir, "free_bytes", free, "back_at_bytes", diskFreeBack)
		w.low(fmt.Errorf("the data directory %s has %d bytes left, fewer than %d: make room", w.dir, free, diskFreeMin))
		return true
	case wasLow && free >= diskFreeBack:
		w.log.Info("the data directory has room again: the node is back in service", "data_dir", w.dir, "free_bytes", free)
		w.low(nil)
		return false
	}
	return wasLow
}

// diskAdvice adds to why a node cannot run what to do about its disk, if that is
// the cause: several parts of a node write, and each fails in words of its own.
func diskAdvice(dir string, why error) error {
	switch {
	case why == nil:
		return nil
	case errors.Is(why, cluster.ErrDiskStalled):
		return fmt.Errorf("%w; see to the disk of --data-dir %s, then start the node again", why, dir)
	case errors.Is(why, syscall.ENOSPC) || errors.Is(why, syscall.EDQUOT) || isFull(dir):
		return fmt.Errorf("%w; make room in --data-dir %s, then start the node again", why, dir)
	case errors.Is(why, syscall.EIO) || errors.Is(why, syscall.EROFS):
		return fmt.Errorf("%w; see to the disk of --data-dir %s, then start the node again", why, dir)
	}
	return why
}

// roomToStart returns an error if so little is left below dir that opening the node would fail half-way.
func roomToStart(dir string) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("--data-dir %s: %w", dir, err)
	}
	if free < diskStartMin {
		return fmt.Errorf("--data-dir %s has %d bytes left and starting takes up to %d: %w", dir, free, diskStartMin, syscall.ENOSPC)
	}
	return nil
}

// isFull reports whether so little is left below dir that a write may have failed for it.
func isFull(dir string) bool {
	free, err := freeBytes(dir)
	return err == nil && free < diskFullBytes
}

// writeProbe makes one small write durable.
func writeProbe(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, modePrivate)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(time.Now().UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	return f.Sync()
}

// freeBytes returns what an unprivileged user may still write below dir.
func freeBytes(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

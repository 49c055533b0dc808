package enforcer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The watermark is a time, durable on disk, that lies ahead of the latest expiry
// this node has given out. After a crash of the machine the journal's tail may be
// missing; once the watermark has passed, whatever stood there has expired.
//
// It is moved ahead of need by the journal's background goroutine. A reservation
// that would pass it waits for the move.
type watermark struct {
	fs   vfs.FS
	path string
	kick func() // wakes whoever calls advance; must not block

	durable atomic.Int64 // Unix milliseconds, on disk
	wanted  atomic.Int64 // the furthest time asked for

	mu      sync.Mutex
	attempt *markAttempt // the next move
}

// markAttempt is one try to move the watermark, to wait for.
type markAttempt struct {
	done chan struct{}
	err  error // set before done is closed
}

const (
	markName  = "watermark"
	markBytes = 12 // time i64, CRC-32C u32, little endian

	// markAhead is how far past the latest expiry the watermark is moved: one
	// fsync every markAhead/2 while reservations are made.
	markAhead = 10 * time.Second
	// maxMarkWait bounds how long a reservation waits for the disk.
	maxMarkWait = time.Second
)

var errMarkSlow = errors.New("the watermark could not be made durable in time")

// readWatermark returns the watermark in dir; ok is false if there is none yet.
func readWatermark(vs vfs.FS, dir string) (at int64, ok bool, err error) {
	f, err := vs.Open(vs.PathJoin(dir, markName))
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, markBytes+1))
	if err != nil {
		return 0, false, err
	}
	if len(data) != markBytes || binary.LittleEndian.Uint32(data[8:]) != crc32.Checksum(data[:8], castagnoli) {
		return 0, false, fmt.Errorf("%w: %s is damaged; it is written as a whole, so the disk has changed it",
			errJournalDamaged, markName)
	}
	return int64(binary.LittleEndian.Uint64(data)), true, nil
}

// reach returns once the watermark is at or past expires. It costs two loads when
// there is nothing to wait for, and asks for a move before one is needed.
func (w *watermark) reach(expires int64) error {
	ahead := markAhead.Milliseconds()
	durable := w.durable.Load()
	if expires <= durable-ahead/2 {
		return nil
	}
	if expires <= durable {
		if w.wanted.Load() < expires+ahead/2 {
			w.want(expires + ahead)
		}
		return nil
	}
	timeout := time.NewTimer(maxMarkWait)
	defer timeout.Stop()
	for expires > w.durable.Load() {
		attempt := w.want(expires + ahead)
		select {
		case <-attempt.done:
			if attempt.err != nil {
				return attempt.err
			}
		case <-timeout.C:
			return errMarkSlow
		}
	}
	return nil
}

// want asks for the watermark to be moved to target or further and returns the attempt that will do it.
func (w *watermark) want(target int64) *markAttempt {
	for old := w.wanted.Load(); old < target && !w.wanted.CompareAndSwap(old, target); old = w.wanted.Load() {
	}
	w.mu.Lock()
	a := w.attempt
	w.mu.Unlock()
	w.kick()
	return a
}

// advance makes the furthest wanted time durable. One goroutine calls it.
func (w *watermark) advance() error {
	w.mu.Lock()
	a := w.attempt
	w.attempt = &markAttempt{done: make(chan struct{})}
	w.mu.Unlock()
	// Read after the attempt is taken: whoever waits for it had raised the target before.
	if target := w.wanted.Load(); target > w.durable.Load() {
		if a.err = w.store(target); a.err == nil {
			w.durable.Store(target)
		}
	}
	close(a.done)
	return a.err
}

// store writes the time beside the old one, makes it durable, and puts it in place.
func (w *watermark) store(at int64) error {
	var data [markBytes]byte
	binary.LittleEndian.PutUint64(data[:], uint64(at))
	binary.LittleEndian.PutUint32(data[8:], crc32.Checksum(data[:8], castagnoli))
	return replaceFile(w.fs, w.path, func(f vfs.File) error {
		_, err := f.Write(data[:])
		return err
	})
}

// replaceFile writes a new file beside path, makes it durable and renames it to path.
// After a crash at any point path is the old file or the new one.
func replaceFile(vs vfs.FS, path string, write func(vfs.File) error) error {
	tmp := path + tmpSuffix
	f, err := vs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = vs.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(vs, vs.PathDir(path))
	}
	return err
}

func syncDir(vs vfs.FS, dir string) error {
	d, err := vs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory that is still there after a crash of the machine.
func makeDir(vs vfs.FS, dir string) error {
	if err := vs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(vs, vs.PathDir(dir))
}

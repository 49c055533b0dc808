package enforcer

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/fsm"
)

// RecordedEvents returns the events that stand in the outbox of a stopped node's
// data directory, oldest first: accepted and durable here, and not known here to be
// settled; of events that were accepted together, settled ones stand there until all are. It changes nothing.
// fs nil is the real file system.
func RecordedEvents(fs vfs.FS, dataDir string, log *slog.Logger) (events []fsm.Event, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	dir := fs.PathJoin(dataDir, "outbox")
	if _, err := fs.Stat(dir); errors.Is(err, iofs.ErrNotExist) {
		return nil, nil // it never took any
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, ReadOnly: true, Logger: pebbleLog{log, dir}})
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	entries, err := (&outbox{db: db}).load()
	if err != nil {
		return nil, fmt.Errorf("read outbox %s: %w", dir, err)
	}
	for _, e := range entries {
		events = append(events, *e.ev)
	}
	return events, nil
}

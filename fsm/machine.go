package fsm

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure Open.
type Options struct {
	FS       vfs.FS       // nil: the real file system
	Logger   *slog.Logger // nil: slog.Default()
	Observer Observer     // nil: nobody is told; see SetObserver
}

// Entry is one committed log entry. Empty Data is an entry without a command
// (a membership change, a barrier): it only moves the applied index.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte
}

// Machine is the replicated state machine: a state in memory, durable in a
// Pebble store with the index it has applied. One goroutine applies; any number read.
type Machine struct {
	mu sync.RWMutex // guards s against readers; only the apply goroutine writes
	s  *state
	db *pebble.DB
}

// Open opens or creates the store in dir and loads the hot state. It needs no quorum and no log.
func Open(dir string, o Options) (*Machine, error) { panic("unwritten") }

// Close flushes and closes the store.
func (m *Machine) Close() error { panic("unwritten") }

// SetObserver sets who is told of changes. Call it before the first Apply.
func (m *Machine) SetObserver(o Observer) { panic("unwritten") }

// Encode encodes a command for the log. It fails only if it is larger than MaxCommandBytes.
func Encode(c *Command) ([]byte, error) { panic("unwritten") }

// Decode decodes a command. Unknown or damaged input is an *Error with CodeCorrupt, never a panic.
func Decode(data []byte) (*Command, error) { panic("unwritten") }

// Apply applies entries in order and returns one outcome for each. Entries at or
// below the applied index are skipped (a replay after a crash) with a zero
// Outcome. An error is a failed store: the node must stop.
func (m *Machine) Apply(entries []Entry) ([]Outcome, error) { panic("unwritten") }

// Applied returns the index and term of the last entry applied.
func (m *Machine) Applied() (index, term uint64) { panic("unwritten") }

// WaitApplied waits until index is applied, the observer having been told.
func (m *Machine) WaitApplied(ctx context.Context, index uint64) error { panic("unwritten") }

// Checksum returns the running checksum of all writes up to the applied index.
// Two replicas at the same index have the same sum, or one of them is damaged.
func (m *Machine) Checksum() (index, sum uint64) { panic("unwritten") }

// ChecksumAt returns the sum at an index recently applied; ok is false if it is no longer remembered.
func (m *Machine) ChecksumAt(index uint64) (sum uint64, ok bool) { panic("unwritten") }

// Flush makes everything applied durable, so that the log up to there may be truncated.
func (m *Machine) Flush() error { panic("unwritten") }

// WriteSnapshot streams a consistent copy of the state, with its applied index,
// while applying goes on.
func (m *Machine) WriteSnapshot(w io.Writer) (index uint64, err error) { panic("unwritten") }

// InstallSnapshot reads what WriteSnapshot wrote beside the present state,
// verifies it and swaps it in. On any error the present state stays. The observer
// is told with Full.
func (m *Machine) InstallSnapshot(r io.Reader) error { panic("unwritten") }

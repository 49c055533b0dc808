package enforcer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/invariants"
)

// journal keeps what this node has set aside, so that it is still set aside after
// a crash of the process: a record is handed to the kernel with write(2) before
// the call it belongs to is answered. It is not fsynced: what that cannot cover, a
// crash of the machine, is told apart by the kernel's boot id and waited out with
// the watermark. See journal_segment.go for the format.
//
// Callers that come while a write is under way share the next one: whoever finds
// no write under way writes for all who have queued a record. So a lone caller
// pays one write(2) and no hand-off, and many callers pay one between them.
//
// When a write fails, its callers get the error and the file's end is unknown. The
// next write goes to a new segment whose header says how much of the old one
// counts. health reports the failure until a write has succeeded again.
type journal struct {
	fs     vfs.FS
	dir    string
	log    *slog.Logger
	now    func() int64 // Unix milliseconds
	kernel kernelBoot
	doubt  int64
	mark   watermark

	mu      sync.Mutex
	wrote   sync.Cond     // a write has ended
	writing bool          // a write is under way; what follows up to sealed belongs to it then
	next    *journalGroup // collects records for the next write
	spare   []*journalGroup
	failed  error // the last write's error
	closed  bool

	// The last segment. Whoever has set writing owns these.
	file vfs.File // nil: the next write begins a segment
	seq  uint64
	size int64 // bytes that count

	sealed sealedSegments

	wake    chan struct{} // for keep; holds one
	sealing chan struct{} // for compactOnce; holds one
	quit    chan struct{}
	running sync.WaitGroup

	writes, records, errs atomic.Uint64
	writingSince          atomic.Int64 // Unix milliseconds; 0: no write under way
}

// journalGroup is the records of one write(2) and their callers.
type journalGroup struct {
	buf     []byte
	callers int
	done    bool
	err     error
}

// journalState is what a journal held when it was opened.
type journalState struct {
	Reservations []reservationRecord // by id
	Draws        []drawRecord        // by id
	// Rebooted says that the machine may have crashed since, so that records may
	// be missing until Watermark (Unix milliseconds) has passed.
	Rebooted  bool
	Watermark int64
	// Forgot says that draws may be missing that have not ended by then; see recall.go.
	Forgot bool
}

const (
	segmentBytes      = 8 << 20         // a segment that has reached this is followed by a new one
	maxGroupBytes     = 1 << 20         // a group's buffer above this is not kept
	journalRetry      = time.Second     // how often a failed journal is tried again
	maxJournalWrite   = 2 * time.Second // a write that takes longer counts as a stalled disk
	maxSpareGroups    = 4
	maxEnds           = 512 // of reservations, in one write
	maxJournalAccount = fsm.MaxIDBytes
)

var (
	errJournalClosed  = errors.New("the journal is closed")
	errJournalStalled = errors.New("the journal's disk does not answer")
)

// openJournal opens or creates the journal in dir. errJournalDamaged (wrapped) is
// returned for damage that no crash explains; the message says where.
func openJournal(vs vfs.FS, dir string, log *slog.Logger, kernel kernelBoot, now func() int64) (*journal, journalState, error) {
	j := &journal{
		fs: vs, dir: dir, log: log, now: now, kernel: kernel, next: new(journalGroup),
		wake: make(chan struct{}, 1), sealing: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	j.wrote.L = &j.mu
	j.mark = watermark{fs: vs, path: vs.PathJoin(dir, markName), kick: j.kick, attempt: &markAttempt{done: make(chan struct{})}}
	live, restored, err := j.restore()
	if err != nil {
		return nil, journalState{}, fmt.Errorf("open journal %s: %w", dir, err)
	}
	// Compacting at once drops torn tails and records the present kernel boot.
	if err := j.writeBase(j.seq, live); err != nil {
		return nil, journalState{}, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j.running.Go(func() { j.work(j.wake, j.keep) })
	j.running.Go(func() { j.work(j.sealing, j.compactOnce) })
	return j, restored, nil
}

// reserve records a reservation. Once it returns nil the reservation outlives the
// process. account is at most maxJournalAccount bytes, holds at most fsm.MaxCallAssignments.
func (j *journal) reserve(id resID, account string, expires int64, holds []heldLine) error {
	if invariants.Enabled {
		invariants.Check(len(account) <= maxJournalAccount, "account of %d bytes", len(account))
		invariants.Check(len(holds) <= fsm.MaxCallAssignments, "%d holds", len(holds))
	}
	if err := j.mark.reach(expires); err != nil {
		return j.count(err)
	}
	j.mu.Lock()
	j.next.buf = appendReserve(j.next.buf, id, account, expires, holds)
	return j.commit(1)
}

// extend records a later expiry.
func (j *journal) extend(id resID, expires int64) error {
	if err := j.mark.reach(expires); err != nil {
		return j.count(err)
	}
	j.mu.Lock()
	j.next.buf = appendExtend(j.next.buf, id, expires)
	return j.commit(1)
}

// end records that reservations hold nothing any more, in one write for maxEnds of
// them. If it fails, a restart brings them back until they expire: too much is held,
// never too little.
func (j *journal) end(ids ...resID) error { return j.endAll(recordEnd, ids) }

// draw records a draw for another node's reservation. The watermark covers its end.
func (j *journal) draw(d drawRecord) error {
	if err := j.mark.reach(d.Expires); err != nil {
		return j.count(err)
	}
	j.mu.Lock()
	j.next.buf = appendDraw(j.next.buf, d)
	return j.commit(1)
}

// endDraw records that draws are settled or cancelled.
func (j *journal) endDraw(ids ...resID) error { return j.endAll(recordEndDraw, ids) }

func (j *journal) endAll(kind recordKind, ids []resID) error {
	for len(ids) > 0 {
		n := min(len(ids), maxEnds)
		j.mu.Lock()
		for _, id := range ids[:n] {
			j.next.buf = appendEnd(j.next.buf, kind, id)
		}
		if err := j.commit(n); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// commit returns once the records just appended to j.next are written. It is called
// with j.mu held and releases it.
func (j *journal) commit(records int) error {
	g := j.next
	g.callers++
	j.records.Add(uint64(records))
	for !g.done {
		if j.writing {
			j.wrote.Wait()
			continue
		}
		j.writeNext()
	}
	err := g.err
	if g.callers--; g.callers == 0 && len(j.spare) < maxSpareGroups && cap(g.buf) <= maxGroupBytes {
		*g = journalGroup{buf: g.buf[:0]}
		j.spare = append(j.spare, g)
	}
	j.mu.Unlock()
	return err
}

// writeNext writes the records that have queued. j.mu is held; it is released
// while the write is under way.
func (j *journal) writeNext() {
	g := j.next
	if n := len(j.spare); n > 0 {
		j.next, j.spare = j.spare[n-1], j.spare[:n-1]
	} else {
		j.next = new(journalGroup)
	}
	if j.closed {
		g.done, g.err = true, errJournalClosed
		return
	}
	j.writing = true
	j.writingSince.Store(j.now())
	j.mu.Unlock()
	err := j.write(g.buf)
	j.writingSince.Store(0)
	j.mu.Lock()
	j.writing = false
	g.done, g.err = true, err
	if (err != nil) != (j.failed != nil) {
		j.report(err)
	}
	j.failed = err
	j.wrote.Broadcast()
}

// report logs that writing began to fail or works again.
func (j *journal) report(err error) {
	if err != nil {
		j.log.Error("journal cannot be written; this node stops reserving", "dir", j.dir, "err", err)
		j.kick()
		return
	}
	j.log.Info("journal can be written again", "dir", j.dir)
}

// write appends b to the last segment, or to a new one where it is full or its
// end is unknown. Whoever has set j.writing calls it.
func (j *journal) write(b []byte) error {
	if j.file == nil || j.size >= segmentBytes {
		if err := j.rotate(); err != nil {
			return j.count(fmt.Errorf("begin a journal segment: %w", err))
		}
	}
	j.writes.Add(1)
	if _, err := j.file.Write(b); err != nil {
		_ = j.file.Close() // its end is unknown either way
		j.file = nil
		return j.count(fmt.Errorf("write the journal: %w", err))
	}
	j.size += int64(len(b))
	return nil
}

// rotate begins the next segment. Its header seals the one before at the bytes that count.
func (j *journal) rotate() error {
	if j.sealed.full() {
		j.kickCompactor()
		return errJournalFull
	}
	f, err := j.fs.Create(j.segmentPath(j.seq+1), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	h := segmentHeader{seq: j.seq + 1, prev: uint64(j.size), kernel: j.kernel, doubt: j.doubt}
	if _, err := f.Write(appendSegmentHeader(nil, h)); err != nil {
		return errors.Join(err, f.Close(), j.fs.Remove(j.segmentPath(j.seq+1)))
	}
	if j.file != nil {
		_ = j.file.Close() // its bytes are with the kernel already
	}
	if j.sealed.add(j.seq, j.size) {
		j.kickCompactor()
	}
	j.file, j.seq, j.size = f, j.seq+1, segmentHeaderBytes
	return nil
}

func (j *journal) count(err error) error {
	j.errs.Add(1)
	return err
}

// health returns why nothing can be reserved now, or nil.
func (j *journal) health() error {
	if since := j.writingSince.Load(); since != 0 && j.now()-since > maxJournalWrite.Milliseconds() {
		return errJournalStalled
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// kick wakes the goroutine that moves the watermark.
func (j *journal) kick() { kickOn(j.wake) }

// kickCompactor wakes the goroutine that compacts.
func (j *journal) kickCompactor() { kickOn(j.sealing) }

// work calls do whenever it is woken, and journalRetry after do has said that it must be called again, until the
// journal is closed.
func (j *journal) work(wake <-chan struct{}, do func() (again bool)) {
	retry := time.NewTimer(journalRetry)
	defer retry.Stop()
	for {
		select {
		case <-j.quit:
			return
		case <-wake:
		case <-retry.C:
		}
		if do() {
			retry.Reset(journalRetry)
		}
	}
}

// keep moves the watermark, and tries a failed journal again.
func (j *journal) keep() (again bool) {
	if err := j.mark.advance(); err != nil {
		j.log.Error("journal watermark cannot be moved", "dir", j.dir, "err", j.count(err))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil || j.writing {
		return false
	}
	j.writeNext() // an empty write: it only begins a segment
	return true
}

// compactOnce compacts if that is due. It takes seconds where a million reservations are live, and the watermark cannot
// wait for so long.
func (j *journal) compactOnce() (again bool) {
	if err := j.compact(); err != nil {
		j.log.Error("journal cannot be compacted", "dir", j.dir, "err", j.count(err))
		return true
	}
	j.kick() // a journal that was full can be written again
	return false
}

// closeClean records an orderly stop, makes it durable and closes the journal.
func (j *journal) closeClean() error {
	if !j.stop() {
		return nil
	}
	err := j.write(appendClean(nil))
	if err == nil {
		err = j.file.Sync()
	}
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
	}
	return err
}

// stop refuses further records and waits for what is under way. It reports whether this call did it.
func (j *journal) stop() bool {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return false
	}
	j.closed = true
	for j.writing {
		j.wrote.Wait()
	}
	j.mu.Unlock()
	close(j.quit)
	j.running.Wait()
	return true
}

package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// FullPolicy says what Record does when the recorder holds all it may.
type FullPolicy int

// The policies. Neither loses an event without its caller knowing.
const (
	// Block waits for room until the context ends, then returns ErrRecorderFull: back pressure.
	Block FullPolicy = iota
	// Refuse returns ErrRecorderFull at once.
	Refuse
)

// Errors of Record.
var (
	ErrRecorderFull  = errors.New("client: the recorder is full")
	ErrEventTooLarge = errors.New("client: the event is too large for one request")
)

// RecorderOptions configures a Recorder. Zero fields mean their defaults.
type RecorderOptions struct {
	MaxEvents   int           // held at most, those being sent included: 10,000
	MaxBytes    int           // their encoded size at most: 16 MiB
	WhenFull    FullPolicy    // Block
	BatchEvents int           // sent at once at most, and enough to send early: 500; 1,000 at most
	FlushEvery  time.Duration // how long an event waits for company: 200 ms
	Senders     int           // requests under way at most: 2

	// NodeAck takes an event as recorded when it is on one node's disk, from where
	// it is replicated, instead of waiting for a majority.
	NodeAck bool

	// OnRejected is called for each event that Bursar refused for good, one call at
	// a time per sender. Default: an error in the log of log/slog with its id and reason.
	OnRejected func(Event, Rejection)
	// OnFailure is called when a batch could not be sent and will be tried again.
	OnFailure func(err error, events int)
}

const (
	defaultMaxEvents   = 10_000
	defaultMaxBytes    = 16 << 20
	defaultBatchEvents = 500
	maxBatchEvents     = 1_000 // the contract's
	defaultFlushEvery  = 200 * time.Millisecond
	defaultSenders     = 2
	maxIngestBytes     = 1 << 20 // the contract's
	resendMin          = 50 * time.Millisecond
	resendMax          = 5 * time.Second
)

// Recorder sends events in batches, in the background. Record costs the caller
// one encoding; the rest happens elsewhere. Every event is sent under one id and
// one body until Bursar has acknowledged or refused it, so none is lost while
// the process lives and none counts twice. What it holds is in memory: Close
// before exit, and an event that must outlive a crash of the process is Ingested
// directly. Safe for concurrent use.
//
// Invariant: every event that Record accepted is in queue or in one batch being
// sent, or was acknowledged, or given to OnRejected, or listed by Close's *UnsentError.
type Recorder struct {
	client *Client
	opts   RecorderOptions
	query  string

	ctx     context.Context // of sending; ends when Close runs out of time
	abandon context.CancelFunc
	wake    chan struct{} // capacity 1: something to look at
	slots   chan struct{} // one per batch being sent
	done    chan struct{} // closed when all work has ended
	senders sync.WaitGroup

	mu       sync.Mutex
	queue    []record
	inflight map[uint64]int // first sequence number of each batch being sent → its events
	lastSeq  uint64
	flushTo  uint64 // events up to it are due now
	events   int    // held: queued and being sent
	bytes    int
	closed   bool
	unsent   []record
	changed  chan struct{} // closed and replaced whenever events are resolved
	stats    RecorderStats
}

// record is one sealed event.
type record struct {
	seq   uint64
	at    time.Time
	bytes []byte
}

// RecorderStats counts what became of events since the recorder was made.
type RecorderStats struct {
	Held       int    // waiting or being sent, now
	Accepted   uint64 // acknowledged
	Duplicates uint64 // acknowledged, and had been recorded before
	Rejected   uint64 // refused for good
	Failures   uint64 // sendings that will be, or were, repeated
}

// NewRecorder starts a recorder that sends through c. Close it.
func (c *Client) NewRecorder(o RecorderOptions) *Recorder {
	o.MaxEvents = orDefault(o.MaxEvents, defaultMaxEvents)
	o.MaxBytes = orDefault(o.MaxBytes, defaultMaxBytes)
	o.BatchEvents = min(orDefault(o.BatchEvents, defaultBatchEvents), maxBatchEvents)
	o.FlushEvery = orDefault(o.FlushEvery, defaultFlushEvery)
	o.Senders = orDefault(o.Senders, defaultSenders)
	if o.OnRejected == nil {
		o.OnRejected = logRejected
	}
	r := &Recorder{
		client: c, opts: o,
		wake: make(chan struct{}, 1), slots: make(chan struct{}, o.Senders), done: make(chan struct{}),
		inflight: make(map[uint64]int), changed: make(chan struct{}),
	}
	if o.NodeAck {
		r.query = "?ack=node"
	}
	r.ctx, r.abandon = context.WithCancel(context.Background())
	go r.run()
	return r
}

func logRejected(e Event, why Rejection) {
	slog.Error("bursar: event rejected", "event_id", e.ID, "account", e.Account, "code", why.Code, "detail", why.Detail)
}

// Record takes an event and returns. It gives it an id and a time if it has
// none: the time is now, not when the event gets through. (One with an id of the caller's own that may be
// recorded again by another process needs a time of its own, too, to be the same event.) ctx bounds only the wait for room under Block. Errors: ErrRecorderFull,
// ErrEventTooLarge, ErrClosed; the event is then not taken.
func (r *Recorder) Record(ctx context.Context, e Event) error {
	e.seal()
	b, err := r.client.encode(&e)
	if err != nil {
		return err
	}
	if size := len(b) + eventsOverhead(1); size > maxIngestBytes || size > r.opts.MaxBytes {
		return fmt.Errorf("%w: event %s has %d bytes", ErrEventTooLarge, e.ID, len(b))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && (r.events >= r.opts.MaxEvents || r.bytes+len(b) > r.opts.MaxBytes) {
		if r.opts.WhenFull == Refuse {
			return ErrRecorderFull
		}
		if err := r.awaitChange(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrRecorderFull, err)
		}
	}
	if r.closed {
		return fmt.Errorf("client: recorder: %w", ErrClosed)
	}
	r.lastSeq++
	r.queue = append(r.queue, record{seq: r.lastSeq, at: time.Now(), bytes: b})
	r.events++
	r.bytes += len(b)
	if n := len(r.queue); n == 1 || n >= r.opts.BatchEvents {
		r.nudge()
	}
	return nil
}

// awaitChange gives up r.mu until events are resolved or ctx ends.
func (r *Recorder) awaitChange(ctx context.Context) error {
	changed := r.changed
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Recorder) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Flush sends what was recorded before it and waits until all of that is
// acknowledged or rejected, or ctx ends.
func (r *Recorder) Flush(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	upTo := r.lastSeq
	r.flushTo = max(r.flushTo, upTo)
	r.nudge()
	for r.oldest() <= upTo {
		if err := r.awaitChange(ctx); err != nil {
			return fmt.Errorf("client: flush: %w", err)
		}
	}
	if n := len(r.unsent); n > 0 {
		return fmt.Errorf("client: flush: %w with %d events unsent", ErrClosed, n)
	}
	return nil
}

// oldest is the lowest sequence number that is not resolved, or one that is not given out yet.
func (r *Recorder) oldest() uint64 {
	low := r.lastSeq + 1
	if len(r.queue) > 0 {
		low = r.queue[0].seq
	}
	for first := range r.inflight {
		low = min(low, first)
	}
	return low
}

// Stats returns what became of events so far.
func (r *Recorder) Stats() RecorderStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Held = r.events
	return s
}

// UnsentError lists the events that Close could not hand over in time. Some may
// have been recorded, their answers lost: Record or Ingest them again as they
// are, under their ids.
type UnsentError struct {
	Events []Event
	Cause  error
}

func (e *UnsentError) Error() string {
	return fmt.Sprintf("client: %d events were not sent: %v", len(e.Events), e.Cause)
}

// Unwrap returns why Close gave up.
func (e *UnsentError) Unwrap() error { return e.Cause }

// Close stops taking events, sends what there is and waits for it. If ctx ends
// first it gives up and returns what is left as an *UnsentError. A second Close returns ErrClosed.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return fmt.Errorf("client: recorder: %w", ErrClosed)
	}
	r.closed = true
	r.announce()
	r.mu.Unlock()
	r.nudge()
	var cause error
	select {
	case <-r.done:
	case <-ctx.Done():
		cause = ctx.Err()
		r.abandon()
		<-r.done
	}
	r.abandon()
	if len(r.unsent) == 0 {
		return nil
	}
	return &UnsentError{Events: r.client.unseal(r.unsent), Cause: cause}
}

// unseal decodes events that this client encoded itself.
func (c *Client) unseal(records []record) []Event {
	events := make([]Event, len(records))
	for i, rec := range records {
		// What seal encoded decodes.
		_ = unmarshal(c.opts.Encoding.contentType(), rec.bytes, &events[i])
	}
	return events
}

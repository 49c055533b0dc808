package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/invariants"
)

const (
	// batchWindow is how long a part may wait for others to share an entry with,
	// while an earlier entry is on its way.
	batchWindow = 2 * time.Millisecond
	// maxBatchBytes is about how large an entry of many parts gets. A single part may be larger.
	// What is on its way stands before whatever comes next, and a check that waits for a
	// lease waits AskWait (50 ms) in all: so entries are only as large and as many as
	// keep the disk busy, a few hundred events.
	maxBatchBytes = 64 << 10
	// maxBatches is how many entries may be on their way at once.
	maxBatches = 2
	// maxWaitingBytes bounds the parts that wait; more are refused.
	maxWaitingBytes = 64 << 20
)

// batcher gathers the parts that nodes send into log entries. The first part that finds
// nothing under way goes at once; those behind it wait until that is committed
// or batchWindow has passed, whichever is first. Parts without events, which ask for
// leases and give them back, go before parts with events: checks wait for them, and
// they are small. The parts of a node may overtake each other anyway.
type batcher struct {
	ctx    context.Context
	commit func(ctx context.Context, parts []sentPart) (index uint64, o fsm.Outcome, err error)

	mu       sync.Mutex
	waiting  []*waitingPart // the quick ones first, then those with events, each in order of arrival
	quick    int            // of waiting, without events
	bytes    int            // of waiting
	inFlight int
	timer    *time.Timer // runs while due is awaited
	due      bool        // the oldest waiting part has waited for batchWindow
	closed   bool
}

type waitingPart struct {
	part  sentPart
	bytes int
	done  chan batchResult // capacity 1
}

type batchResult struct {
	index  uint64
	grants []fsm.Grant
	err    error
}

func newBatcher(ctx context.Context, commit func(context.Context, []sentPart) (uint64, fsm.Outcome, error)) *batcher {
	return &batcher{ctx: ctx, commit: commit}
}

// add commits a part, together with others. bytes is about its encoded size.
func (b *batcher) add(ctx context.Context, part sentPart, bytes int) (uint64, []fsm.Grant, error) {
	w := &waitingPart{part: part, bytes: bytes, done: make(chan batchResult, 1)}
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return 0, nil, ErrNotLeader
	case len(b.waiting) > 0 && b.bytes+bytes > maxWaitingBytes:
		b.mu.Unlock()
		return 0, nil, errOverloaded
	}
	if part.events() {
		b.waiting = append(b.waiting, w)
	} else {
		b.waiting = slices.Insert(b.waiting, b.quick, w)
		b.quick++
	}
	b.bytes += bytes
	b.flush()
	b.mu.Unlock()
	select {
	case r := <-w.done:
		return r.index, r.grants, r.err
	case <-ctx.Done():
		return 0, nil, ctx.Err() // an unknown outcome
	}
}

// flush starts as many entries as may start now. b.mu is held.
func (b *batcher) flush() {
	for len(b.waiting) > 0 && b.inFlight < maxBatches && (b.inFlight == 0 || b.due || b.bytes >= maxBatchBytes) {
		batch := b.take()
		b.inFlight++
		go b.send(batch)
	}
	if len(b.waiting) == 0 {
		b.due = false
	}
	if len(b.waiting) > 0 && !b.due && b.timer == nil {
		b.timer = time.AfterFunc(batchWindow, b.windowOver)
	}
}

func (b *batcher) windowOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	if b.due = len(b.waiting) > 0; b.due {
		b.flush()
	}
}

// take removes one entry's worth of parts. b.mu is held.
func (b *batcher) take() []*waitingPart {
	bytes, k := 0, 0
	for k < len(b.waiting) && (k == 0 || bytes+b.waiting[k].bytes <= maxBatchBytes) {
		bytes += b.waiting[k].bytes
		k++
	}
	batch := b.waiting[:k:k]
	b.waiting = b.waiting[k:]
	b.quick -= min(k, b.quick)
	b.bytes -= bytes
	if invariants.Enabled {
		invariants.Check(b.bytes >= 0 && (len(b.waiting) > 0 || b.bytes == 0), "%d parts of %d bytes wait", len(b.waiting), b.bytes)
		invariants.Check(b.inFlight < maxBatches, "%d entries are on their way", b.inFlight)
	}
	return batch
}

// send commits one entry and answers its parts.
func (b *batcher) send(batch []*waitingPart) {
	b.sendParts(batch)
	b.mu.Lock()
	b.inFlight--
	b.flush()
	b.mu.Unlock()
}

func (b *batcher) sendParts(batch []*waitingPart) {
	parts := make([]sentPart, len(batch))
	for i, w := range batch {
		parts[i] = w.part
	}
	index, o, err := b.commit(b.ctx, parts)
	if o.Err != nil && len(batch) > 1 {
		// One bad part must not fail its neighbours: each has its own entry.
		for i := range batch {
			b.sendParts(batch[i : i+1])
		}
		return
	}
	if err == nil && o.Err != nil {
		err = o.Err
	}
	for i, w := range batch {
		r := batchResult{index: index, err: err}
		if err == nil && i < len(o.Grants) {
			r.grants = o.Grants[i]
		}
		w.done <- r
	}
}

// close refuses what waits and what comes. Entries on their way still answer.
func (b *batcher) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	for _, w := range b.waiting {
		w.done <- batchResult{err: ErrNotLeader}
	}
	b.waiting, b.quick, b.bytes = nil, 0, 0
}

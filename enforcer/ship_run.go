package enforcer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/pause"
)

// run sends what is queued until ctx ends, and returns when no part is in flight.
//
// What is queued is sent at once when nothing is in flight; otherwise it gathers
// for shipGather, because the leader gathers too and a part costs a message.
func (s *shipper) run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	tick := time.NewTicker(shipTick)
	defer tick.Stop()
	diskDue := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now := time.Now(); now.After(diskDue) {
				diskDue = now.Add(diskCheckPeriod)
				s.checkDisk()
			}
			s.requeue(time.Now(), s.index())
			s.depth() // for what it sees
			if err := s.sweep(); err != nil {
				s.log.Error("outbox cannot be swept", "err", err)
			}
		case <-s.wake:
		}
		if !s.begun() || !s.backoff.over(time.Now()) {
			continue // the tick comes back to it
		}
		if err := s.drawEarly(); err != nil {
			s.log.Error("events of before the session cannot be shipped yet", "err", err)
		}
		if len(s.slots) > 0 && !pause.For(ctx, shipGather) {
			return
		}
		for s.send(ctx, &parts) {
		}
	}
}

// send sends one part if there is something to send and a slot is free, and
// reports whether it did.
func (s *shipper) send(ctx context.Context, parts *sync.WaitGroup) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return false // a part that comes back kicks
	}
	at := time.Now()
	batch := s.take(at)
	if len(batch) == 0 {
		<-s.slots
		return false
	}
	part := s.session()
	part.Events = make([]fsm.Event, len(batch))
	for i, sh := range batch {
		part.Events[i] = *sh.ev
	}
	parts.Go(func() {
		defer s.kick()
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(ctx, partTimeout)
		defer cancel()
		reply, err := s.peers.Reconcile(ctx, part)
		switch {
		case err == nil:
			s.backoff.reset()
			s.committed(batch, reply.Index)
		case errors.Is(err, ErrNoLeader):
			s.backoff.extend(time.Now())
			s.undelivered(batch, at)
		default:
			s.log.Debug("events sent with unknown outcome", "events", len(batch), "err", err)
		}
	})
	return true
}

// take takes a part's worth of events off the queue and notes them as sent.
func (s *shipper) take(now time.Time) []*shipment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*shipment
	bytes, n := 0, 0
	for _, sh := range s.queue {
		if sh.done {
			n++
			continue
		}
		if len(batch) == maxPartEvents || len(batch) > 0 && bytes+sh.size > maxPartBytes {
			break
		}
		n++
		bytes += sh.size
		sh.sends++
		sh.sentAt, sh.committed = now, 0
		batch = append(batch, sh)
		s.flight = append(s.flight, sending{sh, now})
	}
	s.queue = dropFront(s.queue, n)
	return batch
}

// committed notes that a leader has the events in the log at index.
func (s *shipper) committed(batch []*shipment, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range batch {
		sh.committed = index
	}
}

// undelivered puts events back in front of the queue that no leader has got when they were sent at this time.
func (s *shipper) undelivered(batch []*shipment, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := make([]*shipment, 0, len(batch)+len(s.queue))
	for _, sh := range batch {
		if !(sending{sh, at}).stale() {
			sh.sends--
			sh.sentAt = time.Time{}
			back = append(back, sh)
		}
	}
	s.queue = append(back, s.queue...)
}

// requeue puts events back in the queue that were sent resendAfter ago and not
// seen since. One that is known to be in the log is given until the replica has
// passed that index: if it is not seen even then, a snapshot has swallowed the sight of it.
func (s *shipper) requeue(now time.Time, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.flight {
		if !f.stale() {
			if now.Sub(f.at) < resendAfter {
				break
			}
			if f.sh.committed > index {
				f.sh.sentAt = now
				s.flight = append(s.flight, sending{f.sh, now})
			} else {
				f.sh.sentAt = time.Time{}
				s.queue = append(s.queue, f.sh)
			}
		}
		n++
	}
	s.flight = dropFront(s.flight, n)
}

// dropFront removes the first n.
func dropFront[T any](q []T, n int) []T {
	clear(q[:n]) // for the garbage collector: appending copies the rest to a new array in time
	if n == len(q) {
		return nil
	}
	return q[n:]
}

// sweep removes settled events from the outbox.
func (s *shipper) sweep() error {
	s.mu.Lock()
	entries := s.garbage
	s.garbage = nil
	s.mu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	return s.outbox.remove(entries)
}

// checkDisk takes the node's ingest out of service while the disk is nearly full.
func (s *shipper) checkDisk() {
	usage, err := s.fs.GetDiskUsage(s.dir)
	full := err == nil && usage.AvailBytes < minFreeDisk
	switch was := s.diskErr.Load() != nil; {
	case full && !was:
		s.log.Error("the disk is nearly full; this node takes no events", "dir", s.dir, "free_bytes", usage.AvailBytes)
		s.diskErr.Store(&errDiskFull)
	case !full && was:
		s.log.Info("the disk has room again", "dir", s.dir)
		s.diskErr.Store(nil)
	}
}

// shipBackoff spaces sending while there is no leader.
type shipBackoff struct {
	mu    sync.Mutex
	wait  time.Duration
	until time.Time
}

func (b *shipBackoff) over(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.until)
}

// failing reports whether the last part that was answered for had no leader to go to.
func (b *shipBackoff) failing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wait > 0
}

func (b *shipBackoff) extend(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return // parts that were sent together fail together
	}
	b.wait = min(max(2*b.wait, minShipBackoff), maxShipBackoff)
	b.until = now.Add(b.wait)
}

func (b *shipBackoff) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wait, b.until = 0, time.Time{}
}

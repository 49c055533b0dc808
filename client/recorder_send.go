package client

import (
	"errors"
	"net/http"
	"time"
)

// run cuts the queue into batches as they fall due and starts their sending,
// until the recorder is closed and empty, or its time is up.
func (r *Recorder) run() {
	defer close(r.done)
	defer r.senders.Wait()
	timer := time.NewTimer(r.opts.FlushEvery)
	defer timer.Stop()
	for {
		wait, ended := r.due()
		if ended {
			return
		}
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-r.wake:
			case <-timer.C:
			}
			continue
		}
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			r.giveUpQueue()
			return
		}
		batch := r.cut(r.opts.BatchEvents)
		r.senders.Go(func() {
			r.deliver(batch)
			r.resolved(batch)
			<-r.slots
		})
	}
}

// due returns how long until the next batch should be sent, or that the recorder has ended.
func (r *Recorder) due() (wait time.Duration, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return time.Hour, r.closed
	}
	head := r.queue[0]
	if r.closed || head.seq <= r.flushTo || len(r.queue) >= r.opts.BatchEvents {
		return 0, false
	}
	return time.Until(head.at.Add(r.opts.FlushEvery)), false
}

// cut takes up to n events from the queue, as many as one request may carry.
func (r *Recorder) cut(n int) []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.queue))
	size := eventsOverhead(n)
	for i := range n {
		if size += len(r.queue[i].bytes); size > maxIngestBytes && i > 0 {
			n = i
			break
		}
	}
	if n == 0 {
		return nil
	}
	batch := append([]record(nil), r.queue[:n]...)
	rest := copy(r.queue, r.queue[n:])
	clear(r.queue[rest:])
	r.queue = r.queue[:rest]
	r.inflight[batch[0].seq] = n
	return batch
}

// resolved forgets a batch and makes room.
func (r *Recorder) resolved(batch []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inflight, batch[0].seq)
	r.events -= len(batch)
	for _, rec := range batch {
		r.bytes -= len(rec.bytes)
	}
	r.announce()
}

// deliver sends records, again and again, until each is acknowledged or refused, or
// the recorder gives up. A request that is refused as a whole is cut in
// halves until the event at fault stands alone.
func (r *Recorder) deliver(records []record) {
	encoded := make([][]byte, len(records))
	for i, rec := range records {
		encoded[i] = rec.bytes
	}
	for try := 1; ; try++ {
		resp, err := r.client.ingest(r.ctx, encoded, r.query)
		switch {
		case err == nil:
			r.account(records, resp)
			return
		case r.ctx.Err() != nil:
			r.giveUp(records)
			return
		case refusesBody(err) && len(records) > 1:
			half := len(records) / 2
			r.deliver(records[:half])
			r.deliver(records[half:])
			return
		case refusesBody(err):
			r.reject(records[0], err)
			return
		}
		r.failed(err, len(records))
		if !sleep(r.ctx, max(backoff(resendMin, resendMax, try-1), spread(comeBack(err)))) {
			r.giveUp(records)
			return
		}
	}
}

// refusesBody reports whether err is Bursar's word that the body is wrong. A
// token that is not accepted is no fault of the events, and an answer without a known code is not Bursar's.
func refusesBody(err error) bool {
	return errors.Is(err, ErrInvalidRequest) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict)
}

func comeBack(err error) time.Duration {
	if u, ok := errors.AsType[*UnavailableError](err); ok {
		return u.After
	}
	return 0
}

// account books an answer and reports its rejections.
func (r *Recorder) account(records []record, resp *IngestResponse) {
	r.mu.Lock()
	r.stats.Accepted += uint64(resp.Accepted)
	r.stats.Duplicates += uint64(resp.Duplicates)
	r.stats.Rejected += uint64(len(resp.Rejected))
	r.mu.Unlock()
	for _, why := range resp.Rejected {
		if why.Index < 0 || why.Index >= len(records) {
			r.opts.OnRejected(Event{ID: why.ID}, why)
			continue
		}
		r.opts.OnRejected(r.client.unseal(records[why.Index : why.Index+1])[0], why)
	}
}

// reject reports an event whose request was refused as a whole.
func (r *Recorder) reject(rec record, err error) {
	e := r.client.unseal([]record{rec})[0]
	why := Rejection{ID: e.ID, Code: http.StatusText(http.StatusBadRequest), Detail: err.Error()}
	if p, ok := errors.AsType[*Problem](err); ok {
		why.Code = p.Code
	}
	r.mu.Lock()
	r.stats.Rejected++
	r.mu.Unlock()
	r.opts.OnRejected(e, why)
}

func (r *Recorder) failed(err error, events int) {
	r.mu.Lock()
	r.stats.Failures++
	r.mu.Unlock()
	if r.opts.OnFailure != nil {
		r.opts.OnFailure(err, events)
	}
}

// giveUp keeps records for Close to return.
func (r *Recorder) giveUp(records []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsent = append(r.unsent, records...)
}

// giveUpQueue does so with everything that waits.
func (r *Recorder) giveUpQueue() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsent = append(r.unsent, r.queue...)
	r.events -= len(r.queue)
	r.queue = nil
	r.announce()
}

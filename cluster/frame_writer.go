package cluster

import (
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// maxQueuedBytes bounds what waits to be written to one connection. A peer that
	// reads so slowly that it is reached is as good as gone.
	maxQueuedBytes = 2*maxPayloadBytes + 1<<20
	// writeTimeout bounds one write to a connection.
	writeTimeout = 10 * time.Second
	// keepBufferBytes is the largest write buffer kept for the next frames.
	keepBufferBytes = 1 << 20
)

// frameWriter sends frames over a connection. Many goroutines queue, one writes:
// frames queued while a write is under way leave together in the next one, and
// nobody who queues waits for the network.
type frameWriter struct {
	conn net.Conn
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	queue []byte
	err   error
}

func newFrameWriter(conn net.Conn) *frameWriter {
	return &frameWriter{conn: conn, wake: make(chan struct{}, 1)}
}

// send queues a frame. An error means that nothing of it was or will be sent.
func (w *frameWriter) send(f *frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if len(w.queue) > 0 && len(w.queue)+len(f.payload) > maxQueuedBytes {
		return errOverloaded
	}
	queue, err := appendFrame(w.queue, f)
	if err != nil {
		return err
	}
	w.queue = queue
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// run writes what is queued until the connection fails or done is closed.
func (w *frameWriter) run(done <-chan struct{}) error {
	var spare []byte
	for {
		select {
		case <-w.wake:
		case <-done:
			return w.fail(net.ErrClosed)
		}
		w.mu.Lock()
		out := w.queue
		w.queue = spare[:0]
		w.mu.Unlock()
		if len(out) == 0 {
			spare = out
			continue
		}
		w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.conn.Write(out); err != nil {
			return w.fail(err)
		}
		if spare = out[:0]; cap(spare) > keepBufferBytes {
			spare = nil
		}
	}
}

func (w *frameWriter) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("%w: %w", errConnOver, err)
	}
	return w.err
}

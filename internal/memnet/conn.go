package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one end of a connection: it reads one stream and writes the other.
type conn struct {
	net            *Network
	host, peerHost string
	local, remote  string
	in, out        *stream
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close ends both directions. The peer reads what was already written, then io.EOF.
func (c *conn) Close() error {
	c.in.closeRead()
	c.out.closeWrite()
	c.forget()
	return nil
}

func (c *conn) forget() {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local) }
func (c *conn) RemoteAddr() net.Addr { return address(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.in.setReadDeadline(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.setWriteDeadline(t); return nil }

// streamBuffer bounds what is written and not yet read of one direction, in bytes.
const streamBuffer = 256 << 10

// stream is one direction of a connection: chunks in order, each readable from a
// moment on. One condition variable serves readers and writers; it may wait in a
// synctest bubble.
type stream struct {
	from, to string

	mu       sync.Mutex
	cond     *sync.Cond
	link     linkState
	chunks   []chunk
	buffered int
	eof      bool  // the writer has closed
	readGone bool  // the reader has closed
	err      error // the connection broke

	readBy, writeBy deadline
	arrival         *time.Timer // wakes the reader when the first chunk is due
}

type chunk struct {
	data []byte
	at   time.Time // when it arrives
}

func newStream(from, to string) *stream {
	s := &stream{from: from, to: to}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *stream) wake() {
	s.mu.Lock()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) setLink(l linkState) {
	s.mu.Lock()
	s.link = l
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.stopTimers()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) closeWrite() {
	s.mu.Lock()
	s.eof = true
	s.writeBy.stop()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) closeRead() {
	s.mu.Lock()
	s.readGone = true
	s.stopTimers()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) stopTimers() {
	s.readBy.stop()
	s.writeBy.stop()
	if s.arrival != nil {
		s.arrival.Stop()
	}
}

func (s *stream) write(p []byte) (written int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.eof:
			return written, net.ErrClosed
		case s.err != nil:
			return written, s.err
		case s.readGone:
			return written, io.ErrClosedPipe
		case s.writeBy.passed():
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		}
		if room := streamBuffer - s.buffered; room > 0 {
			part := p[:min(room, len(p))]
			s.chunks = append(s.chunks, chunk{data: append([]byte(nil), part...), at: time.Now().Add(s.link.delay)})
			s.buffered += len(part)
			written += len(part)
			p = p[len(part):]
			s.cond.Broadcast()
			continue
		}
		s.cond.Wait()
	}
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if n, done, err := s.tryRead(p); done {
			return n, err
		}
		s.cond.Wait()
	}
}

// tryRead reads what has arrived. done is false if there is nothing to say yet. s.mu is held.
func (s *stream) tryRead(p []byte) (n int, done bool, err error) {
	switch {
	case s.readGone:
		return 0, true, net.ErrClosed
	case s.err != nil:
		return 0, true, s.err
	case s.readBy.passed():
		return 0, true, os.ErrDeadlineExceeded
	case len(p) == 0:
		return 0, true, nil
	case s.link.blocked:
		return 0, false, nil
	}
	if len(s.chunks) == 0 {
		return 0, s.eof, io.EOF
	}
	if wait := time.Until(s.chunks[0].at); wait > 0 {
		if s.arrival != nil {
			s.arrival.Stop()
		}
		s.arrival = time.AfterFunc(wait, s.wake)
		return 0, false, nil
	}
	c := &s.chunks[0]
	n = copy(p, c.data)
	c.data = c.data[n:]
	if len(c.data) == 0 {
		s.chunks = s.chunks[1:]
	}
	s.buffered -= n
	s.cond.Broadcast()
	return n, true, nil
}

func (s *stream) setReadDeadline(t time.Time) {
	s.mu.Lock()
	s.readBy.set(t, s.wake)
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *stream) setWriteDeadline(t time.Time) {
	s.mu.Lock()
	s.writeBy.set(t, s.wake)
	s.cond.Broadcast()
	s.mu.Unlock()
}

// deadline is a time after which an operation fails, with the timer that tells it so.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake func()) {
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), wake)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

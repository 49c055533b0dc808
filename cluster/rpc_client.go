package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/enforcer"
)

const (
	// maxCallsPerConn bounds a connection's calls in flight; more wait for a place.
	maxCallsPerConn = 1024
	// dialTimeout bounds connecting, handshakes included.
	dialTimeout = 2 * time.Second
	// redialAfter is how long a failed dial is answered from memory.
	redialAfter = 50 * time.Millisecond
	// silentAfter is how long a connection may leave calls unanswered, with
	// nothing at all coming in, before it is given up and dialed anew.
	silentAfter = 3 * time.Second
	// idleAfter closes connections that nobody used.
	idleAfter = 2 * time.Minute
	// defaultCallTimeout bounds calls whose context has no deadline.
	defaultCallTimeout = 30 * time.Second
)

// target is where a call goes: a node by name, at an address. An empty name
// accepts whoever answers there.
type target struct{ name, addr string }

// rpcClient keeps one connection per target and lane, made when first needed.
type rpcClient struct {
	dial func(ctx context.Context, lane purpose, to target) (net.Conn, welcome, error)

	mu     sync.Mutex
	closed bool
	lines  map[lineKey]*line
	wg     sync.WaitGroup
}

// errConnOver says that a connection ended before a request was sent over it.
var errConnOver = errors.New("the connection is over")

var errSilent = errors.New("the peer is silent")

type lineKey struct {
	to   target
	lane purpose
}

// line is the connection to a target in one lane, or the attempt to make one.
type line struct {
	conn    *rpcConn
	dialing chan struct{} // closed when the attempt is over; nil if none is under way
	err     error         // of the last attempt
	retryAt time.Time
	usedAt  time.Time
}

func newRPCClient(dial func(context.Context, purpose, target) (net.Conn, welcome, error)) *rpcClient {
	return &rpcClient{dial: dial, lines: make(map[lineKey]*line)}
}

// call sends a request and decodes its answer into reply (nil: it is dropped).
// What failed before it was sent wraps enforcer.ErrUnreachable; what failed
// after wraps enforcer.ErrUnknownOutcome; what the peer answered is a remoteError or an *fsm.Error.
func (c *rpcClient) call(ctx context.Context, to target, m method, req, reply any) error {
	body, err := msgpack.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	answer, _, err := c.callRaw(ctx, to, m, body)
	if err != nil || reply == nil {
		return err
	}
	return decodeAnswer(answer, to, reply)
}

func decodeAnswer(answer []byte, from target, reply any) error {
	if err := msgpack.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("%w: decode answer of %s: %v", enforcer.ErrUnknownOutcome, from.addr, err)
	}
	return nil
}

// peer returns who would answer a request, connecting if need be. An error wraps enforcer.ErrUnreachable.
func (c *rpcClient) peer(ctx context.Context, to target, m method) (welcome, error) {
	conn, err := c.connect(ctx, lineKey{to, laneOf(m)})
	if err != nil {
		return welcome{}, fmt.Errorf("%w: %s: %w", enforcer.ErrUnreachable, to.addr, err)
	}
	return conn.peer, nil
}

// callRaw is call on encoded bodies. It also returns who answered.
func (c *rpcClient) callRaw(ctx context.Context, to target, m method, body []byte) ([]byte, welcome, error) {
	for {
		conn, err := c.connect(ctx, lineKey{to, laneOf(m)})
		if err != nil {
			return nil, welcome{}, fmt.Errorf("%w: %s: %w", enforcer.ErrUnreachable, to.addr, err)
		}
		answer, err := conn.call(ctx, m, body)
		if errors.Is(err, errConnOver) {
			conn.settle(ctx) // it ended before anything was sent: make another
			continue
		}
		return answer, conn.peer, err
	}
}

// connect returns the connection of key, making it if need be. An attempt goes
// on when the caller gives up, so that the next caller finds it made.
func (c *rpcClient) connect(ctx context.Context, key lineKey) (*rpcConn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrStopped
		}
		l := c.lines[key]
		if l == nil {
			c.sweep()
			l = &line{}
			c.lines[key] = l
		}
		l.usedAt = time.Now()
		if l.conn != nil && l.conn.alive() {
			defer c.mu.Unlock()
			return l.conn, nil
		}
		if l.dialing == nil {
			if time.Now().Before(l.retryAt) {
				defer c.mu.Unlock()
				return nil, l.err
			}
			l.dialing = make(chan struct{})
			c.wg.Add(1)
			go c.open(key, l)
		}
		dialing := l.dialing
		c.mu.Unlock()
		select {
		case <-dialing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open makes a line's connection and serves it until it ends.
func (c *rpcClient) open(key lineKey, l *line) {
	defer c.wg.Done()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	conn, peer, err := c.dial(ctx, key.lane, key.to)
	cancel()

	c.mu.Lock()
	if err == nil && c.closed {
		conn.Close()
		err = ErrStopped
	}
	l.conn, l.err = nil, err
	if err != nil {
		l.retryAt = time.Now().Add(redialAfter)
	} else {
		l.conn = newRPCConn(conn, peer)
	}
	close(l.dialing)
	l.dialing = nil
	rc := l.conn
	c.mu.Unlock()
	if rc != nil {
		rc.serve()
	}
}

// sweep closes lines that nobody used for a while. c.mu is held.
func (c *rpcClient) sweep() {
	for key, l := range c.lines {
		if l.dialing == nil && time.Since(l.usedAt) > idleAfter {
			if l.conn != nil {
				l.conn.conn.Close()
			}
			delete(c.lines, key)
		}
	}
}

// close breaks every connection and waits until all of it has ended.
func (c *rpcClient) close() {
	c.mu.Lock()
	c.closed = true
	for _, l := range c.lines {
		if l.conn != nil {
			l.conn.conn.Close()
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// rpcConn is the caller's end of a connection.
type rpcConn struct {
	conn   net.Conn
	peer   welcome
	writer *frameWriter
	slots  chan struct{}
	done   chan struct{} // closed when the connection is over

	lastRead atomic.Int64 // Unix nanoseconds of the last frame

	mu    sync.Mutex
	calls map[uint64]chan frame
	last  uint64
	err   error
}

func newRPCConn(conn net.Conn, peer welcome) *rpcConn {
	c := &rpcConn{
		conn: conn, peer: peer, writer: newFrameWriter(conn),
		slots: make(chan struct{}, maxCallsPerConn), done: make(chan struct{}),
		calls: make(map[uint64]chan frame),
	}
	c.lastRead.Store(time.Now().UnixNano())
	return c
}

func (c *rpcConn) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// settle waits until nobody takes an ending connection for a living one.
func (c *rpcConn) settle(ctx context.Context) {
	select {
	case <-c.done:
	case <-ctx.Done():
	}
}

// call sends one request and waits for its answer. errConnOver: the connection
// ended before, and nothing was sent.
func (c *rpcConn) call(ctx context.Context, m method, body []byte) ([]byte, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.done:
		return nil, errConnOver
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", enforcer.ErrUnreachable, c.peer.Name, ctx.Err())
	}
	id, answer := c.register()
	if answer == nil {
		return nil, errConnOver
	}
	defer c.forget(id)
	sentAt := time.Now()
	if err := c.writer.send(&frame{call: id, kind: frameRequest, method: m, timeout: frameTimeout(ctx), payload: body}); errors.Is(err, errConnOver) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", enforcer.ErrUnreachable, c.peer.Name, err)
	}
	select {
	case f := <-answer:
		return c.decode(&f)
	case <-c.done:
	case <-ctx.Done():
		c.suspect(sentAt)
		return nil, fmt.Errorf("%w: %s did not answer: %w", enforcer.ErrUnknownOutcome, c.peer.Name, ctx.Err())
	}
	select { // the answer may have come just before the end
	case f := <-answer:
		return c.decode(&f)
	default:
		return nil, fmt.Errorf("%w: connection to %s lost", enforcer.ErrUnknownOutcome, c.peer.Name)
	}
}

// frameTimeout is what the peer is told to spend: the time left, at least a millisecond.
func frameTimeout(ctx context.Context) time.Duration {
	left := defaultCallTimeout
	if d, ok := ctx.Deadline(); ok {
		left = time.Until(d)
	}
	return max(time.Millisecond, min(left, maxFrameTimeout).Truncate(time.Millisecond))
}

func (c *rpcConn) decode(f *frame) ([]byte, error) {
	if f.kind == frameReply {
		return f.payload, nil
	}
	var w wireError
	if err := msgpack.Unmarshal(f.payload, &w); err != nil {
		return nil, fmt.Errorf("%w: decode error of %s: %v", enforcer.ErrUnknownOutcome, c.peer.Name, err)
	}
	return nil, w.fromWire(c.peer.Name)
}

// suspect gives the connection up if a call has waited long and nothing came in
// since: the peer is gone, or a device between forgot the connection.
func (c *rpcConn) suspect(sentAt time.Time) {
	quiet := time.Since(time.Unix(0, max(c.lastRead.Load(), sentAt.UnixNano())))
	if quiet >= silentAfter {
		c.end(errSilent)
		c.conn.Close()
	}
}

// end has every later call go over another connection.
func (c *rpcConn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *rpcConn) register() (uint64, chan frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil
	}
	c.last++
	answer := make(chan frame, 1)
	c.calls[c.last] = answer
	return c.last, answer
}

func (c *rpcConn) forget(id uint64) {
	c.mu.Lock()
	delete(c.calls, id)
	c.mu.Unlock()
}

// serve reads answers until the connection ends.
func (c *rpcConn) serve() {
	var wg sync.WaitGroup
	wg.Go(func() {
		c.writer.run(c.done)
		c.conn.Close()
	})
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		f, err := readFrame(r)
		if err == nil && f.kind == frameRequest {
			err = fmt.Errorf("%w: a request from the listener", errFrameInvalid)
		}
		if err != nil {
			c.end(err)
			break
		}
		c.lastRead.Store(time.Now().UnixNano())
		c.mu.Lock()
		answer := c.calls[f.call]
		delete(c.calls, f.call)
		c.mu.Unlock()
		if answer != nil {
			answer <- f
		}
	}
	c.conn.Close()
	close(c.done)
	wg.Wait()
}

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// handshakeTimeout bounds what an accepted connection may take to introduce itself.
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds connections that have not introduced themselves yet.
	maxHandshakes = 256
	// acceptRetryAfter is the pause after a failed accept, such as for want of file descriptors.
	acceptRetryAfter = 50 * time.Millisecond
)

// transport is the peer port: one listener for raft and requests, dialing, and
// the introduction that both begin with. It knows every connection it made or
// accepted, and closes them all.
type transport struct {
	network   Network
	tls       func() (*tls.Config, error) // nil: plain TCP
	log       *slog.Logger
	listener  net.Listener
	advertise string

	self    func() hello                                       // this node's introduction; Want is filled in
	admit   func(p purpose, h hello) error                     // says why a caller is not let in, or nil
	welcome func(h hello)                                      // is told of every caller let in
	serve   func(ctx context.Context, c net.Conn, from caller) // handles a request connection

	running   chan struct{} // closed by run; nothing is dialed before either
	raftConns chan net.Conn
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	slots     chan struct{}

	mu     sync.Mutex
	conns  map[*trackedConn]struct{}
	closed bool
}

// listenPeers opens the peer port. Nothing is accepted before run.
func listenPeers(c *Config) (*transport, error) {
	l, err := c.Network.Listen(c.PeerAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %s (choose another --peer-addr, or stop what uses it): %w", c.PeerAddr, err)
	}
	t := &transport{
		network: c.Network, tls: c.TLS, log: c.Logger, listener: l,
		advertise: c.AdvertiseAddr,
		running:   make(chan struct{}), raftConns: make(chan net.Conn), slots: make(chan struct{}, maxHandshakes),
		conns: make(map[*trackedConn]struct{}),
	}
	if t.advertise == "" {
		t.advertise = l.Addr().String()
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// run accepts connections until close.
func (t *transport) run() {
	close(t.running)
	t.wg.Go(t.acceptLoop)
}

func (t *transport) acceptLoop() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			t.log.Warn("accept failed", "error", err)
			select {
			case <-time.After(acceptRetryAfter):
			case <-t.ctx.Done():
				return
			}
			continue
		}
		select {
		case t.slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		tracked := t.track(conn)
		if tracked == nil {
			return
		}
		t.wg.Go(func() { t.accept(tracked) })
	}
}

// accept has one connection introduced and hands it to raft or to the request server.
func (t *transport) accept(conn *trackedConn) {
	h, p, secure, err := t.greet(conn)
	<-t.slots
	if err != nil {
		conn.Close()
		t.log.Debug("peer connection refused", "remote", conn.RemoteAddr().String(), "peer", h.Name, "reason", err)
		return
	}
	t.welcome(h)
	if p == forRaft {
		select {
		case t.raftConns <- secure:
		case <-t.ctx.Done():
			conn.Close()
		}
		return
	}
	t.serve(t.ctx, secure, caller{name: h.Name, run: h.Run, lane: p, reads: h.Reads})
	conn.Close()
}

// greet performs the listener's half of the introduction.
func (t *transport) greet(conn *trackedConn) (h hello, p purpose, secure net.Conn, err error) {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	secure = conn
	var state tls.ConnectionState
	if t.tls != nil {
		base, err := t.tls()
		if err != nil {
			return h, p, nil, err
		}
		s := tls.Server(conn.raw, serverTLS(base))
		if err := s.HandshakeContext(t.ctx); err != nil {
			return h, p, nil, fmt.Errorf("TLS: %w", err)
		}
		conn.secure(s)
		state, secure = s.ConnectionState(), conn
	}
	first, err := readGreeting(secure, &h)
	if err != nil {
		return h, p, nil, err
	}
	p = purpose(first)
	refused := t.judge(p, &h, &state)
	me := t.self()
	w := welcome{Name: me.Name, Run: me.Run, Cluster: me.Cluster, Reads: me.Reads}
	var status byte
	if refused != nil {
		status, w.Refusal = 1, refused.Error()
	}
	if err := writeGreeting(secure, status, &w); err != nil {
		return h, p, nil, err
	}
	conn.SetDeadline(time.Time{})
	return h, p, secure, refused
}

// judge decides whether a caller is let in.
func (t *transport) judge(p purpose, h *hello, state *tls.ConnectionState) error {
	if !p.known() {
		return fmt.Errorf("%w: purpose %d", errHello, p)
	}
	if t.tls != nil {
		if state.NegotiatedProtocol != p.alpn() {
			return fmt.Errorf("%w: protocol %q negotiated, %q spoken", errHello, state.NegotiatedProtocol, p.alpn())
		}
		if err := verifyIdentity(*state, h.Name); err != nil {
			return err
		}
	}
	me := t.self()
	if h.Want != "" && h.Want != me.Name {
		return fmt.Errorf("this is node %q, not %q", me.Name, h.Want)
	}
	if h.Cluster != "" && me.Cluster != "" && h.Cluster != me.Cluster {
		return &foreignCluster{Theirs: h.Cluster, Ours: me.Cluster}
	}
	return t.admit(p, *h)
}

// foreignCluster says that two nodes belong to different clusters.
type foreignCluster struct{ Theirs, Ours string }

func (e *foreignCluster) Error() string {
	return fmt.Sprintf("the peer belongs to cluster %s, this node to %s", e.Theirs, e.Ours)
}

// refusal is the reason a listener gave for not letting this node in.
type refusal struct{ peer, reason string }

func (e *refusal) Error() string { return fmt.Sprintf("node %s refused: %s", e.peer, e.reason) }

// dial connects to a node and introduces this one.
func (t *transport) dial(ctx context.Context, p purpose, to target) (net.Conn, welcome, error) {
	select {
	case <-t.running:
	case <-ctx.Done():
		return nil, welcome{}, ctx.Err()
	case <-t.ctx.Done():
		return nil, welcome{}, ErrStopped
	}
	if to.addr == "" {
		return nil, welcome{}, fmt.Errorf("no address of node %q is known", to.name)
	}
	raw, err := t.network.Dial(ctx, to.addr)
	if err != nil {
		return nil, welcome{}, err
	}
	conn := t.track(raw)
	if conn == nil {
		return nil, welcome{}, ErrStopped
	}
	stop := context.AfterFunc(ctx, func() { conn.raw.SetDeadline(time.Unix(1, 0)) })
	w, err := t.introduce(ctx, conn, p, to)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, w, err
	}
	return conn, w, nil
}

// introduce performs the dialer's half of the introduction.
func (t *transport) introduce(ctx context.Context, conn *trackedConn, p purpose, to target) (w welcome, err error) {
	var state tls.ConnectionState
	if t.tls != nil {
		base, err := t.tls()
		if err != nil {
			return w, err
		}
		c := tls.Client(conn.raw, clientTLS(base, p, to.name))
		if err := c.HandshakeContext(ctx); err != nil {
			return w, fmt.Errorf("TLS: %w", err)
		}
		conn.secure(c)
		state = c.ConnectionState()
	}
	h := t.self()
	h.Want = to.name
	if err := writeGreeting(conn, byte(p), &h); err != nil {
		return w, err
	}
	status, err := readGreeting(conn, &w)
	if err != nil {
		return w, err
	}
	if t.tls != nil {
		if err := verifyIdentity(state, w.Name); err != nil {
			return w, err
		}
	}
	switch {
	case h.Cluster != "" && w.Cluster != "" && h.Cluster != w.Cluster:
		return w, &foreignCluster{Theirs: w.Cluster, Ours: h.Cluster}
	case status != 0:
		return w, &refusal{peer: w.Name, reason: w.Refusal}
	case to.name != "" && w.Name != to.name:
		return w, fmt.Errorf("reached node %q at %s, not %q", w.Name, to.addr, to.name)
	}
	return w, nil
}

// close ends the listener and every connection, and waits for their handlers.
func (t *transport) close() {
	t.cancel()
	t.listener.Close()
	t.mu.Lock()
	t.closed = true
	open := make([]*trackedConn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	t.wg.Wait()
}

// track registers a connection, or closes it and returns nil if the transport is closed.
func (t *transport) track(raw net.Conn) *trackedConn {
	c := &trackedConn{Conn: raw, raw: raw, t: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		raw.Close()
		return nil
	}
	t.conns[c] = struct{}{}
	return c
}

// trackedConn is a connection that its transport can close. Once secure was
// called it reads and writes through TLS.
type trackedConn struct {
	net.Conn
	raw net.Conn
	t   *transport
}

// secure has c speak through s, which runs over c's raw connection. It is called
// before anybody else uses c.
func (c *trackedConn) secure(s *tls.Conn) { c.Conn = s }

// Close closes the raw connection: a TLS farewell could block on a dead peer.
func (c *trackedConn) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.raw.Close()
}

// raftLayer is raft's side of the peer port.
type raftLayer struct {
	t    *transport
	once sync.Once
	done chan struct{}
}

func newRaftLayer(t *transport) *raftLayer { return &raftLayer{t: t, done: make(chan struct{})} }

// Accept implements net.Listener.
func (l *raftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.t.raftConns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-l.t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The peer port stays open.
func (l *raftLayer) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener: where the others reach this node.
func (l *raftLayer) Addr() net.Addr { return advertised(l.t.advertise) }

// Dial implements raft.StreamLayer. The address is one that raftAddress made.
func (l *raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.t.ctx, min(timeout, dialTimeout))
	defer cancel()
	conn, _, err := l.t.dial(ctx, forRaft, parseRaftAddress(address))
	return conn, err
}

// raft dials by address alone. So that the name behind it can be verified too,
// its address provider puts the name before the address: "name@host:port".
func raftAddress(to target) raft.ServerAddress {
	return raft.ServerAddress(to.name + "@" + to.addr)
}

func parseRaftAddress(a raft.ServerAddress) target {
	s := string(a)
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return target{name: s[:i], addr: s[i+1:]}
	}
	return target{addr: s}
}

// addressProvider tells raft where a server is now, by the directory.
type addressProvider struct{ dir *directory }

// ServerAddr implements raft.ServerAddressProvider.
func (p addressProvider) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr := p.dir.addr(string(id))
	if addr == "" {
		return "", fmt.Errorf("no address of node %s is known", id)
	}
	return raftAddress(target{name: string(id), addr: addr}), nil
}

// advertised is an address as a net.Addr.
type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

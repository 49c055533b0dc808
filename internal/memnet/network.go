package memnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Network is a set of hosts and the links between them. All methods may be
// called concurrently.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener // by address
	conns     map[*conn]struct{}   // open ends, both of each connection
	links     map[link]*linkState
	nextPort  int
}

// link is one direction between two hosts.
type link struct{ from, to string }

type linkState struct {
	blocked bool
	delay   time.Duration
}

// New returns a network without hosts.
func New() *Network {
	return &Network{
		listeners: make(map[string]*listener),
		conns:     make(map[*conn]struct{}),
		links:     make(map[link]*linkState),
		nextPort:  10_000,
	}
}

// Host returns the named host's view of the network: what it listens on and
// dials from belongs to it.
func (n *Network) Host(name string) *Host { return &Host{net: n, name: name} }

// Block stalls everything on its way between a and b, both directions, until Heal.
func (n *Network) Block(a, b string) {
	n.BlockOneWay(a, b)
	n.BlockOneWay(b, a)
}

// BlockOneWay stalls everything on its way from one host to another until Heal.
// The other direction goes on.
func (n *Network) BlockOneWay(from, to string) {
	n.setLink(from, to, func(s *linkState) { s.blocked = true })
}

// Isolate stalls everything between host and each of the others.
func (n *Network) Isolate(host string, others ...string) {
	for _, o := range others {
		n.Block(host, o)
	}
}

// Heal lets everything between a and b flow again.
func (n *Network) Heal(a, b string) {
	n.HealOneWay(a, b)
	n.HealOneWay(b, a)
}

// HealOneWay lets what goes from one host to another flow again.
func (n *Network) HealOneWay(from, to string) {
	n.setLink(from, to, func(s *linkState) { s.blocked = false })
}

// HealAll ends every blockage.
func (n *Network) HealAll() {
	n.mu.Lock()
	for _, s := range n.links {
		s.blocked = false
	}
	n.tellAll()
	n.mu.Unlock()
}

// Delay sets how long data takes from one host to another.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.setLink(from, to, func(s *linkState) { s.delay = d })
}

// Reset breaks every connection between a and b; new ones may be made.
func (n *Network) Reset(a, b string) {
	n.breakIf(func(c *conn) bool {
		return c.host == a && c.peerHost == b || c.host == b && c.peerHost == a
	})
}

// Crash breaks every connection of host and closes its listeners, as the end of its process would.
func (n *Network) Crash(host string) {
	n.mu.Lock()
	for addr, l := range n.listeners {
		if l.host == host {
			delete(n.listeners, addr)
			l.shut()
		}
	}
	n.mu.Unlock()
	n.breakIf(func(c *conn) bool { return c.host == host || c.peerHost == host })
}

// Open returns the number of open connection ends, for tests that look for leaks.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

func (n *Network) setLink(from, to string, f func(*linkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := link{from, to}
	s := n.links[l]
	if s == nil {
		s = &linkState{}
		n.links[l] = s
	}
	f(s)
	n.tellAll()
}

// tellAll tells streams the state of their links and lets dialers look again. n.mu is held.
func (n *Network) tellAll() {
	for c := range n.conns {
		if s := n.links[link{c.in.from, c.in.to}]; s != nil {
			c.in.setLink(*s)
		}
	}
	for _, l := range n.listeners {
		l.wake()
	}
}

func (n *Network) state(from, to string) linkState {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.links[link{from, to}]; s != nil {
		return *s
	}
	return linkState{}
}

func (n *Network) breakIf(match func(*conn) bool) {
	n.mu.Lock()
	var doomed []*conn
	for c := range n.conns {
		if match(c) {
			doomed = append(doomed, c)
		}
	}
	n.mu.Unlock()
	for _, c := range doomed {
		c.in.fail(errReset)
		c.out.fail(errReset)
		c.forget()
	}
}

// Host listens and dials as one machine of the network.
type Host struct {
	net  *Network
	name string
}

// Listen opens a listener. An empty address, or port 0, picks a port.
func (h *Host) Listen(addr string) (net.Listener, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil && addr != "" {
		return nil, fmt.Errorf("memnet: listen %s: %w", addr, err)
	}
	if host == "" {
		host = h.name
	}
	if port == "" || port == "0" {
		n.nextPort++
		port = strconv.Itoa(n.nextPort)
	}
	addr = net.JoinHostPort(host, port)
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{net: n, host: h.name, addr: addr, backlog: make(chan *conn, maxBacklog), closed: make(chan struct{}), links: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// maxBacklog is how many connections may wait to be accepted; a dial beyond it is refused.
const maxBacklog = 128

// Dial connects to a listener.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n := h.net
	for {
		n.mu.Lock()
		l := n.listeners[addr]
		n.mu.Unlock()
		if l == nil {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: syscall.ECONNREFUSED}
		}
		changed := l.changed()
		if n.state(h.name, l.host).blocked || n.state(l.host, h.name).blocked {
			select {
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: ctx.Err()}
			case <-changed:
			case <-l.closed:
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: err}
		}
		return h.connect(l, addr)
	}
}

func (h *Host) connect(l *listener, addr string) (net.Conn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nextPort++
	from := net.JoinHostPort(h.name, strconv.Itoa(n.nextPort))
	there, back := n.newStream(h.name, l.host), n.newStream(l.host, h.name)
	client := &conn{net: n, host: h.name, peerHost: l.host, local: from, remote: addr, in: back, out: there}
	server := &conn{net: n, host: l.host, peerHost: h.name, local: addr, remote: from, in: there, out: back}
	if n.listeners[addr] != l {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: syscall.ECONNREFUSED}
	}
	select {
	case l.backlog <- server:
	default:
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: syscall.ECONNREFUSED}
	}
	n.conns[client], n.conns[server] = struct{}{}, struct{}{}
	return client, nil
}

// newStream makes a stream over the link as it is now. n.mu is held.
func (n *Network) newStream(from, to string) *stream {
	s := newStream(from, to)
	if l := n.links[link{from, to}]; l != nil {
		s.setLink(*l)
	}
	return s
}

type listener struct {
	net     *Network
	host    string
	addr    string
	backlog chan *conn

	once   sync.Once
	closed chan struct{}

	linksMu sync.Mutex
	links   chan struct{} // closed and replaced when a link changes
}

func (l *listener) changed() <-chan struct{} {
	l.linksMu.Lock()
	defer l.linksMu.Unlock()
	return l.links
}

func (l *listener) wake() {
	l.linksMu.Lock()
	close(l.links)
	l.links = make(chan struct{})
	l.linksMu.Unlock()
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: address(l.addr), Err: net.ErrClosed}
	}
}

func (l *listener) Close() error {
	l.net.mu.Lock()
	if l.net.listeners[l.addr] == l {
		delete(l.net.listeners, l.addr)
	}
	l.net.mu.Unlock()
	l.shut()
	for {
		select {
		case c := <-l.backlog:
			c.Close()
		default:
			return nil
		}
	}
}

func (l *listener) shut() { l.once.Do(func() { close(l.closed) }) }

func (l *listener) Addr() net.Addr { return address(l.addr) }

// address is a net.Addr of the in-memory network.
type address string

func (a address) Network() string { return "mem" }
func (a address) String() string  { return string(a) }

var errReset = errors.New("connection reset by peer")

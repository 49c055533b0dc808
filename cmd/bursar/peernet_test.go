package main

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// peerNet is the network between the peers of a testCluster: before each node's
// peer port stands a forwarder, which the others dial in place of it. It knows from a
// connection's first bytes who dials, so every pair and direction is a link of its own.
type peerNet struct {
	t     *testing.T
	names []string
	done  chan struct{} // closed at the end of the test

	mu    sync.Mutex
	links map[link]condition
	conns map[*peerConn]bool
}

// link is one direction between two nodes.
type link struct{ from, to string }

// condition is how a link does. What is silent is not lost: like packets that are
// lost and sent again, it arrives when the silence ends, if anyone still waits for it.
type condition struct {
	cut    bool          // connections are closed, and none is made, in either direction
	silent bool          // nothing arrives
	delay  time.Duration // everything arrives so much later
}

// peerConn is one connection through a forwarder.
type peerConn struct {
	from, to     string
	dialer, node net.Conn
	ended        chan struct{}
	once         sync.Once
}

func (c *peerConn) close() {
	c.once.Do(func() {
		close(c.ended)
		c.dialer.Close()
		c.node.Close()
	})
}

func newPeerNet(t *testing.T) *peerNet {
	p := &peerNet{t: t, done: make(chan struct{}), links: map[link]condition{}, conns: map[*peerConn]bool{}}
	t.Cleanup(func() {
		close(p.done)
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			c.close()
		}
	})
	return p
}

// before puts a forwarder before the node. It is a change for startCluster.
func (p *peerNet) before(node *testNode) {
	node.extraArgs = append(node.extraArgs, "--peer-advertise-addr", p.front(node.name, node.peer, ""))
}

// front listens before addr, which is name's, and returns where. from is who dials; empty: that is found out.
func (p *peerNet) front(name, addr, from string) string {
	p.names = append(p.names, name)
	l, err := net.Listen("tcp", loopback(freePorts(p.t, 1)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(c, from, name, addr)
		}
	}()
	return l.Addr().String()
}

// forward serves one connection to a node.
func (p *peerNet) forward(dialer net.Conn, from, to, addr string) {
	var greeting string
	if from == "" {
		greeting, from = readHello(dialer)
	}
	node, err := net.Dial("tcp", addr)
	if err != nil {
		dialer.Close()
		return
	}
	c := &peerConn{from: from, to: to, dialer: dialer, node: node, ended: make(chan struct{})}
	p.mu.Lock()
	cut := p.links[link{from, to}].cut || p.links[link{to, from}].cut
	p.conns[c] = true
	p.mu.Unlock()
	defer func() {
		c.close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	if cut {
		return
	}
	go p.pump(c, link{from, to}, io.MultiReader(strings.NewReader(greeting), dialer), node)
	p.pump(c, link{to, from}, node, dialer)
}

// readHello reads a connection's first message and who it says it is from; "" if that cannot be told.
func readHello(r io.Reader) (greeting, from string) {
	head := make([]byte, 4)
	n, err := io.ReadFull(r, head)
	if err != nil {
		return string(head[:n]), ""
	}
	body := make([]byte, binary.BigEndian.Uint16(head[2:]))
	n, _ = io.ReadFull(r, body)
	var hello struct {
		Name string `msgpack:"n"`
	}
	_ = msgpack.Unmarshal(body[:n], &hello) // what is no hello is the node's to refuse
	return string(head) + string(body[:n]), hello.Name
}

// pump carries one direction of a connection under its link's condition.
func (p *peerNet) pump(c *peerConn, l link, r io.Reader, w io.Writer) {
	defer c.close()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && (!p.admit(c, l) || write(w, buf[:n]) != nil) {
			return
		}
		if err != nil {
			return
		}
	}
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// admit waits until what is on its way may arrive; false: the connection ended first.
func (p *peerNet) admit(c *peerConn, l link) bool {
	const look = 10 * time.Millisecond
	p.mu.Lock()
	wait := p.links[l].delay
	p.mu.Unlock()
	for {
		select {
		case <-c.ended:
			return false
		case <-p.done:
			return false
		case <-time.After(wait):
		}
		p.mu.Lock()
		silent := p.links[l].silent
		p.mu.Unlock()
		if !silent {
			return true
		}
		wait = look
	}
}

// set puts the links for which it is chosen into a condition. A cut closes what is open.
func (p *peerNet) set(is condition, chosen func(from, to string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, from := range p.names {
		for _, to := range p.names {
			if from != to && chosen(from, to) {
				p.links[link{from, to}] = is
			}
		}
	}
	for c := range p.conns {
		if is.cut && (chosen(c.from, c.to) || chosen(c.to, c.from)) {
			c.close()
		}
	}
}

// heal ends every condition. A connection that had been silent carries on; one that is not waited for any more has been closed.
func (p *peerNet) heal() {
	p.set(condition{}, func(_, _ string) bool { return true })
}

// between chooses the links between a group and the others, both ways.
func between(group ...string) func(from, to string) bool {
	return func(from, to string) bool { return slices.Contains(group, from) != slices.Contains(group, to) }
}

// outOf chooses the links that lead from a node; into those that lead to it.
func outOf(node string) func(from, to string) bool {
	return func(from, _ string) bool { return from == node }
}

func into(node string) func(from, to string) bool {
	return func(_, to string) bool { return to == node }
}

package enforcer

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// A request that is refused before it was read leaves bytes that nobody will read.
// To close the connection then makes the kernel reset it, and a reset takes the
// answer away from a caller who is still sending: it sees a broken connection and
// not the 413 that says why. So the answer's end is said, and what still comes is
// read and thrown away for a while (RFC 9112, 9.6).

const (
	lingerTime  = 2 * time.Second // after the answer
	lingerBytes = 64 << 20        // read and thrown away
)

// Linger makes the connections of a listener ones that the server may close with
// an answer that arrives. It has an effect on TCP connections only.
func Linger(l net.Listener) net.Listener { return lingerListener{l} }

type lingerListener struct{ net.Listener }

// Accept implements net.Listener.
func (l lingerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		return &lingerConn{TCPConn: tcp}, nil
	}
	return c, err
}

// lingerConn is a connection that may linger when it is closed. One goroutine reads and
// writes it; any may close it.
type lingerConn struct {
	*net.TCPConn
	unread      atomic.Bool // there may be more to come than was read
	read, write lazyDeadline
}

// Close implements net.Conn.
func (c *lingerConn) Close() error {
	if c.unread.Swap(false) && c.CloseWrite() == nil && c.TCPConn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes) // its end is the caller's, the deadline or the bound
	}
	return c.TCPConn.Close()
}

// leaveUnread says that the rest of a request will not be read.
func leaveUnread(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*lingerConn); ok {
		c.unread.Store(true)
	}
}

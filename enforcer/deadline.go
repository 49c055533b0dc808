package enforcer

import "time"

// The HTTP server sets three deadlines for each request, and hardly ever has anything
// to wait for: by the time it sets the one for the rest of a request, the request is
// read. To set one costs as much as to find a token. So a connection notes what is asked of it, tells
// the kernel's poller only when it is about to read or write, and not at all while what
// the poller knows is late enough and less than deadlineSlack too late.

// deadlineSlack is how much later than asked for a deadline may be.
const deadlineSlack = time.Second

// lazyDeadline is one of a connection's two deadlines. The zero value: there is none.
type lazyDeadline struct {
	asked time.Time
	set   time.Time // zero: none is set
}

// due returns the deadline to set before reading or writing, if the one that is set will not do.
func (d *lazyDeadline) due() (t time.Time, ok bool) {
	switch late := d.set.Sub(d.asked); {
	case d.asked.IsZero():
		if d.set.IsZero() {
			return time.Time{}, false
		}
		d.set = time.Time{}
	case !d.set.IsZero() && late >= 0 && late <= deadlineSlack:
		return time.Time{}, false
	default:
		d.set = d.asked.Add(deadlineSlack)
	}
	return d.set, true
}

// SetDeadline implements net.Conn.
func (c *lingerConn) SetDeadline(t time.Time) error {
	c.read.asked, c.write.asked = t, t
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *lingerConn) SetReadDeadline(t time.Time) error {
	c.read.asked = t
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *lingerConn) SetWriteDeadline(t time.Time) error {
	c.write.asked = t
	return nil
}

// Read implements net.Conn.
func (c *lingerConn) Read(b []byte) (int, error) {
	if t, ok := c.read.due(); ok {
		if err := c.TCPConn.SetReadDeadline(t); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.Read(b)
}

// Write implements net.Conn.
func (c *lingerConn) Write(b []byte) (int, error) {
	if t, ok := c.write.due(); ok {
		if err := c.TCPConn.SetWriteDeadline(t); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.Write(b)
}

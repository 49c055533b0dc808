package main

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// listen opens a port, or says in terms of the flag what is in the way.
func listen(flag, addr string) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s: the port is in use by another process; stop that one or choose another port", flag, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s %s: this machine has no such address; name one of its own", flag, addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s %s: this user may not open that port; choose one above 1023", flag, addr)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l.(*net.TCPListener), nil
}

// turn is one server's turn on a port: closing it ends the accepting and leaves
// the port open for the next server, so that a caller is never refused in between.
type turn struct {
	*net.TCPListener
	over atomic.Bool
}

func newTurn(l *net.TCPListener) *turn {
	l.SetDeadline(time.Time{})
	return &turn{TCPListener: l}
}

// Accept implements net.Listener.
func (t *turn) Accept() (net.Conn, error) {
	if t.over.Load() {
		return nil, net.ErrClosed
	}
	conn, err := t.TCPListener.Accept()
	if err != nil && t.over.Load() {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close implements net.Listener: it wakes Accept and closes nothing.
func (t *turn) Close() error {
	t.over.Store(true)
	return t.SetDeadline(time.Unix(1, 0))
}

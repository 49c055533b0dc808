package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// connected returns the two ends of a connection from a to b, and the network.
func connected(t *testing.T) (*Network, net.Conn, net.Conn) {
	t.Helper()
	n := New()
	l, err := n.Host("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := n.Host("a").Dial(t.Context(), "b:1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return n, c, s
}

func TestBlockedLinkDelaysAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c, s := connected(t)
		n.BlockOneWay("a", "b")
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8)
		s.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a blocked link: %v, want a deadline", err)
		}
		if _, err := s.Write([]byte("other way")); err != nil {
			t.Fatal(err)
		}
		if k, err := c.Read(buf); err != nil || k == 0 {
			t.Fatalf("the open direction: %d bytes, %v", k, err)
		}
		n.Heal("a", "b")
		s.SetReadDeadline(time.Time{})
		if k, err := s.Read(buf); err != nil || string(buf[:k]) != "hello" {
			t.Fatalf("after healing read %q, %v", buf[:k], err)
		}
	})
}

func TestDialOverBlockedLinkHangsUntilHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, _ := n.Host("b").Listen("b:1")
		defer l.Close()
		n.Block("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("dial over a blocked link: %v", err)
		}
		time.AfterFunc(3*time.Second, n.HealAll)
		start := time.Now()
		c, err := n.Host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if d := time.Since(start); d != 3*time.Second {
			t.Fatalf("dialed after %v, want 3s", d)
		}
	})
}

func TestDelayPostponesDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c, s := connected(t)
		n.Delay("a", "b", 40*time.Millisecond)
		start := time.Now()
		c.Write([]byte("x"))
		s.Read(make([]byte, 1))
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Fatalf("arrived after %v, want 40ms", d)
		}
	})
}

func TestWriterWaitsForSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, s := connected(t)
		want := bytes.Repeat([]byte("0123456789"), streamBuffer/4)
		go func() {
			c.Write(want)
			c.Close()
		}()
		synctest.Wait()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func TestCrashRefusesAndResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c, _ := connected(t)
		n.Crash("b")
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("read from a crashed host")
		}
		if _, err := n.Host("a").Dial(t.Context(), "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial to a crashed host: %v", err)
		}
		if open := n.Open(); open != 0 {
			t.Fatalf("%d connection ends are open, want 0", open)
		}
		l, err := n.Host("b").Listen("b:1")
		if err != nil {
			t.Fatalf("listening again: %v", err)
		}
		l.Close()
	})
}

func TestAddressInUse(t *testing.T) {
	n := New()
	l, _ := n.Host("a").Listen("a:1")
	defer l.Close()
	if _, err := n.Host("a").Listen("a:1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("second listener: %v", err)
	}
}

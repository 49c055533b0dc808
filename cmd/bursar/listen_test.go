package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPortInUseIsRefusedWithTheFlag(t *testing.T) {
	first, err := listen("--http-addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for _, tt := range []struct{ addr, want string }{
		{first.Addr().String(), "in use"},
		{"192.0.2.1:7070", "no such address"}, // TEST-NET-1: nobody's
	} {
		l, err := listen("--http-addr", tt.addr)
		if err == nil {
			l.Close()
			t.Fatalf("%s was opened", tt.addr)
		}
		if !strings.Contains(err.Error(), "--http-addr "+tt.addr) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want the flag, the address and %q", err, tt.want)
		}
	}
}

// One server after another serves a port, and no caller is refused in between.
func TestServersTakeTurnsOnAPort(t *testing.T) {
	port, err := listen("--http-addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	serve := func(answer string) (*http.Server, chan error) {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) })}
		over := make(chan error, 1)
		l := newTurn(port)
		go func() { over <- s.Serve(l) }()
		return s, over
	}
	get := func() string {
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := c.Get("http://" + port.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return string(body)
	}
	first, over := serve("first")
	if got := get(); got != "first" {
		t.Fatalf("the first server's turn answers %q", got)
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, http.ErrServerClosed) {
		t.Fatalf("the first turn ended with %v", err)
	}
	early, err := net.Dial("tcp", port.Addr().String()) // waits in the port's queue
	if err != nil {
		t.Fatalf("between the turns: %v", err)
	}
	early.Close()
	second, over := serve("second")
	if got := get(); got != "second" {
		t.Errorf("the second server's turn answers %q", got)
	}
	second.Close()
	<-over
}

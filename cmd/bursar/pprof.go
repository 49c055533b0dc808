package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"
)

// Sampling of contention while --pprof-addr is given: one in so many mutex
// contentions, and one block of every so much time. Both cost less than can be seen.
const (
	mutexSampled = 100
	blockSampled = time.Millisecond
)

// pprofServer serves the runtime's profiles. They show what a node holds in
// memory, so they are served on loopback alone.
type pprofServer struct{ server *http.Server }

// validPprofAddr reports why an address may not serve profiles. Empty is none.
func validPprofAddr(addr string) error {
	if addr == "" {
		return nil
	}
	if _, _, err := splitAddr(addr); err != nil {
		return fmt.Errorf("--pprof-addr %q: %w", addr, err)
	}
	if !isLoopback(addr) {
		return fmt.Errorf("--pprof-addr %q is refused because it is not a loopback address: profiles show what the node holds in memory; use 127.0.0.1:PORT and reach it over SSH", addr)
	}
	return nil
}

// startPprof serves profiles on addr; with none it does nothing.
func startPprof(addr string, log *slog.Logger) (*pprofServer, error) {
	if addr == "" {
		return &pprofServer{}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--pprof-addr: %w", err)
	}
	runtime.SetMutexProfileFraction(mutexSampled)
	runtime.SetBlockProfileRate(int(blockSampled))
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	p := &pprofServer{&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	log.Info("serving profiles", "addr", l.Addr().String())
	go func() {
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("profiles are no longer served", "error", err)
		}
	}()
	return p, nil
}

// close ends it at once; a profile being taken is cut off.
func (p *pprofServer) close() error {
	if p.server == nil {
		return nil
	}
	return p.server.Close()
}

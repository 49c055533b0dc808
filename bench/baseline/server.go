package baseline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// ErrNotInstalled says that a program is not on this machine; the error around it says how to get it.
var ErrNotInstalled = errors.New("not installed")

// Limits of a started server.
const (
	startTimeout = 2 * time.Minute // with a million entities on a busy machine
	stopTimeout  = 10 * time.Second
	startPoll    = 20 * time.Millisecond
	maxTail      = 4 << 10 // bytes of its output that an error quotes
)

// Server is a server that was started here, on loopback, with its state in a
// temporary directory. It is not safe for concurrent use.
type Server struct {
	URL string // to connect with
	Dir string // its state; removed by Close

	addr    string
	command func() *exec.Cmd
	ready   func(ctx context.Context) error // nil once it answers
	cmd     *exec.Cmd
	exited  chan struct{}
	output  *tail
}

// Start runs the program on what is in Dir and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	s.cmd, s.output, s.exited = s.command(), new(tail), make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = child(s.cmd.SysProcAttr)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // how it ended is in its output
		close(exited)
	}(s.cmd, s.exited)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.exited:
			return fmt.Errorf("%s ended at its start: %s", filepath.Base(s.cmd.Path), s.output)
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("%s does not answer on %s: %w", filepath.Base(s.cmd.Path), s.addr, err)
		}
	}
}

// Kill ends the process as a crash would (SIGKILL). Start begins it again on the same state.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.exited
}

// PID is the process's number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop stops the process, by force if it takes longer than 10 s. Start begins it again on the same state.
func (s *Server) Stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		s.Kill()
	}
}

// Close stops the process and removes its directory.
func (s *Server) Close() error {
	s.Stop()
	return os.RemoveAll(s.Dir)
}

// tail keeps the end of what a program writes.
type tail struct {
	mu  sync.Mutex
	end []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	t.end = t.end[max(0, len(t.end)-maxTail):]
	return len(p), nil
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.end))
}

// FreePort returns a port of loopback that nothing listens on. Another program may take it before it is used.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// find returns the path of the first of the programs that is installed.
func find(how string, programs ...string) (string, error) {
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is %w: %s", programs[0], ErrNotInstalled, how)
}

// StartRedis starts redis-server or valkey-server. fsync is appendfsync: always or everysec.
func StartRedis(ctx context.Context, fsync string) (*Server, error) {
	program, err := find("install it (Debian: redis-server, Homebrew: redis), or give the address of one", "redis-server", "valkey-server")
	if err != nil {
		return nil, err
	}
	s, port, err := newServer("bursar-redis-*")
	if err != nil {
		return nil, err
	}
	s.URL = "redis://" + s.addr
	s.ready = func(ctx context.Context) error { return pingRedis(ctx, s.URL) }
	s.command = func() *exec.Cmd {
		return exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.Dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", fsync)
	}
	return s.started(ctx)
}

// StartPostgres initialises and starts a PostgreSQL server with its defaults:
// fsync and synchronous_commit are on.
func StartPostgres(ctx context.Context, connections int) (*Server, error) {
	const how = "install it (Debian: postgresql, whose programs are below /usr/lib/postgresql/*/bin and must be in PATH; Homebrew: postgresql), or give the address of one"
	initdb, err := find(how, "initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := find(how, "postgres")
	if err != nil {
		return nil, err
	}
	s, port, err := newServer("bursar-postgres-*")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.Dir, "data")
	make := exec.CommandContext(ctx, initdb, "-D", data, "-U", "bursar", "-A", "trust", "-N", "-E", "UTF8", "--locale", "C")
	if err := unprivileged(s.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	make.SysProcAttr = child(owner(s.Dir))
	if out, err := make.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out)), s.Close())
	}
	const spare = 8 // connections for the server's own use
	s.URL = fmt.Sprintf("postgres://bursar@%s/postgres?sslmode=disable", s.addr)
	s.ready = func(ctx context.Context) error { return pingPostgres(ctx, s.URL) }
	s.command = func() *exec.Cmd {
		cmd := exec.Command(postgres, "-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", s.Dir,
			"-c", "max_connections="+strconv.Itoa(connections+spare))
		cmd.SysProcAttr = owner(s.Dir)
		return cmd
	}
	return s.started(ctx)
}

// StartProgram starts any program that serves HTTP on loopback. command gets a
// directory for its state and the host:port to listen on; the program is ready
// when a GET of probe is answered with 200.
func StartProgram(ctx context.Context, probe string, command func(dir, addr string) *exec.Cmd) (*Server, error) {
	s, _, err := newServer("bursar-bench-*")
	if err != nil {
		return nil, err
	}
	s.URL = "http://" + s.addr
	s.ready = func(ctx context.Context) error { return get(ctx, s.URL+probe) }
	s.command = func() *exec.Cmd { return command(s.Dir, s.addr) }
	return s.started(ctx)
}

// get succeeds if a URL answers 200.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	return nil
}

// newServer finds a directory and a port.
func newServer(pattern string) (*Server, int, error) {
	port, err := FreePort()
	if err != nil {
		return nil, 0, err
	}
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return nil, 0, err
	}
	return &Server{Dir: dir, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, port, nil
}

// started starts s, or removes what there is of it.
func (s *Server) started(ctx context.Context) (*Server, error) {
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one run of the program. It dies with the test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *lockedBuffer
	log    string // path of what it wrote to standard error
	exited chan struct{}
}

// launch starts the program. Of the environment only what it needs is passed on.
func launch(t *testing.T, log string, env []string, args ...string) *process {
	t.Helper()
	return launchProgram(t, testProgram(t), log, env, args...)
}

// launchProgram is launch for another build of the program.
func launchProgram(t *testing.T, program, log string, env []string, args ...string) *process {
	t.Helper()
	stderr, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, modePrivate)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, stdout: &lockedBuffer{}, log: log, exited: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = append([]string{asBursar + "=1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout = p.stdout
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		stderr.Close()
		close(p.exited)
	}()
	t.Cleanup(func() { p.kill(); p.checkLog() })
	return p
}

// checkLog fails the test if the process panicked or raced, which its caller may have taken for a crash of the test's own making.
func (p *process) checkLog() {
	const shown = 6_000 // bytes
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "invariant violated"} {
		if _, after, found := strings.Cut(p.logged(), sign); found {
			p.t.Errorf("%s has logged %s%s", filepath.Base(p.log), sign, after[:min(len(after), shown)])
			return
		}
	}
}

// testProgram returns the path of the running test binary.
func testProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// kill ends the process as a power cut would, as far as processes go: kill -9.
func (p *process) kill() {
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}

// stop sends a signal and returns the exit code.
func (p *process) stop(signal os.Signal, within time.Duration) int {
	p.t.Helper()
	p.cmd.Process.Signal(signal)
	return p.wait(within)
}

// wait waits for the process to end by itself and returns its exit code.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.t.Fatalf("the process did not end within %v\n%s", within, p.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// logged returns all that the process, and those before it with the same log, wrote to standard error.
func (p *process) logged() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// tail returns the end of the log.
func (p *process) tail() string {
	const lines = 40
	all := strings.Split(strings.TrimSpace(p.logged()), "\n")
	return fmt.Sprintf("--- %s\n%s", filepath.Base(p.log), strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// lockedBuffer collects output that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ports hands out TCP and UDP ports of loopback that nobody uses. They lie below
// the range that the kernel gives to outgoing connections, so they stay free
// while a node that had one is down.
var ports struct {
	mu   sync.Mutex
	used map[int]bool
}

const (
	portsFrom = 15_000
	portsTo   = 32_000
)

// freePorts returns the first of count ports in a row.
func freePorts(t *testing.T, count int) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.used == nil {
		ports.used = map[int]bool{}
	}
	for range 200 {
		first := portsFrom + rand.IntN(portsTo-portsFrom-count)
		if portsAreFree(first, count) {
			for p := first; p < first+count; p++ {
				ports.used[p] = true
			}
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", count)
	return 0
}

func portsAreFree(first, count int) bool {
	for p := first; p < first+count; p++ {
		if ports.used[p] {
			return false
		}
		addr := loopback(p)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		u.Close()
	}
	return true
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// eventually calls f until it returns nil, and fails the test with its last error after within.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	if err := retry(t.Context(), within, f); err != nil {
		t.Fatalf("not within %v: %v", within, err)
	}
}

// retry calls f until it returns nil; after within it returns the last error.
func retry(ctx context.Context, within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// startDev runs `bursar dev` and returns it once it has printed its welcome.
func startDev(t *testing.T, dir string, port, nodes int) *process {
	t.Helper()
	p := launch(t, filepath.Join(t.TempDir(), "log"), nil, "dev",
		"--data-dir", dir, "--base-port", strconv.Itoa(port), "--nodes", strconv.Itoa(nodes))
	eventually(t, readyWithin, func() error {
		if !p.running() {
			t.Fatalf("ended with code %d\n%s", p.cmd.ProcessState.ExitCode(), p.tail())
		}
		if !strings.Contains(p.stdout.String(), "Ctrl-C") {
			return fmt.Errorf("no welcome yet: %s\n%s", p.stdout, p.tail())
		}
		return nil
	})
	return p
}

// pastedLines returns the lines of the welcome that a reader would paste into a shell.
func pastedLines(welcome string) (curls []string, token string) {
	for line := range strings.Lines(welcome) {
		line = strings.TrimSpace(line)
		if after, ok := strings.CutPrefix(line, "export BURSAR_TOKEN="); ok {
			token = after
		}
		if strings.HasPrefix(line, "curl ") {
			curls = append(curls, line)
		}
	}
	return curls, token
}

func TestDevPrintsCallsThatWorkWhenPasted(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here")
	}
	dir, port := t.TempDir(), freePorts(t, devPorts)
	began := time.Now()
	dev := startDev(t, dir, port, 3)
	t.Logf("up in %v", time.Since(began).Round(time.Millisecond))
	curls, token := pastedLines(dev.stdout.String())
	if len(curls) != 3 || token == "" {
		t.Fatalf("%d calls and the token %q in\n%s", len(curls), token, dev.stdout)
	}
	paste := func(line string, answer any) {
		t.Helper()
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err == nil {
			err = json.Unmarshal(out, answer)
		}
		if err != nil {
			t.Fatalf("%s\n%s: %v", line, out, err)
		}
	}
	var check client.CheckResponse
	if paste(curls[0], &check); !check.Allowed || check.Reservation == "" {
		t.Errorf("check: %+v", check)
	}
	var ingest client.IngestResponse
	if paste(curls[1], &ingest); ingest.Accepted != 1 || ingest.Durability != client.DurabilityQuorum {
		t.Errorf("ingest: %+v", ingest)
	}
	var balances client.List[client.Balance]
	used := func() (tokens int64) {
		paste(curls[2], &balances)
		for _, b := range balances.Items {
			if b.Entity == "alice" && b.Capability == "tokens" {
				tokens = b.Used
			}
		}
		return tokens
	}
	if got := used(); got != 1200 {
		t.Errorf("alice has used %d tokens, want 1200: %+v", got, balances.Items)
	}
	if len(balances.Items) != len(demoAssignments().Assignments) {
		t.Errorf("%d balances, want %d", len(balances.Items), len(demoAssignments().Assignments))
	}

	if code := dev.stop(syscall.SIGINT, devStopTimeout+5*time.Second); code != exitDone {
		t.Fatalf("Ctrl-C ended it with code %d\n%s", code, dev.tail())
	}
	again := startDev(t, dir, port, 3)
	_, second := pastedLines(again.stdout.String())
	if second != token {
		t.Errorf("after a restart the token is another one")
	}
	if got := used(); got != 1200 {
		t.Errorf("after a restart alice has used %d tokens, want 1200", got)
	}
	if code := again.stop(syscall.SIGINT, devStopTimeout+5*time.Second); code != exitDone {
		t.Errorf("Ctrl-C ended it with code %d\n%s", code, again.tail())
	}

	fewer := launch(t, filepath.Join(t.TempDir(), "log"), nil, "dev", "--data-dir", dir, "--base-port", strconv.Itoa(port), "--nodes", "1")
	if code := fewer.wait(20 * time.Second); code != exitUsage || !strings.Contains(fewer.logged(), "--nodes 3") {
		t.Errorf("fewer nodes: code %d\n%s", code, fewer.tail())
	}
}

func TestDevRunsAloneAndNamesThePortInUse(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePorts(t, devPorts)
	dev := startDev(t, dir, port, 1)
	_, token := pastedLines(dev.stdout.String())
	c := &testCluster{t: t, token: token, http: &http.Client{Timeout: callTimeout}}
	status, body, err := c.do(t.Context(), http.MethodGet, "http://"+loopback(port)+"/readyz", nil)
	if err != nil || status != http.StatusOK {
		t.Errorf("/readyz: %d %s %v", status, body, errors.Join(err))
	}
	other := launch(t, filepath.Join(t.TempDir(), "log"), nil, "dev", "--data-dir", t.TempDir(), "--base-port", strconv.Itoa(port), "--nodes", "1")
	if code := other.wait(20 * time.Second); code != exitFailed || !strings.Contains(other.logged(), loopback(port)) || !strings.Contains(other.logged(), "--base-port") {
		t.Errorf("a second one on the same ports: code %d\n%s", code, other.tail())
	}
	if code := dev.stop(syscall.SIGINT, devStopTimeout+5*time.Second); code != exitDone {
		t.Errorf("Ctrl-C ended it with code %d\n%s", code, dev.tail())
	}
}

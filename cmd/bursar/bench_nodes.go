package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bursar-dev/bursar/bench/baseline"
)

// servers are what this run has started.
type servers []*baseline.Server

func (s servers) close() (err error) {
	for _, one := range slices.Backward(s) {
		err = errors.Join(err, one.Close())
	}
	return err
}

// maxBenchNodes is how many nodes one machine is asked to run.
const maxBenchNodes = 5

// startNodes starts a cluster of so many nodes for this run. Those that started are among s whatever the error.
func (s *servers) startNodes(ctx context.Context, nodes int, live *progress) (*benchTarget, error) {
	if nodes < 1 || nodes > maxBenchNodes {
		return nil, usageError{fmt.Errorf("--nodes %d: want 1 to %d", nodes, maxBenchNodes)}
	}
	live.step("starting %s of Bursar", nodesOf(nodes))
	t := &benchTarget{tokenFlags: tokenFlags{Token: "bt_" + rand.Text()}}
	gossip := make([]string, nodes)
	for i := range gossip {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		gossip[i] = addr
	}
	return t, s.startAt(ctx, t, gossip)
}

// startAt starts a node at each gossip address, all at once: they form a cluster when all have met.
func (s *servers) startAt(ctx context.Context, t *benchTarget, gossip []string) error {
	type result struct {
		server *baseline.Server
		admin  string
		err    error
	}
	results := make(chan result)
	for i := range gossip {
		go func() {
			server, admin, err := startNode(ctx, i, gossip, t.Token)
			results <- result{server, admin, err}
		}()
	}
	var failed error
	for range gossip {
		r := <-results
		if r.err != nil {
			failed = errors.Join(failed, fmt.Errorf("starting a node: %w", r.err))
			continue
		}
		*s = append(*s, r.server)
		t.Endpoint, t.Admin = append(t.Endpoint, r.server.URL), append(t.Admin, "http://"+r.admin)
	}
	return failed
}

// startNode starts this program as a node.
func startNode(ctx context.Context, i int, gossip []string, token string) (*baseline.Server, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	var more [2]string
	for j := range more {
		if more[j], err = freeAddr(); err != nil {
			return nil, "", err
		}
	}
	server, err := baseline.StartProgram(ctx, "/readyz", func(dir, addr string) *exec.Cmd {
		cmd := exec.Command(self, "serve", "--node-id", "bench-"+strconv.Itoa(i+1), "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn",
			"--http-addr", addr, "--admin-addr", more[0], "--peer-addr", more[1], "--gossip-addr", gossip[i],
			"--join", strings.Join(gossip, ","), "--bootstrap-expect", strconv.Itoa(len(gossip)), "--insecure-peers")
		cmd.Env = append(os.Environ(), "BURSAR_ROOT_TOKEN="+token)
		return cmd
	})
	return server, more[0], err
}

func freeAddr() (string, error) {
	port, err := baseline.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

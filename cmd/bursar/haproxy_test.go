package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// balancerConfig is the configuration that users are given.
const balancerConfig = "../../deploy/haproxy.cfg"

// startBalancer runs the real haproxy over the cluster's nodes and returns its
// base URL. Without haproxy on this machine the test is skipped.
func (c *testCluster) startBalancer() string {
	c.t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		c.t.Skip("haproxy is not installed")
	}
	addr := loopback(freePorts(c.t, 1))
	log, err := os.Create(filepath.Join(c.dir, "haproxy.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(program, "-W", "-f", balancerConfig)
	cmd.Env = []string{"BURSAR_LB=" + addr}
	for i, node := range c.nodes {
		cmd.Env = append(cmd.Env, fmt.Sprintf("BURSAR_%d=%s", i+1, node.http))
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		if said, err := os.ReadFile(log.Name()); err == nil && c.t.Failed() {
			c.t.Logf("haproxy: %s", said)
		}
	})
	base := "http://" + addr
	eventually(c.t, readyWithin, func() error {
		status, body, err := c.do(c.t.Context(), http.MethodGet, base+"/readyz", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz through the load balancer: %d %s", status, body)
		}
		return err
	})
	return base
}

// A node dies under load behind the load balancer, and comes back: no call
// fails beyond one retry by its caller.
func TestNoCallFailsBehindTheLoadBalancerWhileANodeDies(t *testing.T) {
	notShort(t)
	const (
		callers = 16
		team    = "team"
		limit   = 10_000_000
	)
	c := startCluster(t, 3, nil)
	c.makeTeam(team, limit)
	base := c.startBalancer()

	var calls, retried, settled atomic.Int64
	running, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for running.Err() == nil {
				var decision client.CheckResponse
				c.once(&calls, &retried, base+"/v1/check", client.CheckRequest{
					Account: testAccount, Entities: []string{team + "-user"}, ReserveTTLMS: 10_000,
				}, &decision)
				if !decision.Allowed {
					t.Errorf("refused: %+v", decision)
					return
				}
				var taken client.IngestResponse
				c.once(&calls, &retried, base+"/v1/ingest", client.IngestRequest{Events: []client.Event{{
					ID: "evt-" + ulid.Make().String(), Account: testAccount, Entities: []string{team + "-user"},
					Usage: client.Usage{"requests": 1}, Reservation: decision.Reservation,
				}}}, &taken)
				if taken.Accepted+taken.Duplicates != 1 {
					t.Errorf("ingest: %+v", taken)
					return
				}
				settled.Add(1)
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			}
		})
	}
	for _, victim := range []int{c.leader(), (c.leader() + 1) % len(c.nodes)} {
		time.Sleep(2 * time.Second)
		c.nodes[victim].kill()
		time.Sleep(3 * time.Second)
		c.start(victim)
		c.waitReady(victim)
	}
	time.Sleep(2 * time.Second)
	stop()
	all.Wait()
	t.Logf("%d calls, %d retried once by their callers, %d events", calls.Load(), retried.Load(), settled.Load())
	if settled.Load() == 0 {
		t.Fatal("nothing was settled: the test shows nothing")
	}
	c.settles(team, settled.Load(), 30*time.Second)
	c.stopAll()
}

// once makes a call and, if it fails, makes it once more. A second failure fails the test.
func (c *testCluster) once(calls, retried *atomic.Int64, url string, body, answer any) {
	calls.Add(1)
	var first string
	for try := range 2 {
		status, data, err := c.do(context.WithoutCancel(c.t.Context()), http.MethodPost, url, body)
		if err == nil && (status == http.StatusOK || status == http.StatusAccepted) {
			if err := json.NewDecoder(bytes.NewReader(data)).Decode(answer); err != nil {
				c.t.Errorf("%s: %s: %v", url, data, err)
			}
			return
		}
		if try == 0 {
			first = fmt.Sprintf("%d %s %v", status, data, err)
			retried.Add(1)
			continue
		}
		c.t.Errorf("%s failed twice: %s, then %d %s %v", url, first, status, data, err)
	}
}

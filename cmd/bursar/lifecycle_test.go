package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// checkOn sends one check to node i and returns the status and, if it is 200, whether it was granted.
func (c *testCluster) checkOn(i int, team string) (status int, allowed bool) {
	c.t.Helper()
	request := client.CheckRequest{Account: testAccount, Entities: []string{team + "-user"}}
	status, data, err := c.do(c.t.Context(), http.MethodPost, "http://"+c.nodes[i].http+"/v1/check", request)
	if err != nil {
		c.t.Fatal(err)
	}
	if status != http.StatusOK {
		return status, false
	}
	var answer client.CheckResponse
	if err := json.Unmarshal(data, &answer); err != nil {
		c.t.Fatalf("%s: %v", data, err)
	}
	return status, answer.Allowed
}

// Without a leader a node goes on deciding from what it holds, for as long as
// its staleness bound says; then it stops, and comes back by itself.
func TestNodeWithoutLeaderDecidesWithinItsBound(t *testing.T) {
	t.Parallel()
	const (
		bound   = 10 * time.Second
		sureOut = bound + 4*time.Second
		sureIn  = bound - 3*time.Second
	)
	c := startCluster(t, 3, nil)
	c.makeTeam("team", 1_000_000)
	for i := range c.nodes {
		if status, allowed := c.checkOn(i, "team"); status != http.StatusOK || !allowed {
			t.Fatalf("%s with a leader: %d, allowed %v", c.nodes[i].name, status, allowed)
		}
	}
	c.nodes[0].kill()
	c.nodes[1].kill()
	alone := time.Now()
	for time.Since(alone) < sureIn {
		if status, allowed := c.checkOn(2, "team"); status != http.StatusOK || !allowed {
			t.Fatalf("%v without a leader: %d, allowed %v", time.Since(alone), status, allowed)
		}
		time.Sleep(200 * time.Millisecond)
	}
	time.Sleep(sureOut - time.Since(alone))
	if status, _ := c.checkOn(2, "team"); status != http.StatusServiceUnavailable {
		t.Errorf("%v without a leader: a check answers %d, want 503", time.Since(alone), status)
	}
	if err := c.ready(2); err == nil {
		t.Errorf("%v without a leader /readyz is still green", time.Since(alone))
	}
	c.start(0)
	c.start(1)
	for i := range c.nodes {
		c.waitReady(i)
		if status, allowed := c.checkOn(i, "team"); status != http.StatusOK || !allowed {
			t.Errorf("%s after healing: %d, allowed %v", c.nodes[i].name, status, allowed)
		}
	}
}

func TestFourthNodeJoinsAndOneStopsGracefully(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	c.makeTeam("team", 10_000)
	c.addNode()
	c.start(3)
	c.waitReady(3)
	eventually(t, readyWithin, func() error {
		var cl client.Cluster
		if err := c.get(3, "/v1/cluster", &cl); err != nil {
			return err
		}
		for _, m := range cl.Members {
			if m.ID == "node-4" && m.Voter && m.Status == "live" {
				return nil
			}
		}
		return fmt.Errorf("node-4 is no voter: %+v", cl.Members)
	})
	l := &load{c: c, team: "team", limit: 10_000, pick: func() int { return 3 }}
	for range 20 {
		reservation, ok := l.reserve(t.Context(), time.Minute, true)
		if !ok {
			t.Fatal("the new node refused")
		}
		l.ingest(t.Context(), "evt-"+reservation, reservation)
	}
	l.faults()
	if code := c.nodes[3].stop(syscall.SIGTERM, stopWithin); code != exitDone {
		t.Fatalf("stopped with code %d\n%s", code, c.nodes[3].tail())
	}
	// What a node that stopped in order had is not in doubt, and others can spend it.
	c.settles("team", 20, 20*time.Second)
	eventually(t, 20*time.Second, func() error {
		b, err := c.balance(0, "team")
		if err == nil && b.Leased["node-4"] != 0 {
			err = fmt.Errorf("node-4 stopped and still has %d", b.Leased["node-4"])
		}
		return err
	})
}

// A caller who does not read an export, and one who does not send what it announced, keep a leader neither
// from stopping in time nor from handing over.
func TestALeaderStopsInTimeWhileItsControlPlaneIsBusy(t *testing.T) {
	notShort(t)
	t.Parallel()
	const stopTimeout = 12 * time.Second
	c := startCluster(t, 3, func(n *testNode) { n.extraArgs = []string{"--stop-timeout", stopTimeout.String()} })
	c.makeTeam("team", 1)
	leader := c.leader()
	node := c.nodes[leader]
	// More than the sockets' buffers hold: what they do not, the export waits for.
	for batch := range 12 {
		var events []client.Event
		for i := range 250 {
			events = append(events, client.Event{
				ID: fmt.Sprintf("evt-%d-%d", batch, i), Account: testAccount, Entities: []string{"team"},
				Usage: client.Usage{"requests": 0}, Metadata: map[string]string{"note": strings.Repeat("x", 3_500)},
			})
		}
		if err := c.call(http.MethodPost, "http://"+node.http+"/v1/ingest", map[string]any{"events": events}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, err := c.do(t.Context(), http.MethodGet, "http://"+node.admin+"/v1/accounts/"+testAccount+"/ledger?limit=1", nil); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	ask := func(head string) net.Conn {
		conn, err := net.Dial("tcp", node.admin)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(conn, head+"\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", c.token)
		return conn
	}
	ask("PUT /v1/accounts/" + testAccount + " HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100")
	export := ask("GET /v1/accounts/" + testAccount + "/ledger HTTP/1.1\r\nAccept: application/x-ndjson")
	if line, err := bufio.NewReaderSize(export, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	began := time.Now()
	if code := node.stop(syscall.SIGTERM, stopWithin); code != exitDone {
		t.Errorf("stopped with code %d\n%s", code, node.tail())
	}
	if took := time.Since(began); took > stopTimeout {
		t.Errorf("stopping took %v, its timeout is %v", took, stopTimeout)
	}
	log := node.logged()
	if !strings.Contains(log, "requests to the control plane are cut off") {
		t.Error("nothing was in progress when the node stopped")
	}
	if strings.Contains(log, "leadership could not be handed over") || !strings.Contains(log, `"msg":"stopped"`) {
		t.Errorf("leadership was not handed over in order\n%s", node.tail())
	}
	if next := c.leader(); next == leader {
		t.Errorf("the stopped %s is said to lead", node.name)
	}
}

func TestReadinessIsRedBeforeTheNodeStops(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, func(n *testNode) { n.extraArgs = []string{"--stop-delay", "3s"} })
	c.makeTeam("team", 100)
	c.nodes[0].cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, 2*time.Second, func() error {
		if c.ready(0) == nil {
			return errors.New("/readyz is still green")
		}
		return nil
	})
	if status, allowed := c.checkOn(0, "team"); status != http.StatusOK || !allowed {
		t.Errorf("within --stop-delay a check answers %d, allowed %v", status, allowed)
	}
	if code := c.nodes[0].wait(stopWithin); code != exitDone {
		t.Errorf("stopped with code %d\n%s", code, c.nodes[0].tail())
	}
}

func TestNodesTalkMutualTLS(t *testing.T) {
	t.Parallel()
	certs := t.TempDir()
	mustMakeCerts(t, certs, false, "node-1", "node-2", "node-3")
	c := startCluster(t, 3, func(n *testNode) { n.useTLS(certs) })
	c.makeTeam("team", 100)
	if status, allowed := c.checkOn(2, "team"); status != http.StatusOK || !allowed {
		t.Errorf("check: %d, allowed %v", status, allowed)
	}
	// A certificate that is renewed under a running node serves its next connections.
	mustMakeCerts(t, certs, true, "node-1", "node-2", "node-3")
	c.nodes[1].kill()
	c.start(1)
	c.waitReady(1)
	// A node that another authority vouches for is no peer.
	foreign := t.TempDir()
	mustMakeCerts(t, foreign, false, "node-4")
	stranger := c.addNode()
	stranger.useTLS(foreign)
	c.start(3)
	time.Sleep(3 * time.Second)
	if stranger.running() && c.ready(3) == nil {
		t.Error("a node of another authority became a member")
	}
	var cl client.Cluster
	if err := c.get(0, "/v1/cluster", &cl); err != nil || len(cl.Members) != 3 {
		t.Errorf("%d members (%v), want 3: %+v", len(cl.Members), err, cl.Members)
	}
}

// useTLS gives the node the certificate in dir that is for its name.
func (n *testNode) useTLS(dir string) {
	n.insecure = false
	n.extraArgs = append(n.extraArgs, "--tls-ca", filepath.Join(dir, "ca.pem"),
		"--tls-cert", filepath.Join(dir, n.name+".pem"), "--tls-key", filepath.Join(dir, n.name+"-key.pem"),
		"--gossip-key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
}

func TestFirstRootTokenIsMadeOnceAndWorksEverywhere(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, func(n *testNode) { n.noRootToken = true })
	var found []string
	eventually(t, readyWithin, func() (err error) {
		found, err = filepath.Glob(filepath.Join(c.dir, "*", rootTokenFile))
		if err == nil && len(found) == 0 {
			err = errors.New("no node has written a root token")
		}
		return err
	})
	if len(found) != 1 {
		t.Fatalf("root tokens in %v, want one", found)
	}
	if info, err := os.Stat(found[0]); err != nil || info.Mode().Perm() != modePrivate {
		t.Errorf("mode %v, want 0600 (%v)", info.Mode(), err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	c.token = strings.TrimSpace(string(data))
	for i := range c.nodes {
		eventually(t, readyWithin, func() error {
			var cl client.Cluster
			return c.get(i, "/v1/cluster", &cl)
		})
		if strings.Contains(c.nodes[i].logged(), c.token) {
			t.Errorf("%s has the token in its log", c.nodes[i].name)
		}
	}
	leader := c.leader()
	c.nodes[leader].kill()
	c.start(leader)
	c.waitReady(leader)
	if again, _ := filepath.Glob(filepath.Join(c.dir, "*", rootTokenFile)); len(again) != 1 {
		t.Errorf("root tokens in %v after a change of leader, want one", again)
	}
}

func TestBadStartsSayWhatToDo(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	c.makeTeam("team", 10)
	node := c.nodes[0]
	dir := t.TempDir()
	free := freePorts(t, 4)
	args := func(id, dir string, more ...string) []string {
		return append([]string{"serve", "--insecure-peers", "--bootstrap-expect", "1", "--node-id", id, "--data-dir", dir,
			"--http-addr", loopback(free), "--admin-addr", loopback(free + 1), "--peer-addr", loopback(free + 2), "--gossip-addr", loopback(free + 3)}, more...)
	}
	stopped := startCluster(t, 3, nil)
	stopped.stopAll()
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		code int
		want []string
	}{
		{"data directory in use", args("node-9", node.dir), nil, exitFailed, []string{"--data-dir", "in use by another bursar process"}},
		{"data plane's port in use", args("node-9", filepath.Join(dir, "a"), "--http-addr", node.http), nil, exitFailed, []string{"--http-addr " + node.http, "in use"}},
		{"control plane's port in use", args("node-9", filepath.Join(dir, "b"), "--admin-addr", node.admin), nil, exitFailed, []string{"--admin-addr " + node.admin, "in use"}},
		{"peer port in use", args("node-9", filepath.Join(dir, "c"), "--peer-addr", node.peer), nil, exitFailed, []string{"--peer-addr " + node.peer, "in use"}},
		{"gossip port in use", args("node-9", filepath.Join(dir, "d"), "--gossip-addr", node.gossip), nil, exitFailed, []string{"--gossip-addr " + node.gossip, "in use"}},
		{"data directory of another node", args("node-9", stopped.nodes[0].dir), nil, exitFailed, []string{"node-1", "node-9"}},
		{"id of a node that runs", args("node-1", filepath.Join(dir, "e"), "--bootstrap-expect", "0", "--join", node.gossip), nil, exitFailed, []string{"node-1"}},
		{"data directory of another cluster", args("node-2", stopped.nodes[1].dir, "--join", node.gossip), nil, exitFailed, []string{"cluster", "--join", "--data-dir"}},
		{"short root token", args("node-9", filepath.Join(dir, "f")), []string{rootTokenEnv + "=short"}, exitUsage, []string{rootTokenEnv, "16 bytes"}},
		{"plain TCP to elsewhere", args("node-9", filepath.Join(dir, "g"), "--join", "192.0.2.1:7091"), nil, exitUsage, []string{"--insecure-peers", "192.0.2.1:7091"}},
		{"unknown flag", args("node-9", filepath.Join(dir, "h"), "--bootstrap", "1"), nil, exitUsage, []string{"--bootstrap"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := launch(t, filepath.Join(t.TempDir(), "log"), tt.env, tt.args...)
			code := p.wait(20 * time.Second)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, part := range tt.want {
				if !strings.Contains(p.logged(), part) {
					t.Errorf("lacks %q:\n%s", part, p.tail())
				}
			}
		})
	}
	if err := c.ready(0); err != nil {
		t.Errorf("the node that was disturbed: %v", err)
	}
}

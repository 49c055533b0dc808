package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// Bounds of what the process tests wait for. They are generous: machines that
// run tests are busy, and a test that waits costs nothing when all is well.
const (
	readyWithin = 40 * time.Second
	stopWithin  = 40 * time.Second
	callTimeout = 15 * time.Second
)

// testCluster is a cluster of real processes on loopback.
type testCluster struct {
	t     *testing.T
	dir   string
	token string
	nodes []*testNode
	http  *http.Client
}

// testNode is one place in a testCluster: addresses, a data directory, and the process that runs there now.
type testNode struct {
	*process
	name      string
	http      string
	admin     string
	peer      string
	gossip    string
	dir       string
	extraArgs []string
	insecure  bool
	program   string   // another build of the program; empty: this one
	within    []string // a command that runs the program; empty: none

	noRootToken bool
}

// startCluster starts n nodes, all at once, and waits until every one decides.
// change, if not nil, sees each node before its first start.
func startCluster(t *testing.T, n int, change func(*testNode)) *testCluster {
	t.Helper()
	c := &testCluster{
		t:     t,
		dir:   t.TempDir(),
		token: "test-root-token-" + strconv.Itoa(n),
		http:  &http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 128}},
	}
	for range n {
		c.addNode()
	}
	for _, node := range c.nodes {
		if change != nil {
			change(node)
		}
		node.extraArgs = append(node.extraArgs, "--bootstrap-expect", strconv.Itoa(n))
	}
	t.Cleanup(c.report)
	for i := range c.nodes {
		c.start(i)
	}
	for i := range c.nodes {
		c.waitReady(i)
	}
	return c
}

// in returns the cluster for use in a subtest: its failures are that subtest's.
func (c *testCluster) in(t *testing.T) *testCluster {
	sub := *c
	sub.t = t
	return &sub
}

// addNode makes a place for one more node, without starting it.
func (c *testCluster) addNode() *testNode {
	c.t.Helper()
	port := freePorts(c.t, 4)
	name := "node-" + strconv.Itoa(len(c.nodes)+1)
	node := &testNode{
		name: name, dir: filepath.Join(c.dir, name), insecure: true,
		http: loopback(port), admin: loopback(port + 1), peer: loopback(port + 2), gossip: loopback(port + 3),
	}
	c.nodes = append(c.nodes, node)
	return node
}

// args is the node's command line, the same at every start.
func (c *testCluster) args(node *testNode) []string {
	args := []string{"serve", "--node-id", node.name, "--data-dir", node.dir,
		"--http-addr", node.http, "--admin-addr", node.admin, "--peer-addr", node.peer, "--gossip-addr", node.gossip}
	for _, other := range c.nodes {
		args = append(args, "--join", other.gossip)
	}
	if node.insecure {
		args = append(args, "--insecure-peers")
	}
	return append(args, node.extraArgs...)
}

// start starts node i, for the first time or again.
func (c *testCluster) start(i int) {
	c.t.Helper()
	node := c.nodes[i]
	env := []string{rootTokenEnv + "=" + c.token}
	if node.noRootToken {
		env = nil
	}
	program := cmp.Or(node.program, testProgram(c.t))
	command := slices.Concat(node.within, []string{program}, c.args(node))
	node.process = launchProgram(c.t, command[0], filepath.Join(c.dir, node.name+".log"), env, command[1:]...)
}

// waitReady waits until node i decides.
func (c *testCluster) waitReady(i int) {
	c.t.Helper()
	eventually(c.t, readyWithin, func() error { return c.ready(i) })
}

// ready returns why node i does not decide, or nil.
func (c *testCluster) ready(i int) error {
	if !c.nodes[i].running() {
		c.t.Fatalf("%s has ended with code %d\n%s", c.nodes[i].name, c.nodes[i].cmd.ProcessState.ExitCode(), c.nodes[i].tail())
	}
	status, body, err := c.do(c.t.Context(), http.MethodGet, "http://"+c.nodes[i].http+"/readyz", nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: /readyz says %d %s", c.nodes[i].name, status, body)
	}
	return nil
}

// report prints the ends of the logs of a test that failed.
func (c *testCluster) report() {
	if !c.t.Failed() {
		return
	}
	for _, node := range c.nodes {
		if node.process != nil {
			c.t.Log(node.tail())
		}
	}
}

// leader returns the number of the node that leads.
func (c *testCluster) leader() int {
	c.t.Helper()
	leader := -1
	eventually(c.t, readyWithin, func() error {
		for i, node := range c.nodes {
			if node.process == nil || !node.running() {
				continue
			}
			var cl client.Cluster
			if err := c.get(i, "/v1/cluster?consistency=stale", &cl); err != nil || cl.Leader == nil {
				continue
			}
			leader = slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.name == *cl.Leader })
			if leader >= 0 && c.nodes[leader].running() {
				return nil
			}
		}
		return errors.New("no leader")
	})
	return leader
}

// do makes one HTTP call with the root token.
func (c *testCluster) do(ctx context.Context, method, url string, body any) (status int, answer []byte, err error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, payload)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// call makes one call and decodes an answer of status 200 or 202; any other is an error.
func (c *testCluster) call(method, url string, body, answer any) error {
	status, data, err := c.do(c.t.Context(), method, url, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusAccepted && status != http.StatusCreated {
		return fmt.Errorf("%s %s: %d %s", method, url, status, data)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// get reads from node i's control plane.
func (c *testCluster) get(i int, path string, answer any) error {
	return c.call(http.MethodGet, "http://"+c.nodes[i].admin+path, nil, answer)
}

// put writes through node i's control plane and fails the test if that fails.
func (c *testCluster) put(i int, path string, body any) {
	c.t.Helper()
	if err := c.call(http.MethodPut, "http://"+c.nodes[i].admin+path, body, nil); err != nil {
		c.t.Fatal(err)
	}
}

// testAccount is the account of the process tests.
const testAccount = "acme"

// makeTeam creates the account with a team of one user below a project, and a hard
// limit of so many requests, without end, on the team.
func (c *testCluster) makeTeam(team string, limit int64) {
	c.t.Helper()
	c.put(0, "/v1/entity-types", client.EntityTypes{EntityTypes: []client.EntityType{{ID: "team"}, {ID: "user"}}})
	c.put(1%len(c.nodes), "/v1/accounts/"+testAccount, client.Account{Name: "Acme"})
	c.put(2%len(c.nodes), "/v1/accounts/"+testAccount+"/entities", client.Entities{Entities: []client.Entity{
		{ID: team, Type: "team"}, {ID: team + "-user", Type: "user", Parent: &team},
	}})
	c.put(0, "/v1/accounts/"+testAccount+"/assignments", client.Assignments{Assignments: []client.Assignment{{
		Entity: team, Capability: "requests", Limit: &limit, Cadence: client.Cadence{Every: "never"},
		Enforcement: "hard", Scope: []string{}, AlertThresholds: []int{},
	}}})
}

// balance returns the team's balance as node i sees it.
func (c *testCluster) balance(i int, team string) (client.Balance, error) {
	var list client.List[client.Balance]
	err := c.get(i, "/v1/accounts/"+testAccount+"/balances?entity="+team, &list)
	if err != nil {
		return client.Balance{}, err
	}
	if len(list.Items) != 1 {
		return client.Balance{}, fmt.Errorf("%d balances of %s, want 1", len(list.Items), team)
	}
	return list.Items[0], nil
}

// settles waits until the team's books are closed on every running node: so much used, nothing held, nothing in doubt.
func (c *testCluster) settles(team string, used int64, within time.Duration) {
	c.t.Helper()
	for i, node := range c.nodes {
		if node.process == nil || !node.running() {
			continue
		}
		eventually(c.t, within, func() error {
			b, err := c.balance(i, team)
			if err == nil && (b.Used != used || b.Reserved != 0 || b.InDoubt != 0) {
				err = fmt.Errorf("%s: used %d, reserved %d, in_doubt %d; want used %d and nothing else (leased %v, limit %d)",
					node.name, b.Used, b.Reserved, b.InDoubt, used, b.Leased, *b.Limit)
			}
			return err
		})
	}
}

// ledger returns all lines of the account, by event id.
func (c *testCluster) ledger(i int) map[string][]client.LedgerLine {
	c.t.Helper()
	lines := map[string][]client.LedgerLine{}
	for after := ""; ; {
		var list client.List[client.LedgerLine]
		path := "/v1/accounts/" + testAccount + "/ledger?limit=1000"
		if after != "" {
			path += "&after=" + after
		}
		// A node that was cut off a moment ago may still say that it cannot bring itself up to date.
		eventually(c.t, 10*time.Second, func() error { return c.get(i, path, &list) })
		for _, line := range list.Items {
			lines[line.EventID] = append(lines[line.EventID], line)
		}
		if list.Next == nil {
			return lines
		}
		after = *list.Next
	}
}

// stopAll stops every running node gracefully, all at once, as one does with a whole cluster.
func (c *testCluster) stopAll() {
	c.t.Helper()
	for _, node := range c.nodes {
		if node.process != nil && node.running() {
			node.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, node := range c.nodes {
		if code := node.wait(stopWithin); code != exitDone {
			c.t.Errorf("%s stopped with code %d\n%s", node.name, code, node.tail())
		}
	}
}

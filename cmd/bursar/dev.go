package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/admin"
)

// devCmd is `bursar dev`.
type devCmd struct {
	Nodes    int    `help:"How many nodes: 1, 3 or 5. A cluster that exists may grow, not shrink." enum:"1,3,5" default:"3"`
	DataDir  string `help:"Where the state is kept, which survives a restart. Default: bursar/dev in the user's cache directory." placeholder:"DIR" type:"path"`
	BasePort int    `help:"First of 30 ports: data planes from here, control planes 10 above, peers and gossip 20 above." default:"7070"`
}

// Help implements kong's HelpProvider.
func (*devCmd) Help() string {
	return `Runs real nodes in one process on loopback, with a demo account, and prints a token and first calls.

Ctrl-C stops gracefully, a second Ctrl-C at once. Remove the data directory to start afresh.`
}

// The layout of a dev cluster's ports, relative to --base-port. It is the same at every start.
const (
	devAdminOffset = 10
	devPeerOffset  = 20 // peer and gossip in turn: two a node
	devPorts       = 30
)

// Bounds of a dev cluster.
const (
	devStartTimeout = 30 * time.Second
	devStopTimeout  = 10 * time.Second
	devReadyPoll    = 20 * time.Millisecond
	devTokenFile    = "token"
)

// levelNone is above every level. Nodes that stop together call it an error that
// the others are gone; to whoever pressed Ctrl-C it is none.
const levelNone = slog.LevelError + 1

// Validate implements kong's hook.
func (c *devCmd) Validate() error {
	if c.BasePort < 1 || c.BasePort+devPorts > 1<<16 {
		return fmt.Errorf("--base-port %d: choose 1 to %d", c.BasePort, 1<<16-devPorts)
	}
	return nil
}

// Run runs the cluster until ctx ends.
func (c *devCmd) Run(ctx context.Context, k *kong.Context, root *cli) error {
	if c.DataDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return usageError{fmt.Errorf("--data-dir: this user has no cache directory, so name one: %w", err)}
		}
		c.DataDir = filepath.Join(cache, "bursar", "dev")
	}
	var level slog.LevelVar
	level.Set(logLevel(root.LogLevel, slog.LevelError))
	log := newLogger(k.Stderr, &level)
	show := newProgress(k.Stderr)
	defer show.done()

	token, err := c.prepare()
	if err != nil {
		return err
	}
	nodes, err := c.start(ctx, token, log, show)
	if err != nil {
		return err
	}
	failed := anyFailed(nodes)
	stopped := func() error {
		if root.LogLevel == levelDefault {
			level.Set(levelNone)
		}
		return c.stop(nodes, show, log)
	}
	if err := c.waitReady(ctx, nodes, failed, show); err != nil {
		return errors.Join(err, stopped())
	}
	show.step("making the demo account")
	demo := &demoTenant{url: "http://" + nodes[0].AdminAddr(), token: token}
	if err := demo.ensure(ctx); err != nil {
		if ctx.Err() != nil {
			return stopped()
		}
		return errors.Join(fmt.Errorf("making the demo account: %w", err), stopped())
	}
	show.done()
	c.welcome(k.Stdout, nodes, token)
	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	}
	return stopped()
}

// prepare creates the data directory, refuses one that cannot serve this many
// nodes, and returns the token that is kept there.
func (c *devCmd) prepare() (token string, err error) {
	if err := os.MkdirAll(c.DataDir, modeDir); err != nil {
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	existing, err := filepath.Glob(filepath.Join(c.DataDir, devNodeName(-1)))
	if err != nil {
		return "", err
	}
	if len(existing) > c.Nodes {
		return "", usageError{fmt.Errorf("--data-dir %s holds a cluster of %s: use --nodes %d, another --data-dir, or remove it to start afresh", c.DataDir, nodesOf(len(existing)), len(existing))}
	}
	path := filepath.Join(c.DataDir, devTokenFile)
	data, err := os.ReadFile(path)
	switch {
	case err == nil && len(strings.TrimSpace(string(data))) >= minRootTokenBytes:
		return strings.TrimSpace(string(data)), nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	token, _ = admin.NewToken()
	return token, writePrivate(path, []byte(token+"\n"))
}

// devNodeName names the i-th node and its directory; -1 gives the pattern of all.
func devNodeName(i int) string {
	if i < 0 {
		return "node-[1-9]"
	}
	return "node-" + strconv.Itoa(i+1)
}

// start opens the nodes, all at once: they form the cluster together.
func (c *devCmd) start(ctx context.Context, token string, log *slog.Logger, show *progress) ([]*node, error) {
	show.step("starting %s", nodesOf(c.Nodes))
	nodes := make([]*node, c.Nodes)
	errs := make([]error, c.Nodes)
	var starting sync.WaitGroup
	for i := range nodes {
		nodes[i] = newNode(c.nodeConfig(i, token, log))
		starting.Go(func() { errs[i] = nodes[i].Start(ctx) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		for i, n := range nodes {
			if errs[i] == nil {
				n.Close(ctx)
			}
		}
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w\n(--base-port moves all ports)", err)
	}
	return nodes, nil
}

func (c *devCmd) nodeConfig(i int, token string, log *slog.Logger) nodeConfig {
	name := devNodeName(i)
	config := nodeConfig{
		Name:            name,
		DataDir:         filepath.Join(c.DataDir, name),
		HTTPAddr:        c.addr(i),
		AdminAddr:       c.addr(devAdminOffset + i),
		PeerAddr:        c.addr(devPeerOffset + 2*i),
		GossipAddr:      c.gossipAddr(i),
		BootstrapExpect: c.Nodes,
		RootToken:       token,
		Logger:          log,
	}
	for other := range c.Nodes {
		if other != i {
			config.Join = append(config.Join, c.gossipAddr(other))
		}
	}
	return config
}

func (c *devCmd) addr(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.BasePort+offset))
}

func (c *devCmd) gossipAddr(i int) string { return c.addr(devPeerOffset + 2*i + 1) }

// waitReady waits until every node decides.
func (c *devCmd) waitReady(ctx context.Context, nodes []*node, failed <-chan error, show *progress) error {
	ctx, cancel := context.WithTimeout(ctx, devStartTimeout)
	defer cancel()
	ticker := time.NewTicker(devReadyPoll)
	defer ticker.Stop()
	for ready := 0; ready < len(nodes); {
		err := nodes[ready].Ready()
		if err == nil {
			ready++
			show.step("ready: %d of %s", ready, nodesOf(len(nodes)))
			continue
		}
		select {
		case <-ticker.C:
		case failure := <-failed:
			return failure
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s is not ready after %v: %w\n(--log-level info shows more)", devNodeName(ready), devStartTimeout, err)
		}
	}
	return nil
}

// anyFailed receives the first failure of any of the nodes.
func anyFailed(nodes []*node) <-chan error {
	first := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { first <- <-n.Failed() }()
	}
	return first
}

// stop drains all nodes while there is a cluster to drain into, then closes them.
func (c *devCmd) stop(nodes []*node, show *progress, log *slog.Logger) error {
	show.step("stopping")
	defer show.done()
	ctx, cancel := context.WithTimeout(context.Background(), devStopTimeout)
	defer cancel()
	drain, cancelDrain := context.WithTimeout(ctx, devStopTimeout-devStopTimeout/closeShare)
	defer cancelDrain()
	errs := make([]error, len(nodes))
	var stopping sync.WaitGroup
	for _, n := range nodes {
		stopping.Go(func() {
			if err := n.Drain(drain); err != nil {
				log.Warn("stopping without having drained", "node", n.c.Name, "error", err)
			}
		})
	}
	stopping.Wait()
	for i, n := range nodes {
		stopping.Go(func() { errs[i] = n.Close(ctx) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// nodesOf counts nodes in words.
func nodesOf(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// welcome prints where everything is and first calls to paste.
func (c *devCmd) welcome(w io.Writer, nodes []*node, token string) {
	fmt.Fprintf(w, "Bursar is up: %s in %s\n\n", nodesOf(len(nodes)), c.DataDir)
	fmt.Fprintf(w, "  %-8s %-24s %s\n", "", "check and ingest", "administration")
	for i, n := range nodes {
		fmt.Fprintf(w, "  %-8s %-24s %s\n", devNodeName(i), "http://"+n.HTTPAddr(), "http://"+n.AdminAddr())
	}
	data, control := "http://"+nodes[0].HTTPAddr(), "http://"+nodes[0].AdminAddr()
	fmt.Fprintf(w, `
Root token (also in %[1]s):

  export BURSAR_TOKEN=%[2]s

May alice spend 1,200 tokens? Hold them while she does:

  curl -s %[3]s/v1/check -H "Authorization: Bearer %[2]s" -d '{"account":"acme","entities":["alice"],"usage":{"requests":1,"tokens":1200},"reserve_ttl_ms":60000}'

Record what a call cost; the same id is never counted twice:

  curl -s %[3]s/v1/ingest -H "Authorization: Bearer %[2]s" -d '{"events":[{"id":"evt-1","account":"acme","entities":["alice"],"usage":{"requests":1,"input_tokens":800,"output_tokens":400}}]}'

Where does every budget stand?

  curl -s %[4]s/v1/accounts/acme/balances -H "Authorization: Bearer %[2]s"

Ctrl-C stops the cluster; its state stays.
`, filepath.Join(c.DataDir, devTokenFile), token, data, control)
}

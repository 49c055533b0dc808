package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"
)

// Bounds of the flags.
const (
	maxNodeID          = 63
	maxJoin            = 32
	maxBootstrapExpect = 7
	maxStopTimeout     = 10 * time.Minute
)

// serveCmd is `bursar serve`.
type serveCmd struct {
	NodeID  string `help:"Name of this node, unlike any other's and the same for ever. Certificates carry it." placeholder:"ID"`
	DataDir string `help:"Directory of this node's state." placeholder:"DIR" type:"path"`

	HTTPAddr   string `name:"http-addr" help:"Data plane: check and ingest. Plain HTTP; put a load balancer with TLS before it." default:"127.0.0.1:7070"`
	AdminAddr  string `help:"Control plane and metrics. Plain HTTP, as above." default:"127.0.0.1:7080"`
	PeerAddr   string `help:"Raft and requests between nodes. The others dial exactly this, unless --peer-advertise-addr says otherwise." default:"127.0.0.1:7090"`
	GossipAddr string `help:"Gossip, TCP and UDP, by which nodes find one another." default:"127.0.0.1:7091"`
	PprofAddr  string `help:"Serve the runtime's profiles below /debug/pprof/; only on loopback. Default: not at all." placeholder:"HOST:PORT"`

	PeerAdvertiseAddr string `name:"peer-advertise-addr" help:"What the others dial in place of --peer-addr, where a forwarder stands between them." placeholder:"HOST:PORT"`

	Join            []string `help:"Gossip address of a node to find the others by; repeatable. Naming all nodes, this one too, is fine." placeholder:"HOST:PORT"`
	BootstrapExpect int      `help:"Form a new cluster once this many nodes without state have met. 0: only join one." default:"0"`

	TLSCA         string `name:"tls-ca" help:"Authority that the peers' certificates must be signed by." placeholder:"FILE" type:"path"`
	TLSCert       string `name:"tls-cert" help:"Certificate of this node, with its id as DNS name. Read anew when it changes." placeholder:"FILE" type:"path"`
	TLSKey        string `name:"tls-key" help:"Key of the certificate." placeholder:"FILE" type:"path"`
	GossipKey     string `help:"Key that encrypts gossip, the same on all nodes; better given as BURSAR_GOSSIP_KEY." placeholder:"BASE64"`
	InsecurePeers bool   `help:"Plain TCP between nodes, for trying things out: only with loopback addresses."`

	StopDelay   time.Duration `help:"At a stop, how long to go on answering with a red /readyz first, so that load balancers look away." default:"0s"`
	StopTimeout time.Duration `help:"At a stop, how long shipping what is here and handing over may take in all." default:"30s"`
}

// Help implements kong's HelpProvider.
func (*serveCmd) Help() string {
	return `The same command line starts a node for the first time, starts it again, and makes it join.

The first root token is taken from BURSAR_ROOT_TOKEN, or made by the node that leads first and
written to root-token in its data directory.

SIGTERM stops gracefully: /readyz turns red, the outbox is shipped, leases are given back, leadership is handed over.`
}

// Validate implements kong's hook. It reports everything that is wrong at once;
// each line names the flag and the fix.
func (c *serveCmd) Validate() error {
	return errors.Join(c.validateIdentity(), c.validateAddresses(), c.validateCluster(), c.validateSecurity(), c.validateStop())
}

func (c *serveCmd) validateIdentity() error {
	var err error
	if c.NodeID == "" {
		err = errors.New("--node-id is missing: give this node a name of its own, such as node-1")
	} else if !validNodeID(c.NodeID) {
		err = fmt.Errorf("--node-id %q: %s", c.NodeID, nodeIDRule)
	}
	if c.DataDir == "" {
		err = errors.Join(err, errors.New("--data-dir is missing: name a directory that this node keeps, such as /var/lib/bursar"))
	}
	return err
}

const nodeIDRule = "lower-case letters, digits, '-' and '.', at most 63, beginning and ending with a letter or digit"

var nodeIDPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func validNodeID(id string) bool { return len(id) <= maxNodeID && nodeIDPattern.MatchString(id) }

func (c *serveCmd) validateAddresses() error {
	var errs []error
	seen := map[string]string{}
	for _, a := range []struct {
		flag, addr string
		dialled    bool // by other nodes, so it must say where
	}{
		{"--http-addr", c.HTTPAddr, false},
		{"--admin-addr", c.AdminAddr, false},
		{"--peer-addr", c.PeerAddr, c.PeerAdvertiseAddr == ""},
		{"--gossip-addr", c.GossipAddr, true},
	} {
		host, port, err := splitAddr(a.addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", a.flag, a.addr, err))
			continue
		}
		if ip := net.ParseIP(host); a.dialled && (host == "" || ip != nil && ip.IsUnspecified()) {
			errs = append(errs, fmt.Errorf("%s %q: other nodes dial this address, so name this machine's own: its IP or host name", a.flag, a.addr))
		}
		if other, taken := seen[a.addr]; taken && port != 0 {
			errs = append(errs, fmt.Errorf("%s and %s are both %s: choose another port for one", other, a.flag, a.addr))
		}
		seen[a.addr] = a.flag
	}
	if host, port, err := splitAddr(c.PeerAdvertiseAddr); c.PeerAdvertiseAddr != "" && (err != nil || host == "" || port == 0) {
		errs = append(errs, fmt.Errorf("--peer-advertise-addr %q: give what the other nodes dial as host:port", c.PeerAdvertiseAddr))
	}
	errs = append(errs, validPprofAddr(c.PprofAddr))
	for _, addr := range c.Join {
		if host, port, err := splitAddr(addr); err != nil || host == "" || port == 0 {
			errs = append(errs, fmt.Errorf("--join %q: give the gossip address of a node as host:port", addr))
		}
	}
	return errors.Join(errs...)
}

// splitAddr splits host:port. Port 0, any free one, is for tests.
func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("give it as host:port")
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, errors.New("the port must be a number from 0 to 65535")
	}
	return host, port, nil
}

func (c *serveCmd) validateCluster() error {
	var errs []error
	if len(c.Join) > maxJoin {
		errs = append(errs, fmt.Errorf("--join is given %d times; %d are enough to find a cluster", len(c.Join), maxJoin))
	}
	switch {
	case c.BootstrapExpect < 0 || c.BootstrapExpect > maxBootstrapExpect:
		errs = append(errs, fmt.Errorf("--bootstrap-expect %d: give the number of nodes of the new cluster, 1 to %d, 3 or 5 as a rule", c.BootstrapExpect, maxBootstrapExpect))
	case c.BootstrapExpect == 0 && len(c.Join) == 0:
		errs = append(errs, errors.New("--join or --bootstrap-expect is missing: --join a node of the cluster, or --bootstrap-expect 1 for a cluster of this node alone"))
	case c.BootstrapExpect > 1 && len(c.Join) == 0:
		errs = append(errs, fmt.Errorf("--bootstrap-expect %d needs --join: name the gossip addresses of the other nodes", c.BootstrapExpect))
	}
	return errors.Join(errs...)
}

func (c *serveCmd) validateSecurity() error {
	var errs []error
	given := 0
	for _, path := range []string{c.TLSCA, c.TLSCert, c.TLSKey} {
		if path != "" {
			given++
		}
	}
	switch {
	case c.InsecurePeers && given > 0:
		errs = append(errs, errors.New("--insecure-peers and --tls-… exclude one another: leave out --insecure-peers"))
	case !c.InsecurePeers && given < 3:
		errs = append(errs, errors.New("--tls-ca, --tls-cert and --tls-key are needed for mTLS between nodes: make them with `bursar certs`; or --insecure-peers to try things out on loopback"))
	}
	if c.InsecurePeers {
		for _, addr := range append([]string{c.PeerAddr, c.PeerAdvertiseAddr, c.GossipAddr}, c.Join...) {
			if addr != "" && !isLoopback(addr) {
				errs = append(errs, fmt.Errorf("--insecure-peers is refused because %s is not a loopback address: use --tls-ca, --tls-cert and --tls-key", addr))
			}
		}
	}
	if _, err := c.gossipKey(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func isLoopback(addr string) bool {
	host, _, err := splitAddr(addr)
	if err != nil {
		return true // reported as malformed
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// gossipKey decodes --gossip-key; the error does not quote it.
func (c *serveCmd) gossipKey() ([]byte, error) {
	if c.GossipKey == "" {
		return nil, nil
	}
	key, err := base64.StdEncoding.DecodeString(c.GossipKey)
	if err != nil || len(key) != gossipKeyBytes {
		return nil, fmt.Errorf("--gossip-key is not the base64 of %d bytes: make one with `bursar certs gossip-key`", gossipKeyBytes)
	}
	return key, nil
}

func (c *serveCmd) validateStop() error {
	if c.StopDelay < 0 || c.StopTimeout <= 0 || c.StopDelay >= c.StopTimeout || c.StopTimeout > maxStopTimeout {
		return fmt.Errorf("--stop-delay %v, --stop-timeout %v: the delay is part of the timeout and shorter, the timeout at most %v", c.StopDelay, c.StopTimeout, maxStopTimeout)
	}
	return nil
}

// Run runs the node until ctx ends.
func (c *serveCmd) Run(ctx context.Context, root *cli) error {
	log := newLogger(os.Stderr, logLevel(root.LogLevel, slog.LevelInfo))
	config, err := c.nodeConfig(log)
	if err != nil {
		return err
	}
	profiles, err := startPprof(c.PprofAddr, log)
	if err != nil {
		return err
	}
	defer func() { _ = profiles.close() }() // nothing waits for them
	n := newNode(config)
	if err := n.Start(ctx); err != nil {
		return diskAdvice(c.DataDir, err)
	}
	log.Info("bursar is up", "node", c.NodeID, "version", buildVersion(), "http", n.HTTPAddr(), "admin", n.AdminAddr(), "peer", c.PeerAddr, "gossip", c.GossipAddr)
	select {
	case <-ctx.Done():
		return c.stop(n, log)
	case err := <-n.Failed():
		n.Leave()
		err = diskAdvice(c.DataDir, err)
		log.Error("the node goes out of service", "error", err)
		return err
	}
}

// stop drains and closes n within --stop-timeout. What cannot be handed over in
// time is durable here, so it is worth a warning and no failure.
func (c *serveCmd) stop(n *node, log *slog.Logger) error {
	log.Info("stopping", "timeout", c.StopTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), c.StopTimeout)
	defer cancel()
	drain, cancelDrain := context.WithTimeout(ctx, c.StopTimeout-c.StopTimeout/closeShare)
	defer cancelDrain()
	if err := n.Drain(drain); err != nil {
		log.Warn("stopping without having drained", "error", err)
	}
	err := n.Close(ctx)
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// closeShare is the part of --stop-timeout, one n-th, that is kept for closing after draining.
const closeShare = 4

// nodeConfig turns flags and environment into what a node is made of.
func (c *serveCmd) nodeConfig(log *slog.Logger) (nodeConfig, error) {
	token, err := rootTokenFromEnv()
	if err != nil {
		return nodeConfig{}, usageError{err}
	}
	key, err := c.gossipKey()
	if err != nil {
		return nodeConfig{}, usageError{err}
	}
	config := nodeConfig{
		Name:            c.NodeID,
		DataDir:         c.DataDir,
		HTTPAddr:        c.HTTPAddr,
		AdminAddr:       c.AdminAddr,
		PeerAddr:        c.PeerAddr,
		AdvertiseAddr:   c.PeerAdvertiseAddr,
		GossipAddr:      c.GossipAddr,
		Join:            c.Join,
		BootstrapExpect: c.BootstrapExpect,
		GossipKey:       key,
		RootToken:       token,
		StopDelay:       c.StopDelay,
		Logger:          log,
	}
	if c.InsecurePeers {
		log.Warn("nodes talk over plain TCP (--insecure-peers)")
		return config, nil
	}
	if key == nil {
		log.Warn("gossip is not encrypted; give all nodes a --gossip-key (bursar certs gossip-key)")
	}
	peers, err := newPeerTLS(c.TLSCA, c.TLSCert, c.TLSKey, c.NodeID, log)
	if err != nil {
		return nodeConfig{}, usageError{err}
	}
	config.TLS = peers.Config
	return config, nil
}

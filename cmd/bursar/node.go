package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	metricsprom "github.com/armon/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/admin"
	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// nodeConfig is what one node is made of, flags apart.
type nodeConfig struct {
	Name            string
	DataDir         string
	HTTPAddr        string
	AdminAddr       string
	PeerAddr        string
	AdvertiseAddr   string // what other nodes dial; empty: PeerAddr
	GossipAddr      string
	Join            []string
	BootstrapExpect int
	TLS             func() (*tls.Config, error) // nil: plain TCP between nodes
	GossipKey       []byte
	RootToken       string        // the cluster's first root token; empty: one is made
	StopDelay       time.Duration // how long Drain goes on answering with a red /readyz
	Logger          *slog.Logger  // without the node's name: that is added
}

// node is one running node. Start brings it up, Failed says that it cannot go
// on, Drain and Close take it down.
//
// The parts depend on one another in a circle. The enforcer must have read the
// state before the next entry is applied to it, or it would miss the settling of
// what it restores; the cluster applies from the moment it is opened; and the
// enforcer needs the node's number, which a new node has only from the cluster.
// Two small stand-ins cut the circle (cluster/late.go), and a restart and a first start
// take it from different sides:
//
//  1. The data directory is locked and the ports are opened, so that a second
//     process fails before it has touched anything. Both planes answer "starting".
//  2. fsm.Open, observed by a LateObserver that has nobody to tell yet.
//  3. At a restart the replica knows the number: enforcer.Open over LatePeers,
//     and LateObserver.Attach. It hears of every entry applied from here on.
//  4. cluster.Open restarts, joins or bootstraps, and LatePeers is bound to it.
//  5. cluster.Admitted: at once at a restart. A new node, which has neither
//     reservations nor outbox and so nothing to miss, opens its enforcer now;
//     Attach makes it read again what was applied meanwhile.
//  6. cluster.Serve lets the peers' requests in, the planes get their handlers, and
//     enforcer.Run starts the session. Until that is applied it admits nothing.
//
// Down is the reverse: the enforcer drains while the cluster still runs, the
// cluster stops before the enforcer closes, because its goroutines call it, and
// the machine closes last.
type node struct {
	c        nodeConfig
	log      *slog.Logger
	gate     gate
	observer cluster.LateObserver
	peers    cluster.LatePeers
	registry *prometheus.Registry

	lock      *os.File
	httpPort  *net.TCPListener
	adminPort *net.TCPListener
	machine   *fsm.Machine
	cluster   *cluster.Node
	starting  *http.Server // on httpPort until data takes over
	data      *fasthttp.Server
	admin     *http.Server
	answering swapHandler // what admin serves

	cancel   context.CancelFunc
	work     sync.WaitGroup // everything that ends with cancel
	enforcer atomic.Pointer[enforcer.Enforcer]
	num      fsm.NodeNum // that the enforcer was opened as
	failed   chan error
}

// Bounds of starting and stopping.
const (
	abortTimeout    = 5 * time.Second // taking down a node that did not start
	drainLeaderless = 4 * time.Second // an election takes one or two
	takeoverTimeout = time.Second     // requests of the starting server that are still running
	raftMetricsKept = time.Minute     // how long a measurement of raft or gossip is shown after it was last made
	adminShare      = 4               // the part of Close's time, one n-th, that requests to the control plane have to end
	closeGrace      = time.Second     // what Close may overrun its context by before it gives up waiting
)

func newNode(c nodeConfig) *node {
	n := &node{c: c, log: c.Logger.With("node", c.Name), failed: make(chan error, 1), registry: prometheus.NewRegistry()}
	n.gate.set(causeStarting, &obstacle{errStarting, true})
	n.gate.set(causeToken, &obstacle{errNoToken, false})
	return n
}

// Start opens the node and returns once it listens; to become a member may take
// longer (see Ready). Its errors say what to do. ctx bounds the start alone.
func (n *node) Start(ctx context.Context) error {
	err := n.start(ctx)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		n.Close(ctx)
	}
	return err
}

func (n *node) start(ctx context.Context) (err error) {
	if n.lock, err = lockDataDir(n.c.DataDir); err != nil {
		return err
	}
	if err := roomToStart(n.c.DataDir); err != nil {
		return err
	}
	if err := n.openPorts(); err != nil {
		return err
	}
	err = whileLoading(func() (err error) {
		n.machine, err = fsm.Open(filepath.Join(n.c.DataDir, stateDir), fsm.Options{Logger: n.log, Observer: &n.observer})
		return err
	})
	if err != nil {
		return fmt.Errorf("opening the state in --data-dir %s: %w", n.c.DataDir, err)
	}
	if num := n.numberInReplica(); num != 0 {
		if err := n.openEnforcer(num); err != nil {
			return err
		}
	}
	config, err := n.clusterConfig()
	if err != nil {
		return err
	}
	n.cluster, err = cluster.Open(ctx, config, n.machine)
	if err != nil {
		return err
	}
	n.peers.Bind(n.cluster)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.serveStarting()
	n.goRun(running, boundGarbage)
	n.goRun(running, n.join)
	n.goRun(running, n.watchCluster)
	n.goRun(running, newDiskWatch(n.c.DataDir, n.lowDisk, n.log).run)
	n.goRun(running, n.ensureRootToken)
	return nil
}

// openPorts opens the ports of both planes, and looks whether those of the
// cluster can be opened, to say so in terms of the flags.
func (n *node) openPorts() (err error) {
	if n.httpPort, err = listen("--http-addr", n.c.HTTPAddr); err != nil {
		return err
	}
	if n.adminPort, err = listen("--admin-addr", n.c.AdminAddr); err != nil {
		return err
	}
	for _, p := range []struct{ flag, addr string }{{"--peer-addr", n.c.PeerAddr}, {"--gossip-addr", n.c.GossipAddr}} {
		l, err := listen(p.flag, p.addr)
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

func (n *node) clusterConfig() (cluster.Config, error) {
	sink, err := metricsprom.NewPrometheusSinkFrom(metricsprom.PrometheusOpts{Registerer: n.registry, Expiration: raftMetricsKept})
	if err != nil {
		return cluster.Config{}, err
	}
	c := cluster.Config{
		Name:            n.c.Name,
		DataDir:         n.c.DataDir,
		PeerAddr:        n.c.PeerAddr,
		AdvertiseAddr:   cmp.Or(n.c.AdvertiseAddr, n.c.PeerAddr),
		GossipAddr:      n.c.GossipAddr,
		Join:            n.c.Join,
		BootstrapExpect: n.c.BootstrapExpect,
		TLS:             n.c.TLS,
		GossipKey:       n.c.GossipKey,
		Logger:          n.c.Logger,
		MetricsSink:     sink,
	}
	if _, port, err := splitAddr(c.AdvertiseAddr); err == nil && port == 0 {
		c.AdvertiseAddr = ""
	}
	return c, nil
}

// serveStarting answers probes on both planes until join takes over.
func (n *node) serveStarting() {
	n.answering.set(n.gate.startingHandler())
	n.admin = admin.NewServer(&n.answering)
	n.serve("--admin-addr", func() error { return n.admin.Serve(n.adminPort) })
	n.starting = admin.NewServer(n.gate.startingHandler())
}

// join waits for membership, opens the enforcer and runs its session.
func (n *node) join(ctx context.Context) error {
	first := newTurn(n.httpPort)
	firstOver := make(chan struct{})
	go func() { defer close(firstOver); n.starting.Serve(first) }()

	err := n.becomeMember(ctx)
	n.endStarting(firstOver)
	if err != nil {
		return err
	}
	e := n.enforcer.Load()
	n.cluster.Serve(e)
	n.answering.set(n.controlPlane(e))
	n.data = enforcer.NewServer(e, n.log)
	n.data.Handler = n.gate.guard(n.data.Handler)
	n.gate.set(causeStarting, nil)
	n.serve("--http-addr", func() error { return n.data.Serve(enforcer.Linger(newTurn(n.httpPort))) })
	return e.Run(ctx, n.propose)
}

// becomeMember waits until the cluster has the node and sees to its enforcer.
func (n *node) becomeMember(ctx context.Context) error {
	num, err := n.cluster.Admitted(ctx)
	switch {
	case err != nil:
		return err
	case n.enforcer.Load() == nil:
		return n.openEnforcer(num)
	case num != n.num:
		return fmt.Errorf("the cluster knows this node as number %d, its own state as %d: start it again", num, n.num)
	}
	return nil
}

// numberInReplica returns this node's number as of what is on disk, or 0.
func (n *node) numberInReplica() (num fsm.NodeNum) {
	n.machine.View(func(v *fsm.View) {
		for _, member := range v.Nodes() {
			if member.Name == n.c.Name && member.RemovedAt == 0 {
				num = member.Num
			}
		}
	})
	return num
}

// endStarting ends the starting server's turn on the data plane's port.
func (n *node) endStarting(over <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), takeoverTimeout)
	defer cancel()
	if err := n.starting.Shutdown(ctx); err != nil {
		n.starting.Close()
	}
	<-over
}

func (n *node) openEnforcer(num fsm.NodeNum) error {
	e, err := enforcer.Open(enforcer.Config{
		Name:    n.c.Name,
		Node:    num,
		DataDir: n.c.DataDir,
		Logger:  n.c.Logger,

		Registerer: n.registry,
	}, n.machine, &n.peers)
	if err != nil {
		return fmt.Errorf("opening reservations and outbox in --data-dir %s: %w", n.c.DataDir, err)
	}
	n.observer.Attach(e, n.machine)
	n.num = num
	n.enforcer.Store(e)
	return nil
}

// controlPlane returns the admin API over the opened node.
func (n *node) controlPlane(e *enforcer.Enforcer) http.Handler {
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	admin.Metrics(n.registry, n.machine, n.cluster)
	return admin.New(admin.Config{
		Cluster:  n.cluster,
		Machine:  n.machine,
		Reserved: e.ClusterReserved,
		Rejected: e.ClusterRejected,
		Ready:    n.Ready,
		Gatherer: n.registry,
		NodeName: n.c.Name,
		Logger:   n.log,
	})
}

// propose commits a command of this node's own session.
func (n *node) propose(ctx context.Context, body fsm.Body) error {
	_, err := n.cluster.ProposeQuick(ctx, nodeActor(n.c.Name), body)
	return err
}

// ensureRootToken keeps /readyz red until the cluster has a root token.
func (n *node) ensureRootToken(ctx context.Context) error {
	r := &rootToken{given: n.c.RootToken, dir: n.c.DataDir, machine: n.machine, cluster: n.cluster, log: n.log}
	if err := r.ensure(ctx); err != nil {
		return fmt.Errorf("looking for a root token: %w", err)
	}
	n.gate.set(causeToken, nil)
	return nil
}

// watchCluster turns a failed disk or state below raft into this node's failure.
func (n *node) watchCluster(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.cluster.Failed():
		return n.cluster.Err()
	}
}

// lowDisk closes the gate while the disk is nearly full.
func (n *node) lowDisk(why error) {
	if why == nil {
		n.gate.set(causeDisk, nil)
		return
	}
	n.gate.set(causeDisk, &obstacle{why, true})
}

// goRun runs f until ctx ends; an error before that is the node's failure.
func (n *node) goRun(ctx context.Context, f func(context.Context) error) {
	n.work.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			n.fail(err)
		}
	})
}

// serve runs one server; it ends without an error when it is shut down.
func (n *node) serve(flag string, f func() error) {
	go func() {
		if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("%s: %w", flag, err))
		}
	}()
}

func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// Leave takes a failed node out of service at once, without waiting for anything:
// a hung disk may hold the process, and with it the open ports, long after it has been ended.
func (n *node) Leave() {
	n.gate.set(causeStopping, &obstacle{errFailed, true})
	n.httpPort.Close()
	n.adminPort.Close()
}

// Failed receives why the node cannot go on. The process must end then; the
// state is for its next start to sort out.
func (n *node) Failed() <-chan error { return n.failed }

// Ready returns why the node may not decide now, or nil.
func (n *node) Ready() error {
	if err := n.gate.reason(); err != nil {
		return err
	}
	return n.enforcer.Load().Ready()
}

// HTTPAddr returns the data plane's address; AdminAddr the control plane's.
func (n *node) HTTPAddr() string  { return n.httpPort.Addr().String() }
func (n *node) AdminAddr() string { return n.adminPort.Addr().String() }

// Drain takes the node out of service while the cluster still runs: /readyz
// turns red, after StopDelay calls are refused, and the enforcer ships its outbox and gives its leases back.
func (n *node) Drain(ctx context.Context) error {
	n.gate.set(causeStopping, &obstacle{errStopping, false})
	e := n.enforcer.Load()
	if e == nil {
		return nil
	}
	select {
	case <-time.After(n.c.StopDelay):
	case <-ctx.Done():
	}
	n.gate.set(causeStopping, &obstacle{errStopping, true})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go n.watchLeaderless(ctx, cancel)
	if err := e.Drain(ctx); err != nil {
		return fmt.Errorf("not everything could be handed over; it is kept for the next start: %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// watchLeaderless ends a drain that has nobody to hand over to: the last nodes
// of a cluster that is stopped as a whole.
func (n *node) watchLeaderless(ctx context.Context, giveUp context.CancelCauseFunc) {
	began := time.Now()
	ticker := time.NewTicker(drainLeaderless / 10)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		heard := n.peers.HeardLeader()
		if heard.Before(began) {
			heard = began
		}
		if time.Since(heard) > drainLeaderless {
			giveUp(fmt.Errorf("no leader for %v", drainLeaderless))
			return
		}
	}
}

// Close hands leadership over and closes everything. It is safe on a node that
// did not start. It stops waiting shortly after ctx ends: a hung disk must not keep a process alive.
func (n *node) Close(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() { closed <- n.close(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(closeGrace):
		return fmt.Errorf("the node did not stop in time: %w", ctx.Err())
	}
}

func (n *node) close(ctx context.Context) error {
	n.gate.set(causeStopping, &obstacle{errStopping, true})
	if n.cancel != nil {
		n.cancel()
		n.work.Wait()
	}
	var errs []error
	if n.data != nil {
		errs = append(errs, n.data.ShutdownWithContext(ctx))
	}
	if n.admin != nil {
		errs = append(errs, n.endAdmin(ctx))
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Close(ctx))
	}
	if e := n.enforcer.Load(); e != nil {
		errs = append(errs, e.Close())
	}
	if n.machine != nil {
		errs = append(errs, n.machine.Close())
	}
	for _, port := range []*net.TCPListener{n.httpPort, n.adminPort} {
		if port != nil {
			port.Close() // the server that had it may have closed it already
		}
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// endAdmin lets the control plane finish what it is answering, for a part of the time that ctx has left. What takes longer (a
// verification, a draft of a statement, an answer that nobody reads) is cut off, so that leadership is still handed over in order.
func (n *node) endAdmin(ctx context.Context) error {
	patience, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		patience, cancel = context.WithTimeout(ctx, time.Until(deadline)/adminShare)
	}
	defer cancel()
	err := n.admin.Shutdown(patience)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	n.log.Warn("requests to the control plane are cut off: the node is stopping")
	return n.admin.Close() // which ends the contexts of its requests
}

// swapHandler serves whatever handler was set last.
type swapHandler struct{ present atomic.Pointer[http.Handler] }

func (s *swapHandler) set(h http.Handler) { s.present.Store(&h) }

// ServeHTTP implements http.Handler.
func (s *swapHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.present.Load()).ServeHTTP(w, r)
}

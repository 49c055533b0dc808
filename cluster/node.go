package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// Handler answers requests of peers' enforcers; *enforcer.Enforcer implements it.
type Handler interface {
	// Handle decodes body as method's request and returns the encoded reply.
	Handle(ctx context.Context, from fsm.NodeNum, method enforcer.Method, body []byte) ([]byte, error)
}

// Node is a member: raft, peer RPC, gossip, sessions. All methods may be called concurrently.
type Node struct {
	cfg      Config
	log      *slog.Logger
	run      string // identifies this process; later starts sort later
	machine  *fsm.Machine
	identity *identity
	dir      *directory

	transport *transport
	rpc       *rpcClient
	raft      *raftNode
	gossip    *gossip // nil without a gossip address

	members        atomic.Pointer[memberTable]
	membersMu      sync.Mutex
	membersChanged chan struct{} // closed and replaced when members changes

	lead    atomic.Pointer[leadership] // nil unless this node leads
	heard   atomic.Pointer[time.Time]  // see HeardLeader
	roll    atomic.Pointer[[]heardOf]  // what the leader last told of the others
	join    joining
	handler handlerSlot

	ctx    context.Context // ends when Close has handed leadership over
	cancel context.CancelFunc
	wg     sync.WaitGroup

	startedAt atomic.Pointer[time.Time] // when it was opened, or founded the cluster; never nil
	closing   atomic.Bool
	applying  applyGate
	logSize   logSize
	closeOnce sync.Once
	closed    chan struct{} // closed when everything has stopped

	failOnce sync.Once
	failed   chan struct{}
	err      error
}

// handlerSlot holds the enforcer's handler once it is there.
type handlerSlot struct {
	once  sync.Once
	ready chan struct{}
	h     Handler
}

// metricsOnce guards the process-wide sink of Config.MetricsSink.
var metricsOnce sync.Once

// Open starts a node over an opened state machine: it restarts, joins or
// bootstraps, whichever its data directory and the reachable peers call for. It
// returns once listening; membership may take longer (see Admitted). The
// context bounds only the opening.
func Open(ctx context.Context, c Config, m *fsm.Machine) (*Node, error) {
	c = c.withDefaults()
	if c.MetricsSink != nil {
		metricsOnce.Do(func() {
			conf := metrics.DefaultConfig("bursar")
			conf.EnableHostname, conf.EnableRuntimeMetrics = false, false
			metrics.NewGlobal(conf, c.MetricsSink)
		})
	}
	id, err := openIdentity(c.FS, c.DataDir, c.Name)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: c, log: c.Logger, run: ulid.Make().String(), machine: m, identity: id, dir: newDirectory(),
		membersChanged: make(chan struct{}),
		failed:         make(chan struct{}),
		closed:         make(chan struct{}),
	}
	n.handler.ready = make(chan struct{})
	n.join.init()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.members.Store(&memberTable{})
	n.starts()
	if err := n.open(ctx); err != nil {
		n.cancel()
		return nil, err
	}
	return n, nil
}

// starts notes that the node starts, or the cluster that it founds.
func (n *Node) starts() {
	now := time.Now()
	n.startedAt.Store(&now)
}

func (n *Node) open(ctx context.Context) (err error) {
	n.refreshMembers()
	if t, id := n.members.Load(), n.identity.get(); t.configured && id.Cluster != t.settings.ClusterID {
		return fmt.Errorf("the state in %s is of cluster %s, %s says %s: restore the directory as a whole, or empty it", n.cfg.DataDir, t.settings.ClusterID, identityFile, id.Cluster)
	}
	if n.err != nil {
		return n.err
	}
	if n.transport, err = listenPeers(&n.cfg); err != nil {
		return err
	}
	n.dir.set(n.cfg.Name, n.transport.advertise)
	n.transport.self = n.introduce
	n.transport.admit = n.admits
	n.transport.welcome = n.introduced
	server := newRPCServer(n.log, n.handle)
	n.transport.serve = server.serve
	n.rpc = newRPCClient(func(ctx context.Context, lane purpose, to target) (net.Conn, welcome, error) {
		return n.transport.dial(ctx, lane, to)
	})
	sm := &stateMachine{machine: n.machine, changed: n.refreshMembers, configured: n.reconfigured, failed: n.fail, size: &n.logSize}
	if n.raft, err = startRaft(&n.cfg, raftLogger(n.log, n.inOrder), n.transport, n.dir, n.machine, sm); err != nil {
		n.transport.close()
		return err
	}
	n.reconfigured(n.configuration())
	if n.cfg.GossipAddr != "" {
		if n.gossip, err = startGossip(&n.cfg, n.gossipMeta); err != nil {
			n.shutdown()
			return err
		}
		n.wg.Go(func() { n.gossip.rejoinLoop(n.ctx) })
	}
	n.transport.run()
	n.wg.Go(n.watchLeadership)
	n.wg.Go(n.watchStore)
	n.wg.Go(n.watchFailure)
	n.wg.Go(n.watchLogSize)
	n.wg.Go(n.seekMembership)
	return ctx.Err()
}

// introduce is this node's hello.
func (n *Node) introduce() hello {
	return hello{Name: n.cfg.Name, Run: n.run, Addr: n.transport.advertise, Cluster: n.identity.get().Cluster, Fresh: n.fresh(), Reads: n.cfg.Tuning.LogVersion}
}

// introduced learns where a caller can be reached. Only a node with state is
// worth finding at a new address; a fresh one under the same name may be a mistake.
func (n *Node) introduced(h hello) {
	if !h.Fresh && h.Name != n.cfg.Name {
		n.dir.set(h.Name, h.Addr)
	}
	n.join.candidate(h.Addr)
}

// configuration is raft's latest, committed or not.
func (n *Node) configuration() raft.Configuration {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return raft.Configuration{}
	}
	return f.Configuration()
}

// reconfigured learns addresses from raft's configuration, where nothing newer is known.
func (n *Node) reconfigured(c raft.Configuration) {
	for _, s := range c.Servers {
		if n.dir.addr(string(s.ID)) == "" {
			n.dir.set(string(s.ID), string(s.Address))
		}
	}
}

// Serve connects the enforcer's request handler. Requests that arrive before it wait.
func (n *Node) Serve(h Handler) {
	n.handler.once.Do(func() {
		n.handler.h = h
		close(n.handler.ready)
	})
}

func (n *Node) callHandler(ctx context.Context, from fsm.NodeNum, m enforcer.Method, body []byte) ([]byte, error) {
	select {
	case <-n.handler.ready:
		return n.handler.h.Handle(ctx, from, m, body)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Call implements enforcer.Peers.
func (n *Node) Call(ctx context.Context, to fsm.NodeNum, m enforcer.Method, req, reply any) error {
	body, err := msgpack.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	peer := n.members.Load().node(to)
	if peer == nil {
		return fmt.Errorf("%w: there is no node %d", enforcer.ErrUnreachable, to)
	}
	var answer []byte
	if peer.Name == n.cfg.Name {
		answer, err = n.callHandler(ctx, to, m, body)
	} else {
		answer, _, err = n.rpc.callRaw(ctx, n.target(peer.Name), methodEnforcer+method(m), body)
	}
	if err != nil {
		return callError(err)
	}
	if err := msgpack.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("%w: decode answer of %s: %v", enforcer.ErrUnknownOutcome, peer.Name, err)
	}
	return nil
}

// callError puts an error into the terms of enforcer.Peers.
func callError(err error) error {
	switch {
	case errors.Is(err, enforcer.ErrUnreachable), errors.Is(err, enforcer.ErrUnknownOutcome):
		return err
	case notDone(err):
		return fmt.Errorf("%w: %w", enforcer.ErrUnreachable, err)
	default:
		return fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, err)
	}
}

// target is a node's name with its present address.
func (n *Node) target(name string) target { return target{name: name, addr: n.dir.addr(name)} }

// leader returns the name of the leader this node knows of, or "".
func (n *Node) leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// Admitted waits until this node is a member in its own replica and returns its number.
func (n *Node) Admitted(ctx context.Context) (fsm.NodeNum, error) {
	for {
		changed := n.onMembers()
		if num := n.members.Load().num(n.cfg.Name); num != 0 {
			return num, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-n.failed:
			return 0, n.err
		case <-n.ctx.Done():
			return 0, ErrStopped
		}
	}
}

// Failed is closed when the node's disk or state is no longer to be trusted, or
// the cluster will not have it; the process must exit. Err says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns why the node failed, or nil.
func (n *Node) Err() error {
	select {
	case <-n.failed:
		return n.err
	default:
		return nil
	}
}

// fail ends the node for good, from anywhere, without waiting for anything.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.err = err
		n.log.Error("the node has failed and must stop", "error", err)
		close(n.failed)
	})
}

// closeWait bounds each step of Close that waits for others.
const closeWait = 3 * time.Second

// Close hands leadership over and stops. It returns ctx's error if the node did
// not stop in time, as on a hung disk. Closing again waits again.
func (n *Node) Close(ctx context.Context) error {
	n.closeOnce.Do(func() {
		n.retire(ctx)
		go n.shutdown()
	})
	select {
	case <-n.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the node did not stop: %w", ctx.Err())
	}
}

// retire lets what is under way end: no new entries, another leader, the last entries answered.
func (n *Node) retire(ctx context.Context) {
	n.closing.Store(true)
	n.applying.close()
	if n.raft.State() == raft.Leader && n.Err() == nil && len(n.configuration().Servers) > 1 {
		hand, cancel := context.WithTimeout(ctx, closeWait)
		if err := n.handOver(hand, ""); err != nil {
			n.log.Warn("leadership could not be handed over", "error", err)
		}
		cancel()
	}
	drain, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	n.applying.wait(drain)
}

// shutdown stops everything and waits for it.
func (n *Node) shutdown() {
	defer close(n.closed)
	n.cancel()
	if n.gossip != nil {
		n.gossip.close()
	}
	stopping := n.raft.Shutdown()
	n.rpc.close()
	n.transport.close()
	if err := stopping.Error(); err != nil {
		n.log.Error("stopping raft failed", "error", err)
	}
	n.raft.transport.CloseStreams()
	n.wg.Wait()
	if err := n.raft.stores.Close(); err != nil {
		n.log.Error("closing raft's log failed", "error", err)
	}
}

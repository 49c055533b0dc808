package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// Config configures a node's part in the cluster. The zero value of a timing
// field means its default. Validated by cmd; Open trusts it.
type Config struct {
	Name            string // node id; the SAN of its certificate
	DataDir         string // holds raft/ and, for the caller, state/, outbox/, journal/
	PeerAddr        string // host:port to listen on; port 0 picks one
	AdvertiseAddr   string // what others dial; empty: the listener's address
	GossipAddr      string // host:port for memberlist; empty: no gossip, Join names peer addresses
	Join            []string
	BootstrapExpect int
	TLS             func() (*tls.Config, error) // read anew for every handshake side; nil: plain TCP (loopback only)
	GossipKey       []byte
	Network         Network // nil: real TCP
	FS              vfs.FS
	Logger          *slog.Logger

	HeartbeatTimeout time.Duration // raft
	ElectionTimeout  time.Duration
	DeadAfter        time.Duration // silence after which the leader declares a node dead (1 s)
}

// Network lets tests run nodes over in-memory pipes.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Errors. ErrUnknownOutcome (from enforcer) marks a proposal that may or may not take effect.
var (
	ErrNotLeader = errors.New("this node is not the leader")
	ErrStopped   = errors.New("the node is stopped")
)

// Handler answers requests of peers' enforcers; *enforcer.Enforcer implements it.
type Handler interface {
	// Handle decodes body as method's request and returns the encoded reply.
	Handle(ctx context.Context, from fsm.NodeNum, method enforcer.Method, body []byte) ([]byte, error)
}

// Node is a member: raft, peer RPC, gossip, sessions.
type Node struct{}

// Open starts a node over an opened state machine: it restarts, joins or
// bootstraps, whichever its data directory and the reachable peers call for. It
// returns once listening; membership may take longer (see Ready).
func Open(ctx context.Context, c Config, m *fsm.Machine) (*Node, error) { panic("unwritten") }

// Serve connects the enforcer's request handler. Requests that arrive before it wait.
func (n *Node) Serve(h Handler) { panic("unwritten") }

// Admitted waits until this node is a member in its own replica and returns its number.
func (n *Node) Admitted(ctx context.Context) (fsm.NodeNum, error) { panic("unwritten") }

// Propose commits a command through the leader, wherever that is, and waits until
// every live node has applied it, or has been silent for longer than the
// staleness bound. ID, At and Leader are filled in. A rejection by the state
// machine is returned as *fsm.Error.
func (n *Node) Propose(ctx context.Context, actor fsm.Actor, body fsm.Body) (index uint64, err error) {
	panic("unwritten")
}

// ProposeQuick is Propose without waiting for the other nodes to apply.
func (n *Node) ProposeQuick(ctx context.Context, actor fsm.Actor, body fsm.Body) (index uint64, err error) {
	panic("unwritten")
}

// Barrier makes reads linearizable: when it returns, the local replica holds every write
// acknowledged anywhere before the call. It returns the index read at.
func (n *Node) Barrier(ctx context.Context) (index uint64, err error) { panic("unwritten") }

// Reconcile, Call and HeardLeader implement enforcer.Peers.
func (n *Node) Reconcile(ctx context.Context, part *fsm.Part) (*enforcer.ReconcileReply, error) {
	panic("unwritten")
}

// Call implements enforcer.Peers.
func (n *Node) Call(ctx context.Context, to fsm.NodeNum, method enforcer.Method, req, reply any) error {
	panic("unwritten")
}

// HeardLeader implements enforcer.Peers.
func (n *Node) HeardLeader() time.Time { panic("unwritten") }

// Status describes the cluster as this node sees it, for GET /v1/cluster and metrics.
type Status struct {
	ClusterID string
	Name      string
	Num       fsm.NodeNum
	Leader    string // name; empty: none known
	State     string // "leader", "follower", "candidate", "shutdown"
	Term      uint64
	Commit    uint64
	Applied   uint64
	Members   []Member
}

// Member is one node of Status.
type Member struct {
	Name      string
	Num       fsm.NodeNum
	Addr      string
	Voter     bool
	Leader    bool
	Dead      bool
	Drained   bool
	Boot      uint64
	Applied   uint64    // as last heard; exact for this node
	LastHeard time.Time // zero: never
}

// Status returns the present status.
func (n *Node) Status() Status { panic("unwritten") }

// Remove ends a node's membership; see fsm.RemoveNode.
func (n *Node) Remove(ctx context.Context, actor fsm.Actor, name string) error { panic("unwritten") }

// TransferLeadership hands leadership to the named node, or to the most suitable if empty.
func (n *Node) TransferLeadership(ctx context.Context, to string) error { panic("unwritten") }

// Failed is closed when the node's disk or state is no longer to be trusted; the process must exit. Err says why.
func (n *Node) Failed() <-chan struct{} { panic("unwritten") }

// Err returns why the node failed.
func (n *Node) Err() error { panic("unwritten") }

// Close hands leadership over and stops.
func (n *Node) Close(ctx context.Context) error { panic("unwritten") }

package cluster

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/armon/go-metrics"
	"github.com/cockroachdb/pebble/v2/vfs"

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
	FS              vfs.FS  // of what this package writes itself; bbolt always uses the real file system
	Logger          *slog.Logger

	// MetricsSink receives the measurements of raft and memberlist, which keep them in one
	// place for the whole process: the first node that brings a sink sets it. Nil: discarded.
	MetricsSink metrics.MetricSink

	// Wall tells this machine's clock, in Unix milliseconds, at a time: the time of the log
	// entries that this node proposes. Simulations set the clocks of nodes apart with it. Nil: the system's.
	Wall func(time.Time) int64

	HeartbeatTimeout time.Duration // raft: silence after which a follower stands for election (500 ms); also the leader's lease
	ElectionTimeout  time.Duration // raft: how long an election may take before the next one (HeartbeatTimeout)
	DeadAfter        time.Duration // silence after which the leader declares a node dead (1 s)

	Tuning Tuning
}

// Tuning is what only tests and simulations change. The zero value of a field means its default.
type Tuning struct {
	OpenStores        func(dir string) (RaftStores, error) // nil: raft-boltdb
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64
	SnapshotBytes     int64 // of entries, after which a snapshot is taken
	ChecksumEvery     time.Duration
	DiskStall         time.Duration
	CommitTimeout     time.Duration // raft: how late a follower may learn of a commit if no notice of it arrives
	LogVersion        uint8         // the highest version of log entries that it says it reads: less than fsm.LogVersion is what an earlier release says
}

// The defaults and bounds of timing.
const (
	defaultHeartbeatTimeout = 500 * time.Millisecond
	defaultDeadAfter        = time.Second
	// defaultCommitTimeout bounds how long a follower may take to learn of a commit when
	// nothing else is written and the notice of it is lost: one to two times this.
	// An idle leader works this often for each follower.
	defaultCommitTimeout = 50 * time.Millisecond
	// defaultDiskStall is how long one append may take before the disk counts as hung.
	defaultDiskStall = 10 * time.Second
	// defaultChecksumEvery is how often the leader has the replicas compared.
	defaultChecksumEvery = 10 * time.Second
	// A snapshot is taken every defaultSnapshotThreshold entries. It costs a flush.
	defaultSnapshotThreshold = 8192
	defaultSnapshotInterval  = 15 * time.Second
	// defaultTrailingLogs entries stay in the log behind a snapshot, so that a
	// follower which was away for a minute under load needs no state streamed.
	defaultTrailingLogs = 32_768
)

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	c.HeartbeatTimeout = orDefault(c.HeartbeatTimeout, defaultHeartbeatTimeout)
	c.ElectionTimeout = max(c.ElectionTimeout, c.HeartbeatTimeout)
	c.DeadAfter = orDefault(c.DeadAfter, defaultDeadAfter)
	c.Tuning.LogVersion = orDefault(c.Tuning.LogVersion, fsm.LogVersion)
	if c.Network == nil {
		c.Network = tcp{}
	}
	if c.Wall == nil {
		c.Wall = time.Time.UnixMilli
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("node", c.Name)
	t := &c.Tuning
	if t.OpenStores == nil {
		t.OpenStores = openBolt
	}
	t.SnapshotThreshold = orDefault(t.SnapshotThreshold, defaultSnapshotThreshold)
	t.SnapshotInterval = orDefault(t.SnapshotInterval, defaultSnapshotInterval)
	t.TrailingLogs = orDefault(t.TrailingLogs, defaultTrailingLogs)
	t.SnapshotBytes = orDefault(t.SnapshotBytes, defaultSnapshotBytes)
	t.ChecksumEvery = orDefault(t.ChecksumEvery, defaultChecksumEvery)
	t.DiskStall = orDefault(t.DiskStall, defaultDiskStall)
	t.CommitTimeout = orDefault(t.CommitTimeout, defaultCommitTimeout)
	return c
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// leaderLease is how long a leader may go on believing that it is one without
// having heard from a majority.
func (c *Config) leaderLease() time.Duration { return c.HeartbeatTimeout }

// Network lets tests run nodes over in-memory pipes.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// tcp is the real network.
type tcp struct{}

// tcpKeepAlive finds a peer that vanished without a word on an idle connection.
const tcpKeepAlive = 15 * time.Second

func (tcp) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: tcpKeepAlive}
	return lc.Listen(context.Background(), "tcp", addr)
}

func (tcp) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: tcpKeepAlive}
	return d.DialContext(ctx, "tcp", addr)
}

package cluster

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

const (
	raftDir = "raft" // below the data directory
	// raftIOTimeout bounds one request of raft to a peer. It is generous: a batch may be large.
	raftIOTimeout = 5 * time.Second
	// raftMaxAppend bounds the entries of one batch, and of the queue before it.
	raftMaxAppend = 512
	// raftLogCache is how many of the latest entries stay in memory for followers. It counts entries, and one
	// that loads a thousand items has a quarter of a megabyte.
	raftLogCache = 256
	// raftConnPool is how many idle connections are kept to each peer.
	raftConnPool = 3
	// raftNotifications buffers changes of leadership: raft's loop waits for whoever reads them.
	raftNotifications = 64
)

// raftNode is a running raft with what it stands on.
type raftNode struct {
	*raft.Raft
	transport *noticeTransport
	stores    RaftStores
	snapshots *snapshotStore
	notify    chan bool
}

// startRaft opens raft's stores and starts it on the peer port.
func startRaft(c *Config, log hclog.Logger, t *transport, dir *directory, m *fsm.Machine, sm *stateMachine) (*raftNode, error) {
	base := filepath.Join(c.DataDir, raftDir)
	if err := makeDir(c.FS, base); err != nil {
		return nil, err
	}
	stores, err := c.openStores(base)
	if err != nil {
		return nil, err
	}
	guarded := newWatchdog(stores, c.Tuning.DiskStall, sm.failed)
	r, err := newRaft(c, log, t, dir, m, sm, guarded)
	if err != nil {
		stores.Close()
		return nil, err
	}
	return r, nil
}

func newRaft(c *Config, log hclog.Logger, t *transport, dir *directory, m *fsm.Machine, sm *stateMachine, stores RaftStores) (*raftNode, error) {
	snapshots, err := openSnapshots(c.FS, filepath.Join(c.DataDir, raftDir, snapshotsDir), m, c.Logger)
	if err != nil {
		return nil, err
	}
	sm.snapshots = snapshots
	if err := checkLog(stores, snapshots, m); err != nil {
		return nil, err
	}
	cache, err := raft.NewLogCache(raftLogCache, stores)
	if err != nil {
		return nil, err
	}
	nt := newNoticeTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider:   addressProvider{dir},
		Logger:                  log,
		Stream:                  newRaftLayer(t),
		MaxPool:                 raftConnPool,
		Timeout:                 raftIOTimeout,
		MsgpackUseNewTimeFormat: true,
	}))
	sm.committed = nt.committed
	notify := make(chan bool, raftNotifications)
	r, err := raft.NewRaft(raftConfig(c, log, notify), sm, cache, stores, snapshots, nt)
	if err != nil {
		nt.Close()
		return nil, fmt.Errorf("start raft: %w", err)
	}
	nt.raft.Store(r)
	return &raftNode{Raft: r, transport: nt, stores: stores, snapshots: snapshots, notify: notify}, nil
}

func raftConfig(c *Config, log hclog.Logger, notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.Name)
	rc.Logger = log
	rc.NotifyCh = notify
	rc.HeartbeatTimeout = c.HeartbeatTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.leaderLease()
	rc.CommitTimeout = c.Tuning.CommitTimeout
	rc.MaxAppendEntries = raftMaxAppend
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false
	rc.SnapshotThreshold = c.Tuning.SnapshotThreshold
	rc.SnapshotInterval = c.Tuning.SnapshotInterval
	rc.TrailingLogs = c.Tuning.TrailingLogs
	// The machine is durable: after a restart it is at, or ahead of, raft's last
	// snapshot, and must not be set back to it.
	rc.NoSnapshotRestoreOnStart = true
	rc.NoLegacyTelemetry = true
	return rc
}

// checkLog refuses a data directory whose log and state do not belong together.
func checkLog(stores RaftStores, snapshots *snapshotStore, m *fsm.Machine) error {
	existing, err := raft.HasExistingState(stores, stores, snapshots)
	if err != nil {
		return fmt.Errorf("read raft's log: %w", err)
	}
	if applied, _ := m.Applied(); !existing && applied > 0 {
		return fmt.Errorf("the state holds entries up to %d, but raft's log is empty: raft/ is missing or of another node; remove this node, empty its data directory and let it join anew", applied)
	}
	return nil
}

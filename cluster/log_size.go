package cluster

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// The hazard: raft counts entries, and ours have from 50 bytes to some hundred thousand. By number alone a bulk load leaves gigabytes
// in the log's file, which is mapped into memory, and a start reads all that was written since the latest snapshot.
//
// So a snapshot, which is a flush, is taken after so many bytes too, and fewer entries stay behind it where entries are large.

const (
	// defaultSnapshotBytes is after how many bytes of entries a snapshot is taken, however few they are.
	defaultSnapshotBytes = 64 << 20
	// trailingSnapshots is how many times that may stay in the log behind a snapshot.
	trailingSnapshots = 4
	// minTrailing entries stay in any case.
	minTrailing = 64
	// logSizeEvery is how often the size is looked at.
	logSizeEvery = time.Second
)

// logSize counts what was applied since the latest snapshot that it led to. It may be used concurrently.
type logSize struct{ entries, bytes atomic.Int64 }

func (s *logSize) add(entries []*raft.Log) {
	var bytes int64
	for _, l := range entries {
		bytes += int64(len(l.Data))
	}
	s.entries.Add(int64(len(entries)))
	s.bytes.Add(bytes)
}

// trailing returns how many entries may stay in the log if they are as large as these.
func trailing(entries, bytes, limit int64, most uint64) uint64 {
	return min(most, uint64(max(minTrailing, limit*entries/max(bytes, 1))))
}

// watchLogSize keeps raft's log from growing by bytes.
func (n *Node) watchLogSize() {
	tick := time.NewTicker(logSizeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.trimLog()
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) trimLog() {
	entries, bytes := n.logSize.entries.Load(), n.logSize.bytes.Load()
	limit := n.cfg.Tuning.SnapshotBytes
	if bytes < limit {
		return
	}
	rc := n.raft.ReloadableConfig()
	// A follower that needs the state sent has to be done before that many bytes are written, so it grows with the state.
	rc.TrailingLogs = trailing(entries, bytes, max(trailingSnapshots*limit, n.machine.DiskUsage()), n.cfg.Tuning.TrailingLogs)
	err := n.raft.ReloadConfig(rc)
	if err == nil {
		err = n.raft.Snapshot().Error()
	}
	if err != nil { // again in a second
		n.log.Debug("the log was not trimmed", "bytes", bytes, "error", err)
		return
	}
	n.logSize.entries.Add(-entries)
	n.logSize.bytes.Add(-bytes)
}

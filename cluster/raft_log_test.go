package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// What raft warns of is in order in a moment, or never: a cluster that has lost something must not be silent about it.
func TestWhatRaftWarnsOfIsInOrderInItsTimeOnly(t *testing.T) {
	const (
		starting = 1 << iota // it, or its cluster, was started a moment ago
		heard                // a leader has answered
		leaving              // the peer has drained
		closing
	)
	for _, c := range []struct {
		msg  string
		when int
		want bool
	}{
		{"heartbeat timeout reached, starting election", starting, true},
		{"heartbeat timeout reached, starting election", starting | heard, false},
		{"heartbeat timeout reached, starting election", 0, false},
		{"heartbeat timeout reached, starting election", heard | leaving, false},
		{"heartbeat timeout reached, starting election", heard | closing, true},
		{"failed to make requestVote RPC", starting, true},
		{"failed to make requestVote RPC", heard, false},
		{"failed to heartbeat to", starting | heard, true},
		{"failed to heartbeat to", heard, false},
		{"failed to heartbeat to", heard | leaving, true},
		{"clearing log suffix", starting | heard, true},
		{"clearing log suffix", heard, false},
		{"failed to contact quorum of nodes, stepping down", heard, false},
		{"failed to commit logs", starting | leaving | closing, false},
		{"rejecting vote request since node is not a voter", starting, false},
	} {
		n := &Node{cfg: Config{Name: "n1"}}
		at, now := time.Now().Add(-time.Minute), time.Now()
		if c.when&starting != 0 {
			at = now
		}
		n.startedAt.Store(&at)
		if c.when&heard != 0 {
			n.heard.Store(&now)
		}
		n.members.Store(&memberTable{nodes: []fsm.Node{{Num: 1, Name: "n1"}, {Num: 2, Name: "n2", Drained: c.when&leaving != 0}}})
		n.closing.Store(c.when&closing != 0)
		if got := n.inOrder(c.msg, []any{"peer", raft.Server{ID: "n2"}}); got != c.want {
			t.Errorf("%s, when %04b: in order %v, want %v", c.msg, c.when, got, c.want)
		}
	}
}

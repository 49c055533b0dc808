package cluster

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// raft warns of much that is in order: of elections in a cluster that is being
// formed, of followers that catch up, and of peers that have said goodbye. An
// operator who is shown that learns to look away. What follows lists what is in
// order, and when; it is logged at Info. Everything else keeps raft's level.

// startingFor is how long after a node was started, or wrote the first configuration of a cluster, others may still be starting, too.
const startingFor = 10 * time.Second

// inOrder reports whether what raft warns of belongs to a normal start, run or stop.
func (n *Node) inOrder(msg string, args []any) bool {
	switch msg {
	case "no known peers, aborting election", "not part of stable configuration, aborting election", // not a member yet, or no more
		"heartbeat timeout reached, not part of a stable configuration or a non-voter, not triggering a leader election",
		"appendEntries rejected, sending older logs", "failed to get previous log", // a follower catches up
		"skipping application of old log",           // it is told of a commit beyond what it has been sent, twice
		"peer has newer term, stopping replication": // leadership was handed over
		return true
	case "heartbeat timeout reached, starting election", "Election timeout reached, restarting election",
		"failed to contact quorum of nodes, stepping down", "new leader elected, stepping down":
		return n.leaving("") || n.forming()
	case "failed to appendEntries to", "failed to heartbeat to", "failed to contact", "failed to make requestVote RPC",
		"failed to pipeline appendEntries", "failed to start pipeline replication to":
		return n.leaving("") || n.leaving(n.peerIn(args)) || n.starting() // the peer may come a moment later
	case "previous log term mis-match", "clearing log suffix":
		// Two candidates of a cluster that forms, or what was in a log and never committed when this node was ended.
		return n.starting()
	case "failed to accept connection", "failed to decode incoming command", "failed to flush response":
		// Closed by this node, which stops, or by the peer, of which raft's own requests tell more.
		err, _ := valueOf(args, "error").(error)
		return errors.Is(err, net.ErrClosed) || errors.Is(err, raft.ErrTransportShutdown) ||
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
	return strings.HasPrefix(msg, "rejecting ") && // one of several candidates loses
		(strings.HasSuffix(msg, "since we have a leader") || strings.HasSuffix(msg, "is greater"))
}

// starting reports whether the node, or the cluster that it founded, was started a moment ago.
func (n *Node) starting() bool { return time.Since(*n.startedAt.Load()) < startingFor }

// forming reports whether the node was started a moment ago and no leader has answered it yet.
func (n *Node) forming() bool { return n.heard.Load() == nil && n.starting() }

// leaving reports whether a node, this one if name is empty, has drained or, if it is this one, is being closed.
func (n *Node) leaving(name string) bool {
	if name == "" {
		if n.closing.Load() {
			return true
		}
		name = n.cfg.Name
	}
	m := n.members.Load().member(name)
	return m != nil && m.Drained
}

// peerIn returns the name of the server that a message of raft is about. Without one it is this node's.
func (n *Node) peerIn(args []any) string {
	for _, key := range []string{"peer", "server-id", "target"} {
		switch p := valueOf(args, key).(type) {
		case raft.Server:
			return string(p.ID)
		case raft.ServerID:
			return string(p)
		case raft.ServerAddress:
			return n.members.Load().at(string(p))
		}
	}
	return n.cfg.Name
}

// valueOf returns what a message's arguments say of key, or nil.
func valueOf(args []any, key string) any {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == key {
			return args[i+1]
		}
	}
	return nil
}

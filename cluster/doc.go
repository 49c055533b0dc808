// Package cluster makes a node a member: raft over the peer port, requests between
// nodes, gossip, sessions, membership, and the waiting that makes writes and reads
// linearizable. See DESIGN.md.
//
// It is not for: HTTP, JSON, or what commands mean.
package cluster

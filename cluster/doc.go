// Package cluster makes a node a member: raft over the peer port, requests between
// nodes, gossip, sessions, membership, and the waiting that makes writes and reads
// linearizable. See DESIGN.md.
//
// It is not for: HTTP, JSON, or what commands mean.
//
// # Map
//
//	node.go       a node's life: Open, Failed, Close     config.go     what it is given
//	identity.go   what the data directory remembers      members.go    who is who, from the replica
//
//	transport.go  the peer port: listen, dial, track     hello.go      the first bytes of a connection
//	tls.go        who is whose certificate               directory.go  names to addresses
//	wire.go       frames of the request protocol         wire_error.go errors across it
//	rpc_client.go, rpc_server.go, frame_writer.go        methods.go    the requests between nodes
//	lane.go       what must not wait for what          log_version.go  how entries are encoded while releases differ
//
//	raft.go       starting raft                          raft_fsm.go   raft's view of fsm.Machine
//	logstore.go   the disk watchdog                      snapshot.go   metadata here, state streamed
//	notice.go     followers told of a commit at once     awake.go      timers that a pause does not fool
//	apply.go      one entry through raft                 log.go        raft's and memberlist's logs to slog
//	seal.go       sums of what raft stores               bolt_check.go  pages that bbolt may follow
//	raft_log.go   what raft warns of and is in order     committer.go  what is applied, to the store
//	log_size.go   a log that does not grow by bytes
//
//	leader.go     a term as leader                       session.go    who was heard when
//	propose.go    a command to the leader and back       everyone.go   waiting for every live node
//	batch.go      many parts, one entry                  reconcile.go  the hot path to the leader
//	verify.go     is it still the leader                 barrier.go    linearizable reads
//
//	discover.go   who is out there                       gossip.go     memberlist
//	bootstrap.go  forming a cluster, once                join.go, remove.go, promote.go, transfer.go
//	restore.go    a backup's first node                  salvage.go    a backup from what disks are left
//	checksum.go   replicas compared                      status.go
//	late.go       a node whose parts are opened in a circle
package cluster

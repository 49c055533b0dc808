// Package simulation runs whole clusters in virtual time and looks for broken promises.
//
// Three nodes (sometimes five) run in one testing/synctest bubble: raft over
// internal/memnet, the state machine and the outbox on crashable file systems in
// memory, the enforcer with its journal, and the data plane's HTTP handler. What
// replaces the real world is the network, the disks, the clock and the kernel's
// boot id; everything else is the code that cmd/bursar runs, wired in the same order.
//
// One seed decides the shape of the cluster, what goes wrong and when, and what
// clients and administrators do. An oracle that knows only the callers' side checks
// every answer; at the end everything is healed and the books must close exactly.
//
//	world.go      one run: what there is, in what order    scenario.go  what a seed decides
//	host.go       a machine and the process on it          disk.go      its disk, and what it can do to it
//	raftlog.go    raft's log on that disk                  network.go   links, and what can happen to them
//	chaos.go      what goes wrong                          admin.go     limits, entities, tokens, members
//	client.go     callers                                  http.go      their requests
//	oracle.go     what may be true                         budget.go    what callers know of a budget
//	replicas.go   comparing nodes                          finale.go    healing, and the closing of the books
//	facts.go      what administrators have changed         stats.go    totals
//	history.go    what happened, for whoever reads a failure
//	dice.go       choices from the seed
//
// # What is and is not repeated by a seed
//
// Every choice of chaos, administrators and clients comes from the seed. The order
// in which goroutines run at one instant of virtual time does not, nor do the random
// numbers that raft and Go's runtime draw for themselves. A seed is therefore a
// scenario, not a recording: a failure may need some runs of its seed to show
// again, and its history is written to a file for that reason.
//
// # What is not simulated
//
// All nodes share the bubble's clock, because the nodes' code reads the time directly.
// Skewed are the clients: the times of their events lie up to two seconds off. A link is a
// TCP connection, so a lost packet is a stall and then a reset; a message is seen
// twice when a caller repeats one whose answer was lost; messages overtake each other
// on different connections, and when the delay of a link changes between them. A full disk
// under raft's log or a database ends the process at once, and the failing write
// with it, and so does the world when a disk hangs: that the nodes do so by themselves is
// tested in the packages that own the files.
package simulation

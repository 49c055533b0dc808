// Command bursar is the whole product in one binary: a node (serve), a cluster
// for trying it out (dev), and the tools around it.
//
// This package holds flags, wiring and commands, and no logic: what a call may
// spend is decided in package enforcer, how much a node may hold in package fsm.
//
//	main.go      the command tree, exit codes, signals
//	config.go    --config: flags from a YAML file
//	log.go       structured logs; progress.go: what a person sees meanwhile
//	serve.go     the flags of a node and their validation
//	node.go      one node from its data directory to its open ports, and back
//	wiring.go    the stand-ins by which its parts, which need one another, are connected
//	gate.go      whether the data plane answers at all; listen.go: its ports before it can
//	datadir.go   the lock on a data directory and the private files in it
//	backup.go    everything out of a running cluster; restore.go: a new cluster from it
//	salvage.go   a backup from the disks that are left of a cluster
//	disk.go      the disk watchdog; roottoken.go: the first token
//	tls.go       certificates between nodes, read anew when they change; certs.go makes them
//	dev.go       three nodes in one process; demo.go: the tenant they start with
package main

// Package baseline is what people use in Bursar's place, each done as well as it
// can be with one round trip a call, so that Bursar can be measured against it in
// the same run: a bare HTTP handler that decides nothing (the floor), Redis with a
// Lua script, PostgreSQL with conditional updates in a transaction.
//
// What each of them does for a call is written where it does it (floor.go,
// redis.go, postgres.go), because a ratio means nothing without that. None keeps
// what Bursar does: Redis has no ledger and, with appendfsync everysec, forgets a
// second; PostgreSQL keeps a line and balances on one machine.
//
// Servers are used at an address that is given, or started on loopback in a
// temporary directory if they are installed (server.go); ErrNotInstalled says
// what is missing and how to get it.
//
// The clients, redigo and lib/pq, were chosen because neither brings a module of its own:
// all that they add to the program is themselves. A second module for this folder would
// have kept them out of go.mod, and `bursar bench compare` out of the program. Who imports
// only the client package compiles and downloads neither.
package baseline

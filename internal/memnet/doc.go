// Package memnet is a network in memory whose faults a test decides: hosts that
// listen, dial and crash, and links between them that delay, stall in one
// direction or both, and break. It runs in real time and in a testing/synctest bubble.
//
// It behaves as TCP does where that matters to a protocol: a connection is an
// ordered stream with bounded buffers, writers feel a slow reader, a blocked link
// delays what was written and never loses a part of a stream, a dial over a
// blocked link hangs until its context ends, and a dial to nobody is refused at once.
package memnet

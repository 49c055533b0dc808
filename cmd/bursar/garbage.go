package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A node's memory is mostly its replica's state, which stays. Go lets the heap grow to twice what is live before it collects:
// with a million entities half a gigabyte of garbage. So a node allows less garbage, in proportion, the more is live. While the state is read there is next
// to no garbage, and collecting would only go over and over what has been read. GOGC in the environment overrides all of it.
const (
	garbageAllowed  = 256 << 20 // bytes, if as much or more is live
	leastGCPercent  = 30        // of what is live, however much that is: collecting has its price too
	mostGCPercent   = 100       // Go's own
	loadGCPercent   = 300
	gcPercentEvery  = 5 * time.Second
	gcPercentChange = 5           // percent points that are worth a change
	idleAllowed     = 128 << 20   // bytes of heap that are used for nothing, as after a start, before the system gets them back
	idleReturned    = time.Minute // at most so often: it takes a collection
)

// gcPercent returns how much garbage to allow when so many bytes are live, in percent of them.
func gcPercent(live uint64) int {
	if live <= garbageAllowed {
		return mostGCPercent
	}
	return max(leastGCPercent, int(garbageAllowed*100/live))
}

// garbageGiven reports whether the operator has said how much garbage there may be.
func garbageGiven() bool { return os.Getenv("GOGC") != "" }

// whileLoading is for what f reads to stay.
func whileLoading(f func() error) error {
	if garbageGiven() {
		return f()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(loadGCPercent))
	return f()
}

// boundGarbage keeps the process's garbage within bounds until ctx ends.
func boundGarbage(ctx context.Context) error {
	if garbageGiven() {
		return nil
	}
	before := debug.SetGCPercent(mostGCPercent)
	defer debug.SetGCPercent(before)
	set := mostGCPercent
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	returned, started := time.Now(), false
	tick := time.NewTicker(gcPercentEvery)
	defer tick.Stop()
	for {
		metrics.Read(heap)
		live, idle := heap[0].Value.Uint64(), heap[1].Value.Uint64()
		if (idle > idleAllowed || !started) && time.Since(returned) > idleReturned {
			debug.FreeOSMemory() // also what a start has left behind, which a node with little to do would not collect for long
			returned, started = time.Now(), true
			metrics.Read(heap)
			live = heap[0].Value.Uint64()
		}
		if want := gcPercent(live); want-set >= gcPercentChange || set-want >= gcPercentChange {
			debug.SetGCPercent(want)
			set = want
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

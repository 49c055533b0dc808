package simulation

import (
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// compare checks that every log index has one checksum, whichever replica has it
// and before or after whatever crash. It returns the latest index applied anywhere.
func (w *World) compare() (latest uint64) {
	for _, p := range w.up() {
		h := p.h
		index, sum := p.machine.Checksum()
		latest = max(latest, index)
		w.mu.Lock()
		was, known := w.sums[index]
		w.sums[index] = sum
		w.mu.Unlock()
		if known && was != sum {
			w.oracle.fail("DIVERGED: %s has the checksum %016x at index %d, another replica had %016x", h.name, sum, index, was)
		}
		for _, o := range w.up() {
			if other, ok := o.machine.ChecksumAt(index); ok && other != sum {
				w.oracle.fail("DIVERGED: at index %d %s has the checksum %016x and %s %016x", index, h.name, sum, o.h.name, other)
			}
		}
	}
	return latest
}

// latestEntries describes the end of a node's log.
func (p *process) latestEntries() string {
	var b strings.Builder
	last, _ := p.disk.log.LastIndex()
	for i := max(31, last) - 30; i <= last; i++ {
		var entry raft.Log
		if p.disk.log.GetLog(i, &entry) != nil || entry.Type != raft.LogCommand || len(entry.Data) == 0 {
			continue
		}
		if c, err := fsm.Decode(entry.Data); err == nil {
			fmt.Fprintf(&b, "    entry %d at %d: %T %+v\n", i, c.At, c.Body, c.Body)
		}
	}
	return b.String()
}

package fsm

// Settings are the cluster-wide constants fixed at Init.
type Settings struct {
	ClusterID      string `msgpack:"c"`
	Shares         int64  `msgpack:"s"`
	MaxStalenessMS int64  `msgpack:"m"`

	// Of a cluster that was made from a backup: the number of its first node (lower
	// ones are of the cluster that was backed up), and, in Unix milliseconds, when
	// what those hold is freed (0: nothing is left to be).
	FirstNode  NodeNum `msgpack:"f,omitempty"`
	DoubtUntil int64   `msgpack:"d,omitempty"`
}

// Node is a member, or a former one whose leases are still in doubt.
type Node struct {
	Num        NodeNum `msgpack:"num"`
	Name       string  `msgpack:"name"`
	Addr       string  `msgpack:"addr"`
	AdmittedAt int64   `msgpack:"admitted_at"` // moves to the time of the boot that ends a drain
	RemovedAt  int64   `msgpack:"removed_at,omitempty"`
	Boot       uint64  `msgpack:"boot"`
	Dead       bool    `msgpack:"dead,omitempty"`
	Drained    bool    `msgpack:"drained,omitempty"`
}

// BornWith reports whether the node has a birth slice of a period that starts
// at start. It depends on logged times only, so every replica answers alike
// whenever it looks. A removed node keeps its slices of periods that begin
// within the staleness bound after its removal: cut off, it may not know yet.
func (n *Node) BornWith(start, maxStalenessMS int64) bool {
	if n.Drained || n.AdmittedAt >= start {
		return false
	}
	return n.RemovedAt == 0 || start <= n.RemovedAt+maxStalenessMS
}

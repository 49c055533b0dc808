package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/fsm"
)

// Metrics registers a collector of the raft state and the members. It reads
// them when it is scraped, which costs microseconds.
func Metrics(reg prometheus.Registerer, m *fsm.Machine, c Cluster) {
	reg.MustRegister(&raftCollector{machine: m, cluster: c})
}

type raftCollector struct {
	machine *fsm.Machine
	cluster Cluster
}

var (
	descLeader    = prometheus.NewDesc("bursar_raft_leader", "1 if this node is the leader.", nil, nil)
	descHasLeader = prometheus.NewDesc("bursar_raft_has_leader", "1 if this node knows a leader.", nil, nil)
	descTerm      = prometheus.NewDesc("bursar_raft_term", "Raft term.", nil, nil)
	descCommit    = prometheus.NewDesc("bursar_raft_commit_index", "Log index known to be committed.", nil, nil)
	descApplied   = prometheus.NewDesc("bursar_raft_applied_index", "Log index applied to the state machine.", nil, nil)
	descMembers   = prometheus.NewDesc("bursar_cluster_members", "Nodes by status, as this node's replica has them.", []string{"status"}, nil)
	descLedger    = prometheus.NewDesc("bursar_ledger_disk_bytes", "About what the ledgers of all accounts take on this node's disk, by part: lines, index, events (the ids that make an event count once) and sums.", []string{"part"}, nil)
	descBoot      = prometheus.NewDesc("bursar_node_session", "Session (boot epoch) of each member.", []string{"node"}, nil)
)

// Describe implements prometheus.Collector.
func (r *raftCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeader, descHasLeader, descTerm, descCommit, descApplied, descMembers, descLedger, descBoot} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r *raftCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := r.cluster.Status()
	applied, _ := r.machine.Applied()
	gauge(descLeader, flag(s.Leader != "" && s.Leader == s.Name))
	gauge(descHasLeader, flag(s.Leader != ""))
	gauge(descTerm, float64(s.Term))
	gauge(descCommit, float64(s.Commit))
	gauge(descApplied, float64(applied))
	counts := map[string]int{"live": 0, "dead": 0, "drained": 0, "removed": 0}
	sessions := map[string]uint64{}
	r.machine.View(func(v *fsm.View) {
		for _, n := range v.Nodes() {
			counts[nodeStatus(n)]++
			if n.RemovedAt == 0 {
				sessions[n.Name] = n.Boot
			}
		}
	})
	if disk, err := r.machine.LedgerDisk(""); err == nil { // the store has failed, which other metrics say
		for part, n := range map[string]uint64{"lines": disk.Lines, "index": disk.Index, "events": disk.Events, "sums": disk.Sums} {
			gauge(descLedger, float64(n), part)
		}
	}
	for status, n := range counts {
		gauge(descMembers, float64(n), status)
	}
	for name, boot := range sessions {
		gauge(descBoot, float64(boot), name)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

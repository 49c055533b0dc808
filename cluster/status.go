package cluster

import (
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// Status describes the cluster as this node sees it, for GET /v1/cluster and metrics.
type Status struct {
	ClusterID string
	Name      string
	Num       fsm.NodeNum
	Leader    string // name; empty: none known
	State     string // "leader", "follower", "candidate", "shutdown"
	Term      uint64
	Commit    uint64
	Applied   uint64
	Members   []Member
}

// Member is one node of Status.
type Member struct {
	Name      string
	Num       fsm.NodeNum
	Addr      string
	Voter     bool
	Leader    bool
	Dead      bool
	Drained   bool
	Boot      uint64
	Applied   uint64    // as last heard; exact for this node
	LastHeard time.Time // zero: never
}

// Status returns the present status. What it says of other nodes comes from the
// leader: directly if this node leads, otherwise with its last answer to a heartbeat.
func (n *Node) Status() Status {
	t := n.members.Load()
	s := Status{
		ClusterID: t.settings.ClusterID, Name: n.cfg.Name, Num: t.num(n.cfg.Name), Leader: n.leader(),
		State: strings.ToLower(n.raft.State().String()), Term: n.raft.CurrentTerm(), Commit: n.raft.CommitIndex(),
	}
	s.Applied, _ = n.machine.Applied()
	voters := make(map[string]bool)
	for _, srv := range n.configuration().Servers {
		voters[string(srv.ID)] = srv.Suffrage == raft.Voter
	}
	heard := n.heardOf()
	now := time.Now()
	for _, m := range t.nodes {
		if m.RemovedAt != 0 {
			continue
		}
		x := Member{
			Name: m.Name, Num: m.Num, Addr: m.Addr, Voter: voters[m.Name], Leader: m.Name == s.Leader,
			Dead: m.Dead, Drained: m.Drained, Boot: m.Boot,
		}
		if h, ok := heard[m.Num]; ok {
			x.Applied = h.Applied
			if h.SilenceMS >= 0 {
				x.LastHeard = h.at.Add(-time.Duration(h.SilenceMS) * time.Millisecond)
			}
		}
		if m.Name == n.cfg.Name {
			x.Applied, x.LastHeard = s.Applied, now
		}
		s.Members = append(s.Members, x)
	}
	return s
}

func (n *Node) heardOf() map[fsm.NodeNum]heardOf {
	var all []heardOf
	if l := n.lead.Load(); l != nil {
		now := time.Now()
		all = l.sessions.all(now)
		for i := range all {
			all[i].at = now
		}
	} else if roll := n.roll.Load(); roll != nil {
		all = *roll
	}
	m := make(map[fsm.NodeNum]heardOf, len(all))
	for _, h := range all {
		m[h.Node] = h
	}
	return m
}

package admin

import (
	"context"
	"net/http"
	"slices"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) memberRoutes() {
	const node = "/v1/cluster/nodes/{id}"
	// Local: it is asked for when the cluster is in trouble, and says who says it.
	handle(a, route{method: http.MethodGet, path: "/v1/cluster", id: "get-cluster", tag: "cluster",
		summary: "The cluster as this node sees it", reach: ofAll, local: true}, a.getCluster)
	handle(a, route{method: http.MethodPost, path: node + "/remove", id: "remove-node", tag: "cluster",
		summary: "End a node's membership; what it holds stays in doubt until it is forfeited", reach: ofAll}, a.removeNode)
	handle(a, route{method: http.MethodPost, path: node + "/forfeit", id: "forfeit-node", tag: "cluster",
		summary: "Give up what a dead or removed node holds, when its disk is known to be gone: charge says whether it counts as used or is set free", reach: ofAll}, a.forfeitNode)
	handle(a, route{method: http.MethodPost, path: "/v1/cluster/transfer-leadership", id: "transfer-leadership", tag: "cluster",
		summary: "Hand leadership to another node", reach: ofAll}, a.transferLeadership)
}

func (a *api) getCluster(context.Context, *nothing) (*answer[client.Cluster], error) {
	return a.readCluster()
}

type nodeInput struct {
	ID string `path:"id"`
}

func (a *api) removeNode(ctx context.Context, in *nodeInput) (*answer[client.Cluster], error) {
	if err := a.mustHaveNode(in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if err := a.cluster.Remove(ctx, whoAsks(ctx).actor(), in.ID); err != nil {
		return nil, unconfirmed(ctx, err)
	}
	return a.readCluster()
}

type forfeitInput struct {
	ID   string `path:"id"`
	Body client.ForfeitNode
}

func (a *api) forfeitNode(ctx context.Context, in *forfeitInput) (*answer[client.Cluster], error) {
	if err := a.mustHaveNode(in.ID); err != nil {
		return nil, err
	}
	if err := a.propose(ctx, fsm.Forfeit{Name: in.ID, Charge: in.Body.Charge}); err != nil {
		return nil, err
	}
	return a.readCluster()
}

type transferInput struct{ Body client.TransferLeadership }

func (a *api) transferLeadership(ctx context.Context, in *transferInput) (*answer[client.Cluster], error) {
	to := in.Body.To
	if to != "" {
		known := slices.ContainsFunc(a.memberStates(), func(m client.Member) bool { return m.ID == to && m.Voter })
		if !known {
			return nil, invalidField("to", "there is no voter %q", to)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if err := a.cluster.TransferLeadership(ctx, to); err != nil {
		return nil, err
	}
	return a.readCluster()
}

func (a *api) mustHaveNode(name string) error {
	_, err := a.view(func(v *fsm.View) error {
		if !slices.ContainsFunc(v.Nodes(), func(n *fsm.Node) bool { return n.Name == name }) {
			return notFound("no node %q", name)
		}
		return nil
	})
	return err
}

func (a *api) readCluster() (*answer[client.Cluster], error) {
	index := a.applied()
	s := a.cluster.Status()
	members := a.memberStates()
	if err := a.addInDoubt(members); err != nil {
		return nil, err
	}
	return &answer[client.Cluster]{Index: index, Body: client.Cluster{
		ID: s.ClusterID, Node: s.Name, Leader: orNull(s.Leader), State: s.State,
		Term: s.Term, Commit: s.Commit, Applied: s.Applied, Members: members,
	}}, nil
}

// memberStates joins what raft knows of the nodes with what the replica knows;
// removed nodes are in the replica only.
func (a *api) memberStates() []client.Member {
	s := a.cluster.Status()
	out := []client.Member{}
	for i := range s.Members {
		m := &s.Members[i]
		w := client.Member{InDoubt: map[string]int64{}, ID: m.Name, Address: m.Addr, Voter: m.Voter, Leader: m.Leader, Status: "live", Session: m.Boot, Applied: m.Applied}
		if !m.LastHeard.IsZero() {
			t := m.LastHeard.UTC()
			w.LastHeard = &t
		}
		out = append(out, w)
	}
	a.machine.View(func(v *fsm.View) {
		for _, n := range v.Nodes() {
			i := slices.IndexFunc(out, func(m client.Member) bool { return m.ID == n.Name })
			if i < 0 {
				out = append(out, client.Member{InDoubt: map[string]int64{}, ID: n.Name, Address: n.Addr, Session: n.Boot})
				i = len(out) - 1
			}
			out[i].Status = nodeStatus(n)
		}
	})
	return out
}

func nodeStatus(n *fsm.Node) string {
	switch {
	case n.RemovedAt != 0:
		return "removed"
	case n.Dead:
		return "dead"
	case n.Drained:
		return "drained"
	}
	return "live"
}

// addInDoubt states, by capability, what nodes that are not live hold of present
// budgets. It walks every budget, so only while there is such a node.
func (a *api) addInDoubt(list []client.Member) error {
	doubtful := false
	a.machine.View(func(v *fsm.View) { doubtful = slices.ContainsFunc(v.Nodes(), inDoubt) })
	if !doubtful {
		return nil
	}
	at := now()
	for after := ""; ; {
		accounts, next, err := a.machine.ListAccounts(after, pageMax)
		if err != nil {
			return err
		}
		for i := range accounts {
			if err := a.addInDoubtOf(list, accounts[i].ID, at); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// addInDoubtOf does so for one account.
func (a *api) addInDoubtOf(list []client.Member, account string, at int64) error {
	type held struct{ node, capability string }
	var sums map[held]int64
	var known members
	err := a.machine.Rows(fsm.RowQuery{Account: account, Now: at}, func(v *fsm.View) error {
		known, sums = membersOf(v), map[held]int64{}
		return nil
	}, func(r fsm.TreeRow) {
		for _, l := range r.Budget.Leases {
			if known.doubt[l.Node] {
				of := held{known.names[l.Node], r.Assignment.Capability}
				sums[of] = addAmount(sums[of], l.Amount)
			}
		}
	})
	for i := range list {
		for of, amount := range sums {
			if of.node == list[i].ID {
				list[i].InDoubt[of.capability] = addAmount(list[i].InDoubt[of.capability], amount)
			}
		}
	}
	return err
}

// addAmount adds amounts, staying within int64: a sum over many budgets may pass it.
func addAmount(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return 1<<63 - 1
}

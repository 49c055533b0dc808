package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type clusterCmd struct {
	Status   clusterStatusCmd   `cmd:"" help:"Show the nodes."`
	Remove   clusterRemoveCmd   `cmd:"" help:"End a node's membership. What it holds stays in doubt until it is forfeited."`
	Forfeit  clusterForfeitCmd  `cmd:"" help:"Give up what a lost node holds, once its disk is known to be gone."`
	Transfer clusterTransferCmd `cmd:"" help:"Hand leadership to another node."`
}

type memberRow struct {
	client.Member
	inDoubt string
}

var memberColumns = []column[memberRow]{
	{title: "NODE", cell: func(m memberRow) string { return m.ID }},
	{title: "ADDRESS", cell: func(m memberRow) string { return m.Address }},
	{title: "STATUS", cell: func(m memberRow) string { return m.Status }},
	{title: "LEADER", cell: func(m memberRow) string { return yes(m.Leader) }},
	{title: "VOTER", cell: func(m memberRow) string { return yes(m.Voter) }},
	{title: "SESSION", number: true, cell: func(m memberRow) string { return strconv.FormatUint(m.Session, 10) }},
	{title: "APPLIED", number: true, cell: func(m memberRow) string { return strconv.FormatUint(m.Applied, 10) }},
	{title: "LAST HEARD", cell: func(m memberRow) string { return at(m.LastHeard) }},
	{title: "IN DOUBT", cell: func(m memberRow) string { return m.inDoubt }},
}

type clusterStatusCmd struct{ adminFlags }

func (c *clusterStatusCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		cl, err := s.Cluster(ctx)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, cl)
		}
		fmt.Fprintf(s.out, "Cluster %s: leader %s, term %d, commit %d. Seen by %s (%s).\n\n",
			visible(cl.ID), cmp.Or(text(cl.Leader), "none"), cl.Term, cl.Commit, visible(cl.Node), visible(cl.State))
		row := func(m client.Member) memberRow {
			return memberRow{Member: m, inDoubt: usageText(ctx, s, m.InDoubt)}
		}
		return tableOf(s, memberColumns, row).list(cl.Members, nil)
	})
}

type clusterRemoveCmd struct {
	Node string `arg:"" help:"Id of the node."`
	Yes  bool   `short:"y" env:"-" help:"Do not ask."`
	adminFlags
}

func (c *clusterRemoveCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := confirm(k, c.Yes, fmt.Sprintf("Remove node %s from the cluster?", c.Node)); err != nil {
		return err
	}
	return c.with(k, func(s *session) error { return s.RemoveNode(ctx, c.Node) })
}

type clusterForfeitCmd struct {
	Node   string `arg:"" help:"Id of the node."`
	Charge bool   `xor:"what" required:"" help:"Count all it held as used: it may have been spent."`
	Free   bool   `xor:"what" required:"" help:"Set all it held free: it is known not to have been spent."`
	Yes    bool   `short:"y" env:"-" help:"Do not ask."`
	adminFlags
}

func (c *clusterForfeitCmd) Run(ctx context.Context, k *kong.Context) error {
	what := "free"
	if c.Charge {
		what = "charge"
	}
	if err := confirm(k, c.Yes, fmt.Sprintf("Give up what node %s holds and %s it?", c.Node, what)); err != nil {
		return err
	}
	return c.with(k, func(s *session) error { return s.ForfeitNode(ctx, c.Node, c.Charge) })
}

// Help is shown below the flags' summary.
func (*clusterForfeitCmd) Help() string {
	return `What the node held is in doubt: nobody can say how much of it was spent. Say which it is to be:

  --charge  it counts as used, as {"charge": true} does in the API. Budgets stay kept, and may seem fuller than they are.
  --free    it is set free, as {"charge": false} does. Right only if none of it was spent.

The node must be dead or removed; one that comes back by itself settles what it held, and needs no forfeit.
`
}

type clusterTransferCmd struct {
	To string `arg:"" optional:"" help:"Id of the node; the most suitable if left out."`
	adminFlags
}

func (c *clusterTransferCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error { return s.TransferLeadership(ctx, c.To) })
}

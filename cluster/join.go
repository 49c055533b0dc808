package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// joinTimeout bounds one request to be accepted.
const joinTimeout = 5 * time.Second

// joinRequest asks the leader to accept this node, new or restarted, where it is now.
type joinRequest struct {
	Addr    string `msgpack:"a"`
	Cluster string `msgpack:"c,omitempty"`
	Fresh   bool   `msgpack:"f,omitempty"`
}

type joinAnswer struct {
	Cluster string `msgpack:"c"`
}

// askToJoin asks once. A refusal is for good: the node fails with its reason.
func (n *Node) askToJoin(to target) {
	ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
	defer cancel()
	var a joinAnswer
	err := n.rpc.call(ctx, to, methodJoin, &joinRequest{Addr: n.transport.advertise, Cluster: n.identity.get().Cluster, Fresh: n.fresh()}, &a)
	switch {
	case err == nil:
		n.log.Info("accepted by the leader", "leader", to.name, "cluster", a.Cluster)
		n.join.accept()
	case errors.Is(err, errRefused):
		n.fail(err)
	case n.ctx.Err() == nil && n.join.say():
		n.log.Warn("asking to join goes on", "leader", to.name, "addr", to.addr, "error", err)
	}
}

// meetTwin decides between two processes under one name. The one that belongs to
// the cluster stays; of two alike, the one that started first.
func (n *Node) meetTwin(i *introduction) {
	if fresh := n.fresh(); fresh != i.Fresh && !fresh || fresh == i.Fresh && n.run < i.Run {
		return
	}
	n.fail(fmt.Errorf("another node runs as %q at %s: stop it, or give this one another --node-id", i.Name, i.Addr))
}

// meetForeign gives up if there is nobody here but another cluster.
func (n *Node) meetForeign(f *foreignCluster, own int) {
	if own == 0 && n.identity.get().Cluster != "" && time.Since(n.join.began) > foreignPatience {
		n.fail(fmt.Errorf("%w: point --join at its own cluster, or start with an empty --data-dir to join that one", f))
		return
	}
	if n.join.say() {
		n.log.Error("a node of another cluster was met", "error", f)
	}
}

// joinRequested decides on a node that asks to be accepted, and makes it a
// member if it is none. Only an authenticated node gets here, and only the leader
// decides: what gossip says adds and removes nobody.
func (n *Node) joinRequested(ctx context.Context, from caller, r *joinRequest) (*joinAnswer, error) {
	l := n.lead.Load()
	if l == nil {
		return nil, ErrNotLeader
	}
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	if err := l.lockMembership(ctx); err != nil {
		return nil, err
	}
	defer l.unlockMembership()
	t := n.members.Load()
	m := t.member(from.name)
	if err := joinable(t, m, from.name, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err := n.tooOld(from.name, from.reads); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if m != nil && m.Addr != r.Addr {
		if err := l.twin(ctx, m, from); err != nil {
			return nil, fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	if m == nil || m.Addr != r.Addr {
		n.log.Info("a node joins or has moved", "peer", from.name, "addr", r.Addr)
		if err := l.admit(ctx, from.name, r.Addr); err != nil {
			return nil, err
		}
	}
	if err := l.configure(from.name, r.Addr); err != nil {
		return nil, err
	}
	l.sessions.begin(n.members.Load().num(from.name), from.run)
	return &joinAnswer{Cluster: t.settings.ClusterID}, nil
}

// joinable says why a node cannot be a member of the cluster.
func joinable(t *memberTable, m *fsm.Node, name string, r *joinRequest) error {
	switch {
	case r.Cluster != "" && r.Cluster != t.settings.ClusterID:
		return fmt.Errorf("the data directory of %q belongs to cluster %s, this is %s: point --join at its own cluster, or start with an empty --data-dir", name, r.Cluster, t.settings.ClusterID)
	case m == nil && !r.Fresh && t.wasRemoved(name):
		return fmt.Errorf("node %q was removed from the cluster: to join anew, start it with an empty --data-dir", name)
	case m == nil && !r.Fresh:
		return fmt.Errorf("node %q has raft state, but was never a member: start it with an empty --data-dir", name)
	case m != nil && r.Fresh && m.Boot > 0:
		// What it acknowledged as a voter is gone. An empty voter in its place could
		// help elect a leader that lacks committed entries.
		return fmt.Errorf("node %q is a member, but its data directory is empty: bring the directory back, or remove the node and start it again", name)
	}
	return nil
}

// twin looks for another process under a member's name at the address it had.
func (l *leadership) twin(ctx context.Context, m *fsm.Node, from caller) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	i, err := l.n.probe(ctx, target{m.Name, m.Addr})
	if err == nil && i.Run != from.run {
		return fmt.Errorf("another node runs as %q at %s: stop it, or give the new one another --node-id", m.Name, m.Addr)
	}
	return nil
}

// configure makes raft's configuration name the server at the address; a new one
// as a non-voter, which watchMembership promotes when it has caught up.
func (l *leadership) configure(name, addr string) error {
	id, at := raft.ServerID(name), raft.ServerAddress(addr)
	l.n.dir.set(name, addr)
	for _, s := range l.n.configuration().Servers {
		if s.ID != id {
			continue
		}
		if s.Address == at {
			return nil
		}
		if s.Suffrage == raft.Voter {
			return l.n.change(func() raft.IndexFuture { return l.n.raft.AddVoter(id, at, 0, enqueueTimeout) })
		}
		break
	}
	return l.n.change(func() raft.IndexFuture { return l.n.raft.AddNonvoter(id, at, 0, enqueueTimeout) })
}

// lockMembership makes changes of the membership one at a time.
func (l *leadership) lockMembership(ctx context.Context) error {
	select {
	case l.joins <- struct{}{}:
		return nil
	case <-l.ctx.Done():
		return ErrNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *leadership) unlockMembership() { <-l.joins }

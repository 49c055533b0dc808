package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The hazard: two clusters, each sure to be the only one. Raft prevents that once
// every node agrees on the first configuration, and cannot help before. So a
// cluster is formed only by nodes that have no raft state and have all seen exactly
// each other, and each founding member promises itself, durably and once, to the
// one node that writes the first configuration. A node that has promised never
// counts for another founder, so no two first configurations share a member,
// and a node outside of them can only join.

// joinPatience is how long a node that may form a cluster alone, but was told of
// others to join, tries to reach one of them first.
const joinPatience = 5 * time.Second

// founder is one server of the first configuration.
type founder struct {
	Name string `msgpack:"n"`
	Addr string `msgpack:"a"`
}

// formRequest asks for a promise.
type formRequest struct {
	Servers []founder `msgpack:"s"`
}

// tryForm forms a cluster with the fresh nodes among found, if it is this node's turn.
// asked is the number of addresses that were tried.
func (n *Node) tryForm(found []*introduction, asked int) {
	mates := n.mates(found)
	names := []string{n.cfg.Name}
	for _, m := range mates {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	n.join.mu.Lock()
	n.join.sees = names
	n.join.mu.Unlock()
	if mates == nil && len(found) > 0 || !n.mayForm(names, found, asked) {
		return
	}
	for _, m := range mates {
		if !slices.Equal(m.Sees, names) {
			return
		}
	}
	if turn := n.whoseTurn(names, mates); turn != n.cfg.Name {
		if !slices.Contains(names, turn) && n.join.say() {
			n.log.Warn("a founding member was promised to a node that is not here; if that one is gone for good, remove "+identityFile+" of those that say so and start them again", "founder", turn)
		}
		return
	}
	if err := n.form(mates); err != nil {
		n.log.Warn("forming the cluster goes on", "error", err)
	}
}

// mates returns the found nodes if all of them are as fresh as this one, or nil:
// a cluster that exists is joined, not rivalled.
func (n *Node) mates(found []*introduction) []*introduction {
	for _, i := range found {
		if !i.Fresh || i.Cluster != "" {
			return nil
		}
		if i.Expect != n.cfg.BootstrapExpect {
			if n.join.say() {
				n.log.Error("nodes disagree on --bootstrap-expect: give all the same", "here", n.cfg.BootstrapExpect, "peer", i.Name, "there", i.Expect)
			}
			return nil
		}
	}
	return found
}

// mayForm reports whether enough nodes are there.
func (n *Node) mayForm(names []string, found []*introduction, asked int) bool {
	expect := n.cfg.BootstrapExpect
	if expect <= 0 || len(names) < expect {
		if n.join.say() {
			n.log.Info("waiting for nodes to form a cluster with, or for one to join", "found", names, "expected", expect)
		}
		return false
	}
	if asked == 0 || len(found) > 0 {
		return true
	}
	// One node is enough, but it was told of others. Give them time to be found.
	return time.Since(n.join.began) > joinPatience
}

// whoseTurn returns who is to found the cluster: whoever has a promise, or the lowest name.
func (n *Node) whoseTurn(names []string, mates []*introduction) string {
	if p := n.identity.get().Promised; p != "" {
		return p
	}
	for _, m := range mates {
		if m.Promised != "" {
			return m.Promised
		}
	}
	return names[0]
}

// form collects the promises and writes the first configuration.
func (n *Node) form(mates []*introduction) error {
	req := formRequest{Servers: []founder{{n.cfg.Name, n.transport.advertise}}}
	for _, m := range mates {
		req.Servers = append(req.Servers, founder{m.Name, m.Addr})
	}
	if err := n.identity.update(func(v *identityFields) { v.Promised = n.cfg.Name }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(n.ctx, probeTimeout)
	defer cancel()
	errs := make([]error, len(mates))
	var wg sync.WaitGroup
	for i, m := range mates {
		wg.Go(func() { errs[i] = n.rpc.call(ctx, target{m.Name, m.Addr}, methodForm, &req, nil) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var c raft.Configuration
	for _, s := range req.Servers {
		n.dir.set(s.Name, s.Addr)
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(s.Name), Address: raft.ServerAddress(s.Addr)})
	}
	n.log.Info("forming a cluster", "servers", len(c.Servers))
	n.starts() // it may have waited for the others
	return n.await(func() raft.Future { return n.raft.BootstrapCluster(c) })
}

// promise answers a founder: nil if this node is from now on a member of its
// cluster and of no other.
func (n *Node) promise(from caller, r *formRequest) error {
	var names []string
	for _, s := range r.Servers {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	switch {
	case !n.fresh():
		return errors.New("this node has raft state")
	case !slices.Equal(names, n.join.seen()):
		return fmt.Errorf("this node sees %v, the founder %v", n.join.seen(), names)
	}
	var other string
	err := n.identity.update(func(v *identityFields) {
		if v.Promised != "" && v.Promised != from.name {
			other = v.Promised
			return
		}
		v.Promised = from.name
	})
	if other != "" {
		return fmt.Errorf("this node has promised itself to %q; if that node is gone for good, remove %s and start again", other, identityFile)
	}
	if err == nil {
		for _, s := range r.Servers {
			n.dir.set(s.Name, s.Addr)
		}
	}
	return err
}

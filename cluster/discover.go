package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

const (
	// seekEvery is the pause between two looks for a cluster, or for its leader.
	seekEvery = 200 * time.Millisecond
	// probeTimeout bounds one introduction.
	probeTimeout = time.Second
	// maxCandidates bounds the addresses kept of callers that nothing else is known of.
	maxCandidates = 64
	// foreignPatience is how long only members of another cluster may be found before the node gives up.
	foreignPatience = 5 * time.Second
	// sayAgain is the pause between repeats of a log line about the same trouble.
	sayAgain = 30 * time.Second
)

// introduction is what nodes tell each other before they belong together.
type introduction struct {
	Name       string   `msgpack:"n"`
	Run        string   `msgpack:"r"`
	Addr       string   `msgpack:"a"`
	Cluster    string   `msgpack:"c,omitempty"`
	Fresh      bool     `msgpack:"f,omitempty"` // without raft state
	Expect     int      `msgpack:"e"`           // BootstrapExpect
	Sees       []string `msgpack:"s,omitempty"` // of a fresh node: the fresh nodes it found, itself included, ascending
	Promised   string   `msgpack:"p,omitempty"` // of a fresh node: see identityFields
	Leader     string   `msgpack:"l,omitempty"`
	LeaderAddr string   `msgpack:"d,omitempty"`
}

// joining is a node's state while it looks for its cluster.
type joining struct {
	mu         sync.Mutex
	candidates map[string]struct{} // addresses of nodes that called
	sees       []string
	accepted   bool          // by a leader, or as one
	wake       chan struct{} // capacity 1: look again
	began      time.Time
	saidAt     time.Time
}

func (j *joining) init() {
	j.candidates = make(map[string]struct{})
	j.wake = make(chan struct{}, 1)
	j.began = time.Now()
}

func (j *joining) candidate(addr string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if addr != "" && len(j.candidates) < maxCandidates {
		j.candidates[addr] = struct{}{}
	}
}

func (j *joining) accept() {
	j.mu.Lock()
	j.accepted = true
	j.mu.Unlock()
}

func (j *joining) isAccepted() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.accepted
}

// again has the node introduce itself to the leader anew.
func (j *joining) again() {
	j.mu.Lock()
	j.accepted = false
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *joining) seen() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sees
}

// say reports whether a repeated line is due.
func (j *joining) say() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.saidAt.IsZero() && time.Since(j.saidAt) < sayAgain {
		return false
	}
	j.saidAt = time.Now()
	return true
}

// fresh reports whether this node has no raft state: it never belonged to a cluster.
func (n *Node) fresh() bool { return n.raft.LastIndex() == 0 }

// introduction is what this node says of itself.
func (n *Node) introduction() *introduction {
	id := n.identity.get()
	i := &introduction{
		Name: n.cfg.Name, Run: n.run, Addr: n.transport.advertise, Cluster: id.Cluster,
		Fresh: n.fresh(), Expect: n.cfg.BootstrapExpect,
	}
	if i.Fresh {
		i.Promised, i.Sees = id.Promised, n.join.seen()
	}
	if i.Leader = n.leader(); i.Leader != "" {
		i.LeaderAddr = n.dir.addr(i.Leader)
	}
	return i
}

// probed answers another node's introduction.
func (n *Node) probed(i *introduction) *introduction {
	n.join.candidate(i.Addr)
	return n.introduction()
}

// admits says why a caller's connection is not accepted. A fresh node takes raft
// traffic only once it was accepted by a leader or has promised itself to a
// founder: a cluster that still counts on the log this node lost must not find
// an empty voter in its place.
func (n *Node) admits(p purpose, h hello) error {
	if err := n.Err(); err != nil {
		return err
	}
	if p == forRaft && n.fresh() && !n.join.isAccepted() && n.identity.get().Promised == "" {
		return errors.New("this node has joined no cluster yet")
	}
	return nil
}

// seekMembership finds the cluster and has its leader accept this node, again
// whenever that is called into question, until the node stops.
func (n *Node) seekMembership() {
	for {
		if n.lead.Load() != nil {
			n.join.accept()
		}
		var again <-chan time.Time
		if !n.join.isAccepted() {
			n.seek()
			again = time.After(seekEvery)
		}
		select {
		case <-again:
		case <-n.join.wake:
		case <-n.ctx.Done():
			return
		case <-n.failed:
			return
		}
	}
}

// seek makes one attempt: introductions, then join whoever leads, or form a
// cluster with those who are as fresh as this node.
func (n *Node) seek() {
	addrs := n.addresses()
	found, foreign := n.probeAll(addrs)
	for _, i := range found {
		if i.Name == n.cfg.Name {
			n.meetTwin(i)
			return
		}
		if !i.Fresh {
			n.dir.set(i.Name, i.Addr)
		}
	}
	if foreign != nil {
		n.meetForeign(foreign, len(found))
	}
	if to := n.findLeader(found); to.name != "" {
		n.askToJoin(to)
		return
	}
	if n.fresh() {
		n.tryForm(found, len(addrs))
	}
}

// addresses returns where other nodes may be: configured, gossiped, known, heard from.
func (n *Node) addresses() []string {
	var all []string
	if n.gossip != nil {
		all = n.gossip.peers()
	} else {
		all = slices.Clone(n.cfg.Join)
	}
	all = append(all, n.dir.all(n.cfg.Name)...)
	n.join.mu.Lock()
	for addr := range n.join.candidates {
		all = append(all, addr)
	}
	n.join.mu.Unlock()
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(a string) bool { return a == n.transport.advertise || a == n.cfg.PeerAddr })
}

// probeAll introduces this node at every address and returns who answered, one
// per name. foreign is a node of another cluster, if one was met.
func (n *Node) probeAll(addrs []string) (found []*introduction, foreign *foreignCluster) {
	ctx, cancel := context.WithTimeout(n.ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, addr := range addrs {
		wg.Go(func() {
			i, err := n.probe(ctx, target{addr: addr})
			mu.Lock()
			defer mu.Unlock()
			var f *foreignCluster
			if errors.As(err, &f) {
				foreign = f
			}
			if err != nil || i.Run == n.run {
				return
			}
			if !slices.ContainsFunc(found, func(o *introduction) bool { return o.Name == i.Name && o.Run == i.Run }) {
				found = append(found, i)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(found, func(a, b *introduction) int { return strings.Compare(a.Name, b.Name) })
	return found, foreign
}

// probe introduces this node to whoever is at to.
func (n *Node) probe(ctx context.Context, to target) (*introduction, error) {
	body, err := msgpack.Marshal(n.introduction())
	if err != nil {
		return nil, err
	}
	answer, who, err := n.rpc.callRaw(ctx, to, methodProbe, body)
	if err != nil {
		return nil, err
	}
	i := new(introduction)
	if err := msgpack.Unmarshal(answer, i); err != nil {
		return nil, err
	}
	if i.Name != who.Name {
		return nil, errHello
	}
	return i, nil
}

// findLeader returns the leader that this node or one of those found knows of.
func (n *Node) findLeader(found []*introduction) target {
	if name := n.leader(); name != "" && name != n.cfg.Name {
		return n.target(name)
	}
	for _, i := range found {
		if i.Leader != "" && i.LeaderAddr != "" && i.Leader != n.cfg.Name {
			return target{name: i.Leader, addr: i.LeaderAddr}
		}
	}
	return target{}
}

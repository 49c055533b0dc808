package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/vmihailenco/msgpack/v5"
)

const (
	// rejoinEvery is how often gossip contacts the configured addresses again:
	// memberlist never heals a long partition by itself.
	rejoinEvery = 15 * time.Second
	// metaEvery is how often a change of this node's metadata is looked for.
	metaEvery = time.Second
	// reclaimAfter is how long a name belongs to a dead address.
	reclaimAfter = 30 * time.Second
	// gossipLeave bounds the goodbye.
	gossipLeave = time.Second
)

// gossip finds addresses, and that is all: it proves no identity, and changes no
// membership. A node found this way is asked to introduce itself over the peer port.
type gossip struct {
	list *memberlist.Memberlist
	self string // this node's name
	log  *slog.Logger
	join []string
	meta func() gossipMeta

	leaving atomic.Bool // what memberlist warns of from now on is its own end

	mu      sync.Mutex
	current []byte
	others  map[string]string   // peer addresses by name, this node's own left out
	twins   map[string]struct{} // peer addresses seen under this node's own name
}

// gossipMeta is what a node gossips of itself, with its name. Encoded it must
// fit memberlist.MetaMaxSize, 512 bytes.
type gossipMeta struct {
	Addr    string `msgpack:"a"` // peer address
	Cluster string `msgpack:"c,omitempty"`
	Fresh   bool   `msgpack:"f,omitempty"`
}

func (n *Node) gossipMeta() gossipMeta {
	return gossipMeta{Addr: n.transport.advertise, Cluster: n.identity.get().Cluster, Fresh: n.fresh()}
}

func startGossip(c *Config, meta func() gossipMeta) (*gossip, error) {
	host, port, err := net.SplitHostPort(c.GossipAddr)
	if err != nil {
		return nil, fmt.Errorf("--gossip-addr %q: %w", c.GossipAddr, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("--gossip-addr %q: %w", c.GossipAddr, err)
	}
	bind := "0.0.0.0"
	if host != "" { // memberlist takes no names
		ip, err := net.ResolveIPAddr("ip", host)
		if err != nil {
			return nil, fmt.Errorf("--gossip-addr %q: %w", c.GossipAddr, err)
		}
		bind = ip.IP.String()
	}
	g := &gossip{
		self: c.Name, log: c.Logger, join: c.Join, meta: meta,
		others: make(map[string]string), twins: make(map[string]struct{}),
	}
	mc := memberlist.DefaultLANConfig()
	mc.Name, mc.BindAddr = c.Name, bind
	mc.BindPort, mc.AdvertisePort = number, number
	mc.SecretKey = c.GossipKey
	mc.DeadNodeReclaimTime = reclaimAfter
	mc.Delegate, mc.Conflict, mc.Events = g, g, g
	mc.Logger = memberlistLogger(c.Logger, &g.leaving)
	mc.MsgpackUseNewTimeFormat = true
	if g.current, err = encodeMeta(meta()); err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("gossip on %s (choose another --gossip-addr, or stop what uses it): %w", c.GossipAddr, err)
	}
	return g, nil
}

func encodeMeta(m gossipMeta) ([]byte, error) {
	b, err := msgpack.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip metadata of %d bytes: the advertised address is too long", len(b))
	}
	return b, nil
}

// decodeMeta decodes what another node gossips; anybody with the key could have written it.
func decodeMeta(b []byte) (m gossipMeta, err error) {
	if len(b) > memberlist.MetaMaxSize {
		return m, fmt.Errorf("gossip metadata of %d bytes", len(b))
	}
	return m, msgpack.Unmarshal(b, &m)
}

// rejoinLoop keeps contact until ctx ends.
func (g *gossip) rejoinLoop(ctx context.Context) {
	var lastJoin time.Time
	tick := time.NewTicker(metaEvery)
	defer tick.Stop()
	for {
		if time.Since(lastJoin) >= rejoinEvery || g.list.NumMembers() < 2 {
			lastJoin = time.Now()
			g.rejoin()
		}
		g.updateMeta()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// rejoin contacts the configured addresses and those of every known node.
func (g *gossip) rejoin() {
	addrs := append([]string(nil), g.join...)
	self := g.list.LocalNode()
	for _, m := range g.list.Members() {
		if m.Name != self.Name {
			addrs = append(addrs, m.Address())
		}
	}
	if len(addrs) == 0 {
		return
	}
	if reached, err := g.list.Join(addrs); reached == 0 && err != nil {
		g.log.Debug("gossip reached nobody", "error", err)
	}
}

func (g *gossip) updateMeta() {
	b, err := encodeMeta(g.meta())
	if err != nil {
		return
	}
	g.mu.Lock()
	same := bytes.Equal(b, g.current)
	g.current = b
	g.mu.Unlock()
	if !same {
		if err := g.list.UpdateNode(gossipLeave); err != nil {
			g.log.Debug("gossiping new metadata failed", "error", err)
		}
	}
}

// peers returns the peer addresses of the other nodes.
func (g *gossip) peers() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	addrs := slices.Collect(maps.Values(g.others))
	return slices.AppendSeq(addrs, maps.Keys(g.twins))
}

// NotifyJoin implements memberlist.EventDelegate. memberlist holds its lock and
// may change a node after the call, so what is needed of it is copied here.
func (g *gossip) NotifyJoin(m *memberlist.Node) { g.NotifyUpdate(m) }

// NotifyUpdate implements memberlist.EventDelegate.
func (g *gossip) NotifyUpdate(m *memberlist.Node) {
	meta, err := decodeMeta(m.Meta)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.others, m.Name)
	if err == nil && meta.Addr != "" && m.Name != g.self && len(g.others) < maxCandidates {
		g.others[m.Name] = meta.Addr
	}
}

// NotifyLeave implements memberlist.EventDelegate.
func (g *gossip) NotifyLeave(m *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.others, m.Name)
}

// close says goodbye and stops.
func (g *gossip) close() {
	g.leaving.Store(true)
	if err := g.list.Leave(gossipLeave); err != nil {
		g.log.Debug("leaving gossip failed", "error", err)
	}
	if err := g.list.Shutdown(); err != nil {
		g.log.Debug("stopping gossip failed", "error", err)
	}
}

// NotifyConflict implements memberlist.ConflictDelegate: two nodes use one name.
// memberlist holds its lock, so the address is only noted.
func (g *gossip) NotifyConflict(existing, other *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range []*memberlist.Node{existing, other} {
		if meta, err := decodeMeta(m.Meta); err == nil && meta.Addr != "" && len(g.twins) < maxCandidates {
			g.twins[meta.Addr] = struct{}{}
		}
	}
}

// NodeMeta implements memberlist.Delegate.
func (g *gossip) NodeMeta(limit int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.current) > limit {
		return nil
	}
	return g.current
}

// The rest of memberlist.Delegate is not used.

func (g *gossip) NotifyMsg([]byte)                {}
func (g *gossip) GetBroadcasts(int, int) [][]byte { return nil }
func (g *gossip) LocalState(bool) []byte          { return nil }
func (g *gossip) MergeRemoteState([]byte, bool)   {}

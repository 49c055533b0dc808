package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/memnet"
)

// rig is a cluster of real nodes, with real raft and real state machines, over a
// network and disks in memory. It lives in a synctest bubble.
type rig struct {
	t     *testing.T
	net   *memnet.Network
	peers map[string]*peer
}

// peer is one machine of the rig: its disk survives its node.
type peer struct {
	r      *rig
	name   string
	addr   string
	fs     *vfs.MemFS
	stores *memStores
	config Config // as given to Open; changed by tests between starts

	installs atomic.Int32 // snapshots installed by its machine

	node    *Node
	machine *fsm.Machine
	started time.Time
	stop    context.CancelFunc // of the heart
	stopped chan struct{}
}

// memStores is raft's log on a disk in memory. It survives Close.
type memStores struct {
	*raft.InmemStore
	hook atomic.Value // func(logs int), called before logs are stored; empty: nothing
}

func (m *memStores) Close() error { return nil }

func (m *memStores) StoreLogs(logs []*raft.Log) error {
	if hook, ok := m.hook.Load().(func(int)); ok {
		hook(len(logs))
	}
	return m.InmemStore.StoreLogs(logs)
}

// inBubble runs f with a rig of n peers, named n1, n2, …, none of them started,
// and then stops what f left running.
func inBubble(t *testing.T, n int, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: memnet.New(), peers: make(map[string]*peer)}
		var join []string
		for i := range n {
			join = append(join, fmt.Sprintf("n%d:7000", i+1))
		}
		for i := range n {
			r.add(fmt.Sprintf("n%d", i+1), n, join)
		}
		defer func() {
			r.net.HealAll()
			for _, p := range r.peers {
				if p.node != nil {
					p.close()
				}
			}
			time.Sleep(time.Minute) // raft's and pebble's timers run out
			if open := r.net.Open(); open != 0 {
				t.Errorf("%d connection ends are open after every node has stopped", open)
			}
		}()
		f(r)
	})
}

func (r *rig) add(name string, expect int, join []string) *peer {
	p := &peer{r: r, name: name, addr: name + ":7000", fs: vfs.NewCrashableMem(), stores: &memStores{InmemStore: raft.NewInmemStore()}}
	p.config = Config{
		Name: name, DataDir: "/data", PeerAddr: p.addr, Join: join, BootstrapExpect: expect,
		Network: r.net.Host(name), Logger: testLogger(),
		Tuning: Tuning{OpenStores: func(string) (RaftStores, error) { return p.stores, nil }},
	}
	r.peers[name] = p
	return p
}

func testLogger() *slog.Logger {
	var w io.Writer = io.Discard
	if os.Getenv("BURSAR_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open opens the peer's state machine and node and returns what Open said.
func (p *peer) open() error {
	m, err := fsm.Open("/data/state", fsm.Options{FS: p.fs, Logger: testLogger()})
	if err != nil {
		p.r.t.Fatal(err)
	}
	m.SetObserver(p)
	c := p.config
	c.FS = p.fs
	n, err := Open(p.r.t.Context(), c, m)
	if err != nil {
		m.Close()
		return err
	}
	p.node, p.machine, p.started = n, m, time.Now()
	return nil
}

// Applied implements fsm.Observer.
func (p *peer) Applied(c *fsm.Changes) {
	if c.Full {
		p.installs.Add(1)
	}
}

// start opens the node and gives it a heart: what the enforcer does to stay alive.
func (p *peer) start() {
	p.r.t.Helper()
	if err := p.open(); err != nil {
		p.r.t.Fatalf("open %s: %v", p.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.stopped = cancel, make(chan struct{})
	go func() {
		defer close(p.stopped)
		p.beat(ctx, p.node)
	}()
}

// beat begins a session and reconciles every 100 ms; seeing itself dead, it recovers.
func (p *peer) beat(ctx context.Context, n *Node) {
	num, err := n.Admitted(ctx)
	if err != nil {
		return
	}
	boot := n.members.Load().node(num).Boot + 1
	if _, err := n.ProposeQuick(ctx, n.actor(), fsm.BootNode{Node: num, Boot: boot}); err != nil {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := n.Reconcile(once, &fsm.Part{Node: num, Boot: boot})
		if err == nil && n.members.Load().node(num).Dead {
			n.ProposeQuick(once, n.actor(), fsm.RecoverNode{Node: num, Boot: boot})
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *peer) stopHeart() {
	if p.stop != nil {
		p.stop()
		<-p.stopped
		p.stop = nil
	}
}

// close stops the node gracefully.
func (p *peer) close() {
	p.r.t.Helper()
	p.stopHeart()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.node.Close(ctx); err != nil {
		p.r.t.Errorf("close %s: %v", p.name, err)
	}
	if err := p.machine.Close(); err != nil {
		p.r.t.Errorf("close the machine of %s: %v", p.name, err)
	}
	p.node, p.machine = nil, nil
}

// crash ends the node as a power failure would: what was not synced is gone, and
// nobody hears a goodbye.
func (p *peer) crash() {
	fs := p.fs.CrashClone(vfs.CrashCloneCfg{})
	for name := range p.r.peers {
		if name != p.name {
			p.r.net.Block(p.name, name)
		}
	}
	p.r.net.Crash(p.name)
	p.stopHeart()
	p.node.applying.close()
	p.node.applying.wait(p.r.within(closeWait)) // not what a crash does, but raft would leak what waits
	p.node.shutdown()
	p.machine.Close()
	p.fs, p.node, p.machine = fs, nil, nil
	for name := range p.r.peers {
		if name != p.name {
			p.r.net.Heal(p.name, name)
		}
	}
}

// startAll starts every peer and waits until all of them are members that live.
func (r *rig) startAll() {
	r.t.Helper()
	for _, name := range r.names() {
		r.peers[name].start()
	}
	r.settle(len(r.peers))
}

func (r *rig) names() []string {
	var names []string
	for name := range r.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// settle waits until a leader serves and want running nodes are live voters with a session.
func (r *rig) settle(want int) {
	r.t.Helper()
	r.eventually(20*time.Second, "the cluster settles", func() bool {
		l := r.leader()
		if l == nil {
			return false
		}
		live := 0
		for _, m := range l.node.Status().Members {
			if m.Voter && !m.Dead && m.Boot > 0 && !m.LastHeard.IsZero() && time.Since(m.LastHeard) < time.Second {
				live++
			}
		}
		return live == want && r.allHeard()
	})
}

// allHeard reports whether every running node was answered by a leader since it started.
func (r *rig) allHeard() bool {
	for _, p := range r.peers {
		if p.node != nil && !p.node.HeardLeader().After(p.started) {
			return false
		}
	}
	return true
}

// leader returns the peer whose node serves as leader, or nil.
func (r *rig) leader() *peer {
	for _, p := range r.peers {
		if p.node == nil {
			continue
		}
		if l := p.node.lead.Load(); l != nil && p.node.raft.State() == raft.Leader {
			select {
			case <-l.ready:
				return p
			default:
			}
		}
	}
	return nil
}

// followers returns the running peers that do not lead, by name.
func (r *rig) followers() []*peer {
	var all []*peer
	leader := r.leader()
	for _, name := range r.names() {
		if p := r.peers[name]; p != leader && p.node != nil {
			all = append(all, p)
		}
	}
	return all
}

func (r *rig) eventually(within time.Duration, what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %v: %s\n%s", within, what, r.describe())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *rig) describe() (s string) {
	for _, name := range r.names() {
		if n := r.peers[name].node; n != nil {
			s += fmt.Sprintf("%s: %+v err=%v\n", name, n.Status(), n.Err())
		}
	}
	return s
}

// isolate cuts a peer off from all others.
func (r *rig) isolate(p *peer) {
	for name := range r.peers {
		if name != p.name {
			r.net.Block(p.name, name)
		}
	}
}

func (r *rig) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	r.t.Cleanup(cancel)
	return ctx
}

var tester = fsm.Actor{Type: "token", ID: "tok_test", Name: "test"}

// put proposes an account with a name through p, waiting for everyone.
func (p *peer) put(ctx context.Context, account, name string) (uint64, error) {
	return p.node.Propose(ctx, tester, fsm.PutAccount{ID: account, Name: name})
}

func (p *peer) mustPut(account, name string) uint64 {
	p.r.t.Helper()
	index, err := p.put(p.r.within(30*time.Second), account, name)
	if err != nil {
		p.r.t.Fatalf("put %s=%s through %s: %v\n%s", account, name, p.name, err, p.r.describe())
	}
	return index
}

// name returns the account's name in p's own replica, as it is now.
func (p *peer) accountName(account string) (name string) {
	p.machine.View(func(v *fsm.View) {
		if a := v.Account(account); a != nil {
			name = a.Name
		}
	})
	return name
}

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bursar-dev/bursar/fsm"
)

// freePorts returns addresses on loopback that were free a moment ago.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		defer l.Close()
	}
	return addrs
}

// real is a node on real TCP with real certificates, bbolt and gossip.
type real struct {
	node    *Node
	machine *fsm.Machine
	config  Config
}

func (r *real) open(t testing.TB) {
	t.Helper()
	var err error
	if r.machine, err = fsm.Open(r.config.DataDir+"/state", fsm.Options{Logger: testLogger()}); err != nil {
		t.Fatal(err)
	}
	if r.node, err = Open(t.Context(), r.config, r.machine); err != nil {
		t.Fatal(err)
	}
}

func (r *real) close(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.node.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := r.node.Close(ctx); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if err := r.machine.Close(); err != nil {
		t.Error(err)
	}
}

func TestThreeNodesOverTCPWithTLSAndGossipLeaveNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("real time")
	}
	before := goleak.IgnoreCurrent()
	ca := newAuthority(t)
	gossip := freePorts(t, 3)
	var nodes []*real
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, &real{config: Config{
			Name: name, DataDir: t.TempDir(), PeerAddr: "127.0.0.1:0", GossipAddr: gossip[i], Join: gossip,
			BootstrapExpect: 3, TLS: ca.issue(name), GossipKey: bytes.Repeat([]byte{7}, 32), Logger: testLogger(),
		}})
	}
	for _, n := range nodes {
		n.open(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, n := range nodes {
		if _, err := n.node.Admitted(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range nodes {
		if _, err := n.node.Propose(ctx, tester, fsm.PutAccount{ID: "acme", Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}

	// One restarts on another port, as a node whose port is picked does.
	nodes[0].close(t)
	if _, err := nodes[1].node.ProposeQuick(ctx, tester, fsm.PutAccount{ID: "acme", Name: "restarted"}); err != nil {
		t.Fatal(err)
	}
	nodes[0].open(t)
	if _, err := nodes[0].node.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	nodes[0].machine.View(func(v *fsm.View) {
		if got := v.Account("acme").Name; got != "restarted" {
			t.Errorf("the restarted node reads %q", got)
		}
	})

	// A second process over the same directory is told so.
	m, err := fsm.Open(t.TempDir(), fsm.Options{Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	second := nodes[1].config
	second.GossipAddr = ""
	if _, err := Open(ctx, second, m); err == nil || !strings.Contains(err.Error(), "another process uses this data directory") {
		t.Errorf("opening a directory in use: %v", err)
	}
	// And so is one on a gossip port in use.
	second.DataDir, second.GossipAddr = t.TempDir(), gossip[2]
	if _, err := Open(ctx, second, m); err == nil || !strings.Contains(err.Error(), "--gossip-addr") {
		t.Errorf("gossiping on a port in use: %v", err)
	}
	m.Close()

	for _, n := range nodes {
		n.close(t)
	}
	if _, err := nodes[0].node.Propose(ctx, tester, fsm.PutAccount{ID: "late", Name: "x"}); !errors.Is(err, ErrStopped) {
		t.Errorf("a write through a closed node: %v", err)
	}
	// A probe of memberlist that was under way ends at its deadline, which is later the busier the machine is.
	err = goleak.Find(before)
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); {
		err = goleak.Find(before)
	}
	if err != nil {
		t.Error(err)
	}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// hostNet gives each node of a testCluster a host of its own: a network namespace with one
// interface for its peers and one for its callers. What does not get through here is
// lost without a word, as behind a dead switch: no connection is closed, none is refused.
type hostNet struct {
	t  *testing.T
	id int // of its names and of its addresses, 10.id.0.0/16
}

// unplugged is the address of no interface.
const unplugged = "02:00:00:00:00:01"

// newHostNet makes the two switches, or skips the test where that is not allowed.
func newHostNet(t *testing.T) *hostNet {
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and the ip command, for network namespaces")
	}
	h := &hostNet{t, 100 + rand.IntN(100)}
	for net, name := range []string{"peers", "callers"} {
		if out, err := exec.Command("ip", "link", "add", h.name(name), "type", "bridge").CombinedOutput(); err != nil {
			t.Skipf("no network of its own: %s", out)
		}
		t.Cleanup(func() { h.ip("link del %s", h.name(name)) })
		h.ip("addr add %s/24 dev %s", h.addr(net, 254), h.name(name))
		h.ip("link set %s up", h.name(name))
	}
	return h
}

// name is what something is called on this machine: at most 15 bytes.
func (h *hostNet) name(of string) string { return fmt.Sprintf("bsr%d%s", h.id, of) }

// addr is a host's address in one of the two networks.
func (h *hostNet) addr(net, host int) string { return fmt.Sprintf("10.%d.%d.%d", h.id, net, host) }

// ip runs the ip command.
func (h *hostNet) ip(format string, args ...any) {
	h.t.Helper()
	command := fmt.Sprintf(format, args...)
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip %s: %v: %s", command, err, out)
	}
}

// host makes the node's namespace and has it run there.
func (h *hostNet) host(node *testNode, number int) {
	ns := h.name(node.name)
	h.ip("netns add %s", ns)
	h.t.Cleanup(func() { h.ip("netns del %s", ns) })
	h.ip("-n %s link set lo up", ns)
	for net, bridge := range []string{"peers", "callers"} {
		cable := h.cable(net, number)
		h.ip("link add %s type veth peer name eth%d netns %s", cable, net, ns)
		h.ip("-n %s addr add %s/24 dev eth%d", ns, h.addr(net, number), net)
		h.ip("-n %s link set eth%d up", ns, net)
		h.ip("link set %s master %s up", cable, h.name(bridge))
	}
	node.within = []string{"ip", "netns", "exec", ns}
	for net, addrs := range [][]*string{{&node.peer, &node.gossip}, {&node.http, &node.admin}} {
		for i, addr := range addrs {
			*addr = fmt.Sprintf("%s:%d", h.addr(net, number), 7000+i)
		}
	}
}

// cable is the end of a host's cable that is in the switch.
func (h *hostNet) cable(net, number int) string { return h.name(fmt.Sprintf("-%d-%d", net, number)) }

// pull takes hosts' cables out of the peers' switch; the end puts them back.
func (h *hostNet) pull(numbers ...int) (end func()) {
	for _, n := range numbers {
		h.ip("link set %s nomaster", h.cable(0, n))
	}
	return func() {
		for _, n := range numbers {
			h.ip("link set %s master %s", h.cable(0, n), h.name("peers"))
		}
	}
}

// mute loses what one host sends to others, and nothing that they send.
func (h *hostNet) mute(nodes []*testNode, number int) (end func()) {
	ns := h.name(nodes[number-1].name)
	for i := range nodes {
		if i+1 != number {
			h.ip("-n %s neigh replace %s lladdr %s dev eth0 nud permanent", ns, h.addr(0, i+1), unplugged)
		}
	}
	return func() {
		for i := range nodes {
			if i+1 != number {
				h.ip("-n %s neigh del %s dev eth0", ns, h.addr(0, i+1))
			}
		}
	}
}

// Three nodes on three hosts, with certificates, while their cables are pulled and packets are
// lost in one direction, for moments and for longer than a node may decide alone.
func TestPulledCablesLoseAndDoubleNothing(t *testing.T) {
	notShort(t)
	const (
		clients = 12
		team    = "team"
		limit   = 2_400
		ttl     = 10 * time.Second
	)
	t.Parallel()
	h := newHostNet(t)
	certs := t.TempDir()
	mustMakeCerts(t, certs, false, "node-1", "node-2", "node-3")
	number := 0
	c := startCluster(t, 3, func(node *testNode) {
		number++
		node.useTLS(certs)
		h.host(node, number)
	})
	c.makeTeam(team, limit)
	l := &load{c: c, team: team, limit: limit}
	l.pick = l.anyNode

	rounds := 1
	if long() {
		rounds = 8
	}
	faults := []struct {
		name  string
		lasts time.Duration
		begin func() (end func())
	}{
		{"the leader's cable pulled", 3 * deadAfter, func() func() { return h.pull(c.leader() + 1) }},
		{"nobody hears the leader", 3 * deadAfter, func() func() { return h.mute(c.nodes, c.leader()+1) }},
		{"a cable pulled for a moment", 300 * time.Millisecond, func() func() { return h.pull(1 + rand.IntN(3)) }},
		{"nobody hears a node", 2 * deadAfter, func() func() { return h.mute(c.nodes, 1+rand.IntN(3)) }},
		{"every cable pulled", 2 * deadAfter, func() func() { return h.pull(1, 2, 3) }},
		{"a cable pulled for longer than the staleness bound", stalenessFor + 2*time.Second, func() func() { return h.pull(1 + rand.IntN(3)) }},
	}
	finishing, giveUp := context.WithTimeout(t.Context(), time.Duration(rounds)*2*time.Minute+2*time.Minute)
	defer giveUp()
	l.during(finishing, callers{clients, limit * 2 / 3, ttl, 100 * time.Millisecond}, func(context.Context) {
		for range rounds {
			for _, f := range faults {
				end := f.begin()
				time.Sleep(f.lasts)
				end()
				for i := range c.nodes {
					c.waitReady(i)
				}
				t.Logf("%s: %v", f.name, l)
			}
		}
	})
	l.closeBooks(finishing, clients, ttl)
}

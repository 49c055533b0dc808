package simulation

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bursar-dev/bursar/internal/memnet"
)

// processNet is the network of one process. It ends with the process, so that
// nothing a dead one still tries leaves the machine.
type processNet struct {
	host *memnet.Host
	dead *atomic.Bool
}

// Listen implements cluster.Network.
func (n *processNet) Listen(addr string) (net.Listener, error) {
	if n.dead.Load() {
		return nil, syscall.ENETDOWN
	}
	return n.host.Listen(addr)
}

// Dial implements cluster.Network.
func (n *processNet) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if n.dead.Load() {
		return nil, syscall.ENETDOWN
	}
	c, err := n.host.Dial(ctx, addr)
	if err == nil && n.dead.Load() {
		c.Close()
		return nil, syscall.ENETDOWN
	}
	return c, err
}

// links is the state of the network. Faults overlap: a direction is blocked as
// long as any of them blocks it.
type links struct {
	net     *memnet.Network
	blocked map[way]int
	since   map[string]time.Time // hosts to which no message makes a round trip, and since when
}

func newLinks() *links {
	return &links{net: memnet.New(), blocked: map[way]int{}, since: map[string]time.Time{}}
}

func (l *links) block(x way) {
	l.blocked[x]++
	l.net.BlockOneWay(x[0], x[1])
}

func (l *links) unblock(x way) {
	if l.blocked[x] = max(0, l.blocked[x]-1); l.blocked[x] == 0 {
		l.net.HealOneWay(x[0], x[1])
	}
}

func (l *links) heal() {
	l.net.HealAll()
	clear(l.blocked)
	clear(l.since)
}

// look finds the hosts that are cut off now.
func (l *links) look(hosts []string) {
	for _, h := range hosts {
		cut := true
		for _, o := range hosts {
			cut = cut && (o == h || l.blocked[way{h, o}] > 0 || l.blocked[way{o, h}] > 0)
		}
		if !cut {
			delete(l.since, h)
		} else if l.since[h].IsZero() {
			l.since[h] = time.Now()
		}
	}
}

// quietDelay is what a message takes while nothing is wrong, at most.
const quietDelay = 300 * time.Microsecond

// delay gives every direction of every link a delay of its own, up to most.
func (l *links) delay(d *dice, hosts []string, most time.Duration) {
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				l.net.Delay(a, b, d.wait(quietDelay/4, most))
			}
		}
	}
}

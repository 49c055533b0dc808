package enforcer

import (
	"context"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// notices are messages to holders that must get there: a cancel frees a draw, a
// firm says that it is to stay, and a confirm shrinks it to what was used (rules N3
// and N7). A later one to the same node replaces an earlier one. Each goes out at once
// and again until it is answered. They are not durable: after a restart
// SyncDraws says what the cancels would have said, and settlement what the
// confirms would have.
type notices struct {
	e    *Enforcer
	mu   sync.Mutex
	open map[noticeKey]*notice
	wake chan struct{}
	sem  chan struct{}
}

type noticeKey struct {
	id   resID
	node fsm.NodeNum
}

type notice struct {
	kind    noticeKind
	boot    uint64 // of a cancel
	confirm []Hold
	sent    time.Time
}

type noticeKind uint8

const (
	noticeCancel noticeKind = iota
	noticeFirm
	noticeConfirm
)

const (
	maxNotices         = 1 << 16 // open at once; beyond it nothing more is drawn
	maxNoticesInFlight = 64
	noticeAgain        = 100 * time.Millisecond
	noticeTimeout      = 300 * time.Millisecond
)

func newNotices(e *Enforcer) *notices {
	return &notices{
		e: e, open: make(map[noticeKey]*notice),
		wake: make(chan struct{}, 1), sem: make(chan struct{}, maxNoticesInFlight),
	}
}

func (n *notices) full() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open) >= maxNotices
}

// cancel frees what other nodes hold for a reservation.
func (n *notices) cancel(id resID, boot uint64, held []heldLine) {
	for _, h := range held {
		if h.On != n.e.c.Node {
			n.put(noticeKey{id, h.On}, &notice{boot: boot})
		}
	}
}

// confirm tells the other nodes what the event really used of their holds.
func (n *notices) confirm(id resID, node fsm.NodeNum, used []Hold) {
	n.put(noticeKey{id, node}, &notice{kind: noticeConfirm, confirm: used})
}

// firm tells another node that what is drawn there is to stay.
func (n *notices) firm(id resID, node fsm.NodeNum) {
	n.put(noticeKey{id, node}, &notice{kind: noticeFirm})
}

func (n *notices) put(key noticeKey, what *notice) {
	n.mu.Lock()
	n.open[key] = what
	n.mu.Unlock()
	kickOn(n.wake)
}

// settled forgets the confirms and firms of a reservation whose event has been applied.
func (n *notices) settled(id resID, node fsm.NodeNum) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if what := n.open[noticeKey{id, node}]; what != nil && what.kind != noticeCancel {
		delete(n.open, noticeKey{id, node})
	}
}

// run sends notices until ctx ends.
func (n *notices) run(ctx context.Context) {
	ticker := time.NewTicker(noticeAgain)
	defer ticker.Stop()
	var sends sync.WaitGroup
	defer sends.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-ticker.C:
		}
		for key, what := range n.due(time.Now()) {
			select {
			case n.sem <- struct{}{}:
			case <-ctx.Done():
				return
			}
			sends.Go(func() {
				defer func() { <-n.sem }()
				n.send(ctx, key, what)
			})
		}
	}
}

// due marks and returns what is to be sent now. A node that is no member any more needs no notice.
func (n *notices) due(now time.Time) map[noticeKey]notice {
	gone := n.e.roster.Load().gone
	n.mu.Lock()
	defer n.mu.Unlock()
	due := make(map[noticeKey]notice)
	for key, what := range n.open {
		if _, removed := gone[key.node]; removed {
			delete(n.open, key)
		} else if now.Sub(what.sent) >= noticeAgain {
			what.sent = now
			due[key] = *what
		}
	}
	return due
}

func (n *notices) send(ctx context.Context, key noticeKey, what notice) {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	var err error
	switch what.kind {
	case noticeConfirm:
		err = n.e.peers.Call(ctx, key.node, MethodConfirm, &ConfirmRequest{Reservation: key.id.String(), Holds: what.confirm}, &Empty{})
	case noticeFirm:
		err = n.e.peers.Call(ctx, key.node, MethodFirm, &FirmRequest{Reservation: key.id.String()}, &Empty{})
	default:
		err = n.e.peers.Call(ctx, key.node, MethodCancel,
			&CancelRequest{Reservation: key.id.String(), Origin: key.id.node, Boot: what.boot}, &Empty{})
	}
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	// A later notice under the same key still has to go out.
	if open := n.open[key]; open != nil && open.kind == what.kind {
		delete(n.open, key)
	}
}

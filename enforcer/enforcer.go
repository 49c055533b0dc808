package enforcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/fsm"
)

// Config configures an Enforcer. The zero value of a timing field means its default.
type Config struct {
	Name    string      // node name, for ledger lines and logs
	Node    fsm.NodeNum // this node's number
	DataDir string      // outbox/ and journal/ live below it
	FS      vfs.FS      // of outbox, journal and session; nil: real
	Logger  *slog.Logger

	Registerer prometheus.Registerer // of the data plane's metrics; nil: none

	// KernelBoot names the run of the operating system that keeps what was written to FS
	// and not synced. Zero: that of this machine.
	KernelBoot [16]byte

	// Wall tells this machine's clock, in Unix milliseconds, at a time. Simulations set the clocks
	// of nodes apart with it; it may jump. Nil: the system's.
	Wall func(time.Time) int64

	AskWait time.Duration // W: how long a check may wait for room (50 ms)
	AckWait time.Duration // how long ingest waits for the quorum before it answers "node" (2 s)
}

const (
	defaultAskWait = 50 * time.Millisecond
	defaultAckWait = 2 * time.Second
)

// Enforcer decides calls and records what they used, on one node.
type Enforcer struct {
	c     Config // with defaults filled in
	log   *slog.Logger
	m     *fsm.Machine
	peers Peers

	journal *journal
	ship    *shipper // outbox and shipping of events

	units   *units
	catalog atomic.Pointer[catalog]
	book    *book
	table   *table
	draws   *drawTable
	agent   *agent
	notices *notices
	roster  atomic.Pointer[roster]
	tokens  tokenCache              // of the data plane's callers
	prices  atomic.Pointer[pricing] // those effective now; nil: to be looked up

	boot      atomic.Uint64 // this process's session
	begun     atomic.Bool   // the session is applied: admitting may begin
	closed    atomic.Bool   // the last lease is about to be given back: no event is taken any more
	begin     chan struct{} // closed then
	beginOnce sync.Once
	admitFrom atomic.Int64 // Unix milliseconds: the watermark to wait for after a crash of the machine
	recalling atomic.Bool  // after such a crash, until the others have said what they have drawn here
	draining  atomic.Bool
	removed   atomic.Bool // this node's membership has ended
	broken    atomic.Bool // INV2 was violated: this node's books are wrong
	staleness atomic.Int64
	applied   atomic.Uint64 // log index the slots stand at

	waiting  atomic.Int64  // checks in queues
	arrivals atomic.Uint64 // numbers them

	counters   Counters
	rejections rejections
	propose    atomic.Pointer[proposer]
}

// proposer commits a command through the leader.
type proposer func(context.Context, fsm.Body) error

// roster is membership as the replica shows it.
type roster struct {
	fsm.Roster
	me    fsm.NodeNum
	self  fsm.Node // zero before admission
	boots map[fsm.NodeNum]uint64
	gone  map[fsm.NodeNum]struct{} // removed nodes
}

// Counters count what the enforcer did since it was opened.
type Counters struct {
	Local    atomic.Uint64 // checks answered from this node's memory
	Waited   atomic.Uint64 // checks that waited for a grant or an apply
	Drawn    atomic.Uint64 // checks that drew on another node
	Asks     atomic.Uint64
	Releases atomic.Uint64
	Expired  atomic.Uint64 // reservations
	Unpriced atomic.Uint64 // events recorded that could not be priced in full

	Unattributed atomic.Uint64 // events recorded none of whose entities is provisioned
}

// Errors of Ready, all of them ErrUnavailable.
var (
	errStarting = fmt.Errorf("%w: the session has not started", ErrUnavailable)
	errWaiting  = fmt.Errorf("%w: the machine crashed; waiting until what was reserved before has expired", ErrUnavailable)
	errDraining = fmt.Errorf("%w: stopping", ErrUnavailable)
	errStale    = fmt.Errorf("%w: the cluster has not been heard for longer than the staleness bound", ErrUnavailable)
	errRemoved  = fmt.Errorf("%w: this node is no longer a member", ErrUnavailable)
	errBroken   = fmt.Errorf("%w: the node's books do not add up", ErrUnavailable)
)

// Open restores reservations and outbox and builds the slots. The enforcer
// admits nothing until Run has started its session. m must be an opened machine
// that nothing is applied to before Open returns.
func Open(c Config, m *fsm.Machine, p Peers) (*Enforcer, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.KernelBoot == [16]byte{} {
		c.KernelBoot = thisKernelBoot()
	}
	if c.Wall == nil {
		c.Wall = time.Time.UnixMilli
	}
	if c.AskWait == 0 {
		c.AskWait = defaultAskWait
	}
	if c.AckWait == 0 {
		c.AckWait = defaultAckWait
	}
	e := &Enforcer{
		c: c, log: c.Logger.With("node", c.Name), m: m, peers: p,
		units: newUnits(), book: newBook(), draws: newDrawTable(), begin: make(chan struct{}),
	}
	e.rejections.since = e.now()
	e.catalog.Store(newCatalog())
	e.agent = newAgent(e)
	e.notices = newNotices(e)
	e.readNodes()
	if err := e.restore(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Ready reports why this node may not decide now, or nil. The error is ErrUnavailable.
func (e *Enforcer) Ready() error { return e.readyAt(time.Now()) }

func (e *Enforcer) readyAt(now time.Time) error {
	switch {
	case !e.begun.Load():
		return errStarting
	case e.draining.Load():
		return errDraining
	case e.removed.Load():
		return errRemoved
	case e.broken.Load():
		return errBroken
	case !e.mayGive(e.c.Wall(now)):
		return errWaiting
	case now.Sub(e.peers.HeardLeader()) > time.Duration(e.staleness.Load()):
		return errStale
	}
	return nil
}

// now is the node's clock in Unix milliseconds.
func (e *Enforcer) now() int64 { return e.c.Wall(time.Now()) }

// Stats returns the counters.
func (e *Enforcer) Stats() *Counters { return &e.counters }

// alarm takes the node out of service: its books do not add up, and it cannot
// know in which direction.
func (e *Enforcer) alarm(s *slot) {
	if e.broken.CompareAndSwap(false, true) {
		e.log.Error("a budget's books do not add up; this node stops admitting until it is restarted",
			"assignment", s.key.Assignment, "start", s.key.Start, "lease", s.b.LeaseOf(s.me), "credit", s.creditSum(),
			"pending", s.pending, "held", s.heldNow(), "releasing", s.releasing, "debt", s.debt, "excess", s.excess())
	}
}

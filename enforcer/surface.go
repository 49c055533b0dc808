package enforcer

import (
	"context"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// Config configures an Enforcer. The zero value of a timing field means its default.
type Config struct {
	Name    string      // node name, for ledger lines and logs
	Node    fsm.NodeNum // this node's number
	DataDir string      // outbox/ and journal/ live below it
	FS      vfs.FS      // of the outbox; nil: real
	Logger  *slog.Logger

	AskWait time.Duration // W: how long a check may wait for room (50 ms)
	AckWait time.Duration // how long ingest waits for the quorum before it answers "node" (2 s)
}

// Enforcer decides calls and records what they used, on one node.
type Enforcer struct {
	c     Config // with defaults filled in
	log   *slog.Logger
	m     *fsm.Machine
	peers Peers

	journal *journal
	ship    *shipper // outbox and shipping of events
}

// Open restores reservations and outbox and builds the slots. The enforcer
// admits nothing until Run has started its session.
func Open(c Config, m *fsm.Machine, p Peers) (*Enforcer, error) { panic("unwritten") }

// Run starts a new session (boot epoch) and keeps the lease protocol going until
// ctx ends. propose commits a command through the leader.
func (e *Enforcer) Run(ctx context.Context, propose func(context.Context, fsm.Body) error) error {
	panic("unwritten")
}

// Drain stops admitting, ships the outbox and gives the leases back, within ctx.
func (e *Enforcer) Drain(ctx context.Context) error { panic("unwritten") }

// Close closes journal and outbox. Call it after Run has returned.
func (e *Enforcer) Close() error { panic("unwritten") }

// Applied implements fsm.Observer.
func (e *Enforcer) Applied(c *fsm.Changes) { panic("unwritten") }

// Handle answers a request of another node's enforcer.
func (e *Enforcer) Handle(ctx context.Context, from fsm.NodeNum, method Method, body []byte) ([]byte, error) {
	panic("unwritten")
}

// Ready reports why this node may not decide now, or nil.
func (e *Enforcer) Ready() error { panic("unwritten") }

// Reserved returns what this node has set aside of a budget: pending and held.
func (e *Enforcer) Reserved(b fsm.BudgetKey) int64 { panic("unwritten") }

// ClusterReserved asks every live node what it has set aside of the budgets.
func (e *Enforcer) ClusterReserved(ctx context.Context, budgets []fsm.BudgetKey) (reserved []int64, err error) {
	panic("unwritten")
}

// NewServer returns the data plane's HTTP server over e.
func NewServer(e *Enforcer, log *slog.Logger) *fasthttp.Server { panic("unwritten") }

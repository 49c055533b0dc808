package admin

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/fsm"
)

// Cluster is what the control plane needs of *cluster.Node.
type Cluster interface {
	Propose(ctx context.Context, actor fsm.Actor, body fsm.Body) (index uint64, err error)
	Barrier(ctx context.Context) (index uint64, err error)
	Status() cluster.Status
	Remove(ctx context.Context, actor fsm.Actor, name string) error
	TransferLeadership(ctx context.Context, to string) error
}

// Config is what the control plane is made of. Every field but Gatherer and Logger is required.
type Config struct {
	Cluster Cluster
	Machine *fsm.Machine
	// Reserved returns, in order, what the live nodes have set aside of the
	// budgets: live reservations and events on their way into the ledger.
	Reserved func(ctx context.Context, budgets []fsm.BudgetKey) ([]int64, error)
	Ready    func() error // why this node may not decide now, or nil
	Gatherer prometheus.Gatherer
	NodeName string
	Logger   *slog.Logger // nil: slog.Default()
}

// New returns the complete handler of the control plane.
func New(c Config) http.Handler { panic("unwritten") }

// NewServer returns a server for h with the control plane's timeouts and limits. The caller sets its address or listener.
func NewServer(h http.Handler) *http.Server { panic("unwritten") }

// Metrics registers collectors of the raft state and the members.
func Metrics(reg prometheus.Registerer, m *fsm.Machine, c Cluster) { panic("unwritten") }

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
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
	// Rejected returns what each live node knows of an account's rejected events; account "": of those that name no account there is.
	Rejected func(ctx context.Context, account string) []enforcer.NodeRejected
	Ready    func() error        // why this node may not decide now, or nil
	Gatherer prometheus.Gatherer // nil: no metrics
	NodeName string
	Logger   *slog.Logger // nil: slog.Default()
}

// api is the control plane on one node. It keeps no state of its own.
type api struct {
	cluster  Cluster
	machine  *fsm.Machine
	reserved func(ctx context.Context, budgets []fsm.BudgetKey) ([]int64, error)
	rejected func(ctx context.Context, account string) []enforcer.NodeRejected
	ready    func() error
	node     string
	log      *slog.Logger
	huma     huma.API
	streams  chan struct{} // a place for each ledger stream in progress
	backups  chan struct{} // a place for each backup in progress
	verifies chan struct{} // a place for each verification in progress
	drafts   chan struct{} // a place for each statement that is being added up

	statements chan struct{} // a place for each statement in progress, until its last byte is sent
}

// New returns the complete handler of the control plane.
func New(c Config) http.Handler {
	a := &api{
		cluster: c.Cluster, machine: c.Machine, reserved: c.Reserved, rejected: c.Rejected, ready: c.Ready, node: c.NodeName,
		log:      c.Logger,
		streams:  make(chan struct{}, maxStreams),
		backups:  make(chan struct{}, maxBackups),
		verifies: make(chan struct{}, maxVerifications),
		drafts:   make(chan struct{}, maxDrafts),

		statements: make(chan struct{}, maxStatements),
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	mux := http.NewServeMux()
	a.huma = humago.New(mux, documentConfig())
	describeCadence(a.huma.OpenAPI().Components.Schemas)

	a.accountRoutes()
	a.catalogRoutes()
	a.entityRoutes()
	a.assignmentRoutes()
	a.balanceRoutes()
	a.treeRoutes()
	a.ledgerRoutes()
	a.verifyRoutes()
	a.retentionRoutes()
	a.usageRoutes()
	a.rejectedRoutes()
	a.unattributedRoutes()
	a.adjustmentRoutes()
	a.statementRoutes()
	a.invoiceRoutes()
	a.priceRoutes()
	a.tokenRoutes()
	a.auditRoutes()
	a.memberRoutes()
	a.backupRoutes()
	a.probeRoutes(mux, c.Gatherer)
	a.documentRoute(mux)
	return a.harden(router{mux, a.identify})
}

// documentConfig is huma's configuration: plain JSON, no pages or links of its own.
func documentConfig() huma.Config {
	c := huma.DefaultConfig("Bursar control plane", "v1")
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil
	c.Info.Description = "Configure budgets and read the books, on any node. Amounts are integers in a capability's smallest unit."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "an access token (bt_…); see /v1/tokens"},
	}
	return c
}

const documentPath = "/openapi.json"

// documentRoute serves the OpenAPI document, which is complete once every route is registered.
func (a *api) documentRoute(mux *http.ServeMux) {
	a.describePlain(documentPath, "get-openapi", "This document", "application/json")
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} {
		delete(a.huma.OpenAPI().Components.Schemas.Map(), unused) // huma's own errors, which none of ours is
	}
	document, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		panic("admin: the OpenAPI document cannot be encoded: " + err.Error()) // a route is declared wrongly
	}
	mux.HandleFunc("GET "+documentPath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(document)
	})
}

// describePlain documents a route that takes no token and is not huma's.
func (a *api) describePlain(path, id, summary, contentType string) {
	a.huma.OpenAPI().AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: path, OperationID: id, Summary: summary, Tags: []string{"node"},
		Responses: map[string]*huma.Response{"200": {
			Description: http.StatusText(http.StatusOK),
			Content:     map[string]*huma.MediaType{contentType: {}},
		}},
	})
}

// describeCadence documents the two forms in which a cadence may be sent.
func describeCadence(registry huma.Registry) {
	ref := registry.Schema(reflect.TypeFor[client.Cadence](), true, "")
	s := registry.SchemaFromRef(ref.Ref)
	object := *s
	*s = huma.Schema{
		Description: "when a budget starts anew; a bare string is the same in UTC",
		OneOf: []*huma.Schema{
			{Type: huma.TypeString, Enum: object.Properties["every"].Enum},
			&object,
		},
	}
}

// schemaOf returns a reference to the schema of a wire type.
func schemaOf[T any](a *api) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

// applied returns the log index this node stands at.
func (a *api) applied() uint64 {
	index, _ := a.machine.Applied()
	return index
}

// view reads the replica at one index.
func (a *api) view(f func(v *fsm.View) error) (index uint64, err error) {
	a.machine.View(func(v *fsm.View) {
		index = v.Index()
		err = f(v)
	})
	return index, err
}

// propose commits a command in the caller's name and returns once every live
// node, this one included, has applied it.
func (a *api) propose(ctx context.Context, body fsm.Body) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	index, err := a.cluster.Propose(ctx, whoAsks(ctx).actor(), body)
	if err == nil {
		err = a.machine.WaitApplied(ctx, index)
	}
	return unconfirmed(ctx, err)
}

// unconfirmed says of a write that ran out of time that it may still take effect.
func unconfirmed(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", enforcer.ErrUnknownOutcome, err)
	}
	return err
}

// now is the time periods are looked up by, in Unix milliseconds.
func now() int64 { return time.Now().UnixMilli() }

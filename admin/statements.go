package admin

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/admin/statement"
	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

const (
	// maxStatements is how many statements a node makes or sends at once: it holds the rows of each in memory.
	maxStatements = 16
	// maxDrafts is how many of them it may be adding up: each may read a whole ledger. A statement that is being sent,
	// however slowly it is read, and one that was finalized before hold none of these places.
	maxDrafts = 4
	// draftTimeout is how long adding up one may take. Sending it has writeTimeout for each piece, as a ledger.
	draftTimeout = 10 * time.Minute
	// statementBuffer is how many bytes of a statement are sent at once.
	statementBuffer = 64 << 10
)

func (a *api) statementRoutes() {
	const path = "/v1/accounts/{account}/statements"
	handle(a, route{method: http.MethodGet, path: path, id: "list-statements", tag: "statements",
		summary: "The account's finalized statements, latest first, without their rows", reach: ofAccount}, a.listStatements)
	handleStatement(a, route{method: http.MethodPost, path: path, id: "finalize-statement", tag: "statements",
		summary: "Finalize a month: its statement never changes, and what arrives later is an adjustment of the next", reach: ofAccount}, a.drafts, a.finalizeStatement)
	handleStatement(a, route{method: http.MethodGet, path: path + "/preview", id: "preview-statement", tag: "statements",
		summary: "A statement of the next month, of another, or of any range, that is not final", reach: ofAccount}, a.drafts, a.previewStatement)
	handleStatement(a, route{method: http.MethodGet, path: path + "/{id}", id: "get-statement", tag: "statements",
		summary: "A finalized statement, as JSON, CSV, HTML to be printed, or PDF", reach: ofAccount}, nil, a.getStatement)
}

// statementFormats are the formats by their names in ?format=.
var statementFormats = map[string]statementFormat{
	"json": {typeJSON, func(w io.Writer, s *client.Statement, _ *time.Location) error { return json.NewEncoder(w).Encode(s) }},
	"csv":  {typeCSV + "; charset=utf-8", statement.CSV},
	"html": {"text/html; charset=utf-8", statement.HTML},
	"pdf":  {"application/pdf", statement.PDF},
}

type statementFormat struct {
	contentType string
	write       func(w io.Writer, s *client.Statement, in *time.Location) error
}

// formatOf returns the format that is asked for: by name, or the first that an Accept header lists.
func formatOf(name, accept string) string {
	if name != "" {
		return name
	}
	types := map[string]string{typeJSON: "json", typeCSV: "csv", "text/html": "html", "application/pdf": "pdf", "application/*": "json", "*/*": "json"}
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(part, ";")
		if format := types[strings.ToLower(strings.TrimSpace(kind))]; format != "" {
			return format
		}
	}
	return "json"
}

// stated is a statement on its way out.
type stated struct {
	*fsm.Statement
	format string
	index  uint64
}

// handleStatement registers a route that answers with a statement. It may take longer than other answers do, and a place
// while the statement is made; places nil: none.
func handleStatement[I any](a *api, rt route, places chan struct{}, f func(context.Context, *I) (*stated, error)) {
	op := a.operation(&rt)
	ok := &huma.Response{Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{typeJSON: {Schema: schemaOf[client.Statement](a)}}}
	if !rt.writes() {
		for _, kind := range []string{typeCSV, "text/html", "application/pdf"} {
			ok.Content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		for _, status := range []int{http.StatusConflict, http.StatusRequestEntityTooLarge} {
			op.Responses[strconv.Itoa(status)] = &huma.Response{
				Description: http.StatusText(status),
				Content:     map[string]*huma.MediaType{problemContentType: {Schema: schemaOf[client.Problem](a)}},
			}
		}
	}
	op.Responses["200"] = ok
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			if err := a.state(ctx, w, places, func(ctx context.Context) (*stated, error) { return f(ctx, in) }); err != nil {
				a.refuse(w, r, err)
			}
		}}, nil
	})
}

// state makes a statement and sends it. An error is one before the first byte; an answer that breaks in the middle is
// cut off, so that its reader does not take the part for the whole.
func (a *api) state(ctx context.Context, w http.ResponseWriter, places chan struct{}, f func(context.Context) (*stated, error)) error {
	select {
	case a.statements <- struct{}{}:
		defer func() { <-a.statements }()
	default:
		return newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is making or sending %d statements already", maxStatements)
	}
	rc := http.NewResponseController(w)
	s, err := a.made(ctx, rc, places, f)
	if err != nil {
		return err
	}
	zone, err := fsm.Location(s.Timezone)
	if err != nil {
		return err
	}
	format := statementFormats[s.format]
	h := w.Header()
	h.Set("Content-Type", format.contentType)
	h.Set("Content-Disposition", `inline; filename="`+statementName(s.Statement)+"."+s.format+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	h.Set(headerIndex, strconv.FormatUint(s.index, 10))
	wire := a.wireStatement(s.Statement)
	paced := &pacedWriter{w: w, rc: rc}
	out := bufio.NewWriterSize(paced, statementBuffer)
	if err = format.write(out, &wire, zone); err == nil {
		err = out.Flush()
	}
	switch {
	case err == nil:
		return nil
	case !paced.begun:
		h.Del("Content-Disposition")
		return err
	}
	a.log.Info("statement cut off", "request", h.Get(headerRequestID), "err", err)
	panic(http.ErrAbortHandler)
}

// made makes a statement, holding one of the places meanwhile.
func (a *api) made(ctx context.Context, rc *http.ResponseController, places chan struct{}, f func(context.Context) (*stated, error)) (*stated, error) {
	if places != nil {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			return nil, newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is making %d statements already", cap(places))
		}
	}
	deadline := time.Now().Add(draftTimeout)
	rc.SetReadDeadline(deadline)                    // both unsupported only by recorders in tests
	rc.SetWriteDeadline(deadline.Add(writeTimeout)) // there is time left to say that it took too long
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return f(ctx)
}

// statementName is the name of a statement's file. Ids have no quotes.
func statementName(s *fsm.Statement) string {
	if s.FinalizedAt == 0 {
		return "preview-" + s.Account
	}
	return "statement-" + s.Account + "-" + s.ID
}

type listStatementsInput struct {
	Account string `path:"account"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After   string `query:"after" doc:"next of the page before"`
}

func (a *api) listStatements(_ context.Context, in *listStatementsInput) (*answer[client.List[client.StatementHead]], error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	heads, next, err := a.machine.ListStatements(in.Account, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.StatementHead]]{Index: index, Body: listOf(heads, next, a.wireStatementHead)}, nil
}

type getStatementInput struct {
	Account string `path:"account"`
	ID      string `path:"id" doc:"the month, as 2026-10"`
	Accept  string `header:"Accept" hidden:"true"`
	Format  string `query:"format" enum:"json,csv,html,pdf" doc:"goes before the Accept header"`
}

func (a *api) getStatement(_ context.Context, in *getStatementInput) (*stated, error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	s, err := a.machine.Statement(in.Account, in.ID)
	return &stated{s, formatOf(in.Format, in.Accept), index}, err
}

type previewStatementInput struct {
	Account     string    `path:"account"`
	Accept      string    `header:"Accept" hidden:"true"`
	Format      string    `query:"format" enum:"json,csv,html,pdf" doc:"goes before the Accept header"`
	Month       string    `query:"month" doc:"as 2026-10, in the account's time zone; without month, from and to: the one that is finalized next"`
	From        time.Time `query:"from" doc:"only events at or after this time"`
	To          time.Time `query:"to" doc:"only events before this time"`
	EntityType  string    `query:"entity_type" doc:"rows by the first entity of each event's chain that is of this type"`
	Depth       levels    `query:"depth" doc:"or by the entity so many levels below the root"`
	MergeModels bool      `query:"merge_models" doc:"one row for all models. Any of entity_type, depth and merge_models replaces the layout of the invoice settings"`
}

// levels is a query parameter that may be left out, which is not 0.
type levels struct {
	N     int
	given bool
}

// Schema implements huma.SchemaProvider.
func (levels) Schema(huma.Registry) *huma.Schema {
	least, most := 0.0, float64(fsm.MaxDepth-1)
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most}
}

// Receiver implements huma.ParamWrapper.
func (l *levels) Receiver() reflect.Value { return reflect.ValueOf(&l.N).Elem() }

// OnParamSet implements huma.ParamReactor.
func (l *levels) OnParamSet(given bool, _ any) { l.given = given }

func (in *previewStatementInput) query() (q fsm.StatementQuery, err error) {
	q.Month = in.Month
	if q.From, q.To, err = span(in.From, in.To); err != nil {
		return q, err
	}
	switch {
	case in.Month != "" && (!in.From.IsZero() || !in.To.IsZero()):
		return q, invalidField("month", "does not go with from and to")
	case in.From.IsZero() != in.To.IsZero():
		missing := "to"
		if in.From.IsZero() {
			missing = "from"
		}
		return q, invalidField(missing, "is required with the other end of the range")
	}
	if in.EntityType == "" && !in.Depth.given && !in.MergeModels {
		return q, nil
	}
	y := client.StatementLayout{EntityType: in.EntityType, MergeModels: in.MergeModels}
	if in.Depth.given {
		y.Depth = &in.Depth.N
	}
	layout, err := domainLayout("", &y)
	q.Layout = &layout
	return q, err
}

func (a *api) previewStatement(ctx context.Context, in *previewStatementInput) (*stated, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
		return nil, err
	}
	s, err := a.machine.DraftStatement(ctx, in.Account, q)
	if err != nil {
		return nil, withoutPrefix(err, "layout.")
	}
	return &stated{s, formatOf(in.Format, in.Accept), s.Index}, nil
}

type finalizeStatementInput struct {
	Account string `path:"account"`
	Body    client.FinalizeStatement
}

func (a *api) finalizeStatement(ctx context.Context, in *finalizeStatementInput) (*stated, error) {
	x := &in.Body
	q := fsm.StatementQuery{Month: x.Month, FinalizeAt: now()}
	if x.Layout != nil {
		layout, err := domainLayout("layout", x.Layout)
		if err != nil {
			return nil, err
		}
		q.Layout = &layout
	}
	if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
		return nil, err
	}
	if x.Month != "" {
		if s, err := a.machine.Statement(in.Account, x.Month); err == nil {
			return a.finalized(s, x.Number, q.Layout)
		}
	}
	draft, err := a.machine.DraftStatement(ctx, in.Account, q)
	if err != nil {
		return nil, err
	}
	if err := a.propose(ctx, fsm.FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows, Number: x.Number}); err != nil {
		return nil, err
	}
	s, err := a.machine.Statement(in.Account, draft.ID)
	if err != nil {
		return nil, err
	}
	return a.finalized(s, x.Number, q.Layout)
}

// finalized answers with a statement that is there, unless it is not the one that was asked for.
func (a *api) finalized(s *fsm.Statement, number string, layout *fsm.StatementLayout) (*stated, error) {
	switch {
	case number != "" && number != s.Invoice.Number:
		return nil, conflict("statement %s is finalized, and its invoice number is %q", s.ID, s.Invoice.Number)
	case layout != nil && *layout != s.Layout:
		return nil, conflict("statement %s is finalized, and its layout is another; it never changes: preview the month for other rows", s.ID)
	}
	return &stated{s, "json", a.applied()}, nil
}

// domainLayout turns a layout into the store's terms.
func domainLayout(field string, x *client.StatementLayout) (fsm.StatementLayout, error) {
	y := fsm.StatementLayout{EntityType: x.EntityType, MergeModels: x.MergeModels}
	switch {
	case x.EntityType == "" && x.Depth == nil:
		y.Depth = fsm.DefaultLayout().Depth
	case x.EntityType != "" && x.Depth != nil:
		return y, invalidField(join(field, "depth"), "does not go with entity_type; give one of them")
	case x.Depth != nil:
		y.Depth = *x.Depth
	}
	return y, nil
}

func wireLayout(y fsm.StatementLayout) client.StatementLayout {
	out := client.StatementLayout{EntityType: y.EntityType, MergeModels: y.MergeModels}
	if y.EntityType == "" {
		out.Depth = &y.Depth
	}
	return out
}

func (a *api) wireStatementHead(s *fsm.StatementHead) client.StatementHead {
	w := client.StatementHead{
		ID: orNull(s.ID), Account: s.Account, Final: s.FinalizedAt != 0, From: moment(s.From), To: moment(s.To), Timezone: s.Timezone, Layout: wireLayout(s.Layout),
		Previous: orNull(s.Previous), AfterSeq: s.After, ThroughSeq: s.Through, Chained: !s.Loose,
		Lines:  client.StatementLines{Count: s.Lines.Count, Late: s.Lines.Late, Hash: hex.EncodeToString(s.Lines.Hash[:])},
		Totals: make([]client.StatementTotal, len(s.Totals)), FinalizedAt: momentOrNull(s.FinalizedAt), Index: s.Index,
		Invoice: client.Invoice{
			Number: orNull(s.Invoice.Number), Date: momentOrNull(s.Invoice.Date), Due: momentOrNull(s.Invoice.Due), Seller: wireParty(&s.Invoice.Seller), Buyer: wireParty(&s.Invoice.Buyer),
			TaxNote: s.Invoice.TaxNote, Currency: s.Invoice.Currency, Capability: s.Invoice.Capability,
		},
	}
	if s.Lines.Count > 0 {
		w.Lines.FirstSeq, w.Lines.LastSeq = &s.Lines.First, &s.Lines.Last
	}
	for i := range s.Totals {
		t := &s.Totals[i]
		w.Totals[i] = client.StatementTotal{
			Capability: t.Capability, Unit: t.Unit, Decimals: int(t.Decimals),
			Opening: t.Opening, Usage: t.Usage, Adjustments: t.Adjustments, Total: t.Total(), Closing: t.Closing,
		}
	}
	// A capability's decimals never change, so those of one that nothing was used of may be looked up.
	a.machine.View(func(v *fsm.View) {
		if c := v.Capability(s.Invoice.Capability); c != nil {
			w.Invoice.Decimals = int(c.Decimals)
		}
	})
	if i := slices.IndexFunc(w.Totals, func(t client.StatementTotal) bool { return t.Capability == s.Invoice.Capability }); i >= 0 {
		w.Invoice.Decimals, w.Invoice.Total = w.Totals[i].Decimals, w.Totals[i].Total
	}
	return w
}

func (a *api) wireStatement(s *fsm.Statement) client.Statement {
	w := client.Statement{
		StatementHead: a.wireStatementHead(&s.StatementHead),
		Usage:         make([]client.StatementUsage, len(s.Usage)),
		Adjustments:   make([]client.StatementAdjustment, len(s.Adjustments)),
	}
	for i := range s.Usage {
		r := &s.Usage[i]
		w.Usage[i] = client.StatementUsage{Entity: orNull(r.Entity), Name: r.Name, Model: orNull(r.Model), Events: r.Events, Usage: amountsOf(r.Usage)}
	}
	for i := range s.Adjustments {
		r := &s.Adjustments[i]
		w.Adjustments[i] = client.StatementAdjustment{
			Kind: r.Kind, Period: moment(r.Period), Entity: orNull(r.Entity), Name: r.Name, Model: orNull(r.Model), Reason: r.Reason,
			Lines: r.Lines, Events: r.Events, Usage: amountsOf(r.Usage),
		}
	}
	return w
}

func amountsOf(usage []fsm.Quantity) map[string]int64 {
	out := make(map[string]int64, len(usage))
	for _, q := range usage {
		out[q.Capability] = q.Amount
	}
	return out
}

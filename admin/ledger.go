package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// maxLedgerReads bounds the reads of the store for one page: each looks at a
// bounded number of lines, of which a narrow filter may pass none.
const maxLedgerReads = 16

func (a *api) ledgerRoutes() {
	rt := route{method: http.MethodGet, path: "/v1/accounts/{account}/ledger", id: "list-ledger", tag: "ledger",
		summary: "The account's ledger, a line an event; Accept: text/csv or application/x-ndjson streams all that match",
		reach:   ofAccount}
	op := a.operation(&rt)
	op.Responses["200"] = &huma.Response{
		Description: http.StatusText(http.StatusOK),
		Content: map[string]*huma.MediaType{
			typeJSON:   {Schema: schemaOf[client.List[client.LedgerLine]](a)},
			typeNDJSON: {Schema: schemaOf[client.LedgerLine](a)},
			typeCSV:    {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *listLedgerInput) (*huma.StreamResponse, error) {
		out, err := a.listLedger(ctx, in)
		if err != nil {
			p := problemOf(err)
			a.logProblem(ctx, p, whoAsks(ctx).request)
			return nil, p
		}
		return out, nil
	})
}

type listLedgerInput struct {
	Account      string    `path:"account"`
	Accept       string    `header:"Accept" hidden:"true"`
	Entity       string    `query:"entity" doc:"only events charged to this entity, whether named or above or below the named ones"`
	Key          string    `query:"key"`
	Model        string    `query:"model"`
	Member       string    `query:"member"`
	Capability   string    `query:"capability" doc:"only events that used this capability"`
	EventID      string    `query:"event_id"`
	From         time.Time `query:"from" doc:"only events at or after this time"`
	To           time.Time `query:"to" doc:"only events before this time"`
	Unattributed bool      `query:"unattributed" doc:"true: only events none of whose entities is provisioned"`
	Unpriced     bool      `query:"unpriced" doc:"true: only events whose model, or some of whose usage, had no price"`
	Order        string    `query:"order" enum:"asc,desc" default:"desc" doc:"by seq; desc: newest first"`
	Limit        int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"not for streams"`
	After        string    `query:"after" doc:"next of the page before; a page may be short, or empty, and have a next"`
}

// filter turns the parameters into the store's terms.
func (in *listLedgerInput) filter() (fsm.LedgerFilter, error) {
	f := fsm.LedgerFilter{
		Entity: in.Entity, Model: in.Model, Key: in.Key, Member: in.Member, Capability: in.Capability, EventID: in.EventID,
		Unattributed: in.Unattributed, Unpriced: in.Unpriced, OldestFirst: in.Order == "asc",
	}
	var err error
	f.From, f.To, err = span(in.From, in.To)
	return f, err
}

// span turns two optional times into the store's [from, to), zero where open.
func span(from, to time.Time) (fromMS, toMS int64, err error) {
	if !from.IsZero() {
		fromMS = from.UnixMilli()
	}
	if !to.IsZero() {
		toMS = to.UnixMilli()
	}
	if !from.IsZero() && !to.IsZero() && !to.After(from) {
		return 0, 0, invalidField("to", "must be after from")
	}
	return fromMS, toMS, nil
}

func (a *api) listLedger(ctx context.Context, in *listLedgerInput) (*huma.StreamResponse, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	after, err := seqAfter(in.After)
	if err != nil {
		return nil, err
	}
	var names lineNames
	index, err := a.view(func(v *fsm.View) error {
		names = lineNames{members: membersOf(v)}
		return mustHaveAccount(v, in.Account)
	})
	if err != nil {
		return nil, err
	}
	if contentType := streamType(in.Accept); contentType != "" {
		return a.streamLedger(in.Account, filter, after, names, contentType, index)
	}
	list := client.List[client.LedgerLine]{Items: []client.LedgerLine{}}
	for range maxLedgerReads {
		var lines []fsm.LedgerLine
		lines, after, err = a.machine.ListLedger(in.Account, filter, after, in.Limit-len(list.Items))
		if err != nil {
			return nil, err
		}
		names.nameCharged(a.machine, lines)
		for i := range lines {
			list.Items = append(list.Items, wireLine(&lines[i], &names))
		}
		if after == 0 || len(list.Items) >= in.Limit || ctx.Err() != nil {
			break
		}
	}
	list.Next = orNull(seqCursor(after))
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", typeJSON)
		w.Header().Set(headerIndex, strconv.FormatUint(index, 10))
		json.NewEncoder(w).Encode(list) // an error here is a caller who has gone
	}}, nil
}

// streamType returns the content type of the stream that an Accept header asks
// for: the first it lists that we have; empty for the paged list.
func streamType(accept string) string {
	for part := range strings.SplitSeq(accept, ",") {
		name, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case typeCSV:
			return typeCSV
		case typeNDJSON:
			return typeNDJSON
		case typeJSON, "application/*", "*/*":
			return ""
		}
	}
	return ""
}

// lineNames is what lines need to know of what they refer to by number.
type lineNames struct {
	members
	assignments map[uint64]string // ids by number; those that are gone have none
}

// maxNamed bounds the assignments that a stream remembers the ids of.
const maxNamed = 10_000

// nameCharged learns the ids of the assignments that lines charged.
func (n *lineNames) nameCharged(m *fsm.Machine, lines []fsm.LedgerLine) {
	if n.assignments == nil || len(n.assignments) > maxNamed {
		n.assignments = map[uint64]string{}
	}
	m.View(func(v *fsm.View) {
		for i := range lines {
			for _, c := range lines[i].Event.Lines {
				if _, known := n.assignments[c.Budget.Assignment]; known {
					continue
				}
				if x := v.AssignmentByNum(c.Budget.Assignment); x != nil {
					n.assignments[x.Num] = x.ID
				}
			}
		}
	})
}

func (n *lineNames) charges(lines []fsm.Line) []client.LedgerCharge {
	out := make([]client.LedgerCharge, len(lines))
	for i, l := range lines {
		out[i] = client.LedgerCharge{
			Assignment: orNull(n.assignments[l.Budget.Assignment]), AssignmentNumber: l.Budget.Assignment, PeriodStart: moment(l.Budget.Start),
			Amount: l.Amount, Drawn: l.Drawn, DrawnOn: int(l.On),
		}
	}
	return out
}

// wireLine states a ledger line on the wire.
func wireLine(l *fsm.LedgerLine, names *lineNames) client.LedgerLine {
	e := &l.Event
	usage := make(map[string]int64, len(e.Usage))
	for _, q := range e.Usage {
		usage[q.Capability] = q.Amount
	}
	metadata := e.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	w := client.LedgerLine{
		Seq: l.Seq, EventID: e.ID, Kind: l.Kind, Account: e.Account, Entities: orNone(e.Entities), Chain: orNone(e.Chain),
		Key: orNull(e.Key), Member: orNull(e.Member), Model: orNull(e.Model), Usage: usage,
		PriceTerms: []client.PriceTerm{}, ServiceTier: e.Tier.String(),
		At: moment(e.At), ReceivedAt: moment(e.ReceivedAt), SettledAt: moment(l.Settled), Node: names.names[e.Node], NodeNumber: int(e.Node), Index: l.Index,
		Reservation: orNull(e.Reservation), Overage: l.Overage, Late: l.Late, Unattributed: e.Unattributed, Metadata: metadata,
		Correction: orNull(l.Correction), Reason: l.Reason,
		Charges: names.charges(e.Lines), BodyHash: hex.EncodeToString(e.Hash[:]),
	}
	if l.Hash != ([32]byte{}) {
		hash := hex.EncodeToString(l.Hash[:])
		w.Hash = &hash
	}
	if l.Corrects != 0 {
		w.Corrects = &l.Corrects
	}
	if p := e.Pricing; p != nil {
		w.PriceModel, w.PriceTerms, w.Unpriced = orNull(p.Model), wireTerms(p.Terms), p.Unpriced
		if p.Version != 0 {
			version := int64(p.Version)
			w.PriceVersion = &version
		}
	}
	return w
}

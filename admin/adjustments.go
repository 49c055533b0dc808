package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) adjustmentRoutes() {
	const path = "/v1/accounts/{account}/adjustments"
	handle(a, route{method: http.MethodPost, path: path, id: "adjust-event", tag: "ledger",
		summary: "Void an event, make it count as other amounts, or price it anew: a new line in the ledger, never an edit", reach: ofAccount}, a.adjust)
	handle(a, route{method: http.MethodPost, path: path + "/reprice", id: "reprice-events", tag: "ledger",
		summary: "Price the events of a model and a time anew, a page at a time; a dry run shows the differences", reach: ofAccount}, a.repriceEvents)
}

type adjustInput struct {
	Account string `path:"account"`
	Body    client.Adjustment
}

func (a *api) adjust(ctx context.Context, in *adjustInput) (*answer[client.Adjustment], error) {
	x := &in.Body
	if x.ID == "" {
		x.ID = "adj_" + ulid.Make().String()
	}
	if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
		return nil, err
	}
	if a.repeated(in.Account, x) {
		return a.adjusted(in.Account, x, fsm.Correction{ID: x.ID})
	}
	c, err := a.correction(in.Account, x)
	if err != nil {
		return nil, err
	}
	if x.DryRun {
		return a.adjusted(in.Account, x, c)
	}
	if err := a.propose(ctx, fsm.Correct{Account: in.Account, Items: []fsm.Correction{c}}); err != nil {
		return nil, withoutPrefix(err, "items[0].")
	}
	return a.adjusted(in.Account, x, c)
}

// withoutPrefix names the fields of a rejection as the body of one adjustment has them.
func withoutPrefix(err error, prefix string) error {
	rejected, ok := errors.AsType[*fsm.Error](err)
	if !ok {
		return err
	}
	e := *rejected
	e.Message = strings.TrimPrefix(e.Message, prefix)
	e.Fields = slices.Clone(e.Fields)
	for i := range e.Fields {
		e.Fields[i].Field = strings.TrimPrefix(e.Fields[i].Field, prefix)
	}
	return &e
}

// repeated reports whether an adjustment is a repricing that was made before. The
// state machine knows the others by what they say; what a repricing says depends on when it is computed.
func (a *api) repeated(account string, x *client.Adjustment) bool {
	if x.Kind != fsm.KindReprice || x.DryRun {
		return false
	}
	line, err := a.machine.Correction(account, x.ID)
	return err == nil && line.Kind == fsm.KindReprice && line.Event.ID == x.EventID
}

// correction turns an adjustment into the state machine's terms.
func (a *api) correction(account string, x *client.Adjustment) (fsm.Correction, error) {
	c := fsm.Correction{ID: x.ID, Event: x.EventID, Kind: x.Kind, Reason: x.Reason}
	if x.Kind != fsm.KindReprice {
		if x.PriceVersion != 0 {
			return c, invalidField("price_version", "goes with reprice only")
		}
		for capability, amount := range x.Usage {
			c.Usage = append(c.Usage, fsm.Quantity{Capability: capability, Amount: amount})
		}
		slices.SortFunc(c.Usage, func(a, b fsm.Quantity) int { return cmp.Compare(a.Capability, b.Capability) })
		return c, nil
	}
	if len(x.Usage) > 0 {
		return c, invalidField("usage", "does not go with reprice, which computes usd")
	}
	r, err := a.machine.Reprice(account, x.EventID, x.PriceVersion)
	if err != nil {
		return c, err
	}
	if r.Why != "" {
		return c, &fsm.Error{Code: fsm.CodeConflict, Message: "event " + x.EventID + " cannot be priced anew: " + r.Why}
	}
	return r.Correction(x.ID, x.Reason), nil
}

// adjusted answers with what the event counts as, with the correction in a dry run.
func (a *api) adjusted(account string, x *client.Adjustment, c fsm.Correction) (*answer[client.Adjustment], error) {
	out := &answer[client.Adjustment]{Index: a.applied(), Body: *x}
	_, counts, void, err := a.machine.CorrectedEvent(account, x.EventID)
	if err != nil {
		return nil, err
	}
	after := map[string]int64{}
	for _, q := range counts {
		after[q.Capability] = q.Amount
	}
	if !x.DryRun {
		out.Body.CountsAs = after
		line, err := a.machine.Correction(account, c.ID)
		if err != nil {
			return nil, err
		}
		if line.Seq != 0 {
			out.Body.Seq = &line.Seq
		}
		return out, nil
	}
	if void {
		return nil, &fsm.Error{Code: fsm.CodeConflict, Message: "event " + x.EventID + " is void"}
	}
	for _, q := range c.Usage {
		after[q.Capability] = q.Amount
	}
	if c.Kind == fsm.KindVoid {
		for capability := range after {
			after[capability] = 0
		}
	}
	out.Body.CountsAs = after
	return out, nil
}

type repriceInput struct {
	Account string `path:"account"`
	Body    client.Repricing
}

// repriceEvents goes through a page of the ledger, oldest first. All of a page
// is proposed as one command: all or none.
func (a *api) repriceEvents(ctx context.Context, in *repriceInput) (*answer[client.Repriced], error) {
	q := &in.Body
	var from, to time.Time
	if q.From != nil {
		from = *q.From
	}
	if q.To != nil {
		to = *q.To
	}
	filter := fsm.LedgerFilter{Model: q.Model, OldestFirst: true}
	var err error
	if filter.From, filter.To, err = span(from, to); err != nil {
		return nil, err
	}
	after, err := seqAfter(q.After)
	if err != nil {
		return nil, err
	}
	if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
		return nil, err
	}
	lines, next, err := a.machine.ListLedger(in.Account, filter, after, cmp.Or(q.Limit, repriceDefault))
	if err != nil {
		return nil, err
	}
	out := &answer[client.Repriced]{Body: client.Repriced{Items: []client.RepricedEvent{}, DryRun: q.DryRun, Next: orNull(seqCursor(next))}}
	var todo []fsm.Correction
	job := ulid.Make().String()
	for i := range lines {
		if lines[i].Kind != fsm.KindUsage {
			continue
		}
		r, err := a.machine.Reprice(in.Account, lines[i].Event.ID, q.PriceVersion)
		if err != nil {
			return nil, err
		}
		out.Body.Looked++
		if r.Why != "" || r.From == r.To {
			continue
		}
		out.Body.Items = append(out.Body.Items, client.RepricedEvent{EventID: r.Event, From: r.From, To: r.To})
		todo = append(todo, r.Correction("rpr_"+job+"_"+seqCursor(lines[i].Seq), q.Reason))
	}
	if len(todo) > 0 && !q.DryRun {
		if err := a.propose(ctx, fsm.Correct{Account: in.Account, Items: todo}); err != nil {
			return nil, err
		}
	}
	out.Index = a.applied()
	return out, nil
}

// repriceDefault is how many lines one call looks at unless it says otherwise.
const repriceDefault = 500

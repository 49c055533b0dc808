package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) unattributedRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/accounts/{account}/unattributed", id: "sum-unattributed", tag: "ledger",
		summary: "How many events named no entity that was provisioned, and what they used, by the entities that they named", reach: ofAccount}, a.sumUnattributed)
}

type sumUnattributedInput struct {
	Account string    `path:"account"`
	From    time.Time `query:"from" doc:"only events at or after this time"`
	To      time.Time `query:"to" doc:"only events before this time"`
	After   string    `query:"after" doc:"next of the page before, of the same query"`
}

func (a *api) sumUnattributed(_ context.Context, in *sumUnattributedInput) (*answer[client.Unattributed], error) {
	from, to, err := span(in.From, in.To)
	if err != nil {
		return nil, err
	}
	after, err := seqAfter(in.After)
	if err != nil {
		return nil, err
	}
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	page, err := a.machine.Unattributed(in.Account, from, to, after)
	if err != nil {
		return nil, err
	}
	total, list := wireUnattributed(&page.Total), listOf(page.Entities, seqCursor(page.Next), wireUnattributed)
	return &answer[client.Unattributed]{Index: index, Body: client.Unattributed{
		Items: list.Items, Next: list.Next, Events: total.Events, Usage: total.Usage,
	}}, nil
}

func wireUnattributed(s *fsm.UnattributedSum) client.UnattributedSum {
	out := client.UnattributedSum{Entity: orNull(s.Entity), Events: s.Events, Usage: map[string]int64{}}
	for _, q := range s.Usage {
		out.Usage[q.Capability] = q.Amount
	}
	return out
}

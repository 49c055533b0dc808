package admin

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) usageRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/accounts/{account}/usage", id: "sum-usage", tag: "ledger",
		summary: "Sums of the account's ledger lines by bucket of time and group; exactly what the lines add up to", reach: ofAccount}, a.sumUsage)
}

type sumUsageInput struct {
	Account    string    `path:"account"`
	GroupBy    []string  `query:"group_by" enum:"entity,entity_type,key,member,model,capability" doc:"one of entity, entity_type, key and member, with or without model and capability; nothing: the account's total. Events without a member or a key are in no group by it, and entities that were never provisioned in none by type"`
	Bucket     string    `query:"bucket" enum:"hour,day,month" default:"day" doc:"in the account's time zone"`
	From       time.Time `query:"from" doc:"only buckets that begin at or after this time"`
	To         time.Time `query:"to" doc:"only buckets that begin before this time"`
	Entity     string    `query:"entity" doc:"only events charged to this entity; grouped by entity: only it and what hangs below it"`
	EntityType string    `query:"entity_type"`
	Member     string    `query:"member"`
	Model      string    `query:"model"`
	Capability string    `query:"capability"`
	Limit      int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After      string    `query:"after" doc:"next of the page before, of the same query; a page may be short and have a next"`
}

func (a *api) sumUsage(_ context.Context, in *sumUsageInput) (*answer[client.List[client.UsageSum]], error) {
	from, to, err := span(in.From, in.To)
	if err != nil {
		return nil, err
	}
	if in.To.IsZero() {
		to = math.MaxInt64
	}
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	q := fsm.UsageQuery{
		Bucket: fsm.Bucket(in.Bucket), From: from, To: to, Entity: in.Entity, EntityType: in.EntityType,
		Member: in.Member, Model: in.Model, Capability: in.Capability, After: in.After, Limit: in.Limit,
	}
	for _, d := range in.GroupBy {
		q.GroupBy = append(q.GroupBy, fsm.Dimension(d))
	}
	rows, next, err := a.machine.Usage(in.Account, q)
	if err != nil {
		return nil, err
	}
	wire := func(r *fsm.UsageRow) client.UsageSum { return wireUsage(r, q.GroupBy) }
	return &answer[client.List[client.UsageSum]]{Index: index, Body: listOf(rows, next, wire)}, nil
}

// wireUsage states a sum on the wire. A group of events that have no model says null for it.
func wireUsage(r *fsm.UsageRow, by []fsm.Dimension) client.UsageSum {
	out := client.UsageSum{Group: map[string]*string{}, Bucket: moment(r.Bucket), Usage: map[string]int64{}, Events: r.Events}
	values := map[fsm.Dimension]string{
		fsm.ByEntity: r.Entity, fsm.ByEntityType: r.EntityType, fsm.ByKey: r.Key, fsm.ByMember: r.Member,
		fsm.ByModel: r.Model, fsm.ByCapability: r.Capability,
	}
	for _, d := range by {
		out.Group[string(d)] = orNull(values[d])
	}
	for _, u := range r.Usage {
		out.Usage[u.Capability] = u.Amount
	}
	return out
}

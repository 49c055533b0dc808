package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// rejectedWait is how long the nodes have to say what they rejected.
const rejectedWait = time.Second

func (a *api) rejectedRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/accounts/{account}/rejected", id: "list-rejected", tag: "ledger",
		summary: "The latest events of the account that were rejected, of every live node; nodes keep a few, in memory", reach: ofAccount},
		func(ctx context.Context, in *listRejectedInput) (*answer[client.RejectedEvents], error) {
			if _, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) }); err != nil {
				return nil, err
			}
			return a.listRejected(ctx, in.Account, in.Code, in.Limit), nil
		})
	handle(a, route{method: http.MethodGet, path: "/v1/rejected", id: "list-rejected-without-account", tag: "ledger",
		summary: "The latest events that were rejected and name no account there is, of every live node", reach: ofAll},
		func(ctx context.Context, in *listUnclaimedInput) (*answer[client.RejectedEvents], error) {
			return a.listRejected(ctx, "", in.Code, in.Limit), nil
		})
}

type listRejectedInput struct {
	Account string `path:"account"`
	Code    string `query:"code" doc:"only those that were rejected by this code"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type listUnclaimedInput struct {
	Code  string `query:"code" doc:"only those that were rejected by this code"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// listRejected merges what the nodes keep. only "" is every code.
func (a *api) listRejected(ctx context.Context, account, only string, limit int) *answer[client.RejectedEvents] {
	var names members
	index, _ := a.view(func(v *fsm.View) error {
		names = membersOf(v)
		return nil
	})
	ctx, cancel := context.WithTimeout(ctx, rejectedWait)
	defer cancel()
	out := client.RejectedEvents{Items: []client.RejectedEvent{}, Codes: map[string]int64{}, Nodes: []client.RejectingNode{}}
	for _, n := range a.rejected(ctx, account) {
		node := client.RejectingNode{Node: names.names[n.Node]}
		if !n.Silent {
			since := moment(n.Since)
			node.Since = &since
		}
		out.Nodes = append(out.Nodes, node)
		for code, count := range n.Codes {
			if only == "" || only == code {
				out.Codes[code] += count
			}
		}
		for i := range n.Events {
			if x := &n.Events[i]; only == "" || only == x.Code {
				out.Items = append(out.Items, wireRejected(x, node.Node))
			}
		}
	}
	slices.SortStableFunc(out.Items, func(x, y client.RejectedEvent) int {
		return cmp.Or(y.At.Compare(x.At), cmp.Compare(x.Node, y.Node))
	})
	out.Items = out.Items[:min(len(out.Items), limit)]
	return &answer[client.RejectedEvents]{Index: index, Body: out}
}

func wireRejected(x *enforcer.Rejected, node string) client.RejectedEvent {
	return client.RejectedEvent{At: moment(x.At), Node: node, Account: x.Account, EventID: x.ID, Code: x.Code, Detail: x.Detail, Token: x.Token}
}

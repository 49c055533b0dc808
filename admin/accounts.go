package admin

import (
	"context"
	"net/http"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) accountRoutes() {
	const path = "/v1/accounts/{account}"
	handle(a, route{method: http.MethodGet, path: "/v1/accounts", id: "list-accounts", tag: "accounts",
		summary: "List accounts", reach: ofAny}, a.listAccounts)
	handle(a, route{method: http.MethodPut, path: path, id: "put-account", tag: "accounts",
		summary: "Create an account, or change its name or time zone", reach: ofAccount}, a.putAccount)
	handle(a, route{method: http.MethodGet, path: path, id: "get-account", tag: "accounts",
		summary: "Get an account", reach: ofAccount}, a.getAccount)
	handle(a, route{method: http.MethodPost, path: path + "/freeze", id: "freeze-account", tag: "accounts",
		summary: "Refuse every check of an account; events are still recorded", reach: ofAccount}, a.freeze(true))
	handle(a, route{method: http.MethodPost, path: path + "/unfreeze", id: "unfreeze-account", tag: "accounts",
		summary: "Let an account's checks pass again", reach: ofAccount}, a.freeze(false))
}

type accountInput struct {
	Account string `path:"account"`
}

type listAccountsInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After string `query:"after" doc:"next of the page before"`
}

func (a *api) listAccounts(ctx context.Context, in *listAccountsInput) (*answer[client.List[client.Account]], error) {
	index := a.applied()
	if own := whoAsks(ctx).bound(); own != "" {
		list := client.List[client.Account]{Items: []client.Account{}}
		out, err := a.readAccount(own)
		if err == nil && own > in.After {
			list.Items = append(list.Items, out.Body)
		}
		return &answer[client.List[client.Account]]{Index: index, Body: list}, nil
	}
	items, next, err := a.machine.ListAccounts(in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Account]]{Index: index, Body: listOf(items, next, wireAccount)}, nil
}

type putAccountInput struct {
	Account string `path:"account"`
	Body    client.Account
}

func (a *api) putAccount(ctx context.Context, in *putAccountInput) (*answer[client.Account], error) {
	if in.Body.ID != "" && in.Body.ID != in.Account {
		return nil, invalidField("id", "is %q, but the path says %q", in.Body.ID, in.Account)
	}
	if err := a.propose(ctx, fsm.PutAccount{ID: in.Account, Name: in.Body.Name, Timezone: in.Body.Timezone}); err != nil {
		return nil, err
	}
	return a.readAccount(in.Account)
}

func (a *api) getAccount(_ context.Context, in *accountInput) (*answer[client.Account], error) {
	return a.readAccount(in.Account)
}

func (a *api) freeze(frozen bool) func(context.Context, *accountInput) (*answer[client.Account], error) {
	return func(ctx context.Context, in *accountInput) (*answer[client.Account], error) {
		if err := a.propose(ctx, fsm.FreezeAccount{ID: in.Account, Frozen: frozen}); err != nil {
			return nil, err
		}
		return a.readAccount(in.Account)
	}
}

func (a *api) readAccount(id string) (*answer[client.Account], error) {
	var out answer[client.Account]
	index, err := a.view(func(v *fsm.View) error {
		x := v.Account(id)
		if x == nil {
			return noAccount(id)
		}
		out.Body = wireAccount(x)
		return nil
	})
	out.Index = index
	return &out, err
}

// mustHaveAccount is nil if the account exists.
func mustHaveAccount(v *fsm.View, id string) error {
	if v.Account(id) == nil {
		return noAccount(id)
	}
	return nil
}

package admin

import (
	"context"
	"net/http"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) entityRoutes() {
	const path = "/v1/accounts/{account}/entities"
	handle(a, route{method: http.MethodGet, path: path, id: "list-entities", tag: "entities",
		summary: "List an account's entities by id, the root and archived ones included", reach: ofAccount}, a.listEntities)
	handle(a, route{method: http.MethodPut, path: path, id: "put-entities", tag: "entities",
		summary: "Create or change entities, all or none", reach: ofAccount}, a.putEntities)
	handle(a, route{method: http.MethodGet, path: path + "/{id}", id: "get-entity", tag: "entities",
		summary: "Get an entity", reach: ofAccount}, a.getEntity)
	handle(a, route{method: http.MethodPost, path: path + "/{id}/archive", id: "archive-entity", tag: "entities",
		summary: "Archive an entity with its subtree", reach: ofAccount}, a.archive(true))
	handle(a, route{method: http.MethodPost, path: path + "/{id}/unarchive", id: "unarchive-entity", tag: "entities",
		summary: "Bring an archived entity back, with its subtree", reach: ofAccount}, a.archive(false))
	handle(a, route{method: http.MethodPost, path: path + "/{id}/move", id: "move-entity", tag: "entities",
		summary: "Hang an entity with its subtree under another parent", reach: ofAccount}, a.moveEntity)
}

type listEntitiesInput struct {
	Account string `path:"account"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After   string `query:"after" doc:"next of the page before"`
}

func (a *api) listEntities(_ context.Context, in *listEntitiesInput) (*answer[client.List[client.Entity]], error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	items, next, err := a.machine.ListEntities(in.Account, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Entity]]{Index: index, Body: listOf(items, next, wireEntity)}, nil
}

type putEntitiesInput struct {
	Account string `path:"account"`
	Body    client.Entities
}

func (a *api) putEntities(ctx context.Context, in *putEntitiesInput) (*answer[client.Entities], error) {
	put := fsm.PutEntities{Account: in.Account, Items: make([]fsm.Entity, len(in.Body.Entities))}
	for i, e := range in.Body.Entities {
		put.Items[i] = fsm.Entity{
			Account: in.Account, ID: e.ID, Type: e.Type, Parent: orEmpty(e.Parent), Name: e.Name, Metadata: e.Metadata,
		}
	}
	if err := a.propose(ctx, put); err != nil {
		return nil, err
	}
	out := answer[client.Entities]{Body: client.Entities{Entities: make([]client.Entity, len(put.Items))}}
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		for i := range put.Items {
			e := v.Entity(in.Account, put.Items[i].ID)
			if e == nil {
				return goneAgain("entity", put.Items[i].ID)
			}
			out.Body.Entities[i] = wireEntity(e)
		}
		return nil
	})
	return &out, err
}

type entityInput struct {
	Account string `path:"account"`
	ID      string `path:"id"`
}

func (a *api) getEntity(_ context.Context, in *entityInput) (*answer[client.Entity], error) {
	return a.readEntity(in.Account, in.ID)
}

func (a *api) archive(archived bool) func(context.Context, *entityInput) (*answer[client.Entity], error) {
	return func(ctx context.Context, in *entityInput) (*answer[client.Entity], error) {
		if err := a.propose(ctx, fsm.ArchiveEntity{Account: in.Account, ID: in.ID, Archived: archived}); err != nil {
			return nil, err
		}
		return a.readEntity(in.Account, in.ID)
	}
}

type moveEntityInput struct {
	Account string `path:"account"`
	ID      string `path:"id"`
	Body    client.MoveEntity
}

func (a *api) moveEntity(ctx context.Context, in *moveEntityInput) (*answer[client.Entity], error) {
	if err := a.propose(ctx, fsm.MoveEntity{Account: in.Account, ID: in.ID, Parent: in.Body.Parent}); err != nil {
		return nil, err
	}
	return a.readEntity(in.Account, in.ID)
}

func (a *api) readEntity(account, id string) (*answer[client.Entity], error) {
	var out answer[client.Entity]
	index, err := a.view(func(v *fsm.View) error {
		if err := mustHaveAccount(v, account); err != nil {
			return err
		}
		e := v.Entity(account, id)
		if e == nil {
			return noEntity(account, id)
		}
		out.Body = wireEntity(e)
		return nil
	})
	out.Index = index
	return &out, err
}

func noEntity(account, id string) error { return notFound("no entity %q in account %q", id, account) }

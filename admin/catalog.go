package admin

import (
	"context"
	"net/http"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// The catalog is what all accounts share: the kinds of entities and what is metered.

func (a *api) catalogRoutes() {
	const types, capabilities = "/v1/entity-types", "/v1/capabilities"
	handle(a, route{method: http.MethodGet, path: types, id: "list-entity-types", tag: "catalog",
		summary: "List entity types", reach: ofAny}, a.listEntityTypes)
	handle(a, route{method: http.MethodPut, path: types, id: "put-entity-types", tag: "catalog",
		summary: "Create or change entity types, all or none", reach: ofAll}, a.putEntityTypes)
	handle(a, route{method: http.MethodGet, path: capabilities, id: "list-capabilities", tag: "catalog",
		summary: "List capabilities, built-in ones included", reach: ofAny}, a.listCapabilities)
	handle(a, route{method: http.MethodPut, path: capabilities, id: "put-capabilities", tag: "catalog",
		summary: "Create or change capabilities, all or none", reach: ofAll}, a.putCapabilities)
}

type listCatalogInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After string `query:"after" doc:"next of the page before"`
}

func (a *api) listEntityTypes(_ context.Context, in *listCatalogInput) (*answer[client.List[client.EntityType]], error) {
	index := a.applied()
	items, next, err := a.machine.ListEntityTypes(in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.EntityType]]{Index: index, Body: listOf(items, next, wireEntityType)}, nil
}

type putEntityTypesInput struct{ Body client.EntityTypes }

func (a *api) putEntityTypes(ctx context.Context, in *putEntityTypesInput) (*answer[client.EntityTypes], error) {
	put := fsm.PutEntityTypes{Items: make([]fsm.EntityType, len(in.Body.EntityTypes))}
	for i, t := range in.Body.EntityTypes {
		put.Items[i] = fsm.EntityType{ID: t.ID, Name: t.Name, Parents: t.Parents}
	}
	if err := a.propose(ctx, put); err != nil {
		return nil, err
	}
	out := answer[client.EntityTypes]{Body: client.EntityTypes{EntityTypes: make([]client.EntityType, len(put.Items))}}
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		for i := range put.Items {
			t := v.EntityType(put.Items[i].ID)
			if t == nil {
				return goneAgain("entity type", put.Items[i].ID)
			}
			out.Body.EntityTypes[i] = wireEntityType(t)
		}
		return nil
	})
	return &out, err
}

func (a *api) listCapabilities(_ context.Context, in *listCatalogInput) (*answer[client.List[client.Capability]], error) {
	index := a.applied()
	items, next, err := a.machine.ListCapabilities(in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Capability]]{Index: index, Body: listOf(items, next, wireCapability)}, nil
}

type putCapabilitiesInput struct{ Body client.Capabilities }

func (a *api) putCapabilities(ctx context.Context, in *putCapabilitiesInput) (*answer[client.Capabilities], error) {
	put := fsm.PutCapabilities{Items: make([]fsm.Capability, len(in.Body.Capabilities))}
	for i, c := range in.Body.Capabilities {
		put.Items[i] = fsm.Capability{ID: c.ID, Unit: c.Unit, Decimals: uint8(c.Decimals)} // 0 to 18, by the schema
	}
	if err := a.propose(ctx, put); err != nil {
		return nil, err
	}
	out := answer[client.Capabilities]{Body: client.Capabilities{Capabilities: make([]client.Capability, len(put.Items))}}
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		for i := range put.Items {
			c := v.Capability(put.Items[i].ID)
			if c == nil {
				return goneAgain("capability", put.Items[i].ID)
			}
			out.Body.Capabilities[i] = wireCapability(c)
		}
		return nil
	})
	return &out, err
}

// goneAgain is the problem of a write that took effect and was undone by
// somebody else before it could be read back.
func goneAgain(kind, id string) error {
	return conflict("%s %q was written, and deleted by another request since", kind, id)
}

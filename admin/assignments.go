package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) assignmentRoutes() {
	const path = "/v1/accounts/{account}/assignments"
	handle(a, route{method: http.MethodGet, path: path, id: "list-assignments", tag: "assignments",
		summary: "List an account's assignments, oldest first", reach: ofAccount}, a.listAssignments)
	handle(a, route{method: http.MethodPut, path: path, id: "put-assignments", tag: "assignments",
		summary: "Create or change assignments, all or none; one is known by its entity, capability, scope and cadence", reach: ofAccount}, a.putAssignments)
	handle(a, route{method: http.MethodGet, path: path + "/{id}", id: "get-assignment", tag: "assignments",
		summary: "Get an assignment", reach: ofAccount}, a.getAssignment)
	handle(a, route{method: http.MethodDelete, path: path + "/{id}", id: "delete-assignment", tag: "assignments",
		summary: "Delete an assignment and its budgets; ledger lines stay", reach: ofAccount}, a.deleteAssignment)
}

type listAssignmentsInput struct {
	Account    string `path:"account"`
	Entity     string `query:"entity" doc:"only of this entity"`
	Capability string `query:"capability" doc:"only of this capability"`
	Limit      int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After      string `query:"after" doc:"next of the page before"`
}

func (a *api) listAssignments(_ context.Context, in *listAssignmentsInput) (*answer[client.List[client.Assignment]], error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	filter := fsm.AssignmentFilter{Entity: in.Entity, Capability: in.Capability}
	items, next, err := a.machine.ListAssignments(in.Account, filter, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Assignment]]{Index: index, Body: listOf(items, next, wireAssignment)}, nil
}

type putAssignmentsInput struct {
	Account string `path:"account"`
	Body    client.Assignments
}

func (a *api) putAssignments(ctx context.Context, in *putAssignmentsInput) (*answer[client.Assignments], error) {
	put := fsm.PutAssignments{Account: in.Account, Items: make([]fsm.AssignmentPut, len(in.Body.Assignments))}
	for i := range in.Body.Assignments {
		x := &in.Body.Assignments[i]
		put.Items[i] = fsm.AssignmentPut{
			Assignment: domainAssignment(in.Account, "asg_"+ulid.Make().String(), x),
			Backfill:   x.Backfill,
		}
	}
	if err := a.propose(ctx, put); err != nil {
		return nil, err
	}
	out := answer[client.Assignments]{Body: client.Assignments{Assignments: make([]client.Assignment, len(put.Items))}}
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		for i := range put.Items {
			want := &put.Items[i].Assignment
			x := findAssignment(v, want)
			if x == nil {
				return goneAgain("the assignment of "+want.Capability+" to", want.Entity)
			}
			out.Body.Assignments[i] = wireAssignment(x)
		}
		return nil
	})
	return &out, err
}

// findAssignment returns the stored assignment with the identity of want, or nil.
func findAssignment(v *fsm.View, want *fsm.Assignment) *fsm.Assignment {
	for _, x := range v.Assignments(want.Account, want.Entity) {
		if x.Capability == want.Capability && x.Cadence == want.Cadence && slices.Equal(x.Scope, want.Scope) {
			return x
		}
	}
	return nil
}

type assignmentInput struct {
	Account string `path:"account"`
	ID      string `path:"id"`
}

func (a *api) getAssignment(_ context.Context, in *assignmentInput) (*answer[client.Assignment], error) {
	index, err := a.view(func(v *fsm.View) error { return mustHaveAccount(v, in.Account) })
	if err != nil {
		return nil, err
	}
	x, err := a.machine.Assignment(in.Account, in.ID)
	if errors.Is(err, fsm.ErrNotFound) {
		return nil, notFound("no assignment %q in account %q", in.ID, in.Account)
	}
	if err != nil {
		return nil, err
	}
	return &answer[client.Assignment]{Index: index, Body: wireAssignment(&x)}, nil
}

func (a *api) deleteAssignment(ctx context.Context, in *assignmentInput) (*done, error) {
	if err := a.propose(ctx, fsm.DeleteAssignment{Account: in.Account, ID: in.ID}); err != nil {
		return nil, err
	}
	return &done{Index: a.applied()}, nil
}

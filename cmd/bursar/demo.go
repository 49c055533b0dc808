package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// Bounds of the calls that make the demo account.
const (
	demoCallTimeout = 10 * time.Second
	demoMaxAnswer   = 1 << 20
	demoAccount     = "acme"
)

// demoTenant makes the account that a dev cluster starts with, through the
// control plane like any administrator.
type demoTenant struct{ url, token string }

// ensure makes the account unless it has assignments. Every step may be
// repeated, so a run that was cut short is completed by the next; once it is
// complete, what the user changes stays.
func (d *demoTenant) ensure(ctx context.Context) error {
	if d.complete(ctx) {
		return nil
	}
	for _, step := range []struct {
		path string
		body any
	}{
		{"/v1/entity-types", demoTypes()},
		{"/v1/accounts/" + demoAccount, client.Account{Name: "Acme"}},
		{"/v1/accounts/" + demoAccount + "/entities", demoEntities()},
		{"/v1/accounts/" + demoAccount + "/assignments", demoAssignments()},
	} {
		if err := d.call(ctx, http.MethodPut, step.path, step.body, nil); err != nil {
			return err
		}
	}
	return nil
}

// complete reports whether the last step has been done.
func (d *demoTenant) complete(ctx context.Context) bool {
	var list client.List[client.Assignment]
	err := d.call(ctx, http.MethodGet, "/v1/accounts/"+demoAccount+"/assignments?limit=1", nil, &list)
	return err == nil && len(list.Items) > 0
}

func demoTypes() client.EntityTypes {
	return client.EntityTypes{EntityTypes: []client.EntityType{
		{ID: "org", Name: "Organization"},
		{ID: "project", Name: "Project", Parents: []string{"org"}},
		{ID: "team", Name: "Team", Parents: []string{"project"}},
		{ID: "user", Name: "User", Parents: []string{"team"}},
		{ID: "agent", Name: "Agent", Parents: []string{"user"}},
	}}
}

func demoEntities() client.Entities {
	entity := func(typ, id, name, parent string) client.Entity {
		e := client.Entity{ID: id, Type: typ, Name: name}
		if parent != "" {
			e.Parent = &parent
		}
		return e
	}
	return client.Entities{Entities: []client.Entity{
		entity("org", "acme-inc", "Acme Inc.", ""),
		entity("project", "chatbot", "Support chatbot", "acme-inc"),
		entity("project", "search", "Internal search", "acme-inc"),
		entity("team", "support", "Support", "chatbot"),
		entity("team", "platform", "Platform", "search"),
		entity("user", "alice", "Alice", "support"),
		entity("user", "bob", "Bob", "support"),
		entity("user", "carol", "Carol", "platform"),
		entity("agent", "triage-agent", "Triage agent", "alice"),
	}}
}

// demoAssignments budgets every level, with dollars in billionths.
func demoAssignments() client.Assignments {
	const dollar = 1_000_000_000
	budget := func(entity, capability string, limit int64, every, enforcement string) client.Assignment {
		return client.Assignment{
			Entity: entity, Capability: capability, Limit: &limit,
			Cadence: client.Cadence{Every: every}, Enforcement: enforcement,
			Scope: []string{}, AlertThresholds: []int{50, 80, 100},
		}
	}
	return client.Assignments{Assignments: []client.Assignment{
		budget("acme-inc", "usd", 500*dollar, "month", "hard"),
		budget("chatbot", "usd", 300*dollar, "month", "hard"),
		budget("search", "usd", 200*dollar, "month", "soft"),
		budget("support", "tokens", 2_000_000, "day", "hard"),
		budget("platform", "tokens", 1_000_000, "day", "soft"),
		budget("alice", "tokens", 200_000, "day", "hard"),
		budget("alice", "requests", 100, "minute", "hard"),
		budget("triage-agent", "requests", 1_000, "day", "hard"),
	}}
}

// call makes one call of the control plane and decodes its answer.
func (d *demoTenant) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, demoCallTimeout)
	defer cancel()
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, d.url+path, payload)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+d.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, demoMaxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(data))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

package admin

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) auditRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/audit", id: "list-audit", tag: "audit",
		summary: "Changes of the configuration, newest first; a token of one account sees that account's", reach: ofAny}, a.listAudit)
	handle(a, route{method: http.MethodGet, path: "/v1/audit/verify", id: "verify-audit", tag: "audit",
		summary: "Recompute the hash chain of the audit trail on this node", reach: ofAll}, a.verifyAudit)
}

type listAuditInput struct {
	Account string    `query:"account"`
	Action  string    `query:"action" doc:"exact, as entity.move, or a prefix that ends with a dot, as entity."`
	Actor   string    `query:"actor" doc:"id of the token, or of the node, that made the change"`
	Target  string    `query:"target"`
	From    time.Time `query:"from" doc:"only changes at or after this time"`
	To      time.Time `query:"to" doc:"only changes before this time"`
	Limit   int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After   string    `query:"after" doc:"next of the page before"`
}

func (a *api) listAudit(ctx context.Context, in *listAuditInput) (*answer[client.List[client.AuditEntry]], error) {
	account, err := within(whoAsks(ctx), in.Account)
	if err != nil {
		return nil, err
	}
	from, to, err := span(in.From, in.To)
	if err != nil {
		return nil, err
	}
	after, err := seqAfter(in.After)
	if err != nil {
		return nil, err
	}
	index := a.applied()
	filter := fsm.AuditFilter{Account: account, Action: in.Action, Actor: in.Actor, Target: in.Target, From: from, To: to}
	items, next, err := a.machine.ListAudit(filter, after, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.AuditEntry]]{Index: index, Body: listOf(items, seqCursor(next), wireAudit)}, nil
}

type nothing struct{}

func (a *api) verifyAudit(context.Context, *nothing) (*answer[client.AuditVerification], error) {
	index := a.applied()
	entries, brokenAt, err := a.machine.VerifyAudit()
	if err != nil {
		return nil, err
	}
	out := answer[client.AuditVerification]{Index: index, Body: client.AuditVerification{Valid: brokenAt == 0, Entries: entries}}
	if brokenAt != 0 {
		out.Body.BrokenAt = &brokenAt
		a.log.Error("the audit trail's hash chain is broken", "seq", brokenAt)
	}
	return &out, nil
}

func wireAudit(x *fsm.AuditEntry) client.AuditEntry {
	return client.AuditEntry{
		Seq: x.Seq, At: moment(x.At), Actor: client.Actor{Type: x.Actor.Type, ID: x.Actor.ID, Name: x.Actor.Name},
		Action: x.Action, Account: orNull(x.Account), Target: x.Target, From: x.From, To: x.To,
		IP: x.Actor.IP, Index: x.Index, Hash: hex.EncodeToString(x.Hash[:]),
	}
}

package client

import (
	"context"
	"net/url"
	"strconv"
	"time"
)

// RejectedEvents is what the nodes know of an account's rejected events. Each node keeps the latest in
// memory and forgets them when it stops; what was rejected was told to its sender, too.
type RejectedEvents struct {
	Items []RejectedEvent  `json:"items" nullable:"false" doc:"the latest of each node, newest first"`
	Next  *string          `json:"next" nullable:"true" doc:"always null: nodes keep a few"`
	Codes map[string]int64 `json:"codes" nullable:"false" doc:"how many were rejected by each code, kept or not, since the nodes began to count"`
	Nodes []RejectingNode  `json:"nodes" nullable:"false" doc:"the live nodes"`
}

// RejectedEvent is an event that was rejected. Amounts and metadata are not kept.
type RejectedEvent struct {
	At      time.Time `json:"at"`
	Node    string    `json:"node"`
	Account string    `json:"account" doc:"as it was sent; empty: it was not"`
	EventID string    `json:"event_id" doc:"as it was sent, cut short if it was too long to be an id"`
	Code    string    `json:"code"`
	Detail  string    `json:"detail"`
	Token   string    `json:"token" doc:"id of the token that sent it"`
}

// RejectingNode says how far a node's part of RejectedEvents reaches.
type RejectingNode struct {
	Node  string     `json:"node"`
	Since *time.Time `json:"since" doc:"since when it counts; null: it did not answer, and its events are missing"`
}

// RejectedFilter narrows Rejected. Zero fields match all.
type RejectedFilter struct {
	Code  string
	Limit int // at most 1,000; 0: 100
}

// Rejected returns the latest events of an account that the nodes have rejected. Account "" is
// for those that name no account there is; it takes a token of all accounts.
func (a *Admin) Rejected(ctx context.Context, account string, f RejectedFilter) (RejectedEvents, error) {
	path := "/v1/rejected"
	if account != "" {
		path = accountPath(account) + "/rejected"
	}
	q := url.Values{}
	setText(q, "code", f.Code)
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out RejectedEvents
	err := a.send(ctx, "GET", path+a.query(q), repeatable, nil, &out)
	return out, err
}

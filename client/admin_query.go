package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Balances lists the present accounts of an account's assignments.
func (a *Admin) Balances(ctx context.Context, account string, f AssignmentFilter) iter.Seq2[Balance, error] {
	return pages[Balance](ctx, a, accountPath(account)+"/balances", f.query())
}

// TreeFilter narrows and orders Tree. Zero fields match all.
type TreeFilter struct {
	EntityTypes    []string
	Capabilities   []string
	Search         string // in ids and names
	Subtree        string // an entity and all below it
	Depth          *int   // levels below the subtree's root; nil: all
	MinUtilization string // a ratio in decimal notation: "0.8"
	Scope          string // "all", "unscoped" or "scoped"
	SortBy         string // "utilization", "used", "limit", "id" or "created_at"
	Order          string // "asc" or "desc"
}

// Tree lists (entity, assignment) pairs.
func (a *Admin) Tree(ctx context.Context, account string, f TreeFilter) iter.Seq2[TreeRow, error] {
	q := url.Values{}
	setText(q, "entity_types", strings.Join(f.EntityTypes, ","))
	setText(q, "capabilities", strings.Join(f.Capabilities, ","))
	setText(q, "search", f.Search)
	setText(q, "subtree", f.Subtree)
	if f.Depth != nil {
		q.Set("depth", strconv.Itoa(*f.Depth))
	}
	setText(q, "min_utilization", f.MinUtilization)
	setText(q, "scope", f.Scope)
	setText(q, "sort_by", f.SortBy)
	setText(q, "order", f.Order)
	return pages[TreeRow](ctx, a, accountPath(account)+"/tree", q)
}

// AuditFilter narrows Audit. Zero fields match all. From is inclusive, To exclusive.
type AuditFilter struct {
	Account  string
	Action   string // "assignment.put", or a prefix that ends with "."
	Actor    string // a token's id or a node's name
	Target   string
	From, To time.Time
}

// Audit lists changes of the configuration, newest first.
func (a *Admin) Audit(ctx context.Context, f AuditFilter) iter.Seq2[AuditEntry, error] {
	q := url.Values{}
	setText(q, "account", f.Account)
	setText(q, "action", f.Action)
	setText(q, "actor", f.Actor)
	setText(q, "target", f.Target)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	return pages[AuditEntry](ctx, a, "/v1/audit", q)
}

// VerifyAudit recomputes the audit trail's hash chain on the node that answers.
func (a *Admin) VerifyAudit(ctx context.Context) (AuditVerification, error) {
	return get[AuditVerification](ctx, a, "/v1/audit/verify")
}

// LedgerFilter narrows Ledger and ExportLedger. Zero fields match all. From is
// inclusive, To exclusive; both are about the event's own time.
type LedgerFilter struct {
	Entity       string // it or anything below it
	Key          string
	Model        string
	Member       string
	Capability   string
	EventID      string
	From, To     time.Time
	Unattributed bool // only events no entity of which was provisioned
	Unpriced     bool // only events whose model, or some of whose usage, had no price
	OldestFirst  bool
}

func (f LedgerFilter) query() url.Values {
	q := url.Values{}
	setText(q, "entity", f.Entity)
	setText(q, "key", f.Key)
	setText(q, "model", f.Model)
	setText(q, "member", f.Member)
	setText(q, "capability", f.Capability)
	setText(q, "event_id", f.EventID)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	if f.Unattributed {
		q.Set("unattributed", "true")
	}
	if f.Unpriced {
		q.Set("unpriced", "true")
	}
	if f.OldestFirst {
		q.Set("order", "asc")
	}
	return q
}

// Ledger lists an account's ledger lines, newest first unless OldestFirst.
func (a *Admin) Ledger(ctx context.Context, account string, f LedgerFilter) iter.Seq2[LedgerLine, error] {
	return pages[LedgerLine](ctx, a, accountPath(account)+"/ledger", f.query())
}

// UsageFilter says what Usage sums. Zero fields match all.
type UsageFilter struct {
	Bucket     string    // hour, day (if empty) or month, in the account's time zone
	GroupBy    []string  // one of entity, entity_type, key and member; model; capability
	From, To   time.Time // of the buckets' beginnings; To is exclusive
	Entity     string    // it or, grouped by entity, also what hangs below it
	EntityType string
	Member     string
	Model      string
	Capability string
}

func (f UsageFilter) query() url.Values {
	q := url.Values{}
	setText(q, "bucket", f.Bucket)
	setText(q, "group_by", strings.Join(f.GroupBy, ","))
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	setText(q, "entity", f.Entity)
	setText(q, "entity_type", f.EntityType)
	setText(q, "member", f.Member)
	setText(q, "model", f.Model)
	setText(q, "capability", f.Capability)
	return q
}

// Usage lists sums of an account's ledger lines by bucket, and by group within it.
func (a *Admin) Usage(ctx context.Context, account string, f UsageFilter) iter.Seq2[UsageSum, error] {
	return pages[UsageSum](ctx, a, accountPath(account)+"/usage", f.query())
}

// Adjust corrects what an event counts as, by a new line in the ledger. Without an id it gets one,
// so that it takes effect once however often it has to be sent.
func (a *Admin) Adjust(ctx context.Context, account string, x Adjustment) (Adjustment, error) {
	if x.ID == "" {
		x.ID = "adj_" + NewEventID()
	}
	return write[Adjustment](ctx, a, http.MethodPost, accountPath(account)+"/adjustments", repeatable, x)
}

// Reprice prices one page of an account's events anew; Next says where the next begins.
func (a *Admin) Reprice(ctx context.Context, account string, q Repricing) (Repriced, error) {
	return write[Repriced](ctx, a, http.MethodPost, accountPath(account)+"/adjustments/reprice", once, q)
}

// The formats of ExportLedger.
const (
	CSV    = "text/csv"
	NDJSON = "application/x-ndjson"
)

// ExportLedger streams an account's ledger lines into w as CSV or NDJSON. It is
// bounded by ctx alone. An error after the first byte leaves w with a part: nothing is sent twice.
func (a *Admin) ExportLedger(ctx context.Context, account string, f LedgerFilter, format string, w io.Writer) error {
	return a.copy(ctx, accountPath(account)+"/ledger"+a.query(f.query()), format, w)
}

// StreamLedger is Ledger as one answer: it is for reading many lines, which it holds in memory one at a
// time. It ends with the first error; one after lines means that the rest did not come.
func (a *Admin) StreamLedger(ctx context.Context, account string, f LedgerFilter) iter.Seq2[LedgerLine, error] {
	return func(yield func(LedgerLine, error) bool) {
		path := accountPath(account) + "/ledger" + a.query(f.query())
		resp, err := a.caller.stream(ctx, &request{method: http.MethodGet, path: path, accept: NDJSON})
		if err != nil {
			yield(LedgerLine{}, err)
			return
		}
		defer resp.Body.Close()
		lines := json.NewDecoder(resp.Body)
		for {
			var l LedgerLine
			err := lines.Decode(&l)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(LedgerLine{}, fmt.Errorf("%s: %w", path, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// Cluster returns the cluster as the answering node sees it.
func (a *Admin) Cluster(ctx context.Context) (Cluster, error) {
	return get[Cluster](ctx, a, "/v1/cluster")
}

// RemoveNode ends a node's membership. What it had leased stays in doubt until forfeited.
func (a *Admin) RemoveNode(ctx context.Context, node string) error {
	return a.send(ctx, http.MethodPost, nodePath(node)+"/remove", once, nil, nil)
}

// ForfeitNode gives up what a lost node held. charge: count it as used, because it may
// have been spent; otherwise set it free, because it is known not to be.
func (a *Admin) ForfeitNode(ctx context.Context, node string, charge bool) error {
	return a.send(ctx, http.MethodPost, nodePath(node)+"/forfeit", once, ForfeitNode{Charge: charge}, nil)
}

// Backup writes a copy of everything into w, for `bursar restore`, as of an index that no
// write acknowledged before is behind, and returns an index it is not older than. It takes a
// root token, and is bounded by ctx alone. A copy that ends early has no end: whoever
// keeps it checks it, as `bursar backup` does. An error after the first byte leaves w with a part.
func (a *Admin) Backup(ctx context.Context, w io.Writer) (index uint64, err error) {
	const path = "/v1/cluster/backup"
	resp, err := a.caller.stream(ctx, &request{method: http.MethodPost, path: path, accept: "application/octet-stream"})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	index, err = strconv.ParseUint(resp.Header.Get("Bursar-Index"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: the answer has no Bursar-Index", path)
	}
	return index, nil
}

// TransferLeadership hands leadership to the named node, or to the most suitable if empty.
func (a *Admin) TransferLeadership(ctx context.Context, to string) error {
	return a.send(ctx, http.MethodPost, "/v1/cluster/transfer-leadership", once, TransferLeadership{To: to}, nil)
}

func nodePath(node string) string { return "/v1/cluster/nodes/" + url.PathEscape(node) }

func setText(q url.Values, name, v string) {
	if v != "" {
		q.Set(name, v)
	}
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

package client

import (
	"context"
	"net/http"
)

// Retention returns how long an account's ledger lines are kept, how far they have been dropped, and what the ledger takes on disk.
func (a *Admin) Retention(ctx context.Context, account string) (Retention, error) {
	return get[Retention](ctx, a, accountPath(account)+"/retention")
}

// SetRetention sets Days and RequireExport. Lines go once they are older, are in a finalized statement and, if
// that is required, MarkExported has acknowledged them.
func (a *Admin) SetRetention(ctx context.Context, account string, r Retention) (Retention, error) {
	body := struct {
		Days          *int `json:"days"`
		RequireExport bool `json:"require_export"`
	}{r.Days, r.RequireExport}
	return write[Retention](ctx, a, http.MethodPut, accountPath(account)+"/retention", repeatable, body)
}

// MarkExported acknowledges that all lines up to one have been copied elsewhere.
func (a *Admin) MarkExported(ctx context.Context, account string, m ExportMark) (Retention, error) {
	return write[Retention](ctx, a, http.MethodPost, accountPath(account)+"/retention/exported", repeatable, m)
}

package admin

import (
	"context"
	"encoding/hex"
	"net/http"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) retentionRoutes() {
	const path = "/v1/accounts/{account}/retention"
	handle(a, route{method: http.MethodGet, path: path, id: "get-retention", tag: "ledger",
		summary: "How long the account's ledger lines are kept, how far they were dropped, and what the ledger takes on this node's disk", reach: ofAccount}, a.getRetention)
	handle(a, route{method: http.MethodPut, path: path, id: "put-retention", tag: "ledger",
		summary: "Keep ledger lines for so many days; older ones go once they are in a finalized statement", reach: ofAccount}, a.putRetention)
	handle(a, route{method: http.MethodPost, path: path + "/exported", id: "mark-exported", tag: "ledger",
		summary: "Acknowledge that all lines up to one have been copied elsewhere", reach: ofAccount}, a.markExported)
}

type retentionInput struct {
	Account string `path:"account"`
}

func (a *api) getRetention(_ context.Context, in *retentionInput) (*answer[client.Retention], error) {
	return a.retention(in.Account)
}

type putRetentionInput struct {
	Account string `path:"account"`
	Body    client.Retention
}

func (a *api) putRetention(ctx context.Context, in *putRetentionInput) (*answer[client.Retention], error) {
	r := fsm.Retention{RequireExport: in.Body.RequireExport}
	if in.Body.Days != nil {
		if r.Days = *in.Body.Days; r.Days == 0 {
			return nil, invalidField("days", "must be null to keep lines for ever, or %d to %d", fsm.MinRetentionDays, fsm.MaxRetentionDays)
		}
	}
	if err := a.propose(ctx, fsm.SetRetention{Account: in.Account, Retention: r}); err != nil {
		return nil, err
	}
	return a.retention(in.Account)
}

type markExportedInput struct {
	Account string `path:"account"`
	Body    client.ExportMark
}

func (a *api) markExported(ctx context.Context, in *markExportedInput) (*answer[client.Retention], error) {
	c := fsm.MarkExported{Account: in.Account, Through: in.Body.ThroughSeq}
	if in.Body.Hash != nil {
		hash, err := hex.DecodeString(*in.Body.Hash)
		if err != nil || len(hash) != len(c.Hash) {
			return nil, invalidField("hash", "must be the %d hex digits of the line's hash", 2*len(c.Hash))
		}
		copy(c.Hash[:], hash)
	}
	if err := a.propose(ctx, c); err != nil {
		return nil, err
	}
	return a.retention(in.Account)
}

// retention reads the present state.
func (a *api) retention(account string) (*answer[client.Retention], error) {
	var s fsm.RetentionState
	index, err := a.view(func(v *fsm.View) (err error) {
		s, err = v.Retention(account)
		return err
	})
	if err != nil {
		return nil, err
	}
	disk, err := a.machine.LedgerDisk(account)
	if err != nil {
		return nil, err
	}
	r := client.Retention{
		RequireExport: s.RequireExport, LastSeq: s.Last, ExportedThrough: s.Exported, DroppedThrough: s.Dropped,
		DiskBytes: client.DiskBytes{Lines: disk.Lines, Index: disk.Index, Events: disk.Events, Sums: disk.Sums, Total: disk.Lines + disk.Index + disk.Events + disk.Sums},
	}
	if s.Days != 0 {
		r.Days = &s.Days
	}
	if s.Dropped != 0 {
		until := moment(s.DroppedUntil)
		r.DroppedUntil = &until
	}
	return &answer[client.Retention]{Index: index, Body: r}, nil
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// VerifyLedger recomputes an account's ledger on the node that answers: the chain of its lines,
// and balances, sums, statements and indexes from them. That reads all of it, so it may take minutes; ctx
// alone bounds it, and ends it on the node too. progress, unless nil, is told now and then how far it is. That something is wrong
// is no error: see Valid and Faults.
func (a *Admin) VerifyLedger(ctx context.Context, account string, progress func(VerifyProgress)) (*LedgerVerification, error) {
	path := accountPath(account) + "/ledger/verify" + a.query(nil)
	resp, err := a.caller.stream(ctx, &request{method: http.MethodGet, path: path, accept: NDJSON})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var report VerifyReport
		if err := dec.Decode(&report); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if report.Result != nil {
			return report.Result, nil
		}
		if report.Progress != nil && progress != nil {
			progress(*report.Progress)
		}
	}
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The formats of WriteStatement and WritePreview, besides CSV.
const (
	PlainJSON = typeJSON
	HTML      = "text/html"
	PDF       = "application/pdf"
)

func statementsPath(account string) string { return accountPath(account) + "/statements" }

// Statements lists an account's finalized statements, latest first, without their rows.
func (a *Admin) Statements(ctx context.Context, account string) iter.Seq2[StatementHead, error] {
	return pages[StatementHead](ctx, a, statementsPath(account), nil)
}

// Statement returns a finalized statement; its id is the month, as 2026-10.
func (a *Admin) Statement(ctx context.Context, account, id string) (Statement, error) {
	return get[Statement](ctx, a, statementsPath(account)+"/"+url.PathEscape(id))
}

// WriteStatement writes a finalized statement into w as JSON, CSV, HTML or PDF.
func (a *Admin) WriteStatement(ctx context.Context, account, id, format string, w io.Writer) error {
	return a.copy(ctx, statementsPath(account)+"/"+url.PathEscape(id)+a.query(nil), format, w)
}

// FinalizeStatement finalizes a month, which cannot be undone, and returns its statement. A month that is
// finalized stays as it is, so this may be repeated if the month is named. It reads every line of the month and may take minutes.
func (a *Admin) FinalizeStatement(ctx context.Context, account string, f FinalizeStatement) (Statement, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return Statement{}, err
	}
	again := repeatable
	if f.Month == "" {
		again = once // the month that is next after this one would be finalized too
	}
	var out Statement
	err = a.caller.do(ctx, &request{
		method: http.MethodPost, path: statementsPath(account), body: body, contentType: typeJSON, accept: typeJSON + ", " + typeProblem,
		safety: again, tryTimeout: statementTimeout, timeout: statementTimeout,
		read: func(ans *answer) error { return json.Unmarshal(ans.body, &out) },
	})
	return out, err
}

// statementTimeout bounds what reads all lines of a month.
const statementTimeout = 10 * time.Minute

// StatementPreview says what a preview is of. Zero fields: the month that is finalized next, laid out as the invoice settings say.
type StatementPreview struct {
	Month    string // 2026-10, in the account's time zone
	From, To time.Time
	Layout   *StatementLayout
}

func (p StatementPreview) query() url.Values {
	q := url.Values{}
	setText(q, "month", p.Month)
	setTime(q, "from", p.From)
	setTime(q, "to", p.To)
	if y := p.Layout; y != nil {
		setText(q, "entity_type", y.EntityType)
		if y.Depth != nil {
			q.Set("depth", strconv.Itoa(*y.Depth))
		}
		if y.MergeModels {
			q.Set("merge_models", "true")
		}
	}
	return q
}

// WritePreview writes a statement that is not final into w as JSON, CSV, HTML or PDF.
func (a *Admin) WritePreview(ctx context.Context, account string, p StatementPreview, format string, w io.Writer) error {
	return a.copy(ctx, statementsPath(account)+"/preview"+a.query(p.query()), format, w)
}

// copy streams the answer to a GET into w. It is bounded by ctx alone; an error after the first byte leaves w with a part.
func (a *Admin) copy(ctx context.Context, path, format string, w io.Writer) error {
	resp, err := a.caller.stream(ctx, &request{method: http.MethodGet, path: path, accept: format})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// PutInvoiceSettings sets what an account's next statements take in, all of it, and returns it as stored.
func (a *Admin) PutInvoiceSettings(ctx context.Context, account string, s InvoiceSettings) (InvoiceSettings, error) {
	return write[InvoiceSettings](ctx, a, http.MethodPut, accountPath(account)+"/invoice", repeatable, s)
}

// InvoiceSettings returns what an account's next statements take in.
func (a *Admin) InvoiceSettings(ctx context.Context, account string) (InvoiceSettings, error) {
	return get[InvoiceSettings](ctx, a, accountPath(account)+"/invoice")
}

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// PutPrices adds a version to the price book: a price map in LiteLLM's format, of
// at most 4 MiB. effectiveAt zero: from now on, or from the beginning of
// time if it is the first. A map equal to the one that is effective then adds nothing. A malformed
// map is an error that names models and fields, and changes nothing.
func (a *Admin) PutPrices(ctx context.Context, priceMap json.RawMessage, effectiveAt time.Time) (StoredPrices, error) {
	q := url.Values{}
	setTime(q, "effective_at", effectiveAt)
	path := "/v1/prices"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return write[StoredPrices](ctx, a, http.MethodPut, path, repeatable, priceMap)
}

// PricesFilter says which prices Prices returns. Zero fields: the version that is
// effective now, with all its models.
type PricesFilter struct {
	Version uint64
	Model   string // only the entry that prices this model
}

// Prices returns a version of the price book, and a list of all versions.
func (a *Admin) Prices(ctx context.Context, f PricesFilter) (PriceBook, error) {
	q := url.Values{}
	if f.Version != 0 {
		q.Set("version", strconv.FormatUint(f.Version, 10))
	}
	setText(q, "model", f.Model)
	var out PriceBook
	err := a.send(ctx, http.MethodGet, "/v1/prices"+a.query(q), repeatable, nil, &out)
	return out, err
}

package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

func (a *api) priceRoutes() {
	const path = "/v1/prices"
	handle(a, route{method: http.MethodGet, path: path, id: "get-prices", tag: "prices",
		summary: "The price book: the version effective now, or another, and a list of all", reach: ofAny}, a.getPrices)
	handle(a, route{method: http.MethodPut, path: path, id: "put-prices", tag: "prices",
		summary: "Add a version to the price book: a price map in LiteLLM's format, as it is", reach: ofAll}, a.putPrices)
}

// priceMap is a price map as its sender wrote it: no number passes through a float.
type priceMap json.RawMessage

// UnmarshalJSON keeps the text.
func (m *priceMap) UnmarshalJSON(text []byte) error {
	*m = slices.Clone(text)
	return nil
}

// Schema is an object of models, each an object of whatever fields: price.ParseMap says what is wrong with them.
func (priceMap) Schema(huma.Registry) *huma.Schema {
	anything := &huma.Schema{}
	for range maxJSONDepth {
		anything = &huma.Schema{AdditionalProperties: anything}
	}
	return &huma.Schema{
		Type:                 huma.TypeObject,
		Description:          "models by name, each with its prices in USD per unit; a name may have stars, and a model a list of aliases",
		AdditionalProperties: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: anything},
	}
}

type putPricesInput struct {
	EffectiveAt time.Time `query:"effective_at" doc:"time of the first event it prices; left out: now, or for the first version the beginning of time"`
	Body        priceMap
}

func (a *api) putPrices(ctx context.Context, in *putPricesInput) (*answer[client.StoredPrices], error) {
	m, err := fsm.ParsePrices(in.Body)
	if err != nil {
		return nil, err
	}
	put := fsm.PutPrices{Entries: m.Entries}
	if !in.EffectiveAt.IsZero() {
		// Zero says that nothing was said; a time that early is refused as out of range.
		put.EffectiveAt = max(1, in.EffectiveAt.UnixMilli())
	}
	digest, err := fsm.PriceDigest(m.Entries)
	if err != nil {
		return nil, err
	}
	if err := a.propose(ctx, put); err != nil {
		return nil, err
	}
	out := &answer[client.StoredPrices]{Body: client.StoredPrices{Ignored: make([]client.IgnoredPrice, len(m.Ignored))}}
	for i, ignored := range m.Ignored {
		out.Body.Ignored[i] = client.IgnoredPrice(ignored)
	}
	out.Index, err = a.view(func(v *fsm.View) error {
		for _, version := range slices.Backward(v.PriceVersions()) {
			if version.Digest == digest {
				out.Body.Prices = wirePrices(version, m.Entries)
				break
			}
		}
		return nil
	})
	return out, err
}

// maxPriceVersions bounds the versions that are listed.
const maxPriceVersions = 1_000

type getPricesInput struct {
	Version uint64 `query:"version" minimum:"1" doc:"a version; left out: the one effective now"`
	Model   string `query:"model" doc:"only the entry that prices this model"`
}

func (a *api) getPrices(_ context.Context, in *getPricesInput) (*answer[client.PriceBook], error) {
	out := &answer[client.PriceBook]{}
	var version fsm.PriceVersion
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		all := v.PriceVersions()
		version, _, _ = v.PricesAt(now())
		if n := in.Version; n != 0 {
			if n > uint64(len(all)) {
				return notFound("the price book has no version %d", n)
			}
			version = all[n-1]
		}
		slices.Reverse(all)
		out.Body.Versions = make([]client.PriceVersion, min(len(all), maxPriceVersions))
		for i := range out.Body.Versions {
			out.Body.Versions[i] = wirePriceVersion(all[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if version.Version == 0 {
		if in.Model != "" {
			return nil, notFound("the price book has no version that is effective now")
		}
		out.Body.Prices.Prices = json.RawMessage("{}")
		return out, nil
	}
	entries, err := a.machine.PriceMap(version.Version)
	if err == nil && in.Model != "" {
		entries, err = a.pricesOfModel(version, entries, in.Model)
	}
	if err != nil {
		return nil, err
	}
	out.Body.Prices = wirePrices(version, entries)
	return out, nil
}

// pricesOfModel returns the entry that prices a model.
func (a *api) pricesOfModel(version fsm.PriceVersion, entries []price.Entry, model string) ([]price.Entry, error) {
	book, err := a.machine.PriceBook(version)
	if err != nil {
		return nil, err
	}
	found := book.Find([]byte(model))
	if found == nil {
		return nil, notFound("version %d of the price book has no model %q", version.Version, model)
	}
	i := slices.IndexFunc(entries, func(e price.Entry) bool { return e.Name == found.Name })
	return entries[i : i+1], nil
}

func wirePriceVersion(v fsm.PriceVersion) client.PriceVersion {
	return client.PriceVersion{
		Version: v.Version, EffectiveAt: momentOrNull(v.EffectiveAt), CreatedAt: moment(v.CreatedAt),
		Models: v.Models, Digest: hex.EncodeToString(v.Digest[:]),
	}
}

func wirePrices(v fsm.PriceVersion, entries []price.Entry) client.Prices {
	w := wirePriceVersion(v)
	return client.Prices{
		Version: &w.Version, EffectiveAt: w.EffectiveAt, CreatedAt: &w.CreatedAt, Models: w.Models, Digest: &w.Digest,
		Prices: price.AppendJSON(nil, entries),
	}
}

// wireTerms states what a line's usd is made of.
func wireTerms(terms []price.Term) []client.PriceTerm {
	out := make([]client.PriceTerm, len(terms))
	for i, t := range terms {
		out[i] = client.PriceTerm{
			Usage: t.Usage.String(), Field: t.Field.String(), Quantity: t.Quantity, Decimals: int(t.Decimals), Price: t.Price.String(),
		}
	}
	return out
}

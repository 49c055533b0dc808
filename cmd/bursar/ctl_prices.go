package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

type pricesCmd struct {
	Import   pricesImportCmd   `cmd:"" help:"Add a version to the price book: a price map in LiteLLM's format."`
	List     pricesListCmd     `cmd:"" help:"List the models of a version and what a million tokens cost."`
	Show     pricesShowCmd     `cmd:"" help:"Show all prices of a model."`
	Versions pricesVersionsCmd `cmd:"" help:"List the versions of the price book, newest first."`
}

// maxPriceMap is the contract's bound of a price map, in bytes.
const maxPriceMap = 4 << 20

type pricesImportCmd struct {
	File        string `arg:"" help:"Price map, as LiteLLM's model_prices_and_context_window.json; - reads standard input."`
	EffectiveAt moment `help:"Time of the first event it prices; now if left out." placeholder:"TIME"`
	adminFlags
}

var storedPricesColumns = []column[client.StoredPrices]{
	{title: "VERSION", number: true, cell: func(p client.StoredPrices) string { return versionText(p.Version) }},
	{title: "EFFECTIVE", cell: func(p client.StoredPrices) string { return effective(p.EffectiveAt) }},
	{title: "MODELS", number: true, cell: func(p client.StoredPrices) string { return strconv.Itoa(p.Models) }},
	{title: "NOT CHARGED", cell: func(p client.StoredPrices) string {
		fields := make([]string, len(p.Ignored))
		for i, f := range p.Ignored {
			fields[i] = f.Field
		}
		return strings.Join(fields, ",")
	}},
}

func versionText(n *uint64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(*n, 10)
}

// effective writes since when a version counts.
func effective(at *time.Time) string {
	if at == nil {
		return "always"
	}
	return at.UTC().Format(time.RFC3339)
}

func (c *pricesImportCmd) Run(ctx context.Context, k *kong.Context) error {
	data, err := readPriceMap(c.File)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", c.File, err)}
	}
	return c.with(k, func(s *session) error {
		stored, err := s.PutPrices(ctx, data, c.EffectiveAt.Time)
		return table(s, storedPricesColumns).one(stored, err)
	})
}

func readPriceMap(path string) (json.RawMessage, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxPriceMap+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxPriceMap:
		return nil, fmt.Errorf("it has more than %d bytes", maxPriceMap)
	case !json.Valid(data):
		return nil, fmt.Errorf("it is not valid JSON")
	}
	return data, nil
}

// versionFlag chooses a version.
type versionFlag struct {
	Version uint64 `help:"Version of the price book; the one effective now if left out." placeholder:"N"`
}

type pricesListCmd struct {
	versionFlag
	adminFlags
}

// modelRow is a model with its most common prices.
type modelRow struct {
	Name     string
	Provider string      `json:"litellm_provider"`
	Input    json.Number `json:"input_cost_per_token"`
	Cached   json.Number `json:"cache_read_input_token_cost"`
	Output   json.Number `json:"output_cost_per_token"`
}

var modelColumns = []column[modelRow]{
	{title: "MODEL", cell: func(r modelRow) string { return r.Name }},
	{title: "PROVIDER", cell: func(r modelRow) string { return r.Provider }},
	{title: "INPUT", number: true, cell: func(r modelRow) string { return perMillion(r.Input) }},
	{title: "CACHED", number: true, cell: func(r modelRow) string { return perMillion(r.Cached) }},
	{title: "OUTPUT", number: true, cell: func(r modelRow) string { return perMillion(r.Output) }},
}

// perMillion writes the price of a million units in USD, exactly.
func perMillion(price json.Number) string {
	n, ok := new(big.Rat).SetString(price.String())
	if !ok {
		return ""
	}
	const digits = 30 // as many as a price may have
	return strings.TrimSuffix(strings.TrimRight(n.Mul(n, big.NewRat(1_000_000, 1)).FloatString(digits), "0"), ".")
}

func (c *pricesListCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		book, err := s.Prices(ctx, client.PricesFilter{Version: c.Version})
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, book)
		}
		var models map[string]modelRow
		if err := json.Unmarshal(book.Prices.Prices, &models); err != nil {
			return err
		}
		rows := make([]modelRow, 0, len(models))
		for _, name := range slices.Sorted(maps.Keys(models)) {
			row := models[name]
			row.Name = name
			rows = append(rows, row)
		}
		return table(s, modelColumns).list(rows, nil)
	})
}

type pricesShowCmd struct {
	Model string `arg:"" help:"Model, by any name that a call may give it."`
	versionFlag
	adminFlags
}

// priceRow is one field of a model.
type priceRow struct{ field, value string }

var priceColumns = []column[priceRow]{
	{title: "FIELD", cell: func(r priceRow) string { return r.field }},
	{title: "USD PER UNIT", cell: func(r priceRow) string { return r.value }},
}

func (c *pricesShowCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		book, err := s.Prices(ctx, client.PricesFilter{Version: c.Version, Model: c.Model})
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, book)
		}
		rows, err := priceRows(book)
		return table(s, priceColumns).list(rows, err)
	})
}

// priceRows lists the one model of an answer: where it stands, then its prices as they are written.
func priceRows(book client.PriceBook) ([]priceRow, error) {
	d := json.NewDecoder(bytes.NewReader(book.Prices.Prices))
	d.UseNumber()
	var models map[string]map[string]any
	if err := d.Decode(&models); err != nil {
		return nil, err
	}
	rows := []priceRow{{"version", versionText(book.Version)}}
	for name, fields := range models {
		rows = append(rows, priceRow{"model", name})
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			if nested, ok := fields[field].(map[string]any); ok {
				for _, inner := range slices.Sorted(maps.Keys(nested)) {
					rows = append(rows, priceRow{field + "." + inner, fmt.Sprint(nested[inner])})
				}
				continue
			}
			rows = append(rows, priceRow{field, fmt.Sprint(fields[field])})
		}
	}
	return rows, nil
}

type pricesVersionsCmd struct{ adminFlags }

var priceVersionColumns = []column[client.PriceVersion]{
	{title: "VERSION", number: true, cell: func(v client.PriceVersion) string { return strconv.FormatUint(v.Version, 10) }},
	{title: "EFFECTIVE", cell: func(v client.PriceVersion) string { return effective(v.EffectiveAt) }},
	{title: "IMPORTED", cell: func(v client.PriceVersion) string { return v.CreatedAt.UTC().Format(time.RFC3339) }},
	{title: "MODELS", number: true, cell: func(v client.PriceVersion) string { return strconv.Itoa(v.Models) }},
	{title: "DIGEST", cell: func(v client.PriceVersion) string { return v.Digest[:min(len(v.Digest), 12)] }},
}

func (c *pricesVersionsCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session) error {
		book, err := s.Prices(ctx, client.PricesFilter{})
		return table(s, priceVersionColumns).list(book.Versions, err)
	})
}

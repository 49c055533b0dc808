package client

import (
	"encoding/json"
	"time"
)

// PriceVersion is one version of the price book. A version never changes.
type PriceVersion struct {
	Version     uint64     `json:"version"`
	EffectiveAt *time.Time `json:"effective_at"` // of the first event it may price; nil: from the beginning of time
	CreatedAt   time.Time  `json:"created_at"`
	Models      int        `json:"models"` // entries of its price map
	Digest      string     `json:"digest"` // SHA-256, in hex: equal maps have equal digests
}

// Prices is a version of the price book with its price map.
type Prices struct {
	Version     *uint64         `json:"version"` // nil: there is no version yet
	EffectiveAt *time.Time      `json:"effective_at"`
	CreatedAt   *time.Time      `json:"created_at"`
	Models      int             `json:"models"`
	Digest      *string         `json:"digest"`
	Prices      json.RawMessage `json:"prices"` // in LiteLLM's format: what it charges for, in plain decimal notation
}

// StoredPrices answers PUT /v1/prices.
type StoredPrices struct {
	Prices
	Ignored []IgnoredPrice `json:"ignored" nullable:"false"` // fields that are about money and not charged
}

// IgnoredPrice is a field of a price map that no usage is charged by.
type IgnoredPrice struct {
	Field  string `json:"field"`
	Models int    `json:"models"` // that have it
}

// PriceBook answers GET /v1/prices: the version asked for, and a list of all.
type PriceBook struct {
	Prices
	Versions []PriceVersion `json:"versions" nullable:"false"` // newest first, the latest 1,000
}

// PriceTerm is one product of a ledger line's cost: Quantity / 10^Decimals units
// of Usage at Price each. The sum of a line's terms, rounded once, half to even, to the
// nano-dollar, is its usd.
type PriceTerm struct {
	Usage    string `json:"usage"`    // the capability
	Field    string `json:"field"`    // of the price map, that Price stands in
	Quantity int64  `json:"quantity"` // without the parts that are terms of their own
	Decimals int    `json:"decimals"` // of the quantity
	Price    string `json:"price"`    // USD for one unit, exact, in plain decimal notation
}

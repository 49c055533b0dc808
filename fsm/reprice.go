package fsm

import (
	"cmp"
	"slices"

	"github.com/bursar-dev/bursar/fsm/price"
)

// Repricing is what an event would cost by a version of the price book.
type Repricing struct {
	Event    string
	From, To int64    // usd that it counts as, and would; nano-dollars
	Pricing  *Pricing // how To comes about
	// Why says why the event is not to be repriced; empty: it is, even if To is From.
	Why string
}

// Reprice computes an event's cost from what it counts as and the prices of a
// version of the price book; version 0 is the one effective at the event's time, as the book is now. It
// changes nothing: propose the Correction. Errors: *Error with CodeNotFound for an event or version that is not there.
func (m *Machine) Reprice(account, event string, version uint64) (*Repricing, error) {
	line, counts, void, err := m.CorrectedEvent(account, event)
	if err != nil {
		return nil, err
	}
	e := &line.Event
	r := &Repricing{Event: event, From: amountOf(counts, CapUSD)}
	r.To = r.From
	switch {
	case void:
		r.Why = "it is void"
	case e.Model == "":
		r.Why = "it names no model"
	case e.Pricing == nil:
		r.Why = "its usd was given by the caller"
	}
	if r.Why != "" {
		return r, nil
	}
	model, v, err := m.modelPrices(e, version)
	if err != nil {
		return nil, err
	}
	r.Pricing = &Pricing{Version: v.Version, Unpriced: true}
	if model == nil {
		r.Why = "its model has no price"
		return r, nil
	}
	var nano int64
	m.View(func(v *View) {
		decimals := func(id string) uint8 { return v.Capability(id).Decimals }
		nano, err = priceUsage(model, e.Tier, counts, decimals, r.Pricing)
	})
	if err != nil || nano > MaxAmount {
		return nil, conflict("event %q would cost more than an event may", event)
	}
	r.To = nano
	return r, nil
}

// priceUsage computes what usage costs, and says in p by what, over its terms. It has derived amounts in it; decimals
// are asked of capabilities that have prices. The error is price.ErrTooLarge.
func priceUsage(m *price.Model, tier price.Tier, usage []Quantity, decimals func(capability string) uint8, p *Pricing) (nano int64, err error) {
	var q price.Quantities
	for _, u := range usage {
		if kind := price.UsageOf([]byte(u.Capability)); kind != 0 {
			q.Set(kind, u.Amount, decimals(u.Capability))
		}
	}
	q.SetUnsplit(amountOf(usage, CapTokens))
	nano, complete, err := m.Cost(q, tier, &p.Terms)
	p.Model, p.Unpriced = m.Name, !complete
	return nano, err
}

// modelPrices finds the prices of an event's model, nil if it has none.
func (m *Machine) modelPrices(e *Event, version uint64) (*price.Model, PriceVersion, error) {
	var v PriceVersion
	found := false
	m.View(func(view *View) {
		if version == 0 {
			v, _, found = view.PricesAt(e.At)
			return
		}
		all := view.PriceVersions()
		i := slices.IndexFunc(all, func(v PriceVersion) bool { return v.Version == version })
		if found = i >= 0; found {
			v = all[i]
		}
	})
	switch {
	case !found && version == 0:
		return nil, v, nil
	case !found:
		return nil, v, notFound("the price book has no version %d", version)
	}
	book, err := m.PriceBook(v)
	if err != nil {
		return nil, v, err
	}
	return book.Find([]byte(e.Model)), v, nil
}

// Correction returns the correction that makes the event count as the cost computed.
func (r *Repricing) Correction(id, reason string) Correction {
	return Correction{
		ID: id, Event: r.Event, Kind: KindReprice, Usage: []Quantity{{CapUSD, r.To}}, Pricing: r.Pricing, Reason: reason,
	}
}

func amountOf(qs []Quantity, capability string) int64 {
	i, found := slices.BinarySearchFunc(qs, capability, func(q Quantity, c string) int { return cmp.Compare(q.Capability, c) })
	if !found {
		return 0
	}
	return qs[i].Amount
}

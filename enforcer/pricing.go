package enforcer

import (
	"fmt"
	"math"
	"slices"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// A call that names a model and gives no usd has its usd derived from the price
// book: a check by the version in force now, an event by the one in force at its
// time, as this node's replica shows it. What an event was priced by goes with
// it into the ledger, and nobody computes it again on the way.

// pricing is a version of the price book and the times it counts for, [from, until).
type pricing struct {
	version     fsm.PriceVersion
	book        *price.Book // nil: before the first version
	from, until int64
}

// fieldUSD is the field of the amount that is derived from prices.
const fieldUSD = "usage." + fsm.CapUSD

// pricesAt returns the prices that are effective at a time (Unix milliseconds). Those of the
// present are at hand; others are read from the store. The error is ErrUnavailable.
func (e *Enforcer) pricesAt(at int64) (*pricing, error) {
	if p := e.prices.Load(); p != nil && p.from <= at && at < p.until {
		return p, nil
	}
	p := e.pricesOf(at)
	if p.version.Version != 0 {
		var err error
		if p.book, err = e.m.PriceBook(p.version); err != nil {
			return nil, fmt.Errorf("%w: read the price book: %w", ErrUnavailable, err)
		}
	}
	if now := e.now(); p.from <= now && now < p.until {
		// Kept only under a view that still shows the same: forgetPrices, which follows any change, cannot come first.
		e.m.View(func(v *fsm.View) {
			if version, until, _ := v.PricesAt(at); version == p.version && until == p.until {
				e.prices.Store(p)
			}
		})
	}
	return p, nil
}

// pricesOf looks up which version is effective at a time.
func (e *Enforcer) pricesOf(at int64) *pricing {
	p := &pricing{from: math.MinInt64}
	e.m.View(func(v *fsm.View) {
		var ok bool
		if p.version, p.until, ok = v.PricesAt(at); ok {
			p.from = p.version.EffectiveAt
		}
	})
	return p
}

// forgetPrices makes the next call look the present prices up anew.
func (e *Enforcer) forgetPrices() { e.prices.Store(nil) }

// priceCall adds what a check's usage costs now. A model without prices costs nothing.
func (e *Enforcer) priceCall(c *Call, sc *scratch) error {
	if len(c.Model) == 0 || sc.find(unitUSD) >= 0 {
		return nil
	}
	p, err := e.pricesAt(e.now())
	if err != nil {
		return err
	}
	m := p.book.Find(c.Model)
	if m == nil {
		return nil
	}
	var q price.Quantities
	for i := range c.Usage {
		e.quantity(&q, c.Usage[i].Capability, c.Usage[i].Amount)
	}
	nano, _, err := m.Cost(q, c.Tier, nil)
	if err != nil {
		return errCost()
	}
	sc.usage = append(sc.usage, unitAmount{unit: unitUSD, amount: nano})
	return nil
}

// priceEvent adds what an event's usage cost at its time, and by what. An event
// that has a price already, from the node that forwarded it, keeps it.
func (e *Enforcer) priceEvent(ev *fsm.Event, sc *scratch) error {
	if ev.Model == "" || ev.Pricing != nil || sc.find(unitUSD) >= 0 {
		return nil
	}
	p, err := e.pricesAt(ev.At)
	if err != nil {
		return err
	}
	pr := &fsm.Pricing{Version: p.version.Version, Unpriced: true}
	m := p.book.Find([]byte(ev.Model))
	if m == nil {
		ev.Pricing = pr
		return nil
	}
	var q price.Quantities
	for _, u := range ev.Usage {
		e.quantity(&q, []byte(u.Capability), u.Amount)
	}
	if i := sc.find(unitTokens); i >= 0 {
		q.SetUnsplit(sc.usage[i].amount)
	}
	nano, complete, err := m.Cost(q, ev.Tier, &pr.Terms)
	if err != nil {
		return errCost()
	}
	pr.Model, pr.Unpriced = m.Name, !complete
	ev.Pricing = pr
	if complete || nano > 0 {
		sc.usage = append(sc.usage, unitAmount{unit: unitUSD, amount: nano})
		ev.Usage = addQuantity(slices.Clone(ev.Usage), fsm.CapUSD, nano)
	}
	return nil
}

// quantity takes one amount of a call over, if its capability has a price.
func (e *Enforcer) quantity(q *price.Quantities, capability []byte, amount int64) {
	if u := price.UsageOf(capability); u != 0 {
		q.Set(u, amount, e.decimals(capability))
	}
}

// decimals returns the decimals of a capability that exists. They never change.
func (e *Enforcer) decimals(capability []byte) (n uint8) {
	if known := e.units.decimals.get(capability); known != nil {
		return *known
	}
	e.m.View(func(v *fsm.View) {
		if c := v.Capability(string(capability)); c != nil {
			n = c.Decimals
		}
	})
	return *e.units.decimals.put(string(capability), func(known *uint8) { *known = n })
}

func errCost() error {
	return &RequestError{Field: fieldUSD, Message: fmt.Sprintf("which is derived from the price book, must be between 0 and %d", fsm.MaxAmount)}
}

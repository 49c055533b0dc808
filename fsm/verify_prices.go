package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bursar-dev/bursar/fsm/price"
)

// priceCheck computes the price terms and usd of each event again, from the version of the price book that it names. What
// corrections changed was computed from what the event counted as then, and is not in their lines: it is left alone.
type priceCheck struct {
	v        *verifier
	books    books
	decimals map[string]uint8 // of capabilities; they never change
	terms    []price.Term
}

func newPriceCheck(v *verifier) *priceCheck {
	return &priceCheck{v: v, decimals: map[string]uint8{}}
}

// line checks one line.
func (c *priceCheck) line(seq uint64, l *LedgerLine) error {
	e := &l.Event
	if l.Kind != KindUsage || e.Pricing == nil {
		return nil
	}
	want := Pricing{Version: e.Pricing.Version, Unpriced: true, Terms: c.terms[:0]}
	usd, priced := int64(0), false
	if want.Version != 0 {
		book, err := c.book(want.Version)
		if isStore(err) {
			return err
		}
		if err != nil {
			c.fault(seq, e, "a version of the price book", err.Error())
			return nil
		}
		if model := book.Find([]byte(e.Model)); model != nil {
			if usd, err = priceUsage(model, e.Tier, e.Usage, c.decimalsOf, &want); err != nil {
				c.fault(seq, e, "a cost", err.Error())
				return nil
			}
			priced = !want.Unpriced || usd > 0
		}
	}
	c.terms = want.Terms
	found := e.Pricing
	if found.Model != want.Model || found.Unpriced != want.Unpriced || !slices.Equal(found.Terms, want.Terms) {
		c.fault(seq, e, describePricing(&want), describePricing(found))
		return nil
	}
	stored := slices.IndexFunc(e.Usage, func(q Quantity) bool { return q.Capability == CapUSD })
	switch {
	case (stored >= 0) != priced:
		c.fault(seq, e, fmt.Sprintf("usd %v", priced), fmt.Sprintf("usd %v", stored >= 0))
	case priced && e.Usage[stored].Amount != usd:
		c.fault(seq, e, fmt.Sprintf("usd %d", usd), fmt.Sprintf("usd %d", e.Usage[stored].Amount))
	}
	return nil
}

func (c *priceCheck) fault(seq uint64, e *Event, want, found string) {
	c.v.fault(LedgerFault{Kind: FaultPrice, Seq: seq, EventID: e.ID, Where: fmt.Sprintf("the cost of line %d by price version %d", seq, e.Pricing.Version), Want: want, Found: found})
}

// book returns a version of the price book.
func (c *priceCheck) book(version uint64) (*price.Book, error) {
	return c.books.get(PriceVersion{Version: version}, func() (*price.Book, error) {
		var entries []price.Entry
		ok, err := c.v.get(priceMapKey(version), &entries)
		if err == nil && !ok {
			err = errors.New("there is no such version")
		}
		if err != nil {
			return nil, err
		}
		return price.NewBook(entries)
	})
}

// decimalsOf returns the decimals of a capability.
func (c *priceCheck) decimalsOf(id string) uint8 {
	n, known := c.decimals[id]
	if !known {
		var capability Capability
		if ok, err := c.v.get(capabilityKey(id), &capability); ok && err == nil {
			n = capability.Decimals
		}
		c.decimals[id] = n
	}
	return n
}

// describePricing writes what a pricing says for a person.
func describePricing(p *Pricing) string {
	s := fmt.Sprintf("model %q", p.Model)
	for i := range p.Terms {
		t := &p.Terms[i]
		s += fmt.Sprintf(", %d/10^%d %s at %s (%s)", t.Quantity, t.Decimals, t.Usage, t.Price, t.Field)
	}
	if p.Unpriced {
		s += ", unpriced"
	}
	return s
}

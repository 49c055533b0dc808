package fsm

import (
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/fsm/price"
)

// priced settles an event of the price book's first version, as the node that accepts it prices it, after edit.
func (r *rig) priced(id string, tokens int64, edit func(e *Event)) {
	r.t.Helper()
	book, err := r.m.PriceBook(PriceVersion{Version: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	e := r.event(id, BudgetKey{}, 0, 0, 1)
	e.Lines, e.Model = nil, "gpt"
	e.Usage = []Quantity{{CapInputTokens, tokens}}
	e.Pricing = &Pricing{Version: 1}
	usd, err := priceUsage(book.Find([]byte(e.Model)), e.Tier, e.Usage, func(string) uint8 { return 0 }, e.Pricing)
	if err != nil {
		r.t.Fatal(err)
	}
	e.Usage = append(e.Usage, Quantity{CapUSD, usd})
	if edit != nil {
		edit(&e)
	}
	r.must(settle(1, e))
}

// A line that was priced wrongly when it was written, and chained so, is named.
func TestACostThatThePriceBookDoesNotSayIsFound(t *testing.T) {
	for name, edit := range map[string]func(e *Event){
		"price":    func(e *Event) { e.Pricing.Terms[0].Price.Coef++ },
		"quantity": func(e *Event) { e.Pricing.Terms[0].Quantity-- },
		"terms":    func(e *Event) { e.Pricing.Terms = append(e.Pricing.Terms, e.Pricing.Terms[0]) },
		"usd":      func(e *Event) { e.Usage[1].Amount++ },
		"no usd":   func(e *Event) { e.Usage = e.Usage[:1] },
		"tier":     func(e *Event) { e.Tier = price.Batch },
		"model":    func(e *Event) { e.Model = "gpt-0" },
		"name":     func(e *Event) { e.Pricing.Model = "gpt-0" },
		"unpriced": func(e *Event) { e.Pricing.Unpriced = true },
		"version":  func(e *Event) { e.Pricing.Version = 7 },
		"none":     func(e *Event) { e.Pricing.Version = 0 },
		"usage":    func(e *Event) { e.Usage[0].Amount *= 2 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.must(PutPrices{Entries: r.prices(`{"gpt": {"input_cost_per_token": 1e-6, "input_cost_per_token_batches": 5e-7}}`)})
			for _, id := range []string{"a", "b", "c"} {
				r.priced(id, 100, nil)
			}
			sound(r.t, r.m)
			r.priced("wrong", 100, edit)
			r.priced("d", 1, nil)
			r.must(PutPrices{Entries: r.prices(tokenPrice("2"))}) // lines keep the version they name
			for _, limit := range []int{5, verifyRows} {
				out := verifyWith(t, r.m, "acme", limit)
				if out.FaultCount != 1 || out.Faults[0].Kind != FaultPrice || out.Faults[0].Seq != 4 || out.Faults[0].EventID != "wrong" {
					t.Fatalf("%d faults:\n%s", out.FaultCount, faultText(out))
				}
			}
		})
	}
}

// What a forfeit before the chain charged stands in used alone.
func TestForfeitsBeforeTheChainAreNotHeldAgainstALedger(t *testing.T) {
	r := newRig(t)
	r.version = FirstLogVersion
	k := r.period(r.assign(1000))
	r.must(settle(1, r.event("evt-1", k, 5, 0, 1)))
	r.must(ask(2, Ask{Budget: k, NeedSum: 500, Want: 500}))
	r.must(DeadNode{Node: 2})
	r.must(Forfeit{Name: "n2", Charge: true})
	r.version = LogVersion
	check := func(unchecked, faults uint64, where string) {
		t.Helper()
		out := verifyWith(t, r.m, "acme", verifyRows)
		if out.UncheckedBudgets != unchecked || out.FaultCount != faults || faults > 0 && !strings.Contains(out.Faults[0].Where, where) {
			t.Fatalf("%d unchecked, %d faults; want %d, %d\n%s", out.UncheckedBudgets, out.FaultCount, unchecked, faults, faultText(out))
		}
	}
	check(1, 0, "")
	r.must(settle(1, r.event("evt-2", k, 5, 0, 1))) // of the chain
	check(1, 0, "")

	edit := func(by int64) {
		t.Helper()
		var b Budget
		if ok, err := r.m.get(budgetKey(k), &b); err != nil || !ok {
			t.Fatal(err)
		}
		b.Used += by
		value, err := encodeValue(&b)
		if err == nil {
			err = r.m.store.db.Set(budgetKey(k), value, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(-1000) // less than its lines say is wrong whatever was forfeited
	check(0, 1, "requests of \"alice\"")
	edit(1000)

	r.now += 40 * dayMS
	later := k
	later.Start, _ = Cadence{Every: EveryMonth, Timezone: "UTC"}.Period(r.now)
	k = later
	r.must(settle(1, r.event("evt-3", k, 5, 0, 1)))
	check(1, 0, "")
	edit(1) // nothing was forfeited in that month
	check(1, 1, "requests of \"alice\"")
}

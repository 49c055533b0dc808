package fsm

// This file says what the rules of model_test.go must never break, whatever the
// order of commands. The driver compares a Machine's budgets before and after every
// command; how the commands work plays no part in it.
//
//	INV1  used' + Σlease' ≤ max(limit', used + Σlease) + what was charged and not set aside
//	R2    used' = used + what was charged, nothing else
//	R4    a lease shrinks only by what its own node drew, gave back, or lost by forfeit
//	      or because the budget is handed out no more; a birth nobody has touched ends
//	      with its node's orderly stop
//	G     a generation never runs back, and moves exactly when the holder changes or is confirmed
//	L     the ledger's lines of a budget, with what was forfeited as spent, add up to used

// deed is what the command under way does to a budget, told by the rules as they act.
type deed struct {
	charged   int64             // added to used
	overdrawn int64             // of that, what came out of no lease
	gone      map[NodeNum]int64 // rightly taken out of leases
}

func (m *model) deed(k BudgetKey) *deed {
	if m.did[k] == nil {
		m.did[k] = &deed{gone: map[NodeNum]int64{}}
	}
	return m.did[k]
}

// checkPromises holds the budgets as they were before the command, and are after it, to the list above.
func (d *driver) checkPromises() {
	after := d.budgets()
	for k, now := range after {
		was, did := d.was[k], d.model.deed(k)
		if was.Key != k { // as it was born, with the terms of before the command
			continue
		}
		if now.Used != was.Used+did.charged {
			d.t.Fatalf("R2: budget %+v: used %d, was %d, and %d was charged", k, now.Used, was.Used, did.charged)
		}
		if now.Gen < was.Gen || now.Holder != was.Holder && now.Gen == was.Gen {
			d.t.Fatalf("G: budget %+v: holder %d in generation %d, was %d in %d", k, now.Holder, now.Gen, was.Holder, was.Gen)
		}
		if !now.Leased {
			if now.LeaseSum() != 0 || now.Holder != 0 {
				d.t.Fatalf("soft budget %+v has leases or a holder: %+v", k, now)
			}
			continue
		}
		if committed, bound := now.Used+now.LeaseSum(), max(now.Limit, was.Used+was.LeaseSum())+did.overdrawn; was.Leased && committed > bound {
			d.t.Fatalf("INV1: budget %+v: used and leases %d, at most %d (limit %d)", k, committed, bound, now.Limit)
		}
		untouched := d.model.budgets[k] == nil
		for _, l := range was.Leases {
			if untouched && d.drained[l.Node] {
				continue
			}
			if least := l.Amount - did.gone[l.Node]; now.LeaseOf(l.Node) < least {
				d.t.Fatalf("R4: budget %+v: node %d has %d, had %d, of which %d were its to lose", k, l.Node, now.LeaseOf(l.Node), l.Amount, did.gone[l.Node])
			}
		}
	}
	clear(d.model.did)
	d.was = after
}

// budgets returns the Machine's budgets that the model knows of, and each present one.
func (d *driver) budgets() map[BudgetKey]Budget {
	all := map[BudgetKey]Budget{}
	for k := range d.keys() {
		all[k] = d.budget(k)
	}
	return all
}

// checkLedger adds up every line of the ledger and compares the sums with the budgets.
func (d *driver) checkLedger() {
	sums := map[BudgetKey]int64{}
	var after uint64
	for {
		lines, next, err := d.m.ListLedger("acme", LedgerFilter{}, after, MaxPage)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, l := range lines {
			for _, c := range l.Event.Lines {
				sums[c.Budget] += c.Amount
			}
		}
		if after = next; next == 0 {
			break
		}
	}
	for k := range d.keys() {
		if b := d.budget(k); b.Used != sums[k]+d.forfeited[k] {
			d.t.Fatalf("L: budget %+v: used %d, its lines %d, forfeited %d", k, b.Used, sums[k], d.forfeited[k])
		}
	}
}

package fsm

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
)

func isStore(err error) bool { return errors.Is(err, errStoreUnreadable) }

func keysOf[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

// budgetCheck recomputes what budgets have used:
//
//	used = what its backfill counted + what its lines charged, in their order + Forfeited
//
// Usage adds, and a correction adds its difference but never goes below zero, as txn.charge does. The charges stand
// in the lines. A backfill counted the lines before the entry that made the assignment which name its
// entity, in the present period. Budgets of assignments that are gone are gone with them.
//
// Forfeited is what entries since the chain forfeited. What earlier ones did stands in used alone, so a budget that used more than its
// lines say cannot be told from a wrong one if something was forfeited in its period then: it is unchecked.
type budgetCheck struct {
	v      *verifier
	passes int
	pass   int

	assignments map[uint64]*checkedAssignment   // of this pass
	backfilled  map[string][]*checkedAssignment // of those, by entity
	used        map[BudgetKey]*checkedBudget

	chained   uint64  // log index of the first line of the chain; 0: there is none
	forfeits  []int64 // times of those before it, ascending
	forfeited bool    // forfeits are known
}

type checkedAssignment struct {
	Assignment
	made       uint64 // log index of the entry that made it, where it matters
	start, end int64  // the period that it was made in
}

type checkedBudget struct {
	used    int64
	clamped bool // a correction would have gone below zero
}

// newBudgetCheck counts the account's budgets to decide how many passes they take.
func newBudgetCheck(v *verifier) (*budgetCheck, error) {
	c := &budgetCheck{v: v}
	rows := 0
	err := c.each(func(a *Assignment) error {
		rows++
		lower, upper := prefixRange(budgetPrefix(a.Num))
		return v.scan(lower, upper, false, func(_, _ []byte) (bool, error) {
			rows++
			return true, v.step()
		})
	})
	c.passes = 1 + rows/v.limit
	return c, err
}

// each calls f with the account's assignments.
func (c *budgetCheck) each(f func(a *Assignment) error) error {
	v := c.v
	lower, upper := prefixRange(accountPrefix(tableAssignmentID, v.account))
	return v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
		var num uint64
		var a Assignment
		err := decodeValue(value, &num)
		ok := false
		if err == nil {
			ok, err = v.get(assignmentKey(num), &a)
		}
		if isStore(err) {
			return false, err
		}
		if err != nil || !ok || a.Num != num {
			if c.passes == 0 { // once
				v.fault(LedgerFault{Kind: FaultUnreadable, Where: fmt.Sprintf("assignment %q", key[len(lower):]), Found: fmt.Sprintf("number %d, stored %v, %v", num, ok, err)})
			}
			return true, nil
		}
		return true, errors.Join(f(&a), v.step())
	})
}

func (c *budgetCheck) begin(pass int) {
	c.pass = pass
	c.used = map[BudgetKey]*checkedBudget{}
	c.assignments = nil
}

func (c *budgetCheck) mine(num uint64) bool { return num%uint64(c.passes) == uint64(c.pass) }

// load reads the pass's assignments, the first time that they are needed.
func (c *budgetCheck) load() error {
	if c.assignments != nil {
		return nil
	}
	c.assignments = map[uint64]*checkedAssignment{}
	c.backfilled = map[string][]*checkedAssignment{}
	if c.pass >= c.passes {
		return nil
	}
	return c.each(func(a *Assignment) error {
		if !c.mine(a.Num) {
			return nil
		}
		x := &checkedAssignment{Assignment: *a}
		c.assignments[a.Num] = x
		if !a.Backfill {
			return nil
		}
		x.start, x.end = a.Cadence.Period(a.CreatedAt)
		c.backfilled[a.Entity] = append(c.backfilled[a.Entity], x)
		var err error
		x.made, err = c.v.auditIndex(actionAssignmentPut, a.ID, a.CreatedAt)
		return err
	})
}

// line charges what a line charged.
func (c *budgetCheck) line(l *LedgerLine) error {
	if err := c.load(); err != nil {
		return err
	}
	if len(c.backfilled) > 0 {
		c.count(l)
	}
	if c.chained == 0 && l.Hash != [32]byte{} {
		c.chained = l.Index
	}
	for i := range l.Event.Lines {
		charge := &l.Event.Lines[i]
		if c.assignments[charge.Budget.Assignment] == nil {
			continue
		}
		b := c.budget(charge.Budget)
		b.used = satAdd(b.used, charge.Amount)
		if l.Kind != KindUsage && b.used < 0 {
			b.used, b.clamped = 0, true
		}
	}
	return nil
}

func (c *budgetCheck) budget(k BudgetKey) *checkedBudget {
	b := c.used[k]
	if b == nil {
		b = &checkedBudget{}
		c.used[k] = b
	}
	return b
}

// count adds a line to the backfills that counted it.
func (c *budgetCheck) count(l *LedgerLine) {
	e := &l.Event
	for i, id := range e.Chain {
		if slices.Index(e.Chain, id) < i {
			continue
		}
		for _, a := range c.backfilled[id] {
			if l.Settled > a.CreatedAt || l.Settled == a.CreatedAt && l.Index > a.made || e.At < a.start || e.At >= a.end {
				continue
			}
			for _, q := range e.Usage {
				if q.Capability == a.Capability {
					b := c.budget(BudgetKey{a.Num, a.start})
					b.used = satAdd(b.used, q.Amount)
				}
			}
		}
	}
}

// compare compares the budgets of the pass.
func (c *budgetCheck) compare() error {
	if err := c.load(); err != nil {
		return err
	}
	v := c.v
	for _, num := range slices.Sorted(keysOf(c.assignments)) {
		a := c.assignments[num]
		lower, upper := prefixRange(budgetPrefix(num))
		err := v.scan(lower, upper, false, func(key, value []byte) (bool, error) {
			var b Budget
			if err := decodeValue(value, &b); err != nil {
				v.fault(LedgerFault{Kind: FaultUnreadable, Where: fmt.Sprintf("a budget of assignment %s of %q", a.ID, a.Entity), Found: err.Error()})
				return true, v.step()
			}
			err := c.one(a, &b)
			delete(c.used, b.Key)
			return true, errors.Join(err, v.step())
		})
		if err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(keysOf(c.used), compareKeys) {
		if want := c.used[k]; want.used != 0 && k.Start > v.unsureBudgets() {
			v.fault(LedgerFault{Kind: FaultBudget, Where: c.assignments[k.Assignment].name(k.Start), Want: fmt.Sprintf("used %d", want.used), Found: "no budget"})
		}
	}
	return nil
}

// unsureBudgets is the latest start of a period that dropped lines may have charged.
func (v *verifier) unsureBudgets() int64 {
	if v.mark.Dropped == 0 {
		return math.MinInt64
	}
	return v.mark.DroppedLast
}

// one compares one budget.
func (c *budgetCheck) one(a *checkedAssignment, b *Budget) error {
	v := c.v
	want := checkedBudget{}
	if x := c.used[b.Key]; x != nil {
		want = *x
	}
	used := satAdd(want.used, b.Forfeited)
	if b.Key.Start <= v.unsureBudgets() || want.clamped && b.Forfeited != 0 {
		v.out.UncheckedBudgets++
		return nil
	}
	if b.Used > used {
		switch forfeited, err := c.forfeitedIn(a, b.Key.Start); {
		case err != nil:
			return err
		case forfeited:
			v.out.UncheckedBudgets++
			return nil
		}
	}
	v.out.Budgets++
	if b.Used != used {
		v.fault(LedgerFault{Kind: FaultBudget, Where: a.name(b.Key.Start), Want: fmt.Sprintf("used %d", used), Found: fmt.Sprintf("used %d", b.Used)})
	}
	return nil
}

// forfeitedIn reports whether leases were forfeited as spent before the chain and before a period of an assignment ended.
func (c *budgetCheck) forfeitedIn(a *checkedAssignment, start int64) (bool, error) {
	if !c.forfeited {
		if err := c.readForfeits(); err != nil {
			return false, err
		}
		c.forfeited = true
	}
	_, end := a.Cadence.Period(start)
	i, _ := slices.BinarySearch(c.forfeits, max(start-MaxFuture.Milliseconds(), a.CreatedAt))
	return i < len(c.forfeits) && c.forfeits[i] < end, nil
}

// readForfeits reads from the audit trail when leases were forfeited as spent before the chain.
func (c *budgetCheck) readForfeits() error {
	v := c.v
	return v.scan(auditKey(0), []byte{tableAudit + 1}, false, func(_, value []byte) (bool, error) {
		var e AuditEntry
		if decodeValue(value, &e) != nil || c.chained != 0 && e.Index >= c.chained {
			return false, nil
		}
		var forfeit forfeitDocument
		var restore restoreDocument
		switch e.Action {
		case actionNodeForfeit:
			if json.Unmarshal(e.To, &forfeit) == nil && forfeit.Charge {
				c.forfeits = append(c.forfeits, e.At)
			}
		case actionClusterRestore:
			if json.Unmarshal(e.To, &restore) == nil && restore.InDoubt == DoubtCharged.String() {
				c.forfeits = append(c.forfeits, e.At)
			}
		}
		return true, v.step()
	})
}

// name says which budget of an assignment is meant.
func (a *checkedAssignment) name(start int64) string {
	return fmt.Sprintf("budget of %s of %q (%s), %s from %s", a.Capability, a.Entity, a.ID, a.Cadence.Every, timestamp(start))
}

// auditIndex returns the log index of the entry that made target, by the audit trail; 0: it is not there.
func (v *verifier) auditIndex(action, target string, at int64) (index uint64, err error) {
	e, err := v.auditEntry(action, target, at)
	return e.Index, err
}

// auditEntry returns the first entry of the trail at that time of the action and target that had nothing before; zero: there is none.
func (v *verifier) auditEntry(action, target string, at int64) (found AuditEntry, err error) {
	low, err := v.auditAt(at)
	if err != nil {
		return found, err
	}
	lower, upper := auditKey(low), []byte{tableAudit + 1}
	return found, v.scan(lower, upper, false, func(_, value []byte) (bool, error) {
		var e AuditEntry
		if decodeValue(value, &e) != nil || e.At > at {
			return false, nil
		}
		if e.At == at && e.Action == action && e.Target == target && e.Account == v.account && e.From == nil {
			found = e
			return false, nil
		}
		return true, v.step()
	})
}

// auditAt returns the number of the first entry of the trail at or after a time. Times never fall along the trail.
func (v *verifier) auditAt(at int64) (seq uint64, err error) {
	low, high := uint64(1), uint64(1)
	err = v.scan(auditKey(0), []byte{tableAudit + 1}, true, func(_, value []byte) (bool, error) {
		var e AuditEntry
		err := decodeValue(value, &e)
		high = e.Seq + 1
		return false, err
	})
	for err == nil && low < high {
		middle := low + (high-low)/2
		var e AuditEntry
		if _, err = v.get(auditKey(middle), &e); e.At < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, err
}

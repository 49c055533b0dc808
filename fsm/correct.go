package fsm

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// A correction changes what an event is counted as. It is a line of its own, with the
// differences, at the event's own time and place in the tree: the event's line
// stays as it was written, and the sum of the two is what counts.
//
// A difference goes to the budgets that the event, or an earlier correction of
// it, charged for that capability. If none did, because the event had nothing of it, it
// goes to those that would have been charged: the assignments of the event's chain that were there
// when it was accepted. Budgets of periods that are over follow too.
//
// used falls by what is given back, and that is room at once: it lies in nobody's
// lease, as what a release gives back does. What is added is an overdraft: nobody set it aside.

// The kinds of lines that correct one.
const (
	KindVoid    = "void"    // the event counts for nothing
	KindAdjust  = "adjust"  // the event counts with other amounts
	KindReprice = "reprice" // the event's usd was computed anew
)

// Correct corrects events of an account, all or none.
type Correct struct {
	Account string       `msgpack:"account"`
	Items   []Correction `msgpack:"items"`
}

// Correction corrects one event.
type Correction struct {
	ID      string     `msgpack:"id"` // of the caller's choice; the same one takes effect once
	Event   string     `msgpack:"event"`
	Kind    string     `msgpack:"kind"`
	Usage   []Quantity `msgpack:"usage,omitempty"`   // what the event counts as, of these capabilities; the others stay. Ascending. Not with KindVoid
	Pricing *Pricing   `msgpack:"pricing,omitempty"` // with KindReprice: how usd was computed
	Reason  string     `msgpack:"reason,omitempty"`
}

func (Correct) kind() kind { return kindCorrect }

// MaxCorrections bounds the corrections of one event.
const MaxCorrections = 100

// corrected is what is kept of a correction's id.
type corrected struct {
	Hash [32]byte `msgpack:"h"` // of the correction; tells a repeat from another one
	Seq  uint64   `msgpack:"s"` // of its line; 0: it changed nothing
}

// correctedEvent is an event with everything that corrected it so far.
type correctedEvent struct {
	line    LedgerLine
	void    bool
	usage   map[string]int64 // what it counts as
	charged []BudgetKey      // by it and its corrections, each once
	times   int              // corrected
}

// correction is one that has been found to be in order.
type correction struct {
	c     *Correction
	hash  [32]byte
	event *correctedEvent
	delta []Quantity // ascending, without zeros
}

func (t *txn) applyCorrect(c Correct) *Error {
	tn, err := t.account(c.Account)
	if err != nil {
		return err
	}
	todo, err := t.checkCorrections(&c)
	if err != nil {
		return err
	}
	for i := range todo {
		t.correct(tn, &todo[i])
	}
	return nil
}

// checkCorrections returns what there is to do. Corrections that were made before are not.
func (t *txn) checkCorrections(c *Correct) ([]correction, *Error) {
	var f faults
	f.size("items", len(c.Items))
	f.repeats("items", len(c.Items), func(i int) string { return c.Items[i].ID })
	events := map[string]int{}
	for i := range c.Items {
		x, at := &c.Items[i], item("items", i)
		if x.ID == "" || len(x.ID) > MaxIDBytes {
			f.add(below(at, "id"), "must have 1 to %d bytes", MaxIDBytes)
		}
		f.check(below(at, "reason"), nameFault(x.Reason))
		if first, ok := events[x.Event]; ok {
			f.add(below(at, "event_id"), "is %q, as in %s; correct each event once at a time", x.Event, item("items", first))
		}
		events[x.Event] = i
		t.checkAmounts(&f, at, x)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	var todo []correction
	for i := range c.Items {
		x, err := t.checkCorrection(c.Account, &c.Items[i])
		if err != nil {
			return nil, err
		}
		if x != nil {
			todo = append(todo, *x)
		}
	}
	return todo, nil
}

func (t *txn) checkAmounts(f *faults, at string, x *Correction) {
	switch x.Kind {
	case KindVoid:
		if len(x.Usage) > 0 {
			f.add(below(at, "usage"), "does not go with void, which counts for nothing")
		}
		return
	case KindAdjust, KindReprice:
	default:
		f.add(below(at, "kind"), "is %q; use void, adjust or reprice", x.Kind)
	}
	if len(x.Usage) == 0 || len(x.Usage) > MaxCallUsage {
		f.add(below(at, "usage"), "has %d capabilities; give 1 to %d", len(x.Usage), MaxCallUsage)
	}
	for i, q := range x.Usage {
		field := below(at, "usage."+q.Capability)
		switch {
		case t.s.caps[q.Capability] == nil:
			f.add(field, "is no capability that is defined")
		case q.Amount < 0 || q.Amount > MaxAmount:
			f.add(field, "is %d; an event counts as 0 to %d", q.Amount, MaxAmount)
		case i > 0 && x.Usage[i-1].Capability >= q.Capability:
			f.add(field, "is not in order")
		}
	}
}

// checkCorrection returns what one correction comes to, nil if it was made before.
func (t *txn) checkCorrection(account string, c *Correction) (*correction, *Error) {
	x := &correction{c: c}
	data, err := encodeValue(c)
	if err != nil {
		t.fail(err)
		return nil, nil
	}
	x.hash = sha256.Sum256(data)
	var known corrected
	if ok, err := t.get(correctionIDKey(account, c.ID), &known); err != nil {
		return nil, nil // the whole Apply call fails
	} else if ok && known.Hash != x.hash {
		return nil, conflict("correction %q was made before and is another one; give this one an id of its own", c.ID)
	} else if ok {
		return nil, nil
	}
	if x.event, err = correctedEventOf(t, account, c.Event); err != nil {
		return nil, nil // the same
	}
	switch e := x.event; {
	case e == nil:
		return nil, t.s.accounts[account].noEvent(c.Event)
	case e.void:
		return nil, conflict("event %q is void; record what counts in its place under another id", c.Event)
	case e.times >= MaxCorrections && c.Kind != KindVoid:
		err := conflict("event %q has been corrected %d times, the most that there may be; void it and record it anew", c.Event, e.times)
		err.Numbers = map[string]int64{"corrections": int64(e.times), "limit": MaxCorrections}
		return nil, err
	}
	to := c.Usage
	if c.Kind == KindVoid {
		for capability := range x.event.usage {
			to = append(to, Quantity{Capability: capability})
		}
		slices.SortFunc(to, func(a, b Quantity) int { return cmp.Compare(a.Capability, b.Capability) })
	}
	for _, q := range to {
		if d := q.Amount - x.event.usage[q.Capability]; d != 0 {
			x.delta = append(x.delta, Quantity{q.Capability, d})
		}
	}
	return x, nil
}

// reader is what reads stored values: a txn as of its entry, a Machine as of now.
type reader interface {
	get(key []byte, into any) (bool, error)
	scan(lower, upper []byte, reverse bool, f func(key, value []byte) (bool, error)) error
}

// correctedEventOf reads an event with its corrections, nil if there is none.
func correctedEventOf(r reader, account, id string) (*correctedEvent, error) {
	var known dedup
	ok, err := r.get(eventKey(account, id), &known)
	e := &correctedEvent{usage: map[string]int64{}}
	if err == nil && ok {
		ok, err = r.get(ledgerKey(account, known.Seq), &e.line)
	}
	if err != nil || !ok {
		return nil, err
	}
	e.count(&e.line)
	lower, upper := prefixRange(correctionPrefix(account, e.line.Seq))
	err = r.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		var l LedgerLine
		if ok, err := r.get(ledgerKey(account, binary.BigEndian.Uint64(key[len(key)-8:])), &l); err != nil || !ok {
			return false, err
		}
		e.count(&l)
		e.void = e.void || l.Kind == KindVoid
		e.times++
		return true, nil
	})
	return e, err
}

// count adds a line to what the event counts as.
func (e *correctedEvent) count(l *LedgerLine) {
	for _, q := range l.Event.Usage {
		e.usage[q.Capability] = satAdd(e.usage[q.Capability], q.Amount)
	}
	for _, charge := range l.Event.Lines {
		if !slices.Contains(e.charged, charge.Budget) {
			e.charged = append(e.charged, charge.Budget)
		}
	}
}

// correct writes the line of a correction and charges its differences.
func (t *txn) correct(tn *tenant, x *correction) {
	done := corrected{Hash: x.hash}
	if len(x.delta) > 0 || x.c.Kind == KindVoid {
		done.Seq = t.correctionLine(tn, x)
	}
	t.put(correctionIDKey(tn.ID, x.c.ID), done)
}

func (t *txn) correctionLine(tn *tenant, x *correction) (seq uint64) {
	was := &x.event.line
	line := LedgerLine{
		Kind: x.c.Kind, Index: t.index, Settled: t.s.now, Event: was.Event,
		Corrects: was.Seq, Correction: x.c.ID, Reason: x.c.Reason,
	}
	line.Event.Usage, line.Event.Lines, line.Event.Pricing = x.delta, nil, x.c.Pricing
	for _, q := range x.delta {
		for _, key := range t.budgetsToCorrect(tn, x.event, q.Capability) {
			if b := t.charge(tn, key, q.Amount); b != nil {
				line.Event.Lines = append(line.Event.Lines, Line{Budget: key, Amount: q.Amount})
				line.Overage = line.Overage || (!b.Unlimited && b.Used > b.Limit)
				line.Late = line.Late || b.end <= t.s.now
			}
		}
	}
	t.appendLine(tn, &line)
	t.put(correctionKey(tn.ID, was.Seq, line.Seq), true)
	events := int64(0)
	if x.c.Kind == KindVoid {
		events = -1
	}
	t.rollUp(tn, &line.Event, events)
	t.audit(actionLedgerPrefix+x.c.Kind, tn.ID, was.Event.ID, usageDocument(x.event.usage, nil), usageDocument(x.event.usage, x.delta))
	return line.Seq
}

// budgetsToCorrect returns the budgets that a difference of a capability goes to.
func (t *txn) budgetsToCorrect(tn *tenant, e *correctedEvent, capability string) []BudgetKey {
	var keys []BudgetKey
	for _, key := range e.charged {
		if r := t.s.records.get(key.Assignment); r != nil && r.terms.Capability == capability {
			keys = append(keys, key)
		}
	}
	_, had := e.usage[capability]
	event := &e.line.Event
	for i, id := range event.Chain {
		if slices.Index(event.Chain, id) < i {
			continue
		}
		for _, a := range t.s.assignmentsOf(tn.entities[id]) {
			start, _ := a.Cadence.Period(event.At)
			key := BudgetKey{a.Num, start}
			if a.Capability == capability && !slices.Contains(keys, key) && (!had && a.wouldHaveCharged(event) || a.backfilled(&e.line)) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// wouldHaveCharged reports whether an assignment of the event's chain was there when it was accepted.
func (a *Assignment) wouldHaveCharged(e *Event) bool {
	return a.CreatedAt <= e.ReceivedAt && !slices.ContainsFunc(a.Scope, func(s string) bool { return !slices.Contains(e.Chain, s) })
}

// backfilled reports whether an assignment of the line's chain counted it when it was made.
func (a *Assignment) backfilled(l *LedgerLine) bool {
	start, end := a.Cadence.Period(a.CreatedAt)
	return a.Backfill && a.CreatedAt >= l.Settled && l.Event.At >= start && l.Event.At < end
}

// charge adds amount, which may be negative, to what a budget has used. It returns nil if the assignment is gone.
func (t *txn) charge(tn *tenant, key BudgetKey, amount int64) *cachedBudget {
	r := t.s.records.get(key.Assignment)
	if r == nil || r.account() != tn.ID {
		return nil
	}
	b := t.budget(r, key)
	if b == nil {
		return nil
	}
	if b.Leased {
		t.noteDrawn(b, 0, amount, min(amount, 0)) // what is given back makes no room for more than that
	}
	b.Used = max(0, satAdd(b.Used, amount))
	if b.Leased && b.Holder == 0 && b.Free() < 0 {
		b.consolidate(t.roster.Leader, t.roster)
	}
	t.touch(&b.Budget)
	return b
}

// usageDocument is what the audit trail keeps of what an event counts as, with differences added.
func usageDocument(usage map[string]int64, delta []Quantity) any {
	doc := maps.Clone(usage)
	for _, q := range delta {
		doc[q.Capability] += q.Amount
	}
	return map[string]any{"usage": doc}
}

// Correction returns the line of a correction by the correction's id, or ErrNotFound.
// A correction that changed nothing has none: its line is zero.
func (m *Machine) Correction(account, id string) (line LedgerLine, err error) {
	var known corrected
	ok, err := m.get(correctionIDKey(account, id), &known)
	if err == nil && ok && known.Seq != 0 {
		_, err = m.get(ledgerKey(account, known.Seq), &line)
	}
	if err == nil && !ok {
		return line, notFound("account %q has no correction %q", account, id)
	}
	return line, err
}

// CorrectedEvent returns an event's line and what it counts as, corrections included, ascending by
// capability; or ErrNotFound.
func (m *Machine) CorrectedEvent(account, id string) (line LedgerLine, counts []Quantity, void bool, err error) {
	e, err := correctedEventOf(m, account, id)
	if err == nil && e == nil {
		m.View(func(v *View) {
			if tn := v.s.accounts[account]; tn != nil {
				err = tn.noEvent(id)
			} else {
				err = notFound("no account is called %q", account)
			}
		})
	}
	if err != nil {
		return LedgerLine{}, nil, false, err
	}
	for _, capability := range slices.Sorted(maps.Keys(e.usage)) {
		counts = append(counts, Quantity{capability, e.usage[capability]})
	}
	return e.line, counts, e.void, nil
}

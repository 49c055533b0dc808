package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Assignments and their recent budgets are read in parts, by number: parts share no record, so several goroutines
// read at once. What belongs to the whole state is filed part by part, in order, by the goroutine that
// loads; so what a store is loaded into does not depend on which part was read when.

const (
	partPages   = 32
	partNumbers = partPages * recordsPerPage // of assignments, in one part
)

// recordPart is what was read of one part.
type recordPart struct {
	pages [partPages]*recordPage
	odd   map[uint64]string // see state.oddIDs
	own   []*cachedBudget   // in memory by themselves, not filed for forgetting yet
	err   error
}

// records reads assignments with their budgets, and hangs the tree meanwhile.
func (l *loader) records() {
	last := l.lastAssignment()
	if l.err != nil {
		return
	}
	parts := make([]chan recordPart, last/partNumbers+1)
	for i := range parts {
		parts[i] = make(chan recordPart, 1)
	}
	var (
		next   atomic.Int64
		ended  atomic.Bool // something failed: what is left is not needed
		shared sync.Mutex
		work   sync.WaitGroup
		tree   error
	)
	work.Go(func() { tree = l.hangTree() })
	for range min(runtime.GOMAXPROCS(0), len(parts)) {
		work.Go(func() {
			r := newRecordReader(l, &shared)
			for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
				var p recordPart
				if !ended.Load() {
					p.err = r.read(&p, uint64(i)*partNumbers, int(i) == len(parts)-1)
				}
				parts[i] <- p
			}
		})
	}
	for i := range parts {
		p := <-parts[i]
		if l.err == nil {
			l.err = p.err
		}
		if l.err != nil {
			ended.Store(true)
			continue
		}
		l.fileRecords(&p)
	}
	work.Wait()
	if l.err == nil {
		l.err = tree
	}
}

// lastAssignment returns the largest number that a stored assignment has.
func (l *loader) lastAssignment() (last uint64) {
	if l.err != nil {
		return 0
	}
	lower, upper := tableRange(tableAssignment)
	l.err = scan(l.st.db, lower, upper, true, func(key, _ []byte) (bool, error) {
		if len(key) != 9 {
			return false, fmt.Errorf("key %q is not that of an assignment", key)
		}
		if last = binary.BigEndian.Uint64(key[1:]); last >= l.s.nextAssignment {
			return false, fmt.Errorf("key %q: number %d was never given to an assignment: the next is %d", key, last, l.s.nextAssignment)
		}
		return false, nil
	})
	return last
}

// fileRecords files what a part has for the whole state.
func (l *loader) fileRecords(p *recordPart) {
	rs := &l.s.records
	for num, id := range p.odd {
		l.s.oddIDs[num] = id
	}
	for _, page := range p.pages {
		rs.append(page)
		for r := range page.all() {
			r.of.hang(r)
			if r.terms.Mode == Allocated {
				l.s.accounts[r.account()].carved.replace(nil, l.s.assignment(r))
			}
		}
	}
	for _, b := range p.own {
		l.s.hold(b)
		l.s.rest(b)
	}
}

// recordReader is what one goroutine reads parts with.
type recordReader struct {
	l      *loader
	shared *sync.Mutex // guards the state's terms and seeds
	part   *recordPart // under way
	base   uint64      // its first number

	hot        hotReader
	assignment Assignment
	of         *member // that the assignment before was made to

	budget Budget
	record *record // of the budget before
	from   int64   // start of the first period of record that is recent

	terms  map[termsKey]*Terms // those of the state's that were met, as the next
	seeds  seeds
	recent map[*Terms]int64 // see recentFrom
}

func newRecordReader(l *loader, shared *sync.Mutex) *recordReader {
	return &recordReader{
		l: l, shared: shared, hot: hotReader{words: words{}},
		recent: map[*Terms]int64{}, terms: map[termsKey]*Terms{}, seeds: seeds{},
	}
}

// read reads the part that begins with a number. After the last part no assignment follows, and its budgets are all that are left.
func (r *recordReader) read(p *recordPart, base uint64, last bool) (err error) {
	defer guard(&err)
	r.part, r.base, r.of, r.record = p, base, nil, nil
	err = scan(r.l.st.db, assignmentKey(base), assignmentKey(base+partNumbers), false, func(key, value []byte) (bool, error) {
		err := decodeHot(&r.hot, value, &r.assignment, (*hotReader).assignment)
		if err == nil {
			err = r.addAssignment(&r.assignment)
		}
		if err != nil {
			return false, fmt.Errorf("key %q: %w", key, err)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	budgets := budgetPrefix(base + partNumbers)
	if last {
		_, budgets = tableRange(tableBudget)
	}
	return r.readBudgets(budgets)
}

// place returns the place of a number of the part, nil if it has another's. It makes the page if make is set.
func (r *recordReader) place(num uint64, make bool) *record {
	if num-r.base >= partNumbers {
		return nil
	}
	page := &r.part.pages[(num-r.base)/recordsPerPage]
	if *page == nil {
		if !make {
			return nil
		}
		*page = new(recordPage)
	}
	return &(*page)[num%recordsPerPage]
}

func (r *recordReader) addAssignment(a *Assignment) error {
	if r.of == nil || r.of.Account != a.Account || r.of.ID != a.Entity {
		t := r.l.s.accounts[a.Account]
		if t == nil {
			return fmt.Errorf("its account %q is missing", a.Account)
		}
		if r.of = t.entities[a.Entity]; r.of == nil {
			return fmt.Errorf("its entity %q is missing", a.Entity)
		}
	}
	place := r.place(a.Num, true)
	if place == nil {
		return fmt.Errorf("it has the number %d", a.Num)
	}
	place.tell(a)
	place.of = r.of
	place.terms = r.termsOf(a)
	var plain bool
	if place.id, plain = parseAssignmentID(a.ID); !plain {
		if r.part.odd == nil {
			r.part.odd = map[uint64]string{}
		}
		r.part.odd[a.Num] = strings.Clone(a.ID)
	}
	return nil
}

// termsOf is that of the state, which is asked once for terms that repeat.
func (r *recordReader) termsOf(a *Assignment) *Terms {
	k, share := newTermsKey(a)
	if t := r.terms[k]; t != nil && share {
		return t
	}
	r.shared.Lock()
	defer r.shared.Unlock()
	t := r.l.s.termsOf(a)
	if share && len(r.terms) < maxSharedTerms {
		r.terms[k] = t
	}
	return t
}

// seedOf is that of the state, which is asked once for a seed that repeats.
func (r *recordReader) seedOf(of *record, b *Budget) *seed {
	settings := r.l.s.settings
	if settings == nil || !of.asBorn(b, settings.Shares) {
		return nil
	}
	known := r.seeds.find(b, settings.Shares)
	if known == nil {
		r.shared.Lock()
		defer r.shared.Unlock()
		known = r.l.s.seedOf(of, b)
		r.seeds.add(known)
	}
	return known
}

// readBudgets reads each assignment's budgets from the period that contained the time budgetKeep ago: those are
// all that are still recent. The table is in the order of assignments, so one iterator goes over the part, up to a key, once and jumps over what is older.
func (r *recordReader) readBudgets(upper []byte) (err error) {
	it, err := r.l.st.db.NewIter(&pebble.IterOptions{LowerBound: budgetPrefix(r.base), UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	for ok := it.First(); ok; {
		num, start, err := splitBudgetKey(it.Key())
		if err != nil {
			return err
		}
		if r.record == nil || r.record.num != num {
			if r.record = r.place(num, false); r.record == nil || r.record.num == 0 {
				return fmt.Errorf("key %q: its assignment is missing", it.Key())
			}
			r.from = r.recentFrom(r.record.terms)
		}
		if start < r.from {
			ok = it.SeekGE(budgetKey(BudgetKey{num, r.from}))
			continue
		}
		value, err := it.ValueAndErr()
		if err == nil {
			err = decodeBudget(value, &r.budget)
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", it.Key(), err)
		}
		r.addBudget(&r.budget)
		ok = it.Next()
	}
	return nil
}

// decodeBudget is decodeValue of a budget that uses the memory of its lists again. It keeps nothing of v.
func decodeBudget(v []byte, b *Budget) error {
	if len(v) == 0 || v[0] != packedVersion {
		*b = Budget{}
		return decodeValue(v, b)
	}
	u := &unpacker{b: v, pos: 1}
	if b.unpack(u); !u.done() {
		return errHot
	}
	return nil
}

// recentFrom returns the start of the first period of the terms that is recent.
func (r *recordReader) recentFrom(t *Terms) int64 {
	if from, ok := r.recent[t]; ok {
		return from
	}
	from, _ := t.Cadence.Period(r.l.s.now - budgetKeep)
	if len(r.recent) < maxSharedTerms {
		r.recent[t] = from
	}
	return from
}

// addBudget takes over a budget of the record.
func (r *recordReader) addBudget(b *Budget) {
	if r.record.seed == nil {
		if r.record.seed = r.seedOf(r.record, b); r.record.seed != nil {
			return
		}
	}
	_, end := r.record.terms.Cadence.Period(b.Key.Start)
	own := &cachedBudget{Budget: *b, end: end}
	own.Leases, own.Acks = append([]Lease(nil), b.Leases...), append([]NodeNum(nil), b.Acks...)
	r.record.cache(own)
	r.part.own = append(r.part.own, own)
}

package fsm

import (
	"iter"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
)

// record is an assignment as memory holds it. An account may have millions of
// them and most say the same as many others, so what they have in common is shared
// (terms), an id that is a ULID takes the 16 bytes that it stands for, and a budget that
// is still as it was born takes none of its own (seed). The Assignment is made when somebody asks for it.
type record struct {
	num     uint64 // 0: no assignment has this place
	id      ulid.ULID
	of      *member
	next    *record // of the same entity, ascending by num
	terms   *Terms
	limit   int64
	created int64
	later   *amendment    // nil: updated, and born from, when it was created
	budgets *cachedBudget // ascending by start
	seed    *seed         // of the one stored budget that is as it was born and not among budgets, or nil
}

// Terms are what an assignment may have in common with millions of others, which share them: nothing changes them.
// The fields are those of Assignment.
type Terms struct {
	Capability  string
	Scope       []string
	Cadence     Cadence
	Unlimited   bool
	Enforcement Enforcement
	Mode        Mode
	Thresholds  []int
	Backfill    bool
}

// amendment is what an assignment that was changed has besides.
type amendment struct{ birthFrom, updated int64 }

// leased reports what Assignment.Leased does.
func (r *record) leased() bool { return r.terms.Enforcement == Hard && !r.terms.Unlimited }

func (r *record) account() string { return r.of.Account }

func (r *record) birthFrom() int64 {
	if r.later != nil {
		return r.later.birthFrom
	}
	return r.created
}

// measures reports what Assignment.measuresSame does.
func (r *record) measures(a *Assignment) bool {
	return r.terms.Capability == a.Capability && r.terms.Cadence == a.Cadence && slices.Equal(r.terms.Scope, a.Scope)
}

// assignment makes the assignment of a record.
func (s *state) assignment(r *record) *Assignment {
	a := &Assignment{
		Num: r.num, Account: r.of.Account, Entity: r.of.ID,
		Capability: r.terms.Capability, Scope: r.terms.Scope, Cadence: r.terms.Cadence,
		Limit: r.limit, Unlimited: r.terms.Unlimited, Enforcement: r.terms.Enforcement, Mode: r.terms.Mode,
		Thresholds: r.terms.Thresholds, Backfill: r.terms.Backfill,
		BirthFrom: r.birthFrom(), CreatedAt: r.created, UpdatedAt: r.created,
	}
	if r.later != nil {
		a.UpdatedAt = r.later.updated
	}
	if a.ID = s.oddIDs[r.num]; a.ID == "" {
		a.ID = assignmentIDPrefix + r.id.String()
	}
	return a
}

// assignmentIDPrefix begins the id of every assignment that the control plane makes.
const assignmentIDPrefix = "asg_"

// newRecord returns a record of a that is filed nowhere. It has no id and no entity.
func newRecord(a *Assignment) *record {
	r := &record{terms: newTerms(a)}
	r.tell(a)
	return r
}

// tell takes over what a has to itself.
func (r *record) tell(a *Assignment) {
	r.num, r.limit, r.created, r.later = a.Num, a.Limit, a.CreatedAt, nil
	if a.BirthFrom != a.CreatedAt || a.UpdatedAt != a.CreatedAt {
		r.later = &amendment{birthFrom: a.BirthFrom, updated: a.UpdatedAt}
	}
}

// set makes r the record of a, which is made to of. Its budgets stay.
func (s *state) set(r *record, a *Assignment, of *member) {
	r.tell(a)
	r.of = of
	r.terms = s.termsOf(a)
	delete(s.oddIDs, a.Num)
	var plain bool
	if r.id, plain = parseAssignmentID(a.ID); !plain {
		s.oddIDs[a.Num] = a.ID
	}
}

// parseAssignmentID returns the ULID that an id is made of; ok is false if another text would be made of it.
func parseAssignmentID(id string) (u ulid.ULID, ok bool) {
	text, prefixed := strings.CutPrefix(id, assignmentIDPrefix)
	if !prefixed || len(text) != ulid.EncodedSize {
		return u, false
	}
	var again [ulid.EncodedSize]byte
	copy(again[:], text)
	err := u.UnmarshalText(again[:]) // does not look at the letters: those of no ULID do not come back
	return u, err == nil && u.MarshalTextTo(again[:]) == nil && string(again[:]) == text
}

// termsKey tells terms apart that may be shared.
type termsKey struct {
	capability          string
	cadence             Cadence
	unlimited, backfill bool
	enforcement         Enforcement
	mode                Mode
	thresholds          [MaxThresholds]uint16
}

// newTermsKey returns the key of a's terms; ok is false if they are not shared.
func newTermsKey(a *Assignment) (k termsKey, ok bool) {
	if len(a.Scope) > 0 || len(a.Thresholds) > MaxThresholds {
		return k, false
	}
	k = termsKey{capability: a.Capability, cadence: a.Cadence, unlimited: a.Unlimited, backfill: a.Backfill, enforcement: a.Enforcement, mode: a.Mode}
	for i, percent := range a.Thresholds {
		k.thresholds[i] = uint16(percent)
	}
	return k, true
}

// maxSharedTerms bounds the terms that are found again to be shared, and the seeds. Of more, every assignment has its own.
const maxSharedTerms = 4_096

func newTerms(a *Assignment) *Terms {
	return &Terms{
		Capability: a.Capability, Scope: a.Scope, Cadence: a.Cadence, Unlimited: a.Unlimited,
		Enforcement: a.Enforcement, Mode: a.Mode, Thresholds: a.Thresholds, Backfill: a.Backfill,
	}
}

// termsOf returns the terms of a, shared if they can be.
func (s *state) termsOf(a *Assignment) *Terms {
	k, share := newTermsKey(a)
	if t := s.terms[k]; t != nil && share {
		return t
	}
	t := newTerms(a)
	if c := s.caps[a.Capability]; c != nil {
		t.Capability = c.ID
	}
	if share && len(s.terms) < maxSharedTerms {
		s.terms[k] = t
	}
	return t
}

// recordsPerPage makes a page a whole number of the allocator's pages.
const recordsPerPage = 1 << 10

// records are all assignments by number. Numbers are given in order and never again, so they
// stand in pages, whose records never move.
type records struct {
	pages []*recordPage
	used  []int // places of each page that are taken
	count int
}

type recordPage [recordsPerPage]record

// get returns the record of a number, or nil.
func (rs *records) get(num uint64) *record {
	if page := num / recordsPerPage; page < uint64(len(rs.pages)) && rs.pages[page] != nil {
		if r := &rs.pages[page][num%recordsPerPage]; r.num != 0 {
			return r
		}
	}
	return nil
}

// place returns the place of a number, which the caller takes, or has taken.
func (rs *records) place(num uint64) *record {
	page := num / recordsPerPage
	if n := page + 1; n > uint64(len(rs.pages)) {
		rs.grow(n)
	}
	if rs.pages[page] == nil {
		rs.pages[page] = new(recordPage)
	}
	r := &rs.pages[page][num%recordsPerPage]
	if r.num == 0 {
		rs.used[page]++
		rs.count++
	}
	return r
}

// grow makes room for n pages.
func (rs *records) grow(n uint64) {
	rs.pages = append(rs.pages, make([]*recordPage, n-uint64(len(rs.pages)))...)
	rs.used = append(rs.used, make([]int, n-uint64(len(rs.used)))...)
}

// remove empties the place of a number that is taken.
func (rs *records) remove(num uint64) {
	page := num / recordsPerPage
	rs.pages[page][num%recordsPerPage] = record{}
	rs.count--
	if rs.used[page]--; rs.used[page] == 0 {
		rs.pages[page] = nil
	}
}

// all yields every record, ascending by number.
func (rs *records) all() iter.Seq[*record] {
	return func(yield func(*record) bool) {
		for _, page := range rs.pages {
			for r := range page.all() {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// all yields the records of a page, ascending by number. A nil page has none.
func (p *recordPage) all() iter.Seq[*record] {
	return func(yield func(*record) bool) {
		if p == nil {
			return
		}
		for i := range p {
			if p[i].num != 0 && !yield(&p[i]) {
				return
			}
		}
	}
}

// append adds a page that was made elsewhere, nil if it is empty, with the records in it.
func (rs *records) append(p *recordPage) {
	used := 0
	for range p.all() {
		used++
	}
	rs.pages, rs.used = append(rs.pages, p), append(rs.used, used)
	rs.count += used
}

// addAssignment files a under its entity, which exists, and its number, or replaces the one of the same number.
func (s *state) addAssignment(a *Assignment) *record {
	t := s.accounts[a.Account]
	of := t.entities[a.Entity]
	if old := s.records.get(a.Num); old != nil {
		t.carved.replace(s.assignment(old), a)
		s.set(old, a, of)
		return old
	}
	r := s.records.place(a.Num)
	s.set(r, a, of)
	t.carved.replace(nil, a)
	of.hang(r)
	return r
}

// removeAssignment takes an assignment out of the state, with its budgets in memory.
func (s *state) removeAssignment(r *record) {
	if r.terms.Mode == Allocated {
		s.accounts[r.account()].carved.replace(s.assignment(r), nil)
	}
	delete(s.oddIDs, r.num)
	r.of.unhang(r)
	s.records.remove(r.num)
}

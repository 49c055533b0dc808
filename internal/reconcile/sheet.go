package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// maxCells bounds a Sheet: about 100 MB.
const maxCells = 250_000

// Sheet sums two sides by day, model and capability. It is for one goroutine.
type Sheet struct {
	Days  Calendar
	Names Names
	// From and To, if not zero, bound the days that are compared: those that begin in [From, To), Unix
	// milliseconds. Otherwise a capability is compared from the first to the last day that a bill with it names.
	From, To int64

	order []string // capabilities, as bills named them
	spans map[string]span
	cells map[cellKey]*cell
	// ours are the names that our side has for a model on a day: what to look for in the ledger.
	ours map[dayModel]map[string]bool
	left Left
}

// Left is what a bill has that is not compared.
type Left struct {
	Rows int
	Cost Amount
}

type span struct{ first, last int64 } // beginnings of days

type dayModel struct {
	day   int64
	model string
}

type cellKey struct {
	dayModel
	capability string
}

type cell struct {
	ours, theirs Amount
	has          [2]bool // ours, theirs
}

// Line is one comparison. Difference is Ours − Theirs.
type Line struct {
	Day                      int64 // its beginning and end, Unix milliseconds
	End                      int64
	Model                    string
	Capability               string
	Ours, Theirs, Difference Amount
	OnlyOurs, OnlyTheirs     bool
	Within                   bool     // the tolerance
	OurNames                 []string // of the model, on that day in the ledger
}

// Total is a capability's sums over all days and models.
type Total struct {
	Capability               string
	Ours, Theirs, Difference Amount
	Beyond                   int // lines that are not within the tolerance
}

// errTooMany says that a sheet would grow beyond its bound.
var errTooMany = fmt.Errorf("more than %d combinations of day, model and capability: compare fewer days (--from, --to) or models (--only)", maxCells)

// Bill adds a row of a bill whose columns are cols.
func (s *Sheet) Bill(row *Row, cols []Column) error {
	if s.From != 0 && row.Day < s.From || s.To != 0 && row.Day >= s.To {
		s.leave(row, cols)
		return nil
	}
	model, wanted := s.Names.Of(row.Model)
	if !wanted && !row.Empty {
		s.leave(row, cols)
	}
	for i, c := range cols {
		s.cover(c.Capability, row.Day)
		if !wanted || row.Empty {
			continue
		}
		x, err := s.cell(cellKey{dayModel{row.Day, model}, c.Capability})
		if err != nil {
			return err
		}
		x.theirs.Add(&row.Amounts[i])
		x.has[1] = true
	}
	return nil
}

// leave counts a row that is not compared.
func (s *Sheet) leave(row *Row, cols []Column) {
	if row.Empty {
		return
	}
	s.left.Rows++
	for i, c := range cols {
		if c.Capability == Cost {
			s.left.Cost.Add(&row.Amounts[i])
		}
	}
}

// cover makes a day one that a capability is compared on.
func (s *Sheet) cover(capability string, day int64) {
	if s.spans == nil {
		s.spans = map[string]span{}
	}
	x, known := s.spans[capability]
	if !known {
		s.order = append(s.order, capability)
		x = span{day, day}
		if s.From != 0 {
			x.first = s.From
		}
		if s.To != 0 {
			x.last = s.To - 1
		}
	}
	s.spans[capability] = span{min(x.first, day), max(x.last, day)}
}

func (s *Sheet) cell(k cellKey) (*cell, error) {
	x := s.cells[k]
	if x == nil {
		if len(s.cells) >= maxCells {
			return nil, errTooMany
		}
		if s.cells == nil {
			s.cells = map[cellKey]*cell{}
		}
		x = &cell{}
		s.cells[k] = x
	}
	return x, nil
}

// Span returns the time that our side is needed of, [from, to) in Unix milliseconds, all
// of it whole days. ok is false if no bill named a day.
func (s *Sheet) Span() (from, to int64, ok bool) {
	for _, x := range s.spans {
		if !ok || x.first < from {
			from = x.first
		}
		if _, end := s.Days.Day(x.last); !ok || end > to {
			to = end
		}
		ok = true
	}
	return from, to, ok
}

// Compares reports whether any bill has amounts of a capability.
func (s *Sheet) Compares(capability string) bool {
	_, ok := s.spans[capability]
	return ok
}

// Ours adds an amount that the ledger has at a moment, in units of 10^-decimals. What no bill speaks of is left out.
func (s *Sheet) Ours(at int64, model, capability string, amount int64, decimals int) error {
	x, ok := s.spans[capability]
	if !ok {
		return nil
	}
	day, _ := s.Days.Day(at)
	name, wanted := s.Names.Of(model)
	if !wanted || day < x.first || day > x.last {
		return nil
	}
	k := cellKey{dayModel{day, name}, capability}
	c, err := s.cell(k)
	if err != nil {
		return err
	}
	c.ours.AddUnits(amount, decimals)
	c.has[0] = true
	if s.ours == nil {
		s.ours = map[dayModel]map[string]bool{}
	}
	if s.ours[k.dayModel] == nil {
		s.ours[k.dayModel] = map[string]bool{}
	}
	s.ours[k.dayModel][model] = true
	return nil
}

// Tolerance is how far the sides may lie apart in one line.
type Tolerance struct {
	Cost  Amount // in USD
	Other Amount // of every other capability
}

// Lines returns the comparison once both sides are in, by day, model and capability, and the totals in the order in which bills named the capabilities.
func (s *Sheet) Lines(allowed *Tolerance) (lines []Line, totals []Total) {
	place := map[string]int{}
	totals = make([]Total, len(s.order))
	for i, c := range s.order {
		place[c], totals[i].Capability = i, c
	}
	keys := slices.SortedFunc(maps.Keys(s.cells), func(a, b cellKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.model, b.model), cmp.Compare(place[a.capability], place[b.capability]))
	})
	lines = make([]Line, len(keys))
	for i, k := range keys {
		c, l, t := s.cells[k], &lines[i], &totals[place[k.capability]]
		_, end := s.Days.Day(k.day)
		*l = Line{
			Day: k.day, End: end, Model: k.model, Capability: k.capability,
			Ours: c.ours, Theirs: c.theirs, Difference: difference(&c.ours, &c.theirs),
			OnlyOurs: !c.has[1], OnlyTheirs: !c.has[0], OurNames: slices.Sorted(maps.Keys(s.ours[k.dayModel])),
		}
		limit := &allowed.Other
		if k.capability == Cost {
			limit = &allowed.Cost
		}
		if l.Within = l.Difference.Within(limit); !l.Within {
			t.Beyond++
		}
		t.Ours.Add(&c.ours)
		t.Theirs.Add(&c.theirs)
	}
	for i := range totals {
		totals[i].Difference = difference(&totals[i].Ours, &totals[i].Theirs)
	}
	return lines, totals
}

// LeftOut returns what bills have that is not compared, because of Only, From or To.
func (s *Sheet) LeftOut() *Left { return &s.left }

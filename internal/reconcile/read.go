package reconcile

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a file.
const (
	maxRecord  = 1 << 20 // bytes of one record, quoted line ends included
	maxColumns = 1000
	maxModel   = 256 // bytes of a model's name, as an event may have
	maxShown   = 60  // bytes of a value that an error repeats
)

// Options says how a file is read.
type Options struct {
	Map    *Mapping // nil: one of the known formats, found by the columns
	Days   Calendar
	Comma  rune    // between fields; 0: a comma
	Layout string  // of dates; empty: ISO 8601, a moment, or Unix seconds
	Shift  int     // a cost in the file is in 10^-Shift USD: 2 for cents
	Where  []Equal // rows that are read
	// Units returns the decimals of a capability's unit. It is called once for each column of amounts, before the first row.
	Units func(capability string) (decimals int, err error)
}

// Equal picks the rows that have a value in a column.
type Equal struct{ Column, Value string }

// ParseEqual reads "project_id=proj_1".
func ParseEqual(s string) (Equal, error) {
	column, value, ok := strings.Cut(s, "=")
	if !ok || column == "" {
		return Equal{}, fmt.Errorf("%q is no condition: write COLUMN=VALUE", s)
	}
	return Equal{column, value}, nil
}

// Row is one row of a bill.
type Row struct {
	Line    int   // in the file, from 1
	Day     int64 // its beginning, Unix milliseconds
	Model   string
	Amounts []Amount // in the order of the columns
	Empty   bool     // it says only that there is such a day
}

// FormatError is what is wrong with a file, and where.
type FormatError struct {
	Line   int    // from 1; 0: the file as a whole
	Column string // the column's name; empty: the line as a whole
	Why    string
}

func (e *FormatError) Error() string {
	switch {
	case e.Line == 0:
		return e.Why
	case e.Column == "":
		return fmt.Sprintf("line %d: %s", e.Line, e.Why)
	}
	return fmt.Sprintf("line %d, column %s: %s", e.Line, e.Column, e.Why)
}

// reader reads the rows of one file.
type reader struct {
	o     *Options
	csv   *csv.Reader
	bound *bounded
	m     *Mapping
	at    place
	units []int // decimals, in the order of at.columns
	where []int
	names []string // the header
	rec   []string
	line  int
}

// Read reads a bill and calls row for each of its rows that Where picks, in order, with the
// columns of amounts that the file has. It returns the mapping by which the file was read.
// Errors: *FormatError, the reader's, and what Units or row return, which ends it.
func Read(in io.Reader, o *Options, row func(*Row, []Column) error) (*Mapping, error) {
	r := &reader{o: o, bound: &bounded{r: in, left: maxRecord}}
	r.csv = csv.NewReader(r.bound)
	r.csv.ReuseRecord = true
	if o.Comma != 0 {
		r.csv.Comma = o.Comma
	}
	if err := r.header(); err != nil {
		return nil, err
	}
	for {
		var err error
		r.bound.left = maxRecord
		r.rec, err = r.csv.Read()
		if errors.Is(err, io.EOF) {
			return r.m, nil
		}
		if err != nil {
			return nil, r.broken(err)
		}
		r.line, _ = r.csv.FieldPos(0)
		if !r.picked() {
			continue
		}
		x, err := r.row()
		if err == nil {
			err = row(x, r.at.columns)
		}
		if err != nil {
			return nil, err
		}
	}
}

// header reads the first line and finds the columns.
func (r *reader) header() error {
	first, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return &FormatError{Why: "it is empty: its first line must name the columns"}
	}
	if err != nil {
		return r.broken(err)
	}
	r.line = 1
	r.names = slices.Clone(first)
	r.names[0] = strings.TrimPrefix(r.names[0], "\ufeff")
	if len(r.names) > maxColumns {
		return &FormatError{Line: 1, Why: fmt.Sprintf("has %d columns; at most %d are read", len(r.names), maxColumns)}
	}
	if r.m = r.o.Map; r.m == nil {
		r.m, err = detect(r.names)
	}
	if err == nil {
		r.at, err = r.m.bind(r.names)
	}
	if err != nil {
		return &FormatError{Line: 1, Why: err.Error()}
	}
	for _, w := range r.o.Where {
		i := slices.Index(r.names, w.Column)
		if i < 0 {
			return &FormatError{Line: 1, Why: fmt.Sprintf("there is no column %q, only %s", w.Column, listed(r.names))}
		}
		r.where = append(r.where, i)
	}
	for _, c := range r.at.columns {
		decimals, err := r.o.Units(c.Capability)
		if err != nil {
			return err
		}
		r.units = append(r.units, decimals)
	}
	return nil
}

// broken turns an error of the CSV reader into one of ours.
func (r *reader) broken(err error) error {
	var bad *csv.ParseError
	switch {
	case errors.Is(err, errTooLong):
		return &FormatError{Line: r.line + 1, Why: fmt.Sprintf("the record has more than %d bytes; is a quote not closed?", maxRecord)}
	case errors.As(err, &bad) && errors.Is(bad.Err, csv.ErrFieldCount):
		return &FormatError{Line: bad.Line, Why: fmt.Sprintf("has another number of fields than the first line, %d", len(r.names))}
	case errors.As(err, &bad):
		return &FormatError{Line: bad.Line, Why: fmt.Sprintf("at character %d: %v", bad.Column, bad.Err)}
	}
	return err
}

func (r *reader) picked() bool {
	for i, w := range r.o.Where {
		if r.rec[r.where[i]] != w.Value {
			return false
		}
	}
	return true
}

// wrong says what is wrong with one field.
func (r *reader) wrong(column int, format string, args ...any) error {
	return &FormatError{Line: r.line, Column: shown(r.names[column]), Why: shown(r.rec[column]) + " " + fmt.Sprintf(format, args...)}
}

// field returns a field without the spaces around it; "" if there is no such column.
func (r *reader) field(column int) string {
	if column < 0 {
		return ""
	}
	return strings.TrimSpace(r.rec[column])
}

func (r *reader) row() (*Row, error) {
	x := &Row{Line: r.line, Empty: true, Amounts: make([]Amount, len(r.at.amounts))}
	var err error
	if x.Day, err = r.day(); err != nil {
		return nil, err
	}
	for i, column := range r.at.amounts {
		text := r.field(column)
		if text == "" {
			continue
		}
		x.Empty = false
		if x.Amounts[i], err = r.amount(i, text); err != nil {
			return nil, err
		}
	}
	if x.Empty {
		return x, nil
	}
	if c := r.field(r.at.currency); r.at.currency >= 0 && !strings.EqualFold(c, Cost) {
		return nil, r.wrong(r.at.currency, "is not usd: amounts of other currencies cannot be compared")
	}
	if x.Model = r.field(r.at.model); r.m.FirstOfModel {
		x.Model, _, _ = strings.Cut(x.Model, ",")
	}
	if len(x.Model) > maxModel || !utf8.ValidString(x.Model) {
		return nil, r.wrong(r.at.model, "is no model's name: valid UTF-8 of at most %d bytes", maxModel)
	}
	return x, nil
}

// day reads the day of the row.
func (r *reader) day() (int64, error) {
	at, err := r.o.Days.when(r.field(r.at.date), r.o.Layout)
	if err != nil {
		return 0, r.wrong(r.at.date, "%v", err)
	}
	start, end := r.o.Days.Day(at)
	if r.at.end < 0 || r.field(r.at.end) == "" {
		return start, nil
	}
	until, err := r.o.Days.when(r.field(r.at.end), r.o.Layout)
	switch {
	case err != nil:
		return 0, r.wrong(r.at.end, "%v", err)
	case until < at:
		return 0, r.wrong(r.at.end, "is before the row's beginning, %s", r.field(r.at.date))
	case until > end:
		return 0, r.wrong(r.at.end, "is after the day of %s, which is %s in %s: export by day, or say --timezone",
			r.field(r.at.date), r.o.Days.Label(start), r.o.Days.Zone)
	}
	return start, nil
}

// amount reads the i-th amount: a cost, which may be negative (a credit), or one of another capability.
func (r *reader) amount(i int, text string) (a Amount, err error) {
	column, capability, shift := r.at.amounts[i], r.at.columns[i].Capability, 0
	if capability == Cost {
		shift = r.o.Shift
	}
	if a, err = ParseAmount(text, shift); err != nil {
		return a, r.wrong(column, "%v", err)
	}
	switch {
	case capability == Cost:
	case a.Sign() < 0:
		return a, r.wrong(column, "is negative")
	case !a.HasAtMost(r.units[i]) && r.units[i] == 0:
		return a, r.wrong(column, "is not a whole number, as %s are", capability)
	case !a.HasAtMost(r.units[i]):
		return a, r.wrong(column, "has more decimals than %s have, %d", capability, r.units[i])
	}
	return a, nil
}

// shown quotes a value for an error, cut short.
func shown(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return strconv.Quote(s)
}

var errTooLong = errors.New("too long")

// bounded reads no more than left bytes.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

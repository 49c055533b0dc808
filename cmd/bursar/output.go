package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bursar-dev/bursar/client"
)

// The values of --output. JSON is the API's own: amounts in the smallest unit.
const (
	outputTable  = "table"
	outputJSON   = "json"
	outputCSV    = "csv"
	outputNDJSON = "ndjson"
)

// column is one column of a table of T.
type column[T any] struct {
	title  string
	cell   func(T) string
	number bool // aligned right
}

// writeTable writes rows under their titles, aligned by spaces. What came from
// outside cannot move the cursor: control characters are shown escaped.
func writeTable[T any](w io.Writer, columns []column[T], rows []T) error {
	cells := make([][]string, len(rows)+1)
	for _, c := range columns {
		cells[0] = append(cells[0], c.title)
	}
	for i, row := range rows {
		for _, c := range columns {
			cells[i+1] = append(cells[i+1], visible(c.cell(row)))
		}
	}
	for j, c := range columns {
		if c.number {
			alignRight(cells, j)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range cells {
		fmt.Fprintln(tw, strings.Join(line, "\t"))
	}
	return tw.Flush()
}

func alignRight(cells [][]string, j int) {
	width := 0
	for _, line := range cells {
		width = max(width, utf8.RuneCountInString(line[j]))
	}
	for _, line := range cells {
		line[j] = strings.Repeat(" ", width-utf8.RuneCountInString(line[j])) + line[j]
	}
}

// visible escapes what is not printable, and shows nothing as a dash.
func visible(s string) string {
	if s == "" {
		return "-"
	}
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// writeJSON writes v indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printer prints what a call answered, in the chosen format: as JSON an answer is
// the API's own, in a table it is a row. Its methods take a call's results as they come.
type printer[T, R any] struct {
	s       *session
	columns []column[R]
	row     func(T) R
}

// table prints answers that are rows as they are.
func table[T any](s *session, columns []column[T]) printer[T, T] {
	return tableOf(s, columns, func(t T) T { return t })
}

// tableOf prints answers that row makes rows of.
func tableOf[T, R any](s *session, columns []column[R], row func(T) R) printer[T, R] {
	return printer[T, R]{s, columns, row}
}

// one prints one object.
func (p printer[T, R]) one(answer T, err error) error {
	if err != nil {
		return err
	}
	if p.s.format == outputJSON {
		return writeJSON(p.s.out, answer)
	}
	return writeTable(p.s.out, p.columns, []R{p.row(answer)})
}

// list prints several.
func (p printer[T, R]) list(answers []T, err error) error {
	if err != nil {
		return err
	}
	if p.s.format == outputJSON {
		if answers == nil {
			answers = []T{}
		}
		return writeJSON(p.s.out, client.List[T]{Items: answers})
	}
	return writeTable(p.s.out, p.columns, mapped(answers, p.row))
}

// all prints a list to its last page.
func (p printer[T, R]) all(pages iter.Seq2[T, error]) error { return p.list(client.Collect(pages)) }

func mapped[S, T any](from []S, f func(S) T) []T {
	out := make([]T, len(from))
	for i, v := range from {
		out[i] = f(v)
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func at(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

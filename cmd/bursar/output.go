package main

import (
	"encoding/json"
	"fmt"
	"io"
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

// show writes a list in the chosen format.
func show[T any](s *session, columns []column[T], rows []T) error {
	if s.format == outputJSON {
		if rows == nil {
			rows = []T{}
		}
		return writeJSON(s.out, client.List[T]{Items: rows})
	}
	return writeTable(s.out, columns, rows)
}

// showOne writes one object in the chosen format: a table of one row, or the object itself.
func showOne[T any](s *session, columns []column[T], row T) error {
	if s.format == outputJSON {
		return writeJSON(s.out, row)
	}
	return writeTable(s.out, columns, []T{row})
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

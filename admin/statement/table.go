package statement

import (
	"strings"

	"codeberg.org/go-pdf/fpdf"
)

// Sizes on the page, in millimetres.
const (
	pageMargin  = 15.0
	lineHeight  = 4.4
	cellPadding = 1.0
	footerSpace = 20.0 // that rows keep free at the bottom
)

const (
	fontName = "DejaVu"
	fontSize = 8.5 // points
)

// sheet is a PDF being written. The first error stays with pdf.
type sheet struct {
	pdf    *fpdf.Fpdf
	glyphs glyphs
	width  float64 // between the margins
	bottom float64 // that rows end above
}

// column is one of a table. share is its part of the table's width.
type column struct {
	title string
	share float64
	right bool
}

// wrap breaks a text into lines of a width, at spaces where it can.
func (s *sheet) wrap(text string, width float64) []string {
	var lines []string
	line, used := "", 0.0
	space := s.pdf.GetStringWidth(" ")
	push := func() {
		lines = append(lines, line)
		line, used = "", 0
	}
	for word := range strings.FieldsSeq(text) {
		w := s.pdf.GetStringWidth(word)
		if line != "" && used+space+w <= width {
			line, used = line+" "+word, used+space+w
			continue
		}
		if line != "" {
			push()
		}
		for w > width { // longer than a line: broken between any two characters
			n, part := 0, 0.0
			for i, r := range word {
				c := s.pdf.GetStringWidth(string(r))
				if i > 0 && part+c > width {
					break
				}
				n, part = i+len(string(r)), part+c
			}
			if n == len(word) {
				break
			}
			line = word[:n]
			push()
			word = word[n:]
			w = s.pdf.GetStringWidth(word)
		}
		line, used = word, w
	}
	if line != "" || len(lines) == 0 {
		push()
	}
	return lines
}

// table writes rows under their titles, which every page that it goes on to repeats.
type table struct {
	s       *sheet
	columns []column
}

func (t *table) head() {
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	t.write(titles, true, false)
	y := t.s.pdf.GetY()
	t.s.pdf.SetLineWidth(0.3)
	t.s.pdf.Line(pageMargin, y, pageMargin+t.s.width, y)
}

// row writes one row on one page, if it is not longer than a page.
func (t *table) row(cells []string, bold bool) {
	if t.s.pdf.GetY()+t.s.height(t.cells(cells, bold)) > t.s.bottom {
		t.s.pdf.AddPage()
		t.head()
	}
	t.write(cells, bold, true)
}

// cells breaks the texts of a row into lines.
func (t *table) cells(cells []string, bold bool) [][]string {
	t.s.font(bold, fontSize)
	lines := make([][]string, len(cells))
	for i, c := range t.columns {
		lines[i] = t.s.wrap(t.s.glyphs.shown(cells[i]), c.share*t.s.width-2*cellPadding)
	}
	return lines
}

func (s *sheet) height(lines [][]string) float64 {
	most := 1
	for _, l := range lines {
		most = max(most, len(l))
	}
	return float64(most)*lineHeight + cellPadding
}

func (t *table) write(cells []string, bold, rule bool) {
	pdf := t.s.pdf
	lines := t.cells(cells, bold)
	for i, n := 0, 1; i < n; i++ {
		if pdf.GetY()+lineHeight > t.s.bottom { // a row that is longer than a page
			pdf.AddPage()
		}
		x, y := pageMargin, pdf.GetY()
		for j, c := range t.columns {
			n = max(n, len(lines[j]))
			width := c.share * t.s.width
			if i < len(lines[j]) {
				pdf.SetXY(x+cellPadding, y)
				pdf.CellFormat(width-2*cellPadding, lineHeight, lines[j][i], "", 0, alignment(c.right), false, 0, "")
			}
			x += width
		}
		pdf.SetXY(pageMargin, y+lineHeight)
	}
	pdf.SetY(pdf.GetY() + cellPadding)
	if rule {
		pdf.SetLineWidth(0.1)
		pdf.Line(pageMargin, pdf.GetY(), pageMargin+t.s.width, pdf.GetY())
	}
}

func alignment(right bool) string {
	if right {
		return "R"
	}
	return "L"
}

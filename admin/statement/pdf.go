package statement

import (
	"fmt"
	"io"
	"slices"
	"time"

	"codeberg.org/go-pdf/fpdf"

	"github.com/bursar-dev/bursar/client"
)

// PDF writes a statement as a PDF document of A4 pages.
func PDF(w io.Writer, s *client.Statement, in *time.Location) error {
	p := newPage(s, in)
	sh := newSheet(p, s)
	sh.top(p)
	sh.totals(p)
	sh.usage(p)
	sh.changes(p)
	sh.end(p)
	return sh.pdf.Output(w)
}

func newSheet(p *page, s *client.Statement) *sheet {
	pdf := fpdf.New("P", "mm", "A4", "")
	width, height := pdf.GetPageSize()
	sh := &sheet{pdf: pdf, width: width - 2*pageMargin, bottom: height - footerSpace}
	made := s.To // of a preview: a document must not depend on when it is written
	if s.FinalizedAt != nil {
		made = *s.FinalizedAt
	}
	pdf.SetCreationDate(made.UTC())
	pdf.SetModificationDate(made.UTC())
	pdf.SetCatalogSort(true)
	pdf.SetProducer("Bursar", true)
	pdf.SetTitle(p.Title, true)
	pdf.SetLang("en")
	pdf.SetMargins(pageMargin, pageMargin, pageMargin)
	pdf.SetAutoPageBreak(false, 0)
	pdf.SetCellMargin(0)
	pdf.AddUTF8FontFromBytes(fontName, "", regularFont)
	pdf.AddUTF8FontFromBytes(fontName, "B", boldFont)
	pdf.AliasNbPages("{pages}")
	pdf.SetFooterFunc(func() {
		pdf.SetY(-12)
		sh.font(false, 7)
		pdf.CellFormat(sh.width/2, 4, sh.glyphs.shown(p.Title), "", 0, "L", false, 0, "")
		pdf.CellFormat(sh.width/2, 4, fmt.Sprintf("%d / {pages}", pdf.PageNo()), "", 0, "R", false, 0, "")
	})
	pdf.AddPage()
	return sh
}

func (s *sheet) font(bold bool, size float64) {
	style := ""
	if bold {
		style = "B"
	}
	s.pdf.SetFont(fontName, style, size)
}

// lines writes a text in as many lines as it takes from x on.
func (s *sheet) lines(x, width float64, text string, bold bool, size float64) {
	s.font(bold, size)
	for _, line := range s.wrap(s.glyphs.shown(text), width) {
		if s.pdf.GetY()+size/2 > s.bottom {
			s.pdf.AddPage()
			s.font(bold, size)
		}
		s.pdf.SetX(x)
		s.pdf.CellFormat(width, size/2, line, "", 1, "L", false, 0, "")
	}
}

func (s *sheet) heading(text string) {
	if s.pdf.GetY()+25 > s.bottom { // with the titles of a table and a row
		s.pdf.AddPage()
	}
	s.pdf.SetY(s.pdf.GetY() + 5)
	s.lines(pageMargin, s.width, text, true, 11)
	s.pdf.SetY(s.pdf.GetY() + 1)
}

// top writes all above the tables.
func (s *sheet) top(p *page) {
	if p.Draft != "" {
		s.pdf.SetTextColor(170, 0, 0)
		s.lines(pageMargin, s.width, p.Draft, true, 11)
		s.pdf.SetTextColor(0, 0, 0)
		s.pdf.SetY(s.pdf.GetY() + 2)
	}
	s.lines(pageMargin, s.width, p.Title, true, 17)
	s.pdf.SetY(s.pdf.GetY() + 4)
	y, half := s.pdf.GetY(), s.width/2
	s.party(pageMargin, half-5, "From", &p.Seller)
	below := s.pdf.GetY()
	s.pdf.SetY(y)
	s.party(pageMargin+half, half, "To", &p.Buyer)
	s.pdf.SetY(max(below, s.pdf.GetY()) + 3)
	s.facts(p.Facts, 30)
	s.pdf.SetY(s.pdf.GetY() + 3)
	s.lines(pageMargin, s.width, "Total "+p.Total, true, 13)
}

func (s *sheet) party(x, width float64, label string, p *client.Party) {
	if p.Name == "" {
		return
	}
	s.lines(x, width, label, false, 7)
	s.lines(x, width, p.Name, true, 9)
	for _, line := range p.Address {
		s.lines(x, width, line, false, 9)
	}
	if p.TaxID != "" {
		s.lines(x, width, "Tax id: "+p.TaxID, false, 9)
	}
	if p.Contact != "" {
		s.lines(x, width, p.Contact, false, 9)
	}
}

// facts writes names and values side by side; names takes so much of the width.
func (s *sheet) facts(facts []fact, names float64) {
	for _, f := range facts {
		if s.pdf.GetY()+lineHeight > s.bottom {
			s.pdf.AddPage()
		}
		y := s.pdf.GetY()
		s.lines(pageMargin, names, f.Name, false, fontSize)
		below := s.pdf.GetY()
		if below > y {
			s.pdf.SetY(y)
		}
		s.lines(pageMargin+names, s.width-names, f.Value, false, fontSize)
		s.pdf.SetY(max(below, s.pdf.GetY()))
	}
}

func (s *sheet) totals(p *page) {
	s.heading("Summary")
	t := table{s, []column{{"Capability", .16, false}, {"Unit", .09, false}, {"Opening", .15, true}, {"Usage", .15, true}, {"Adjustments", .15, true}, {"Total", .15, true}, {"Closing", .15, true}}}
	t.head()
	for _, r := range p.Totals {
		t.row([]string{r.Capability, r.Unit, r.Opening, r.Usage, r.Adjustments, r.Total, r.Closing}, false)
	}
}

func (s *sheet) usage(p *page) {
	s.heading("Usage")
	if len(p.Groups) == 0 {
		s.lines(pageMargin, s.width, "None.", false, fontSize)
		return
	}
	t := table{s, []column{{"Model", .28, false}, {"Usage", .42, false}, {"Events", .10, true}, {p.Money, .20, true}}}
	entity := table{s, []column{{"", .80, false}, {"", .20, true}}}
	t.head()
	for _, g := range p.Groups {
		if s.pdf.GetY()+s.height(entity.cells([]string{g.Entity, g.Amount}, true))+2*lineHeight > s.bottom {
			s.pdf.AddPage()
			t.head()
		}
		entity.write([]string{g.Entity, g.Amount}, true, true)
		for _, r := range g.Rows {
			t.row([]string{r.Model, r.Usage, r.Events, r.Amount}, false)
		}
	}
}

func (s *sheet) changes(p *page) {
	if len(p.Changes) == 0 {
		return
	}
	s.heading("Adjustments")
	t := table{s, []column{{"Adjustment", .24, false}, {"Month", .09, false}, {"For", .17, false}, {"Model", .15, false}, {"Usage", .19, false}, {p.Money, .16, true}}}
	if p.Merged { // no model
		t.columns[2].share += t.columns[3].share
		t.columns = slices.Delete(t.columns, 3, 4)
	}
	t.head()
	for _, c := range p.Changes {
		kind := c.Kind
		if c.Reason != "" {
			kind += ": " + c.Reason
		}
		cells := []string{kind, c.Period, c.Entity, c.Model, c.Usage, c.Amount}
		if p.Merged {
			cells = slices.Delete(cells, 3, 4)
		}
		t.row(cells, false)
	}
}

func (s *sheet) end(p *page) {
	if p.TaxNote != "" {
		s.pdf.SetY(s.pdf.GetY() + 6)
		s.lines(pageMargin, s.width, p.TaxNote, false, 9)
	}
	s.pdf.SetY(s.pdf.GetY() + 6)
	s.facts(p.Proof, 45)
}

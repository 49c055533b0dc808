// Package statement writes a statement for people: as CSV for spreadsheets, as HTML to be printed, and as PDF.
// All of them say what the JSON says, to the last digit; none of them looks anything up, so that a
// finalized statement is written as the same bytes every time.
//
//	page.go    what stands on the page, as text: shared by HTML and PDF
//	amount.go  amounts and dates as text
//	csv.go     a row for each amount
//	html.go    page.html, with its style sheet inside; nothing is loaded from elsewhere
//	pdf.go     the page in PDF; table.go lays out its tables, glyphs.go what the font cannot show
//
// Whatever callers named (accounts, entities, models, reasons, parties) is text here: escaped in HTML, kept
// from being a formula in CSV, and spelled as code points in PDF where the font has no glyph.
//
// It is not for: computing a statement (package fsm does), HTTP.
package statement

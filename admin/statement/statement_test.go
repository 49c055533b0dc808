package statement

import (
	"bytes"
	"compress/zlib"
	"encoding/csv"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

func ptr[T any](v T) *T { return &v }

var berlin = func() *time.Location {
	l, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return l
}()

// sample is a statement with names that are meant to break what writes them.
func sample() *client.Statement {
	from, to := time.Date(2026, 10, 1, 0, 0, 0, 0, berlin), time.Date(2026, 11, 1, 0, 0, 0, 0, berlin)
	s := &client.Statement{StatementHead: client.StatementHead{
		ID: ptr("2026-10"), Account: "acme", Final: true, From: from, To: to, Timezone: "Europe/Berlin", Previous: ptr("2026-09"),
		AfterSeq: 10, ThroughSeq: 99, Chained: true, FinalizedAt: ptr(to.Add(25 * time.Hour)),
		Lines: client.StatementLines{Count: 4, FirstSeq: ptr(uint64(11)), LastSeq: ptr(uint64(98)), Late: 1, Hash: strings.Repeat("ab", 32)},
		Totals: []client.StatementTotal{
			{Capability: "input_tokens", Unit: "token", Opening: 5, Usage: 1_200_000, Adjustments: -200, Total: 1_199_800, Closing: 1_199_805},
			{Capability: "usd", Unit: "USD", Decimals: 9, Opening: 7, Usage: 1_234_500_000_001, Adjustments: -500_000_000, Total: 1_234_000_000_001, Closing: 1_234_000_000_008},
		},
		Invoice: client.Invoice{
			Number: ptr("INV-0007"), Date: ptr(to.Add(25 * time.Hour)), Due: ptr(to.Add(15 * 24 * time.Hour)), TaxNote: "Reverse charge.",
			Seller:   client.Party{Name: "Bürsar <script>alert(1)</script> GmbH", Address: []string{"Straße 1", "10115 Berlin"}, TaxID: "DE123", Contact: "billing@seller.test"},
			Buyer:    client.Party{Name: "東京 Ключ Ελλάδα עברית Ltd", Address: []string{"a & b"}},
			Currency: "USD", Capability: "usd", Decimals: 9, Total: 1_234_000_000_001,
		},
	}}
	s.Usage = []client.StatementUsage{
		{Entity: nil, Model: nil, Events: 1, Usage: map[string]int64{"usd": 1}},
		{Entity: ptr("proj"), Name: "=1+1", Model: ptr("@cf/meta/llama \"3\""), Events: 2, Usage: map[string]int64{"input_tokens": 1_200_000, "usd": 1_234_500_000_000}},
	}
	s.Adjustments = []client.StatementAdjustment{{Kind: "void", Period: from.AddDate(0, -1, 0), Entity: ptr("proj"), Model: ptr("gpt"), Reason: "</td>\r\nbilled, twice 🎉", Lines: 2, Events: -2,
		Usage: map[string]int64{"input_tokens": -200, "usd": -500_000_000}}}
	return s
}

func TestAmountsAreExact(t *testing.T) {
	for _, c := range []struct {
		n                int64
		decimals, digits int
		want             string
	}{
		{1_234_500_000_000, 9, 2, "1,234.50"}, {1, 9, 2, "0.000000001"}, {-1, 9, 2, "-0.000000001"}, {0, 9, 2, "0.00"}, {0, 0, 2, "0"},
		{1_000_000, 0, 0, "1,000,000"}, {999, 0, 0, "999"}, {-1000, 0, 0, "-1,000"}, {5_000_000_000, 9, 0, "5"}, {5_000_000_000, 9, 3, "5.000"},
		{-1 << 63, 9, 2, "-9,223,372,036.854775808"}, {12, 1, 2, "1.2"},
	} {
		if got := amount(big.NewInt(c.n), c.decimals, c.digits); got != c.want {
			t.Errorf("amount(%d, %d, %d) = %s, want %s", c.n, c.decimals, c.digits, got, c.want)
		}
	}
	for code, want := range map[string]int{"USD": 2, "JPY": 0, "KWD": 3, "ZZZ": 2} {
		if got := minorDigits(code); got != want {
			t.Errorf("%s has %d decimals, want %d", code, got, want)
		}
	}
}

func TestCSVHasARowForEachAmount(t *testing.T) {
	var b bytes.Buffer
	if err := CSV(&b, sample(), berlin); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]int64{}
	at := func(r []string, column string) string { return r[slices.Index(records[0], column)] }
	for _, r := range records[1:] {
		var n int64
		fmt.Sscan(at(r, "smallest"), &n)
		sums[at(r, "section")+" "+at(r, "capability")] += n
		for _, cell := range r[:11] {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@") {
				t.Errorf("a formula: %q", cell)
			}
		}
	}
	want := map[string]int64{
		"opening input_tokens": 5, "usage input_tokens": 1_200_000, "adjustment input_tokens": -200, "total input_tokens": 1_199_800, "closing input_tokens": 1_199_805,
		"opening usd": 7, "usage usd": 1_234_500_000_001, "adjustment usd": -500_000_000, "total usd": 1_234_000_000_001, "closing usd": 1_234_000_000_008,
	}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	last := records[len(records)-1]
	if got := at(last, "amount"); got != "1234.000000008" || at(last, "from") != "2026-10-01T00:00:00+02:00" {
		t.Errorf("last row %q", last)
	}
}

func TestHTMLEscapesAndLoadsNothing(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, sample(), berlin); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"Invoice INV-0007", "Bürsar &lt;script&gt;alert(1)&lt;/script&gt; GmbH", "東京 Ключ Ελλάδα עברית Ltd", "a &amp; b", "USD 1,234.000000001",
		"2026-10-01 to 2026-10-31 (Europe/Berlin)", "1,234.50", "-0.50", "Voided (2 lines)", "&lt;/td&gt;", "2026-11-02", "@page", "@media print", strings.Repeat("ab", 32), "(no model)", "(none)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	for _, never := range []string{"<script", "http:", "https:", "src=", "url(", "@import", "<link", "ZgotmplZ", "Preview"} {
		if strings.Contains(page, never) {
			t.Errorf("%q in\n%s", never, page)
		}
	}
	draft := sample()
	draft.Final, draft.ID, draft.Invoice.Number = false, nil, nil
	b.Reset()
	if err := HTML(&b, draft, berlin); err != nil || !strings.Contains(b.String(), "Preview. Not a bill") || !strings.Contains(b.String(), "Statement 2026-10-01 to 2026-10-31") {
		t.Errorf("preview: %v\n%s", err, b.String())
	}
}

func TestWhatTheFontLacksIsSpelled(t *testing.T) {
	var g glyphs
	for text, want := range map[string]string{
		"Bürsar Ключ Ελλάδα €": "Bürsar Ключ Ελλάδα €", "東京 Ltd": "[U+6771 U+4EAC] Ltd", "🎉": "[U+1F389]", "a\x00\u202eb": "a[U+0000 U+202E]b",
		"עב": "[U+05E2 U+05D1]", "سلام": "[U+0633 U+0644 U+0627 U+0645]", "e\u0301": "é", "a\nb\tc": "a b c", "\xff": "\ufffd", "": "",
	} {
		if got := g.shown(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestPDFIsTheSameEachTime(t *testing.T) {
	s := sample()
	for i := range 400 {
		s.Usage = append(s.Usage, client.StatementUsage{Entity: ptr(fmt.Sprint("p", i/7)), Name: strings.Repeat("long ", i%40), Model: ptr(strings.Repeat("x", i)), Events: int64(i), Usage: map[string]int64{"usd": int64(i) * 1_000_000_000}})
	}
	var first, second bytes.Buffer
	if err := PDF(&first, s, berlin); err != nil {
		t.Fatal(err)
	}
	if err := PDF(&second, s, berlin); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("the second time other bytes (%v)", err)
	}
	text := pdfText(t, first.Bytes())
	for _, want := range []string{"Invoice INV-0007", "Bürsar <script>alert(1)</script> GmbH", "[U+6771 U+4EAC] Ключ Ελλάδα", "USD 1,234.000000001", "Reverse charge.", "=1+1 (proj)", "p57", "398.00"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the text of the PDF", want)
		}
	}
	if pages := bytes.Count(first.Bytes(), []byte("/Type /Page\n")); pages < 10 || !strings.Contains(text, fmt.Sprintf("%d / %d", pages, pages)) {
		t.Errorf("%d pages, and the last does not say so", pages)
	}
}

// pdfText returns the strings that the pages of a PDF made by fpdf show, which are UTF-16.
func pdfText(t *testing.T, data []byte) string {
	t.Helper()
	var out strings.Builder
	for _, m := range regexp.MustCompile(`(?s)<<[^>]*/Length \d+>>\nstream\n(.*?)\nendstream`).FindAllSubmatch(data, -1) {
		z, err := zlib.NewReader(bytes.NewReader(m[1]))
		if err != nil {
			continue // a font
		}
		content, err := io.ReadAll(z)
		if err != nil || !bytes.Contains(content, []byte(")Tj")) {
			continue
		}
		for _, shown := range regexp.MustCompile(`(?s)\(((?:[^\\()]|\\.)*)\)Tj`).FindAllSubmatch(content, -1) {
			raw := regexp.MustCompile(`(?s)\\(.)`).ReplaceAllFunc(shown[1], func(b []byte) []byte {
				if b[1] == 'r' {
					return []byte("\r")
				}
				return b[1:]
			})
			for i := 0; i+1 < len(raw); i += 2 {
				out.WriteRune(rune(raw[i])<<8 | rune(raw[i+1]))
			}
			out.WriteByte('\n')
		}
	}
	return out.String()
}

func TestLongWordsAreBroken(t *testing.T) {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.AddUTF8FontFromBytes(fontName, "", regularFont)
	pdf.SetFont(fontName, "", fontSize)
	s := &sheet{pdf: pdf}
	for _, text := range []string{"", "a", strings.Repeat("m", 200), "short " + strings.Repeat("Ж", 90) + " end", strings.Repeat("word ", 50)} {
		lines := s.wrap(text, 20)
		if got, want := strings.ReplaceAll(strings.Join(lines, ""), " ", ""), strings.ReplaceAll(text, " ", ""); got != want {
			t.Errorf("%q became %q", text, lines)
		}
		for _, line := range lines {
			if w := pdf.GetStringWidth(line); w > 20.01 {
				t.Errorf("%q is %.1f mm wide", line, w)
			}
		}
	}
}

package statement

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font/sfnt"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// The font of the PDF: Latin, Greek, Cyrillic, Armenian, Georgian and some more, and many symbols.
var (
	//go:embed font/DejaVuSansCondensed.ttf
	regularFont []byte
	//go:embed font/DejaVuSansCondensed-Bold.ttf
	boldFont []byte
)

// parsedFonts are both, to look glyphs up in. They are immutable.
var parsedFonts = sync.OnceValue(func() (fonts [2]*sfnt.Font) {
	for i, data := range [][]byte{regularFont, boldFont} {
		f, err := sfnt.Parse(data)
		if err != nil {
			panic("the embedded font is damaged: " + err.Error())
		}
		fonts[i] = f
	}
	return fonts
})

// lastPlain is the end of the plane that a PDF font of one plane has.
const lastPlain = 0xffff

// glyphs tells which characters the font can show. It is not safe for concurrent use.
type glyphs struct {
	buffer sfnt.Buffer
	known  map[rune]bool
}

// has reports whether a character is shown as it is: both fonts have it, and it needs neither shaping nor
// another direction than left to right.
func (g *glyphs) has(r rune) bool {
	if is, ok := g.known[r]; ok {
		return is
	}
	is := r <= lastPlain && unicode.IsPrint(r) && !unicode.Is(unicode.Mn, r)
	if p, _ := bidi.LookupRune(r); p.Class() == bidi.R || p.Class() == bidi.AL || p.Class() == bidi.AN {
		is = false
	}
	for _, f := range parsedFonts() {
		if is {
			i, err := f.GlyphIndex(&g.buffer, r)
			is = err == nil && i != 0
		}
	}
	if g.known == nil {
		g.known = map[rune]bool{}
	}
	if len(g.known) < lastPlain {
		g.known[r] = is
	}
	return is
}

// shown writes a text so that the font can show it. What it cannot show is spelled in code points, so
// that nothing is lost or looks like something else: "東京 Ltd" is "[U+6771 U+4EAC] Ltd".
func (g *glyphs) shown(s string) string {
	var b strings.Builder
	open := false
	for _, r := range norm.NFC.String(strings.ToValidUTF8(s, "\ufffd")) {
		if r == '\n' || r == '\t' || r == '\r' || r == '\u00a0' {
			r = ' '
		}
		if g.has(r) {
			if open {
				b.WriteByte(']')
				open = false
			}
			b.WriteRune(r)
			continue
		}
		if open {
			b.WriteByte(' ')
		} else {
			b.WriteByte('[')
			open = true
		}
		fmt.Fprintf(&b, "U+%04X", r)
	}
	if open {
		b.WriteByte(']')
	}
	return b.String()
}

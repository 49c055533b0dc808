package jsonescape

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Whole reports whether every \u escape of a surrogate in valid JSON is
// followed by its other half. A lone one is no character: what it would be stored
// as is up to the parser, and two bodies could become one.
func Whole(body []byte) bool {
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 {
			return true
		}
		body = body[i:]
		if body[1] != 'u' {
			body = body[2:]
			continue
		}
		r := hexRune(body[2:6])
		body = body[6:]
		if !utf16.IsSurrogate(r) {
			continue
		}
		if len(body) < 6 || body[0] != '\\' || body[1] != 'u' || utf16.DecodeRune(r, hexRune(body[2:6])) == utf8.RuneError {
			return false
		}
		body = body[6:]
	}
}

// hexRune reads four hexadecimal digits.
func hexRune(b []byte) (r rune) {
	for _, c := range b {
		switch {
		case c >= 'a':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A':
			r = r<<4 | rune(c-'A'+10)
		default:
			r = r<<4 | rune(c-'0')
		}
	}
	return r
}

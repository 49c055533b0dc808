package enforcer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// parseJSON reads a JSON document (RFC 8259) with nothing after it. The parser is
// lenient where it is fast, so the grammar is checked first, then what the
// grammar leaves open: depth, UTF-8, and escapes of half a character.
func parseJSON(p *fastjson.Parser, body []byte) (value, error) {
	if !utf8.Valid(body) {
		return value{}, fmt.Errorf("%w: it is not valid UTF-8", errMalformed)
	}
	if !shallow(body) {
		return value{}, fmt.Errorf("%w: it is nested more than %d levels deep", errMalformed, maxBodyDepth)
	}
	if fastjson.ValidateBytes(body) != nil {
		return value{}, malformedJSON(body)
	}
	if !wholeEscapes(body) {
		return value{}, fmt.Errorf("%w: an escape is half of a surrogate pair", errMalformed)
	}
	v, err := p.ParseBytes(body)
	if err != nil {
		return value{}, malformedJSON(body)
	}
	return value{json: v}, nil
}

// malformedJSON says where a body stops being JSON, without showing the body.
func malformedJSON(body []byte) error {
	var raw json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(body, &raw), &syntax) {
		return fmt.Errorf("%w: at byte %d: %s", errMalformed, syntax.Offset, syntax.Error())
	}
	return fmt.Errorf("%w: it is not valid JSON", errMalformed)
}

// shallow reports whether no value is nested deeper than maxBodyDepth. It needs no
// valid JSON: brackets within strings are passed over.
func shallow(body []byte) bool {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if depth++; depth > maxBodyDepth {
				return false
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		}
	}
	return true
}

// wholeEscapes reports whether every \u escape of a surrogate in valid JSON is
// followed by its other half. A lone one is no character: what it would be stored
// as is up to the parser, and two bodies could become one.
func wholeEscapes(body []byte) bool {
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

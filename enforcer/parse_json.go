package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"github.com/bursar-dev/bursar/internal/jsonescape"
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
	if !jsonescape.Whole(body) {
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

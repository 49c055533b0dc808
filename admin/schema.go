package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/internal/jsonescape"
)

// maxJSONDepth bounds the nesting of a request body. The deepest of ours is 4.
const maxJSONDepth = 16

// checkDocument reads a JSON document and reports every field that does not fit
// the schema: unknown, given twice, missing, of another type, out of range. It
// is the schema of the OpenAPI document, so what is documented is what is
// accepted. huma's own validator is not used because it reads numbers as
// floats and names as equal that differ in case.
//
// Properties that are not required may be null, which means absent; read-only
// ones may be given and are ignored, so that an answer can be sent back.
func checkDocument(registry huma.Registry, s *huma.Schema, body []byte) []client.FieldError {
	if !utf8.Valid(body) {
		return []client.FieldError{{Field: "body", Message: "is not valid UTF-8"}}
	}
	c := checker{registry: registry, dec: json.NewDecoder(bytes.NewReader(body))}
	c.dec.UseNumber()
	err := c.value(s, "", 0)
	if err == nil {
		if _, end := c.dec.Token(); end != io.EOF {
			err = errors.New("has something after its end")
		}
	}
	if err == nil && !jsonescape.Whole(body) {
		err = errHalfSurrogate
	}
	if err != nil {
		return []client.FieldError{{Field: "body", Message: malformed(err, c.dec.InputOffset())}}
	}
	return c.fields
}

// Bodies that are JSON, and refused all the same.
var (
	errTooDeep       = fmt.Errorf("is nested deeper than %d levels", maxJSONDepth)
	errHalfSurrogate = errors.New("has an escape that is half of a surrogate pair")
)

// malformed says what is wrong with a body that is not one JSON document.
func malformed(err error, offset int64) string {
	if err == errTooDeep || err == errHalfSurrogate {
		return err.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "is not valid JSON: it ends too early"
	}
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("is not valid JSON: %v at byte %d", s, s.Offset)
	}
	return fmt.Sprintf("is not valid JSON: %v at byte %d", err, offset)
}

// checker walks a document and its schema side by side. Its methods return an
// error only for a document that is not JSON; fields that do not fit are collected.
type checker struct {
	registry huma.Registry
	dec      *json.Decoder
	fields   []client.FieldError
}

func (c *checker) wrong(path, format string, args ...any) {
	if len(c.fields) > maxFieldErrors {
		return
	}
	if path == "" {
		path = "body"
	}
	c.fields = append(c.fields, client.FieldError{Field: path, Message: fmt.Sprintf(format, args...)})
}

// value checks the next value. A nil schema accepts anything.
func (c *checker) value(s *huma.Schema, path string, depth int) error {
	tok, err := c.dec.Token()
	if err != nil {
		return err
	}
	return c.token(s, tok, path, depth)
}

// token checks the value that starts with tok.
func (c *checker) token(s *huma.Schema, tok json.Token, path string, depth int) error {
	if depth > maxJSONDepth {
		return errTooDeep
	}
	s, fits := c.resolve(s, tok)
	if !fits {
		c.wrong(path, "must be %s", typeNames(s.OneOf))
		s = nil
	}
	switch tok {
	case json.Delim('{'):
		return c.object(s, path, depth)
	case json.Delim('['):
		return c.array(s, path, depth)
	}
	if s != nil {
		if m := checkScalar(s, tok); m != "" {
			c.wrong(path, "%s", m)
		}
	}
	return nil
}

// resolve follows references and picks the alternative that is of the token's
// type. It does not fit if there is none.
func (c *checker) resolve(s *huma.Schema, tok json.Token) (resolved *huma.Schema, fits bool) {
	for s != nil && s.Ref != "" {
		s = c.registry.SchemaFromRef(s.Ref)
	}
	if s == nil || len(s.OneOf) == 0 {
		return s, true
	}
	want := ""
	if _, ok := tok.(string); ok {
		want = huma.TypeString
	} else if tok == json.Delim('{') {
		want = huma.TypeObject
	}
	i := slices.IndexFunc(s.OneOf, func(o *huma.Schema) bool { return o.Type == want })
	if i < 0 {
		return s, false
	}
	return s.OneOf[i], true
}

func (c *checker) object(s *huma.Schema, path string, depth int) error {
	if s != nil && s.Type != huma.TypeObject && s.Type != "" {
		c.wrong(path, "must be %s", typeName(s))
		s = nil
	}
	seen := map[string]bool{}
	for {
		tok, err := c.dec.Token()
		if err != nil {
			return err
		}
		if tok == json.Delim('}') {
			break
		}
		key := tok.(string) // the decoder lets nothing else stand here
		at := join(path, key)
		if seen[key] {
			c.wrong(at, "is given more than once")
		}
		seen[key] = true
		if err := c.property(s, key, at, depth); err != nil {
			return err
		}
	}
	if s == nil {
		return nil
	}
	for _, name := range s.Required {
		if !seen[name] && !s.Properties[name].ReadOnly {
			c.wrong(join(path, name), "%s", c.required(s.Properties[name]))
		}
	}
	return nil
}

// required says of a property that is missing what it would say.
func (c *checker) required(s *huma.Schema) string {
	for s.Ref != "" {
		s = c.registry.SchemaFromRef(s.Ref)
	}
	switch {
	case len(s.Enum) > 0:
		return "is required: " + choices(s)
	case s.Description != "":
		return "is required: " + s.Description
	}
	return "is required"
}

// property checks the value of one key of an object.
func (c *checker) property(s *huma.Schema, key, at string, depth int) error {
	tok, err := c.dec.Token()
	if err != nil {
		return err
	}
	if s == nil {
		return c.token(nil, tok, at, depth+1)
	}
	p, known := s.Properties[key]
	if !known {
		if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
			return c.token(more, tok, at, depth+1)
		}
		c.wrong(at, "is not a known field")
		return c.token(nil, tok, at, depth+1)
	}
	if tok == nil && !slices.Contains(s.Required, key) {
		return nil
	}
	return c.token(p, tok, at, depth+1)
}

func (c *checker) array(s *huma.Schema, path string, depth int) error {
	var items *huma.Schema
	if s != nil {
		if s.Type != huma.TypeArray && s.Type != "" {
			c.wrong(path, "must be %s", typeName(s))
			s = nil
		} else {
			items = s.Items
		}
	}
	n := 0
	for ; c.dec.More(); n++ {
		if s != nil && s.MaxItems != nil && n >= *s.MaxItems {
			items = nil // counted to its end, not looked at: the list is refused as a whole
		}
		if err := c.value(items, path+"["+strconv.Itoa(n)+"]", depth+1); err != nil {
			return err
		}
	}
	if _, err := c.dec.Token(); err != nil { // the closing bracket
		return err
	}
	switch {
	case s == nil:
	case s.MinItems != nil && n < *s.MinItems:
		c.wrong(path, "must have at least %d items", *s.MinItems)
	case s.MaxItems != nil && n > *s.MaxItems:
		c.wrong(path, "must have at most %d items, not %d", *s.MaxItems, n)
	}
	return nil
}

// checkScalar says how a string, number, boolean or null does not fit s, or "".
func checkScalar(s *huma.Schema, tok json.Token) string {
	if tok == nil {
		if s.Nullable || s.Type == "" {
			return ""
		}
		return "must be " + typeName(s)
	}
	switch s.Type {
	case "":
		return ""
	case huma.TypeBoolean:
		if _, ok := tok.(bool); ok {
			return ""
		}
	case huma.TypeInteger:
		if n, ok := tok.(json.Number); ok {
			return checkInteger(s, n.String())
		}
	case huma.TypeNumber:
		if _, ok := tok.(json.Number); ok {
			return ""
		}
	case huma.TypeString:
		if v, ok := tok.(string); ok {
			return checkString(s, v)
		}
	}
	return "must be " + typeName(s)
}

// checkInteger accepts plain decimal notation within s's bounds. Fractions and exponents are refused even
// where their value is whole: an amount is written as it is counted.
func checkInteger(s *huma.Schema, text string) string {
	if strings.ContainsAny(text, ".eE") {
		return "must be a whole number, without fraction or exponent"
	}
	n, err := strconv.ParseInt(text, 10, 64)
	outside := errors.Is(err, strconv.ErrRange)
	if err != nil && !outside {
		return "must be a whole number"
	}
	negative := strings.HasPrefix(text, "-")
	if s.Minimum != nil && (n < int64(*s.Minimum) || outside && negative) {
		return fmt.Sprintf("must be at least %d", int64(*s.Minimum))
	}
	if s.Maximum != nil && (n > int64(*s.Maximum) || outside) {
		return fmt.Sprintf("must be at most %d", int64(*s.Maximum))
	}
	if outside {
		return "is out of range"
	}
	return ""
}

func checkString(s *huma.Schema, v string) string {
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return e == v }) {
		return "must be " + choices(s)
	}
	if s.MinLength != nil && *s.MinLength == 1 && v == "" {
		return "must not be empty"
	}
	if s.MinLength != nil && utf8.RuneCountInString(v) < *s.MinLength {
		return fmt.Sprintf("must have at least %d characters", *s.MinLength)
	}
	if s.MaxLength != nil && utf8.RuneCountInString(v) > *s.MaxLength {
		return fmt.Sprintf("must have at most %d characters", *s.MaxLength)
	}
	if s.Format == "date-time" {
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return "must be a time in RFC 3339 form, as 2026-11-22T10:00:00Z"
		}
	}
	return ""
}

// choices lists the values that an enumeration allows.
func choices(s *huma.Schema) string {
	names := make([]string, len(s.Enum))
	for i, e := range s.Enum {
		names[i] = fmt.Sprint(e)
	}
	return "one of " + strings.Join(names, ", ")
}

// typeNames names what any of the alternatives wants.
func typeNames(alternatives []*huma.Schema) string {
	names := make([]string, len(alternatives))
	for i, s := range alternatives {
		names[i] = typeName(s)
		if len(s.Enum) > 0 {
			names[i] = choices(s)
		}
	}
	return strings.Join(names, ", or ")
}

// typeName names what a schema wants, for messages.
func typeName(s *huma.Schema) string {
	name := map[string]string{
		huma.TypeBoolean: "true or false",
		huma.TypeInteger: "a whole number",
		huma.TypeNumber:  "a number",
		huma.TypeString:  "a string",
		huma.TypeArray:   "a list",
		huma.TypeObject:  "an object",
	}[s.Type]
	if s.Nullable {
		name += " or null"
	}
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

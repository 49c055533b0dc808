package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bursar-dev/bursar/client"
)

// maxParamBytes bounds a query parameter. The longest of ours is a list of ids.
const maxParamBytes = 8 << 10

// checkQuery reports query parameters that op does not declare, that are given
// twice, or that do not fit their schema.
func checkQuery(op *huma.Operation, u *url.URL) []client.FieldError {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return []client.FieldError{{Field: "query", Message: "is not a valid query string"}}
	}
	var wrong []client.FieldError
	known := 0
	for _, p := range op.Parameters {
		given, ok := values[p.Name]
		if p.In != "query" || !ok {
			continue
		}
		known++
		if m := checkParam(p.Schema, given); m != "" {
			wrong = append(wrong, client.FieldError{Field: p.Name, Message: m})
		}
	}
	if known == len(values) {
		return wrong
	}
	for name := range values {
		if !declares(op, name) {
			wrong = append(wrong, client.FieldError{Field: name, Message: "is not a known query parameter"})
		}
	}
	return wrong
}

func declares(op *huma.Operation, name string) bool {
	for _, p := range op.Parameters {
		if p.In == "query" && p.Name == name {
			return true
		}
	}
	return false
}

// checkParam says how the values given for one parameter do not fit its schema, or "".
func checkParam(s *huma.Schema, given []string) string {
	if len(given) > 1 {
		return "is given more than once"
	}
	v := given[0]
	switch {
	case len(v) > maxParamBytes:
		return "is too long"
	case s.Type == huma.TypeArray:
		for item := range strings.SplitSeq(v, ",") {
			if m := checkScalar(s.Items, item); m != "" {
				return m
			}
		}
		return ""
	case s.Type == huma.TypeInteger:
		return checkInteger(s, v)
	case s.Type == huma.TypeBoolean:
		if v == "true" || v == "false" {
			return ""
		}
		return "must be true or false"
	}
	return checkScalar(s, json.Token(v))
}

// noBody is the schema of a call that has nothing to say: no body, or an empty object.
var noBody = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false}

// bodySchema returns the schema of op's request body.
func bodySchema(op *huma.Operation) *huma.Schema {
	if op.RequestBody == nil {
		return noBody
	}
	return op.RequestBody.Content["application/json"].Schema
}

// takesBody reports whether requests of op may carry a body at all.
func takesBody(op *huma.Operation) bool {
	return op.Method == http.MethodPut || op.Method == http.MethodPost
}

package admin

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bursar-dev/bursar/client"
)

// readInput checks a request's query against op and reads and checks its body.
// An empty body counts as an empty object. What it returns fits op's schema.
func (a *api) readInput(op *huma.Operation, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	wrong := checkQuery(op, r.URL)
	var body []byte
	if takesBody(op) {
		var err error
		if body, err = readBody(w, r); err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(body)) == 0 {
			body = []byte("{}")
		}
		wrong = append(wrong, checkDocument(a.huma.OpenAPI().Components.Schemas, bodySchema(op), body)...)
	}
	if len(wrong) > 0 {
		return nil, invalidFields(wrong)
	}
	return body, nil
}

// readBody reads at most maxBodyBytes within bodyTimeout. The server lifts the
// deadline at the end of the body, so it does not cut off a write that waits for the cluster.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "a request body may have at most %d bytes", maxBodyBytes)
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // unsupported only by recorders in tests
	body, err := []byte(nil), error(nil)
	if r.ContentLength <= maxBodyBytes {
		body, err = io.ReadAll(io.LimitReader(r.Body, maxBodyBytes+1))
	}
	if r.ContentLength > maxBodyBytes || len(body) > maxBodyBytes {
		// A caller who is still sending when the connection ends never sees why.
		io.CopyN(io.Discard, r.Body, maxBodyDiscarded)
		return nil, tooLarge
	}
	if err != nil {
		return nil, invalidFields([]client.FieldError{{Field: "body", Message: "did not arrive whole"}})
	}
	return body, nil
}

// checkedContext hands a body that has been read and checked on to huma.
type checkedContext struct {
	adapterContext
	body []byte
}

// adapterContext is embedded under this name because huma.Context has a method Context.
type adapterContext huma.Context

// Unwrap returns the context of the adapter.
func (c *checkedContext) Unwrap() huma.Context { return c.adapterContext }

// BodyReader returns the body that was checked.
func (c *checkedContext) BodyReader() io.Reader { return bytes.NewReader(c.body) }

// SetReadDeadline does nothing: the body has been read.
func (c *checkedContext) SetReadDeadline(time.Time) error { return nil }

// Header hides what the caller called the body: it has been read as JSON.
func (c *checkedContext) Header(name string) string {
	if name == "Content-Type" {
		return "application/json"
	}
	return c.adapterContext.Header(name)
}

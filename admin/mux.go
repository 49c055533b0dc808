package admin

import (
	"net/http"
	"path"
)

// router is the standard mux, with problems instead of its plain-text refusals.
type router struct{ *http.ServeMux }

// ServeHTTP serves the route that matches. Without one the answer is 404, or 405
// with Allow where the path has other methods. A path that is not clean has none:
// the mux would redirect it, and a client send its token, and maybe its body, twice.
func (m router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := m.Handler(r)
	if escaped := r.URL.EscapedPath(); path.Clean(escaped) != escaped {
		notFound("there is nothing at %s", r.URL.Path).write(w)
		return
	}
	if pattern != "" {
		m.ServeMux.ServeHTTP(w, r)
		return
	}
	probe := refusal{header: http.Header{}}
	h.ServeHTTP(&probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		newProblem(http.StatusMethodNotAllowed, codeMethod, "%s is not defined here; allowed: %s", r.Method, allow).write(w)
		return
	}
	notFound("there is nothing at %s", r.URL.Path).write(w)
}

// refusal takes down what the mux would have answered.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }

package admin

import (
	"net/http"
	"path"

	"github.com/bursar-dev/bursar/fsm"
)

// router is the standard mux, with problems instead of its plain-text refusals.
type router struct {
	*http.ServeMux
	identify func(*http.Request) (identity, error)
}

// ServeHTTP serves the route that matches. Without one the answer is 404, or 405
// with Allow where the path has other methods, to whoever has a token for the
// control plane: others are not told what there is. A path that is not clean has no
// route: the mux would redirect it, and a client send its token, and maybe its body, twice.
func (m router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := m.Handler(r)
	escaped := r.URL.EscapedPath()
	clean := path.Clean(escaped) == escaped
	if clean && pattern != "" {
		m.ServeMux.ServeHTTP(w, r)
		return
	}
	if !isOpen(r.URL.Path) {
		who, err := m.identify(r)
		if err == nil && who.token.Role == fsm.RoleService {
			err = errServiceToken
		}
		if err != nil {
			problemOf(err).write(w)
			return
		}
	}
	if !clean {
		notFound("there is nothing at %s", r.URL.Path).write(w)
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

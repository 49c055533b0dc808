package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bursar-dev/bursar/client"
)

// route declares an operation of the API.
type route struct {
	method, path string
	id           string // operation id, kebab case
	tag          string
	summary      string
	reach        reach
	local        bool // answered from what this node knows by itself, without the barrier
}

// writes reports whether the route changes anything.
func (rt *route) writes() bool { return rt.method != http.MethodGet }

// answer is a 200 with a body and the log index it was read at.
type answer[T any] struct {
	Index uint64 `header:"Bursar-Index" doc:"log index the answer was read at"`
	Body  T
}

// done is a 204 with the log index of the write.
type done struct {
	Index uint64 `header:"Bursar-Index" doc:"log index of the write"`
}

// handle registers f as the handler of rt. Input and output types become the
// OpenAPI document; see huma.Register for their tags.
func handle[I, O any](a *api, rt route, f func(context.Context, *I) (*O, error)) {
	huma.Register(a.huma, a.operation(&rt), func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			p := problemOf(err)
			a.logProblem(ctx, p, whoAsks(ctx).request)
			return nil, p
		}
		return out, nil
	})
}

// operation turns a route into huma's terms. Validation is the guard's.
func (a *api) operation(rt *route) huma.Operation {
	op := huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Summary: rt.summary, Tags: []string{rt.tag},
		MaxBodyBytes:       maxBodyBytes + 1, // the guard has already refused more
		SkipValidateParams: true,
		SkipValidateBody:   true,
		Middlewares:        huma.Middlewares{a.guard(rt)},
		Security:           []map[string][]string{{"token": {}}},
		Responses:          a.problems(rt),
	}
	if !rt.writes() {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "consistency", In: "query",
			Description: "stale: answer from this node's replica without asking the leader, which works without one and may be behind",
			Schema:      &huma.Schema{Type: huma.TypeString, Enum: []any{"linearizable", "stale"}},
		})
	}
	return op
}

// problems documents the errors of a route.
func (a *api) problems(rt *route) map[string]*huma.Response {
	statuses := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}
	if rt.writes() {
		statuses = append(statuses, http.StatusConflict, http.StatusRequestEntityTooLarge)
	}
	if rt.writes() || rt.reach != ofAny {
		statuses = append(statuses, http.StatusNotFound)
	}
	if !rt.local {
		statuses = append(statuses, http.StatusServiceUnavailable)
	}
	slices.Sort(statuses)
	out := map[string]*huma.Response{}
	for _, s := range statuses {
		out[strconv.Itoa(s)] = &huma.Response{
			Description: http.StatusText(s),
			Content:     map[string]*huma.MediaType{problemContentType: {Schema: schemaOf[client.Problem](a)}},
		}
	}
	return out
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Admin asks the control plane, on any node. It is safe for concurrent use.
//
// A write returns when every live node has applied it, which takes milliseconds
// and, with a node that has just died, up to the staleness bound. Reads see
// every write acknowledged before them. Puts are upserts, all or nothing, of 1 to 1,000 items;
// they are retried, as are all requests that may be made twice. CreateToken
// and the cluster's verbs are not: when their answer is lost, errors.Is(err, ErrOutcomeUnknown).
type Admin struct {
	caller *caller
	stale  bool
}

const (
	adminTryTimeout = 30 * time.Second // of a write: longer than the staleness bound
	adminTimeout    = 60 * time.Second // with all tries
	readTryTimeout  = 10 * time.Second
)

// AdminOption changes how an Admin connects.
type AdminOption func(*adminOptions)

type adminOptions struct{ http *http.Client }

// WithHTTPClient makes an Admin use h, for a CA or a proxy of its own.
func WithHTTPClient(h *http.Client) AdminOption {
	return func(o *adminOptions) { o.http = h }
}

// NewAdmin returns a client for the control plane at endpoints (base URLs, as
// "http://10.0.0.1:7080") with a token of role root, admin or auditor.
func NewAdmin(endpoints []string, token string, options ...AdminOption) (*Admin, error) {
	var o adminOptions
	for _, set := range options {
		set(&o)
	}
	c, err := newCaller(endpoints, token, o.http, triesFor(len(endpoints)), false)
	if err != nil {
		return nil, err
	}
	return &Admin{caller: c}, nil
}

// Close closes idle connections.
func (a *Admin) Close() { a.caller.close() }

// Stale returns an Admin whose reads come from the answering node's replica as
// it is, without asking the leader: they work without a quorum and may be behind.
func (a *Admin) Stale() *Admin { return &Admin{caller: a.caller, stale: true} }

// send makes one request. body nil: none; into nil: the answer is not read.
func (a *Admin) send(ctx context.Context, method, path string, s safety, body, into any) error {
	r := &request{
		method: method, path: path, contentType: typeJSON, accept: typeJSON + ", " + typeProblem,
		safety: s, tryTimeout: adminTryTimeout, timeout: adminTimeout,
	}
	switch method {
	case http.MethodGet:
		r.tryTimeout = readTryTimeout
	case http.MethodDelete:
		r.deletes = true
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		r.body = b
	}
	if into != nil {
		r.read = func(ans *answer) error { return json.Unmarshal(ans.body, into) }
	}
	return a.caller.do(ctx, r)
}

// get reads one object.
func get[T any](ctx context.Context, a *Admin, path string) (T, error) {
	var out T
	err := a.send(ctx, http.MethodGet, path+a.query(nil), repeatable, nil, &out)
	return out, err
}

// write sends a body and reads the stored object.
func write[T any](ctx context.Context, a *Admin, method, path string, s safety, body any) (T, error) {
	var out T
	err := a.send(ctx, method, path, s, body, &out)
	return out, err
}

// remove deletes an object. One that a lost first try has deleted already is
// gone as wanted: the 404 of a retry is not an error.
func (a *Admin) remove(ctx context.Context, path string) error {
	return a.send(ctx, http.MethodDelete, path, repeatable, nil, nil)
}

// pages iterates over a list, page by page. It ends with the first error.
func pages[T any](ctx context.Context, a *Admin, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		q := url.Values{}
		for k, v := range query {
			q[k] = v
		}
		for {
			var page List[T]
			if err := a.send(ctx, http.MethodGet, path+a.query(q), repeatable, nil, &page); err != nil {
				yield(zero, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == nil || *page.Next == "" {
				return
			}
			q.Set("after", *page.Next)
		}
	}
}

// query encodes q and how consistent the read is to be.
func (a *Admin) query(q url.Values) string {
	if a.stale {
		if q == nil {
			q = url.Values{}
		}
		q.Set("consistency", "stale")
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Collect gathers an iterator of this package into a slice, or returns its error.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for item, err := range seq {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

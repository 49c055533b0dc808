package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bursar-dev/bursar/client"
)

// explain turns an error of the API into one that a person can act on: the
// problem's detail, each field, the numbers behind it, and what to do where that is known.
func explain(err error) error {
	problem, ok := errors.AsType[*client.Problem](err)
	unavailable := errors.Is(err, client.ErrUnavailable)
	if !ok && !unavailable {
		return err
	}
	text := err.Error()
	if !unavailable {
		text = strings.Replace(text, problem.Error(), problemText(problem), 1) // what wraps it says where
	}
	if h := hint(err); h != "" {
		text += "\n" + h
	}
	return explained{text: text, err: err}
}

// explained is an error with a text of its own.
type explained struct {
	text string
	err  error
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.err }

func problemText(p *client.Problem) string {
	var b strings.Builder
	b.WriteString(p.Code)
	if d := cmp.Or(p.Detail, p.Title); d != "" {
		b.WriteString(": " + d)
	}
	for _, f := range p.Errors {
		if !strings.Contains(p.Detail, f.Message) { // of one field it is the same
			fmt.Fprintf(&b, "\n  %s: %s", f.Field, f.Message)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Numbers)) {
		fmt.Fprintf(&b, "\n  %s = %d", name, p.Numbers[name])
	}
	return b.String()
}

// hint says what to do about an error.
func hint(err error) string {
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		return "It may have been done nevertheless: look before you repeat it."
	case errors.Is(err, client.ErrUnavailable):
		return "Is a node listening there? --admin and --endpoint (BURSAR_ADMIN, BURSAR_ENDPOINT) say where to ask."
	case errors.Is(err, client.ErrUnauthorized):
		return "The token is unknown, expired or revoked: set BURSAR_TOKEN or --token-file to another."
	case errors.Is(err, client.ErrForbidden):
		return "The token's role does not cover this: root and admin write, auditor reads, service asks the data plane."
	}
	return ""
}

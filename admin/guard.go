package admin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// Waits for the cluster.
const (
	barrierWait = 5 * time.Second  // for a linearizable read
	writeWait   = 30 * time.Second // for a write to be applied by every live node; longer than any staleness bound in use
)

// maxAuthorizationBytes bounds the Authorization header that is looked at.
const maxAuthorizationBytes = 1 << 10

// identityKey is the context key of the caller's identity.
type identityKey struct{}

// whoAsks returns the identity the guard let through.
func whoAsks(ctx context.Context) identity { return ctx.Value(identityKey{}).(identity) }

// guard stands before the handler of a route: it finds out who asks, whether
// they may, whether the request is well formed, and brings the replica up to date.
//
// The token is looked up twice. A node that was cut off may hold a token that
// has been revoked; after the barrier it no longer does.
func (a *api) guard(rt *route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		who, err := a.identify(r)
		if err == nil {
			err = rt.admit(who, r.PathValue("account"))
		}
		var body []byte
		if err == nil {
			body, err = a.readInput(hc.Operation(), w, r)
		}
		stale := r.URL.Query().Get("consistency") == "stale" // a write that says so has been refused
		if err == nil && !rt.local && !stale {
			if err = a.barrier(r.Context()); err == nil {
				if who, err = a.identify(r); err == nil {
					err = rt.admit(who, r.PathValue("account"))
				}
			}
		}
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		who.request, who.stale = w.Header().Get(headerRequestID), stale
		ctx := context.WithValue(r.Context(), identityKey{}, who)
		next(huma.WithContext(&checkedContext{hc, body}, ctx))
	}
}

// barrier brings the local replica up to every write acknowledged so far. It only asks: an
// answer that was lost leaves no outcome unknown.
func (a *api) barrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, barrierWait)
	defer cancel()
	index, err := a.cluster.Barrier(ctx)
	if errors.Is(err, enforcer.ErrUnknownOutcome) {
		return fmt.Errorf("%w: %v", enforcer.ErrUnreachable, err)
	}
	if err != nil {
		return err
	}
	return a.machine.WaitApplied(ctx, index)
}

// identify finds the token a request carries. It says no more than 401 to whoever has none.
func (a *api) identify(r *http.Request) (identity, error) {
	header := r.Header.Get("Authorization")
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(header) > maxAuthorizationBytes {
		return identity{}, newProblem(http.StatusUnauthorized, codeUnauthed, "the Authorization header must be: Bearer <token>")
	}
	digest := TokenDigest(strings.TrimSpace(secret))
	var token *fsm.Token
	a.machine.View(func(v *fsm.View) {
		// Found by digest, so timing could only tell about digests, which a
		// caller cannot steer; compared once more without that subtlety.
		if t := v.TokenByDigest(digest); t != nil && subtle.ConstantTimeCompare(t.Digest[:], digest[:]) == 1 {
			found := *t
			token = &found
		}
	})
	if token == nil || token.ExpiresAt != 0 && token.ExpiresAt <= time.Now().UnixMilli() {
		return identity{}, newProblem(http.StatusUnauthorized, codeUnauthed, "the token is not known, or has expired or been revoked")
	}
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	return identity{token: token, ip: ip}, nil
}

// refuse answers a request with err.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	a.logProblem(r.Context(), p, w.Header().Get(headerRequestID))
	p.write(w)
}

// logProblem logs what an operator has to know of: faults of ours, and a cluster that cannot answer.
func (a *api) logProblem(ctx context.Context, p *problem, request string) {
	switch {
	case p.Code == codeInternal:
		a.log.ErrorContext(ctx, "request failed", "request", request, "err", p.cause)
	case p.Status == http.StatusServiceUnavailable:
		a.log.WarnContext(ctx, "request could not be served", "request", request, "err", p.cause)
	}
}

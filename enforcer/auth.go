package enforcer

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// tokenCache keeps the tokens that callers present, by digest, so that a request
// does not wait for entries being applied. It is emptied when any token changes.
// Only tokens that exist are kept, so strangers cannot fill it.
type tokenCache struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]fsm.Token
	round uint64 // counts the times it was emptied
}

const maxCachedTokens = 10_000

// forget empties the cache.
func (c *tokenCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
	c.round++
}

// find returns the token with the digest.
func (c *tokenCache) find(m *fsm.Machine, digest [sha256.Size]byte) (fsm.Token, bool) {
	c.mu.RLock()
	t, ok := c.known[digest]
	round := c.round
	c.mu.RUnlock()
	if ok {
		return t, true
	}
	m.View(func(v *fsm.View) {
		if found := v.TokenByDigest(digest); found != nil {
			t, ok = *found, true
		}
	})
	// Looking up by digest tells nothing about the secret; this keeps it so if the lookup changes.
	if !ok || subtle.ConstantTimeCompare(t.Digest[:], digest[:]) != 1 {
		return fsm.Token{}, false
	}
	c.keep(t, round)
	return t, true
}

// keep remembers a token that was read in a round, unless the cache was emptied
// since: then it may have been read before the change.
func (c *tokenCache) keep(t fsm.Token, round uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round != round {
		return
	}
	if c.known == nil || len(c.known) >= maxCachedTokens {
		c.known = make(map[[sha256.Size]byte]fsm.Token)
	}
	c.known[t.Digest] = t
}

var bearer = []byte("bearer ")

// token returns the token that a request shows, expired or not.
func (s *server) token(h *fasthttp.RequestHeader) (fsm.Token, *problem) {
	header := h.Peek(fasthttp.HeaderAuthorization)
	if len(header) <= len(bearer) || !bytes.EqualFold(header[:len(bearer)], bearer) {
		return fsm.Token{}, newProblem(codeNoToken, "send Authorization: Bearer and a service token")
	}
	t, ok := s.e.tokens.find(s.e.m, sha256.Sum256(header[len(bearer):]))
	if !ok {
		// A node that is behind may not have heard of the token yet.
		if err := s.e.Ready(); err != nil {
			return fsm.Token{}, problemOf(err, "")
		}
		return fsm.Token{}, newProblem(codeNoToken, "the token is not known")
	}
	return t, nil
}

// authenticate returns the account that a request's token covers; empty: all.
func (s *server) authenticate(h *fasthttp.RequestHeader, now int64) (account string, p *problem) {
	t, p := s.token(h)
	if p != nil {
		return "", p
	}
	if t.ExpiresAt != 0 && now >= t.ExpiresAt {
		return "", newProblem(codeNoToken, "the token has expired")
	}
	if t.Role != fsm.RoleService && t.Role != fsm.RoleRoot {
		return "", newProblem(codeForbidden, "a token of role "+string(t.Role)+" does not open the data plane: use one of role service")
	}
	return t.Account, nil
}

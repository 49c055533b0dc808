package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func (a *api) tokenRoutes() {
	handle(a, route{method: http.MethodGet, path: "/v1/tokens", id: "list-tokens", tag: "tokens",
		summary: "List access tokens, without their secrets; a token of one account sees that account's", reach: ofAny}, a.listTokens)
	handle(a, route{method: http.MethodPost, path: "/v1/tokens", id: "create-token", tag: "tokens",
		summary: "Make an access token of at most the caller's own power; its secret is in this answer and nowhere else", reach: ofAny}, a.createToken)
	handle(a, route{method: http.MethodDelete, path: "/v1/tokens/{id}", id: "delete-token", tag: "tokens",
		summary: "Revoke a token on every node", reach: ofAny}, a.deleteToken)
}

type listTokensInput struct {
	Account string `query:"account" doc:"only of this account"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After   string `query:"after" doc:"next of the page before"`
}

func (a *api) listTokens(ctx context.Context, in *listTokensInput) (*answer[client.List[client.Token]], error) {
	account, err := within(whoAsks(ctx), in.Account)
	if err != nil {
		return nil, err
	}
	index := a.applied()
	items, next, err := a.machine.ListTokens(account, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	return &answer[client.List[client.Token]]{Index: index, Body: listOf(items, next, wireToken)}, nil
}

// within narrows a filter by account to what an identity covers.
func within(who identity, account string) (string, error) {
	if account == "" {
		return who.bound(), nil
	}
	if !who.covers(account) {
		return "", noAccount(account)
	}
	return account, nil
}

type createTokenInput struct{ Body client.Token }

func (a *api) createToken(ctx context.Context, in *createTokenInput) (*answer[client.Token], error) {
	who, x := whoAsks(ctx), &in.Body
	token := fsm.Token{ID: "tok_" + ulid.Make().String(), Name: x.Name, Role: fsm.Role(x.Role), Account: orEmpty(x.Account)}
	switch {
	case x.Account != nil && *x.Account == "":
		return nil, invalidField("account", "must be an account's id, or null for all accounts")
	case x.ExpiresAt != nil && !x.ExpiresAt.After(time.Now()):
		return nil, invalidField("expires_at", "is in the past")
	}
	if err := mayHandOut(who, &token); err != nil {
		return nil, err
	}
	if x.ExpiresAt != nil {
		token.ExpiresAt = x.ExpiresAt.UnixMilli()
	}
	if token.Account != "" {
		_, err := a.view(func(v *fsm.View) error {
			if v.Account(token.Account) == nil {
				return invalidField("account", "there is no account %q", token.Account)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	secret, digest := NewToken()
	token.Digest = digest
	if err := a.propose(ctx, fsm.PutToken{Token: token}); err != nil {
		return nil, err
	}
	var out answer[client.Token]
	var err error
	out.Index, err = a.view(func(v *fsm.View) error {
		stored := v.TokenByDigest(digest)
		if stored == nil {
			return goneAgain("token", token.ID)
		}
		out.Body = wireToken(stored)
		return nil
	})
	out.Body.Token = secret
	return &out, err
}

// mayHandOut refuses to make or revoke a token that reaches further than the one who asks.
func mayHandOut(who identity, t *fsm.Token) error {
	if power(t.Role) > power(who.token.Role) {
		return forbidden("role %s may not hand out or revoke role %s", who.token.Role, t.Role)
	}
	if t.Account != "" && !who.covers(t.Account) {
		return notFound("there is no account %q", t.Account) // whether or not there is
	}
	if !who.covers(t.Account) {
		return forbidden("a token of account %q handles tokens of that account only", who.bound())
	}
	return nil
}

type tokenInput struct {
	ID string `path:"id"`
}

func (a *api) deleteToken(ctx context.Context, in *tokenInput) (*done, error) {
	who := whoAsks(ctx)
	token, err := a.findToken(who.bound(), in.ID)
	if err != nil {
		return nil, err
	}
	if err := mayHandOut(who, token); err != nil {
		return nil, err
	}
	if err := a.propose(ctx, fsm.DeleteToken{ID: token.ID}); err != nil {
		return nil, err
	}
	return &done{Index: a.applied()}, nil
}

// findToken returns a token by id among those of an account (empty: all).
func (a *api) findToken(account, id string) (*fsm.Token, error) {
	for after := ""; ; {
		items, next, err := a.machine.ListTokens(account, after, pageMax)
		if err != nil {
			return nil, err
		}
		for i := range items {
			if items[i].ID == id {
				return &items[i], nil
			}
		}
		if next == "" {
			return nil, notFound("no token %q", id)
		}
		after = next
	}
}

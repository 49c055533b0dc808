package admin

import (
	"github.com/bursar-dev/bursar/fsm"
)

// reach says which tokens a route is for, by the accounts they cover.
type reach uint8

const (
	// ofAccount: the account in the path. A token bound to another account is
	// told that there is none.
	ofAccount reach = iota + 1
	// ofAll: the whole cluster. Tokens bound to an account are refused.
	ofAll
	// ofAny: every token; the handler shows a bound one its own account only.
	ofAny
)

// identity is who is asking: a token, where from, and in which request.
type identity struct {
	token   *fsm.Token
	ip      string
	request string // its id in the logs
	stale   bool   // the caller will do with what this node knows
}

// actor is the identity as the audit trail names it.
func (i identity) actor() fsm.Actor {
	return fsm.Actor{Type: "token", ID: i.token.ID, Name: i.token.Name, IP: i.ip}
}

// bound returns the account the token is for; empty: all.
func (i identity) bound() string { return i.token.Account }

// covers reports whether the token reaches an account.
func (i identity) covers(account string) bool {
	return i.token.Account == "" || i.token.Account == account
}

// power orders the roles by what they may hand on: a token makes and revokes
// tokens of its own power at most.
func power(r fsm.Role) int {
	switch r {
	case fsm.RoleRoot:
		return 2
	case fsm.RoleAdmin:
		return 1
	}
	return 0
}

// admit refuses an identity that a route is not for; account is the one in the
// route's path. What a token may not do comes before what it may not see, so that
// a 403 says nothing about accounts.
func (rt *route) admit(who identity, account string) error {
	role := who.token.Role
	switch {
	case role == fsm.RoleService:
		return errServiceToken
	case rt.writes() && role != fsm.RoleAdmin && role != fsm.RoleRoot:
		return forbidden("role %s may not change anything", role)
	case rt.reach == ofAll && who.bound() != "":
		return forbidden("a token of one account may not reach the whole cluster")
	case rt.reach == ofAccount && !who.covers(account):
		return noAccount(account)
	}
	return nil
}

var errServiceToken = forbidden("a service token is for the data plane")

// noAccount is the problem of an account that is not there, or not for this token.
func noAccount(id string) error { return notFound("no account %q", id) }

package enforcer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bursar-dev/bursar/fsm"
)

// A rejected event is in no ledger, and its sender may not look at the answer. So
// each node keeps the latest of them in memory, by account, and counts them all
// by code. It forgets them when it stops. What they held, metadata and amounts included, is not kept.

// Bounds of what a node keeps of rejected events, about 15 MB when full. One
// account's do not push out those of another, unless more accounts have some than are kept.
const (
	maxRejectedKept     = 32
	maxRejectedAccounts = 512
	maxRejectedDetail   = 240 // bytes
)

// noAccount is where events are kept that name no account there is.
const noAccount = ""

// Rejected is an event that an ingest rejected.
type Rejected struct {
	At      int64  `msgpack:"t"` // Unix milliseconds, of the node's clock
	Account string `msgpack:"a"` // as it was sent
	ID      string `msgpack:"i"` // as it was sent, cut short if it was too long to be one
	Code    string `msgpack:"c"`
	Detail  string `msgpack:"d"`
	Token   string `msgpack:"k"` // id of the token that sent it
}

// RejectedReply is what one node knows of an account's rejected events.
type RejectedReply struct {
	Since  int64            `msgpack:"s"` // since when it counts, Unix milliseconds
	Codes  map[string]int64 `msgpack:"c"` // how many since then
	Events []Rejected       `msgpack:"e"` // the latest maxRejectedKept, newest first
}

// RejectedRequest asks for the rejected events of an account; empty: those that name no account there is.
type RejectedRequest struct {
	Account string `msgpack:"a"`
}

// NodeRejected is RejectedReply of a node. Silent: it did not answer.
type NodeRejected struct {
	Node   fsm.NodeNum
	Silent bool
	RejectedReply
}

// rejections keeps rejected events. It is safe for concurrent use.
type rejections struct {
	mu       sync.Mutex
	since    int64 // an account that is not here has had none since then
	accounts map[string]*rejectedOf
}

// rejectedOf is an account's part. latest is a ring.
type rejectedOf struct {
	since  int64
	last   int64
	codes  map[string]int64
	latest []Rejected
	next   int
}

// add keeps one event under an account that there is, or noAccount.
func (r *rejections) add(account string, x Rejected) {
	x.Detail = clip(x.Detail, maxRejectedDetail)
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.accounts[account]
	if of == nil {
		if len(r.accounts) >= maxRejectedAccounts {
			r.forget()
		}
		if r.accounts == nil {
			r.accounts = map[string]*rejectedOf{}
		}
		of = &rejectedOf{since: r.since, codes: map[string]int64{}}
		r.accounts[account] = of
	}
	of.codes[x.Code]++
	of.last = x.At
	if len(of.latest) < maxRejectedKept {
		of.latest = append(of.latest, x)
		return
	}
	of.latest[of.next] = x
	of.next = (of.next + 1) % maxRejectedKept
}

// forget drops the account whose latest event is the oldest. Of an account that is not kept, all
// that can be said from then on is that it has had none since.
func (r *rejections) forget() {
	oldest := ""
	var at int64
	for account, of := range r.accounts {
		if at == 0 || of.last < at {
			oldest, at = account, of.last
		}
	}
	r.since = max(r.since, at+1)
	delete(r.accounts, oldest)
}

// of returns what is known of an account.
func (r *rejections) of(account string) RejectedReply {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.accounts[account]
	if of == nil {
		return RejectedReply{Since: r.since}
	}
	reply := RejectedReply{Since: of.since, Codes: maps.Clone(of.codes)}
	reply.Events = slices.Concat(of.latest[of.next:], of.latest[:of.next])
	slices.Reverse(reply.Events)
	return reply
}

// keepRejected keeps and counts what an ingest has rejected. token is the caller's, bound the
// account that it is bound to, empty for all.
func (s *server) keepRejected(items []ingestItem, token, bound string) {
	for i := range items {
		it := &items[i]
		if it.code == "" {
			continue
		}
		s.metrics.rejected(it.code)
		account := cmp.Or(it.ev.Account, bound)
		if s.e.account(s.e.catalog.Load(), []byte(account)) == nil {
			account = noAccount
		}
		s.e.rejections.add(account, Rejected{
			At: it.ev.ReceivedAt, Account: it.ev.Account, ID: it.sentID, Code: it.code, Detail: it.detail, Token: token,
		})
	}
}

// refusedUnheard keeps events that were acknowledged and then refused: by this node alone, while it could not know
// better. They are not in the metric, which counts answers. The log names the first: there may be as many as an outbox holds.
func (e *Enforcer) refusedUnheard(unheard []*shipment) {
	for i, sh := range unheard {
		code, detail := refusal(sh.ev, sh.outcome)
		if i == 0 {
			e.log.Warn("events that this node had acknowledged by itself were refused", "events", len(unheard), "account", sh.ev.Account, "event", sh.ev.ID,
				"at", time.UnixMilli(sh.ev.At).UTC(), "code", code, "detail", detail)
		}
		account := sh.ev.Account
		if e.account(e.catalog.Load(), []byte(account)) == nil {
			account = noAccount
		}
		e.rejections.add(account, Rejected{At: e.now(), Account: sh.ev.Account, ID: sh.ev.ID, Code: code, Detail: "acknowledged before: " + detail})
	}
}

// ClusterRejected returns what each live node knows of an account's rejected
// events, by number. A node that does not answer in time is Silent.
func (e *Enforcer) ClusterRejected(ctx context.Context, account string) []NodeRejected {
	live := e.roster.Load().Live
	all := make([]NodeRejected, len(live))
	var asks sync.WaitGroup
	for i, node := range live {
		all[i].Node = node
		if node == e.c.Node {
			all[i].RejectedReply = e.rejections.of(account)
			continue
		}
		asks.Go(func() {
			err := e.peers.Call(ctx, node, MethodRejected, &RejectedRequest{Account: account}, &all[i].RejectedReply)
			all[i].Silent = err != nil
		})
	}
	asks.Wait()
	slices.SortFunc(all, func(a, b NodeRejected) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

func (e *Enforcer) handleRejected(req *RejectedRequest) (*RejectedReply, error) {
	if len(req.Account) > fsm.MaxIDBytes {
		return nil, fmt.Errorf("an account's id of %d bytes", len(req.Account))
	}
	reply := e.rejections.of(req.Account)
	return &reply, nil
}

// clip cuts a text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

package enforcer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// soloPeers is a cluster of one node: what it is given is applied at once.
type soloPeers struct {
	t        testing.TB
	m        *fsm.Machine
	mu       sync.Mutex
	index    uint64
	leader   atomic.Bool // there is one
	heard    atomic.Int64
	silent   atomic.Bool // applies, but says that the outcome is unknown
	parts    atomic.Int64
	lastBoot atomic.Uint64

	// call answers requests to other nodes; nil: they cannot be reached.
	call func(node fsm.NodeNum, method Method, req, reply any) error
}

func (p *soloPeers) apply(body fsm.Body) (fsm.Outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := &fsm.Command{At: time.Now().UnixMilli(), Leader: 1, Body: body, Actor: fsm.Actor{Type: "node", ID: "n1"}}
	if _, hot := body.(fsm.Reconcile); !hot {
		cmd.ID = fmt.Sprintf("cmd-%d", p.index+1)
	}
	data, err := fsm.Encode(cmd)
	if err != nil {
		return fsm.Outcome{}, err
	}
	p.index++
	out, err := p.m.Apply([]fsm.Entry{{Index: p.index, Term: 1, Data: data}})
	if err != nil {
		return fsm.Outcome{}, err
	}
	if out[0].Err != nil {
		return out[0], out[0].Err
	}
	return out[0], nil
}

func (p *soloPeers) Reconcile(_ context.Context, part *fsm.Part) (*ReconcileReply, error) {
	if !p.leader.Load() {
		return nil, ErrNoLeader
	}
	p.heard.Store(time.Now().UnixNano())
	reply := &ReconcileReply{Leader: 1}
	if len(part.Events)+len(part.Releases)+len(part.Asks)+len(part.Exits) == 0 {
		return reply, nil
	}
	p.parts.Add(1)
	p.lastBoot.Store(part.Boot)
	out, err := p.apply(fsm.Reconcile{Parts: []fsm.Part{*part}})
	if err != nil {
		return nil, err
	}
	if p.silent.Load() {
		return nil, ErrUnknownOutcome
	}
	reply.Index, reply.Commit = out.Index, out.Index
	if len(out.Grants) > 0 {
		reply.Grants = out.Grants[0]
	}
	return reply, nil
}

func (p *soloPeers) Call(_ context.Context, node fsm.NodeNum, method Method, req, reply any) error {
	if p.call == nil {
		return ErrUnreachable
	}
	return p.call(node, method, req, reply)
}

func (p *soloPeers) HeardLeader() time.Time { return time.Unix(0, p.heard.Load()) }

// soloNode is one node with its data plane, over disks that outlive it.
type soloNode struct {
	t       testing.TB
	dir     string
	fs      vfs.FS
	peers   *soloPeers
	m       *fsm.Machine
	e       *Enforcer
	server  *fasthttp.Server
	tweak   func(*Config)
	stopRun func()
}

// The tokens of soloNode.
const (
	tokenAll     = "bt_all"
	tokenAcme    = "bt_acme"
	tokenRoot    = "bt_root"
	tokenAdmin   = "bt_admin"
	tokenExpired = "bt_expired" // after shortLife

	shortLife = 50 * time.Millisecond
)

// newSoloNode starts a node with the account acme, its chain acme ← team ← alice,
// another account, and a hard budget of 1000 tokens a month and 100 requests a
// day on the team.
func newSoloNode(t testing.TB) *soloNode {
	n := &soloNode{t: t, dir: t.TempDir(), fs: vfs.NewMem(), tweak: func(*Config) {}}
	n.start()
	t.Cleanup(func() { n.stop() })
	n.commit(fsm.PutAccount{ID: "acme"})
	n.commit(fsm.PutAccount{ID: "other"})
	n.commit(fsm.PutEntityTypes{Items: []fsm.EntityType{{ID: "team"}, {ID: "user"}}})
	n.commit(fsm.PutEntities{Account: "acme", Items: []fsm.Entity{
		{ID: "team", Type: "team"}, {ID: "alice", Type: "user", Parent: "team"},
	}})
	n.assign("team", fsm.CapTokens, 1000, fsm.EveryMonth, fsm.Hard)
	n.assign("team", fsm.CapRequests, 100, fsm.EveryDay, fsm.Hard)
	for id, tok := range map[string]fsm.Token{
		tokenAll:     {Role: fsm.RoleService},
		tokenAcme:    {Role: fsm.RoleService, Account: "acme"},
		tokenRoot:    {Role: fsm.RoleRoot},
		tokenAdmin:   {Role: fsm.RoleAdmin},
		tokenExpired: {Role: fsm.RoleService},
	} {
		if id == tokenExpired {
			tok.ExpiresAt = time.Now().Add(shortLife).UnixMilli()
		}
		tok.ID, tok.Name, tok.Digest = "tok_"+id, id, sha256.Sum256([]byte(id))
		n.commit(fsm.PutToken{Token: tok})
	}
	return n
}

func (n *soloNode) assign(entity, capability string, limit int64, every fsm.Every, enf fsm.Enforcement) {
	n.commit(fsm.PutAssignments{Account: "acme", Items: []fsm.AssignmentPut{{Assignment: fsm.Assignment{
		ID: "asg_" + entity + capability, Entity: entity, Capability: capability, Limit: limit,
		Cadence: fsm.Cadence{Every: every, Timezone: "UTC"}, Enforcement: enf, Mode: fsm.Cap,
	}}}})
}

func (n *soloNode) commit(body fsm.Body) {
	n.t.Helper()
	if _, err := n.peers.apply(body); err != nil {
		n.t.Fatalf("%T: %v", body, err)
	}
}

// start opens the node over what its disks hold and waits until it is ready.
func (n *soloNode) start() {
	n.t.Helper()
	m, err := fsm.Open("state", fsm.Options{FS: n.fs, Logger: quiet})
	if err != nil {
		n.t.Fatal(err)
	}
	n.m = m
	n.peers = &soloPeers{t: n.t, m: m}
	n.peers.index, _ = m.Applied()
	n.peers.leader.Store(true)
	n.peers.heard.Store(time.Now().UnixNano())
	c := Config{Name: "n1", Node: 1, DataDir: filepath.Join(n.dir, "data"), FS: n.fs, Logger: quiet, AckWait: 200 * time.Millisecond}
	n.tweak(&c)
	if n.peers.index == 0 {
		n.commit(fsm.Init{ClusterID: "c", Shares: fsm.DefaultShares, MaxStalenessMS: fsm.DefaultMaxStaleness.Milliseconds()})
		n.commit(fsm.AdmitNode{Name: "n1", Addr: "x"})
	}
	if n.e, err = Open(c, m, n.peers); err != nil {
		n.t.Fatal(err)
	}
	m.SetObserver(n.e)
	n.server = NewServer(n.e, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.e.Run(ctx, func(_ context.Context, body fsm.Body) error {
			if !n.peers.leader.Load() {
				return ErrNoLeader
			}
			_, err := n.peers.apply(body)
			return err
		}); err != nil {
			n.t.Errorf("run: %v", err)
		}
	}()
	n.stopRun = func() { cancel(); <-done }
	n.await("ready", func() bool { return n.e.Ready() == nil })
}

func (n *soloNode) stop() {
	if n.stopRun == nil {
		return
	}
	n.stopRun()
	n.stopRun = nil
	mustDo(n.t, n.e.Close(), n.m.Close())
}

// await waits until cond holds.
func (n *soloNode) await(what string, cond func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// response is an answer as a test looks at it.
type response struct {
	status int
	header func(string) string
	text   string
	json   map[string]any
}

func (a response) code() string { c, _ := a.json["code"].(string); return c }

// field returns the first field that a problem names.
func (a response) field() string {
	list, _ := a.json["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	f, _ := list[0].(map[string]any)["field"].(string)
	return f
}

// do sends a request with the token to the handler, past the network.
func (n *soloNode) do(method, path, token, body string, headers ...string) response {
	n.t.Helper()
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(path)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if body != "" {
		req.SetBodyString(body)
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	n.server.Handler(&ctx)
	a := response{
		status: ctx.Response.StatusCode(), text: string(ctx.Response.Body()),
		header: func(h string) string { return string(ctx.Response.Header.Peek(h)) },
	}
	if len(a.text) > 0 && a.header("Content-Type") != typeMsgpack {
		if err := json.Unmarshal([]byte(a.text), &a.json); err != nil {
			n.t.Fatalf("%s %s: %q is not JSON: %v", method, path, a.text, err)
		}
	}
	return a
}

func (n *soloNode) post(path, body string) response {
	n.t.Helper()
	return n.do("POST", path, tokenAll, body)
}

// used returns what a budget of the team counts now.
func (n *soloNode) used(capability string) (used int64) {
	n.m.View(func(v *fsm.View) {
		for _, a := range v.Assignments("acme", "team") {
			if a.Capability == capability {
				start, _ := a.Cadence.Period(time.Now().UnixMilli())
				used = v.Budget(a, start).Used
			}
		}
	})
	return used
}

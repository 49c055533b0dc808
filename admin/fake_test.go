package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// fakeCluster is a cluster of one node without raft: a command is encoded,
// becomes the next log entry and is applied.
type fakeCluster struct {
	machine *fsm.Machine

	mu       sync.Mutex
	index    uint64
	fail     error  // what Propose and Barrier answer, if set
	barrier  func() // if set, called by Barrier
	propose  func() // if set, called by Propose
	barriers int
	removed  []string
	leader   string // asked for by TransferLeadership
}

func (c *fakeCluster) Propose(ctx context.Context, actor fsm.Actor, body fsm.Body) (uint64, error) {
	c.mu.Lock()
	propose := c.propose
	c.mu.Unlock()
	if propose != nil {
		propose()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return 0, c.fail
	}
	return c.apply(actor, body)
}

func (c *fakeCluster) apply(actor fsm.Actor, body fsm.Body) (uint64, error) {
	id := ulid.Make().String()
	if _, hot := body.(fsm.Reconcile); hot {
		id = ""
	}
	data, err := fsm.Encode(&fsm.Command{ID: id, At: time.Now().UnixMilli(), Leader: 1, Actor: actor, Body: body})
	if err != nil {
		return 0, err
	}
	c.index++
	out, err := c.machine.Apply([]fsm.Entry{{Index: c.index, Term: 1, Data: data}})
	if err != nil {
		return 0, err
	}
	if out[0].Err != nil {
		return c.index, out[0].Err
	}
	return c.index, nil
}

func (c *fakeCluster) Barrier(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	c.barriers++
	barrier := c.barrier
	c.mu.Unlock()
	if barrier != nil {
		barrier()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index, c.fail
}

func (c *fakeCluster) setBarrier(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.barrier = f
}

func (c *fakeCluster) setPropose(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.propose = f
}

func (c *fakeCluster) setFail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

func (c *fakeCluster) Status() cluster.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cluster.Status{
		ClusterID: "test", Name: "n1", Num: 1, Leader: "n1", State: "leader", Term: 1, Commit: c.index, Applied: c.index,
		Members: []cluster.Member{
			{Name: "n1", Num: 1, Addr: "127.0.0.1:1", Voter: true, Leader: true, Boot: 1, Applied: c.index, LastHeard: time.Now()},
			{Name: "n2", Num: 2, Addr: "127.0.0.1:2", Voter: true, Boot: 1},
		},
	}
}

func (c *fakeCluster) Remove(ctx context.Context, actor fsm.Actor, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, name)
	return c.fail
}

func (c *fakeCluster) TransferLeadership(ctx context.Context, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = to
	return c.fail
}

// plane is a control plane under test.
type plane struct {
	t       testing.TB
	cluster *fakeCluster
	machine *fsm.Machine
	server  *httptest.Server
	root    string // secret of a root token
	logs    *lockedBuffer

	mu       sync.Mutex
	ready    error
	reserved map[uint64]int64 // by assignment
	asked    int              // how many times it was asked for
	rejected func(ctx context.Context, account string) []enforcer.NodeRejected
	silent   int // how many more times a node does not answer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newPlane starts a control plane over a fresh state machine with two nodes, a root token and the account acme.
func newPlane(t testing.TB) *plane {
	t.Helper()
	return planeOver(t, openMachine(t), func(l net.Listener) net.Listener { return briefListener{l} })
}

// planeOver starts a control plane over an empty state machine, on a listener of listen's making.
func planeOver(t testing.TB, m *fsm.Machine, listen func(net.Listener) net.Listener) *plane {
	t.Helper()
	p := &plane{t: t, machine: m, cluster: &fakeCluster{machine: m}, logs: &lockedBuffer{}, reserved: map[uint64]int64{}}
	p.apply(fsm.Init{ClusterID: "test", Shares: fsm.DefaultShares, MaxStalenessMS: 10_000})
	for i, name := range []string{"n1", "n2"} {
		p.apply(fsm.AdmitNode{Name: name, Addr: fmt.Sprintf("127.0.0.1:%d", i+1)})
		p.apply(fsm.BootNode{Node: fsm.NodeNum(i + 1), Boot: 1})
	}
	p.apply(fsm.PutAccount{ID: "acme", Name: "Acme"})
	p.root = p.token(fsm.RoleRoot, "")
	h := New(Config{
		Cluster: p.cluster, Machine: m, NodeName: "n1",
		Reserved: func(_ context.Context, keys []fsm.BudgetKey) ([]int64, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			out := make([]int64, len(keys))
			for i, k := range keys {
				out[i] = p.reserved[k.Assignment]
			}
			p.asked++
			if p.silent > 0 {
				p.silent--
				return out, fmt.Errorf("node 2: %w", enforcer.ErrUnreachable)
			}
			return out, nil
		},
		Rejected: func(ctx context.Context, account string) []enforcer.NodeRejected {
			if p.rejected == nil {
				return nil
			}
			return p.rejected(ctx, account)
		},
		Ready: func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.ready
		},
		Logger: slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	p.server = httptest.NewUnstartedServer(h)
	p.server.Config = NewServer(h)
	p.server.Listener = listen(p.server.Listener)
	p.server.Start()
	t.Cleanup(p.server.Close)
	return p
}

// apply commits a command as the cluster itself.
func (p *plane) apply(body fsm.Body) uint64 {
	p.t.Helper()
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	index, err := p.cluster.apply(fsm.Actor{Type: "node", ID: "n1"}, body)
	if err != nil {
		p.t.Fatalf("%T: %v", body, err)
	}
	return index
}

// token makes a token and returns its secret.
func (p *plane) token(role fsm.Role, account string) string {
	p.t.Helper()
	secret, digest := NewToken()
	p.apply(fsm.PutToken{Token: fsm.Token{ID: "tok_" + ulid.Make().String(), Name: string(role), Role: role, Account: account, Digest: digest}})
	return secret
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

// call makes a request; body "" sends none.
func (p *plane) call(token, method, path, body string) reply {
	p.t.Helper()
	return p.callWith(token, method, path, body, nil)
}

func (p *plane) callWith(token, method, path, body string, header map[string]string) reply {
	p.t.Helper()
	req, err := http.NewRequest(method, p.server.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := p.server.Client().Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode, header: res.Header}
	if r.body, err = io.ReadAll(res.Body); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	json.Unmarshal(r.body, &r.json)
	return r
}

// must makes a request as root and fails the test unless it is answered with 200 or 204.
func (p *plane) must(method, path, body string) reply {
	p.t.Helper()
	r := p.call(p.root, method, path, body)
	if r.status != http.StatusOK && r.status != http.StatusNoContent {
		p.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

// field returns the field that a 400 names first.
func (r reply) field() string {
	list, _ := r.json["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	return list[0].(map[string]any)["field"].(string)
}

// items returns the values of one field of a list's items.
func (r reply) items(field string) []string {
	list, _ := r.json["items"].([]any)
	out := []string{}
	for _, x := range list {
		out = append(out, fmt.Sprint(x.(map[string]any)[field]))
	}
	return out
}

// company gives acme a tree: acme → team-a (alice, bob) and team-b (carol), with budgets.
func (p *plane) company() {
	p.t.Helper()
	p.must("PUT", "/v1/entity-types", `{"entity_types":[{"id":"team","name":"Team"},{"id":"user","parents":["team"]}]}`)
	p.must("PUT", "/v1/accounts/acme/entities", `{"entities":[
		{"id":"team-a","type":"team","name":"Ärzte"},{"id":"team-b","type":"team"},
		{"id":"alice","type":"user","parent":"team-a","name":"Alice"},{"id":"bob","type":"user","parent":"team-a"},
		{"id":"carol","type":"user","parent":"team-b"}]}`)
	p.must("PUT", "/v1/accounts/acme/assignments", `{"assignments":[
		{"entity":"team-a","capability":"tokens","limit":10000,"cadence":"month"},
		{"entity":"alice","capability":"tokens","limit":1000,"cadence":"day","enforcement":"soft"},
		{"entity":"bob","capability":"usd","limit":null,"cadence":{"every":"month","timezone":"Europe/Berlin"}},
		{"entity":"team-b","capability":"tokens","limit":500,"cadence":"never","scope":["carol"]}]}`)
}

// assignment returns the stored assignment of a capability to an entity of acme.
func (p *plane) assignment(entity, capability string) fsm.Assignment {
	p.t.Helper()
	items, _, err := p.machine.ListAssignments("acme", fsm.AssignmentFilter{Entity: entity, Capability: capability}, "", 10)
	if err != nil || len(items) != 1 {
		p.t.Fatalf("assignments of %s to %s: %v, %v", capability, entity, items, err)
	}
	return items[0]
}

// settle records an event that charges one budget of acme.
func (p *plane) settle(id string, a fsm.Assignment, amount int64) {
	p.t.Helper()
	at := time.Now().UnixMilli()
	start, _ := a.Cadence.Period(at)
	p.apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Boot: 1, Events: []fsm.Event{{
		Account: "acme", ID: id, Hash: TokenDigest(id), Entities: []string{a.Entity}, Chain: []string{a.Entity, "acme"},
		Model: "gpt-4o", Usage: []fsm.Quantity{{Capability: a.Capability, Amount: amount}}, At: at, ReceivedAt: at, Node: 1,
		Metadata: map[string]string{"trace": "a,b\n\"c\""},
		Lines:    []fsm.Line{{Budget: fsm.BudgetKey{Assignment: a.Num, Start: start}, Amount: amount}},
	}}}}})
}

// briefListener's connections keep little of what their peer does not read, so
// that an answer of some hundred kilobytes waits for its reader.
type briefListener struct{ net.Listener }

func (l briefListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetWriteBuffer(16<<10))
	}
	return conn, err
}

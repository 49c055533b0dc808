package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"github.com/bursar-dev/bursar/client"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // where net/http complains of answers that come twice
	goleak.VerifyTestMain(m)
}

// fakeCluster keeps the books that several fake nodes share.
type fakeCluster struct {
	mu       sync.Mutex
	events   map[string]string // id → body as received first
	sends    map[string]int    // id → times received by a node that processed it
	conflict []string          // ids that came again with another body
	holds    int
	released []string
	limit    int // checks allowed; 0: all
	checks   int
	reject   func(e map[string]any) string // code; empty: accept
	refuse   func(body []byte) int         // status for a whole ingest; 0: none
}

// fakeNode is a data plane that misbehaves as told.
type fakeNode struct {
	*httptest.Server
	cluster *fakeCluster
	calls   atomic.Int64 // requests but probes
	probes  atomic.Int64
	ready   atomic.Bool
	fault   atomic.Pointer[func(path string) fault]
}

// fault is what happens to one request.
type fault struct {
	dropBefore bool // the connection breaks before the node acts
	dropAfter  bool // it acts, and the answer is lost
	status     int  // it turns the request away
	retryAfter string
	delay      time.Duration
	twice      bool // it answers twice
}

func newFakeCluster(t *testing.T, nodes int) (*fakeCluster, []*fakeNode) {
	t.Helper()
	c := &fakeCluster{events: map[string]string{}, sends: map[string]int{}}
	all := make([]*fakeNode, nodes)
	for i := range all {
		n := &fakeNode{cluster: c}
		n.ready.Store(true)
		n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
		t.Cleanup(n.Close)
		all[i] = n
	}
	return c, all
}

func (n *fakeNode) misbehave(f func(path string) fault) { n.fault.Store(&f) }

func always(f fault) func(string) fault { return func(string) fault { return f } }

// atFirst gives f to the first count requests.
func atFirst(count int64, f fault) func(string) fault {
	var seen atomic.Int64
	return func(string) fault {
		if seen.Add(1) <= count {
			return f
		}
		return fault{}
	}
}

func urls(nodes []*fakeNode) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.URL
	}
	return out
}

const testToken = "bt_secret"

// newClient makes a client of nodes with short timeouts.
func newClient(t *testing.T, nodes []*fakeNode, change func(*client.Options)) *client.Client {
	t.Helper()
	o := client.Options{
		Endpoints: urls(nodes), Token: testToken,
		Timeout: 2 * time.Second, TryTimeout: 200 * time.Millisecond,
		IngestTimeout: 5 * time.Second, IngestTryTimeout: 300 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (n *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" {
		n.probes.Add(1)
		if !n.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	n.calls.Add(1)
	w.Header().Set("Bursar-Request", r.Header.Get("Bursar-Request"))
	var f fault
	if choose := n.fault.Load(); choose != nil {
		f = (*choose)(r.URL.Path)
	}
	body, _ := io.ReadAll(r.Body)
	if f.dropBefore {
		panic(http.ErrAbortHandler)
	}
	time.Sleep(f.delay)
	if f.status != 0 {
		w.Header().Set("Retry-After", f.retryAfter)
		writeProblem(w, f.status, map[int]string{429: "overloaded", 503: "unavailable"}[f.status])
		return
	}
	status, answer := n.act(r, body)
	if f.dropAfter {
		panic(http.ErrAbortHandler)
	}
	if f.twice {
		answerTwice(w, r, answer)
		return
	}
	if status >= 400 {
		writeProblem(w, status, answer.(string))
		return
	}
	n.write(w, r, status, answer)
}

func (n *fakeNode) act(r *http.Request, body []byte) (int, any) {
	if r.Header.Get("Authorization") != "Bearer "+testToken {
		return 401, "unauthorized"
	}
	if len(r.TransferEncoding) > 0 {
		return 400, "invalid_request"
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/v1/check":
		var req map[string]any
		n.decode(r, body, &req)
		return 200, c.check(req)
	case path == "/v1/checks":
		var req struct {
			Checks []map[string]any `json:"checks"`
		}
		n.decode(r, body, &req)
		items := []any{}
		for _, one := range req.Checks {
			items = append(items, c.check(one))
		}
		return 200, map[string]any{"items": items, "next": nil}
	case path == "/v1/ingest":
		return c.ingest(n, r, body)
	case strings.HasSuffix(path, "/release"):
		c.released = append(c.released, path)
		return 200, map[string]any{"released": map[string]any{"tokens": 10}}
	case strings.HasSuffix(path, "/extend"):
		return 200, map[string]any{"expires_at": "2030-01-01T00:00:00Z"}
	}
	return 404, "not_found"
}

func (c *fakeCluster) check(req map[string]any) map[string]any {
	c.checks++
	if c.limit > 0 && c.checks > c.limit {
		return map[string]any{"allowed": false, "code": "budget_exhausted", "denied_by": map[string]any{
			"entity": "team-a", "type": "team", "capability": "tokens", "scope": []string{},
			"cadence": map[string]any{"every": "month", "timezone": "UTC"}, "limit": 10, "used": 10, "reserved": 0, "requested": 1,
			"resets_at": "2030-01-01T00:00:00Z"}}
	}
	out := map[string]any{"allowed": true, "code": "ok", "remaining": map[string]any{"tokens": 8800}, "index": 4711}
	if req["reserve_ttl_ms"] != nil {
		c.holds++
		out["reservation"] = fmt.Sprintf("rsv_%d", c.holds)
		out["expires_at"] = "2029-01-01T00:00:00Z"
	}
	return out
}

func (c *fakeCluster) ingest(n *fakeNode, r *http.Request, body []byte) (int, any) {
	if c.refuse != nil {
		if status := c.refuse(body); status != 0 {
			return status, map[int]string{400: "invalid_request", 401: "unauthorized", 413: "too_large"}[status]
		}
	}
	var req struct {
		Events []map[string]any `json:"events"`
	}
	n.decode(r, body, &req)
	accepted, duplicates, rejected := 0, 0, []any{}
	for i, e := range req.Events {
		id := e["id"].(string)
		text, _ := json.Marshal(e)
		c.sends[id]++
		first, known := c.events[id]
		code := ""
		if c.reject != nil {
			code = c.reject(e)
		}
		switch {
		case code != "":
			rejected = append(rejected, map[string]any{"index": i, "id": id, "code": code, "detail": "told to"})
		case !known:
			c.events[id] = string(text)
			accepted++
		case first == string(text):
			duplicates++
		default:
			c.conflict = append(c.conflict, id)
		}
	}
	return 200, map[string]any{"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "durability": "quorum"}
}

func (n *fakeNode) decode(r *http.Request, body []byte, into any) {
	var err error
	if r.Header.Get("Content-Type") == "application/msgpack" {
		d := msgpack.NewDecoder(bytes.NewReader(body))
		d.SetCustomStructTag("json")
		err = d.Decode(into)
	} else {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		panic(fmt.Sprintf("a body that cannot be read: %v: %q", err, body))
	}
}

func (n *fakeNode) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	if r.Header.Get("Content-Type") == "application/msgpack" {
		b, err := msgpack.Marshal(v)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Type", "application/msgpack")
		w.Write(b)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func writeProblem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "detail": "told to"})
}

// answerTwice writes one answer two times to the raw connection.
func answerTwice(w http.ResponseWriter, r *http.Request, v any) {
	b, _ := json.Marshal(v)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	for range 2 {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nBursar-Request: %s\r\nContent-Length: %d\r\n\r\n%s",
			r.Header.Get("Bursar-Request"), len(b), b)
	}
	time.Sleep(10 * time.Millisecond)
}

// chaos misbehaves in every way, now and then.
func chaos(string) fault {
	switch rand.IntN(12) {
	case 0:
		return fault{dropBefore: true}
	case 1, 2:
		return fault{dropAfter: true}
	case 3:
		return fault{status: 503}
	case 4:
		return fault{status: 429, retryAfter: "0"}
	case 5:
		return fault{status: 500}
	case 6:
		return fault{delay: time.Duration(rand.IntN(20)) * time.Millisecond}
	case 7:
		return fault{twice: true}
	}
	return fault{}
}

// checkBooks fails unless the cluster has exactly the events of ids, each with one body.
func (c *fakeCluster) checkBooks(t *testing.T, ids []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := 0
	for _, id := range ids {
		if _, ok := c.events[id]; !ok {
			missing++
		}
	}
	if missing > 0 || len(c.events) != len(ids) || len(c.conflict) > 0 {
		t.Errorf("of %d events %d are missing; %d are recorded; %d came again with another body", len(ids), missing, len(c.events), len(c.conflict))
	}
}

// sent is how often events were received, repeats included.
func (c *fakeCluster) sent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, times := range c.sends {
		n += times
	}
	return n
}

// count reads a counter of the cluster's.
func (c *fakeCluster) count(n *int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *n
}

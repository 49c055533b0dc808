package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

func TestWithoutALeaderOnlyStaleReadsAreAnswered(t *testing.T) {
	p := newPlane(t)
	p.company()
	for _, fault := range []error{
		fmt.Errorf("forwarding: %w", enforcer.ErrNoLeader), cluster.ErrNotLeader, enforcer.ErrUnreachable,
		enforcer.ErrUnknownOutcome, cluster.ErrStopped, context.DeadlineExceeded,
	} {
		p.cluster.setFail(fault)
		for _, c := range []struct{ method, path, body string }{
			{"GET", "/v1/accounts", ""},
			{"GET", "/v1/accounts/acme/tree", ""},
			{"PUT", "/v1/accounts/acme", `{"name":"A"}`},
			{"POST", "/v1/cluster/nodes/n2/remove", ""},
		} {
			r := p.call(p.root, c.method, c.path, c.body)
			if r.status != 503 || r.json["code"] != "unavailable" || r.header.Get("Retry-After") == "" {
				t.Errorf("%v: %s %s: %d %s, want 503 unavailable with Retry-After", fault, c.method, c.path, r.status, r.body)
			}
		}
		for _, path := range []string{"/v1/accounts?consistency=stale", "/v1/accounts/acme/tree?consistency=stale", "/v1/cluster", "/v1/cluster?consistency=stale"} {
			if r := p.call(p.root, "GET", path, ""); r.status != 200 {
				t.Errorf("%v: GET %s: %d %s, want 200", fault, path, r.status, r.body)
			}
		}
		// What is wrong with a request does not need a leader to be found.
		if r := p.call(p.root, "PUT", "/v1/accounts/acme", `{}`); r.status != 400 {
			t.Errorf("%v: a bad request: %d, want 400", fault, r.status)
		}
	}
}

// Before its command is proposed, and for a read at any time, a lost answer has changed nothing.
func TestOnlyAProposedWriteHasAnUnknownOutcome(t *testing.T) {
	p := newPlane(t)
	p.company()
	const unknown = "may still take effect"
	p.cluster.setFail(fmt.Errorf("%w: node 2 did not answer", enforcer.ErrUnknownOutcome))
	for method, body := range map[string]string{"GET": "", "PUT": `{"name":"A"}`} {
		if r := p.call(p.root, method, "/v1/accounts/acme", body); r.status != 503 || strings.Contains(string(r.body), unknown) {
			t.Errorf("%s whose barrier got no answer: %d %s, want 503 that speaks of no write", method, r.status, r.body)
		}
	}
	silent := fmt.Errorf("%w: %w: node 2 did not answer", errNotAllSaid, enforcer.ErrUnknownOutcome)
	if got := problemOf(silent); got.Status != 503 || got.Detail != errNotAllSaid.Error() {
		t.Errorf("a balance that a node did not answer for: %d %q, want 503 %q", got.Status, got.Detail, errNotAllSaid)
	}

	p.cluster.setFail(nil)
	p.cluster.setPropose(func() { p.cluster.setFail(enforcer.ErrUnknownOutcome) })
	if r := p.call(p.root, "PUT", "/v1/accounts/acme", `{"name":"A"}`); r.status != 503 || !strings.Contains(string(r.body), unknown) {
		t.Errorf("PUT whose proposal got no answer: %d %s, want 503 that says it %s", r.status, r.body, unknown)
	}
}

func TestProblemsAreShortWhateverWasSent(t *testing.T) {
	p := newPlane(t)
	p.company()
	long := "x" + strings.Repeat("ü", 100_000) // ends in the middle of a character at any even length
	const most = 8 * maxShownBytes
	for name, body := range map[string]string{
		"unknown field": `{"entities":[{"id":"x","type":"user","` + long + `":1}]}`,
		"unknown type":  `{"entities":[{"id":"x","type":"` + long + `"}]}`,
		"wrong id":      `{"entities":[{"id":"` + long + `","type":"user"}]}`,
	} {
		r := p.call(p.root, "PUT", "/v1/accounts/acme/entities", body)
		if r.status != 400 || r.json["code"] != "invalid_request" || len(r.body) > most {
			t.Errorf("%s of 200,000 bytes: %d %v with %d bytes, want 400 invalid_request with at most %d", name, r.status, r.json["code"], len(r.body), most)
		}
		if strings.Contains(fmt.Sprint(r.json), "\uFFFD") {
			t.Errorf("%s: a character is cut in half: %s", name, r.body)
		}
	}
}

func TestUnexpectedErrorsSayNothingAndAreLogged(t *testing.T) {
	p := newPlane(t)
	p.cluster.setFail(errors.New("pebble: /var/lib/bursar is on fire"))
	r := p.call(p.root, "PUT", "/v1/accounts/acme", `{"name":"A"}`)
	if r.status != 500 || strings.Contains(string(r.body), "fire") {
		t.Errorf("%d %s, want a 500 without the cause", r.status, r.body)
	}
	if !strings.Contains(p.logs.String(), "on fire") {
		t.Error("the cause is not in the log")
	}
}

func TestOverloadIsRefusedAtOnce(t *testing.T) {
	p := newPlane(t)
	release := make(chan struct{})
	arrived := make(chan struct{}, maxRequests)
	p.cluster.setBarrier(func() { arrived <- struct{}{}; <-release })
	var wg sync.WaitGroup
	for range maxRequests {
		wg.Go(func() {
			if r := p.call(p.root, "GET", "/v1/accounts", ""); r.status != 200 {
				t.Errorf("a request within the limit: %d %s", r.status, r.body)
			}
		})
	}
	for range maxRequests {
		<-arrived
	}
	r := p.call(p.root, "GET", "/v1/accounts", "")
	if r.status != 429 || r.json["code"] != "overloaded" || r.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s, want 429 overloaded", r.status, r.body)
	}
	for _, probe := range []string{"/healthz", "/readyz", "/metrics"} {
		if r := p.call("", "GET", probe, ""); r.status != 200 {
			t.Errorf("%s under load: %d, want 200", probe, r.status)
		}
	}
	p.cluster.setBarrier(nil)
	close(release)
	wg.Wait()
	if r := p.call(p.root, "GET", "/v1/accounts", ""); r.status != 200 {
		t.Errorf("afterwards: %d, want 200", r.status)
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	p := newPlane(t)
	p.cluster.setBarrier(func() { panic("slice bounds out of range") })
	r := p.call(p.root, "GET", "/v1/accounts", "")
	if r.status != 500 || r.json["code"] != "internal" || strings.Contains(string(r.body), "slice") {
		t.Errorf("%d %s, want a 500 that does not say why", r.status, r.body)
	}
	if logs := p.logs.String(); !strings.Contains(logs, "slice bounds") || !strings.Contains(logs, r.header.Get("X-Request-Id")) {
		t.Errorf("the log does not tell of request %s:\n%s", r.header.Get("X-Request-Id"), logs)
	}
	p.cluster.setBarrier(nil)
	if r := p.call(p.root, "GET", "/v1/accounts", ""); r.status != 200 {
		t.Errorf("the next request: %d, want 200", r.status)
	}
}

// huma panics when it cannot write an answer.
func TestCallerWhoHangsUpIsNoFault(t *testing.T) {
	logs := &lockedBuffer{}
	a := &api{machine: openMachine(t), log: slog.New(slog.NewTextHandler(logs, nil))}
	h := a.harden(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic(fmt.Errorf("error marshaling response: %w", &net.OpError{Op: "write", Err: syscall.EPIPE}))
	}))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || strings.Contains(logs.String(), "panicked") {
			t.Errorf("panic %v, log %q, want the answer cut off and nothing said", p, logs.String())
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/accounts", nil))
}

func TestReadyzFollowsTheNode(t *testing.T) {
	p := newPlane(t)
	if r := p.call("", "GET", "/readyz", ""); r.status != 200 {
		t.Errorf("ready: %d %s", r.status, r.body)
	}
	p.mu.Lock()
	p.ready = errors.New("no leader heard for 11s")
	p.mu.Unlock()
	if r := p.call("", "GET", "/readyz", ""); r.status != 503 || !strings.Contains(string(r.body), "no leader heard") {
		t.Errorf("not ready: %d %s, want 503 and why", r.status, r.body)
	}
	if r := p.call("", "GET", "/healthz", ""); r.status != 200 {
		t.Errorf("healthz: %d", r.status)
	}
}

func TestMetricsShowRaftAndMembers(t *testing.T) {
	p := newPlane(t)
	p.apply(fsm.DeadNode{Node: 2})
	reg := prometheus.NewPedanticRegistry()
	Metrics(reg, p.machine, p.cluster)
	rec := httptest.NewRecorder()
	New(Config{Machine: p.machine, Cluster: p.cluster, Gatherer: reg}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`bursar_cluster_members{status="dead"} 1`, `bursar_cluster_members{status="live"} 1`, `bursar_cluster_members{status="removed"} 0`,
		"bursar_raft_leader 1", "bursar_raft_has_leader 1", "bursar_raft_term 1", `bursar_node_session{node="n1"} 1`,
	} {
		if !strings.Contains(rec.Body.String(), want+"\n") {
			t.Errorf("/metrics has no %s:\n%s", want, rec.Body)
		}
	}
}

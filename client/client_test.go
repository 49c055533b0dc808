package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

var oneCall = client.CheckRequest{Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 1200}}

func TestADecisionIsNotAnErrorEitherWay(t *testing.T) {
	for _, encoding := range []client.Encoding{client.JSON, client.MsgPack} {
		cluster, nodes := newFakeCluster(t, 1)
		cluster.limit = 1
		c := newClient(t, nodes, func(o *client.Options) { o.Encoding = encoding })
		yes, err := c.Check(t.Context(), oneCall)
		if err != nil || !yes.Allowed || yes.Code != client.CodeOK || yes.Remaining["tokens"] != 8800 || yes.Index != 4711 || yes.Degraded {
			t.Errorf("first check: %+v, %v", yes, err)
		}
		no, err := c.Check(t.Context(), oneCall)
		if err != nil || no.Allowed || no.Code != client.CodeBudgetExhausted {
			t.Fatalf("second check: %+v, %v", no, err)
		}
		resets := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		want := &client.Denial{Entity: "team-a", Type: "team", Capability: "tokens", Scope: []string{},
			Cadence: client.Cadence{Every: "month", Timezone: "UTC"}, Limit: 10, Used: 10, Requested: 1, ResetsAt: &resets}
		if diff := cmp.Diff(want, no.DeniedBy); diff != "" {
			t.Errorf("encoding %d: denied_by (-want +got):\n%s", encoding, diff)
		}
	}
}

func TestChecksAnswerInOrder(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	cluster.limit = 2
	c := newClient(t, nodes, nil)
	got, err := c.Checks(t.Context(), []client.CheckRequest{oneCall, oneCall, oneCall})
	if err != nil || len(got) != 3 || !got[0].Allowed || !got[1].Allowed || got[2].Allowed {
		t.Errorf("checks: %+v, %v", got, err)
	}
}

func TestADeadNodeCostsNoCall(t *testing.T) {
	_, nodes := newFakeCluster(t, 3)
	c := newClient(t, nodes, nil)
	nodes[0].Close()
	for i := range 50 {
		if d, err := c.Check(t.Context(), oneCall); err != nil || !d.Allowed {
			t.Fatalf("check %d: %v", i, err)
		}
	}
}

func TestUnavailableIsRetriedAtOnceOnAnotherNode(t *testing.T) {
	_, nodes := newFakeCluster(t, 3)
	nodes[0].misbehave(always(fault{status: 503, retryAfter: "5"}))
	nodes[1].misbehave(always(fault{status: 503, retryAfter: "5"}))
	c := newClient(t, nodes, nil)
	start := time.Now()
	for range 10 {
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("10 checks past two unavailable nodes took %v", took)
	}
}

func TestOverloadedNodeIsLeftAloneForAsLongAsItSays(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(atFirst(1, fault{status: 429, retryAfter: "1"}))
	c := newClient(t, nodes, nil)
	start := time.Now()
	if _, err := c.Check(t.Context(), oneCall); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("came back after %v, it said 1 s", took)
	}
}

func TestANodeThatTakesNoIngestsIsAskedToDecide(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	var decided [2]atomic.Int64
	for i, n := range nodes {
		n.misbehave(func(path string) fault {
			if path == "/v1/ingest" {
				return fault{status: 429, retryAfter: "20"}
			}
			decided[i].Add(1)
			return fault{delay: time.Duration(i) * 20 * time.Millisecond} // the first one is cheaper
		})
	}
	c := newClient(t, nodes[:1], nil)
	if _, err := c.Ingest(t.Context(), []client.Event{event("e")}); !errors.Is(err, client.ErrOverloaded) {
		t.Fatal(err)
	}
	c = newClient(t, nodes, nil)
	for i := range 2 { // one rests, then both
		if _, err := c.Ingest(t.Context(), []client.Event{event(fmt.Sprint(i))}); !errors.Is(err, client.ErrOverloaded) {
			t.Fatal(err)
		}
	}
	for range 10 {
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
	}
	if decided[0].Load() < 5 {
		t.Errorf("%d of 10 checks went to the node that decides sooner", decided[0].Load())
	}
}

func TestAnIngestWaitsForTheRestThatAnotherWasAskedFor(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(atFirst(1, fault{status: 429, retryAfter: "1"}))
	c := newClient(t, nodes, nil)
	hasty, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Ingest(hasty, []client.Event{event("a")}); !errors.Is(err, client.ErrOverloaded) {
		t.Fatal(err) // it does not wait for what its context does not allow
	}
	start := time.Now()
	if _, err := c.Ingest(t.Context(), []client.Event{event("b")}); err != nil {
		t.Fatal(err)
	}
	if took, calls := time.Since(start), nodes[0].calls.Load(); took < 900*time.Millisecond || calls != 2 {
		t.Errorf("after %v and %d requests: the node had asked for 1 s", took, calls)
	}
}

func TestAWaitThatDoesNotFitTheTimeoutIsNotBegun(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 429, retryAfter: "20"}))
	c := newClient(t, nodes, nil)
	start := time.Now()
	_, err := c.Check(t.Context(), oneCall)
	if !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, client.ErrOverloaded) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("error is %v", err)
	}
	if u, ok := errors.AsType[*client.UnavailableError](err); !ok || u.After != 20*time.Second {
		t.Errorf("error %#v does not say when to come back", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestAVerdictIsNotRetried(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	c := newClient(t, nodes, func(o *client.Options) { o.Token = "bt_other"; o.WhenAway = client.FailOpen })
	_, err := c.Check(t.Context(), oneCall)
	p, ok := errors.AsType[*client.Problem](err)
	if !errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrForbidden) || !ok || p.Status != 401 {
		t.Errorf("error is %v", err)
	}
	if n := nodes[0].calls.Load() + nodes[1].calls.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestALostReserveIsRetriedOnceOnly(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 3)
	for _, n := range nodes {
		n.misbehave(always(fault{dropAfter: true}))
	}
	c := newClient(t, nodes, nil)
	_, err := c.Reserve(t.Context(), oneCall, time.Minute)
	if !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("error is %v", err)
	}
	if n := cluster.count(&cluster.holds); n != 2 {
		t.Errorf("%d holds are left behind, want 2", n)
	}
	if _, err := c.Check(t.Context(), oneCall); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("check: %v", err)
	}
	if n := cluster.count(&cluster.checks); n != 5 {
		t.Errorf("%d checks were seen, want 2 reserving and 3 not", n)
	}
}

func TestReserveThenCommit(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 2)
	c := newClient(t, nodes, nil)
	r, err := c.Reserve(t.Context(), oneCall, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.ID() != "rsv_1" || r.ExpiresAt().Year() != 2029 {
		t.Errorf("reservation %s until %v", r.ID(), r.ExpiresAt())
	}
	if err := r.Extend(t.Context(), time.Minute); err != nil || r.ExpiresAt().Year() != 2030 {
		t.Errorf("extend: %v, until %v", err, r.ExpiresAt())
	}
	used := client.Usage{"tokens": 700}
	for range 2 { // the second is a repeat, and no event
		if err := r.Commit(t.Context(), used); err != nil {
			t.Fatal(err)
		}
		used["tokens"] = 900 // the caller's map is its own again
	}
	if err := r.Release(t.Context()); err != nil || len(cluster.released) > 0 {
		t.Errorf("release after commit: %v, %v", err, cluster.released)
	}
	if len(cluster.events) != 1 || cluster.sent() != 1 {
		t.Fatalf("events: %v", cluster.events)
	}
	for _, body := range cluster.events {
		for _, want := range []string{`"account":"acme"`, `"entities":["alice"]`, `"reservation":"rsv_1"`, `"tokens":700`} {
			if !strings.Contains(body, want) {
				t.Errorf("event %s lacks %s", body, want)
			}
		}
	}
}

func TestReleaseWithoutCommitFreesTheHold(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	c := newClient(t, nodes, nil)
	r, err := c.Reserve(t.Context(), oneCall, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Release(t.Context()); err != nil || len(cluster.released) != 1 {
		t.Errorf("release: %v, %v", err, cluster.released)
	}
}

func TestADeniedReserveIsADeniedError(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	cluster.limit = 1
	c := newClient(t, nodes, nil)
	if _, err := c.Check(t.Context(), oneCall); err != nil {
		t.Fatal(err)
	}
	_, err := c.Reserve(t.Context(), oneCall, time.Minute)
	d, ok := errors.AsType[*client.DeniedError](err)
	if !ok || !errors.Is(err, client.ErrDenied) || d.Decision.DeniedBy.Entity != "team-a" {
		t.Fatalf("error is %v", err)
	}
	if want := "denied: budget_exhausted: tokens of team-a: limit 10, used 10, reserved 0, requested 1"; err.Error() != want {
		t.Errorf("error text %q, want %q", err, want)
	}
}

func TestACommitWhoseAnswerIsLostChargesOnce(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 3)
	c := newClient(t, nodes, nil)
	r, err := c.Reserve(t.Context(), oneCall, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.misbehave(always(fault{dropAfter: true}))
	}
	if err := r.Commit(t.Context(), client.Usage{"tokens": 700}); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Fatalf("commit: %v", err)
	}
	if err := r.Release(t.Context()); err != nil || len(cluster.released) > 0 {
		t.Errorf("release took the hold from under a commit that may have come through: %v", err)
	}
	for _, n := range nodes {
		n.misbehave(always(fault{}))
	}
	if err := r.Commit(t.Context(), client.Usage{"tokens": 700}); err != nil {
		t.Fatal(err)
	}
	cluster.checkBooks(t, []string{r.Event(nil).ID})
	if n := cluster.sent(); n != 4 {
		t.Errorf("sent %d times, want 4", n)
	}
}

func TestIngestAgainWithTheSameSliceCountsOnce(t *testing.T) {
	for _, encoding := range []client.Encoding{client.JSON, client.MsgPack} {
		cluster, nodes := newFakeCluster(t, 1)
		c := newClient(t, nodes, func(o *client.Options) { o.Encoding = encoding })
		events := []client.Event{
			{Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 5, "requests": 1}, Metadata: map[string]string{"trace": "x"}},
			{Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 7}},
		}
		first, err := c.Ingest(t.Context(), events)
		if err != nil || first.Accepted != 2 || first.Durability != client.DurabilityQuorum {
			t.Fatalf("ingest: %+v, %v", first, err)
		}
		second, err := c.Ingest(t.Context(), events)
		if err != nil || second.Accepted != 0 || second.Duplicates != 2 {
			t.Fatalf("again: %+v, %v", second, err)
		}
		cluster.checkBooks(t, []string{events[0].ID, events[1].ID})
		for _, body := range cluster.events {
			if !strings.Contains(body, events[0].At.Format(time.RFC3339Nano)[:19]) {
				t.Errorf("event %s has no time as RFC 3339", body)
			}
		}
	}
}

func TestAnEventWithItsOwnIDIsSentAsItIs(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	c := newClient(t, nodes, nil)
	for range 2 { // as by two processes, one after the other
		if _, err := c.Ingest(t.Context(), []client.Event{{ID: "evt-1", Account: "acme", Usage: client.Usage{"tokens": 5}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	cluster.checkBooks(t, []string{"evt-1"})
}

func TestFailOpenGrantsOnlyWhenBursarIsAway(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 503}))
	open := newClient(t, nodes, func(o *client.Options) { o.WhenAway = client.FailOpen })
	closed := newClient(t, nodes, nil)

	if _, err := closed.Check(t.Context(), oneCall); !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("closed: %v", err)
	}
	d, err := open.Check(t.Context(), oneCall)
	if err != nil || !d.Allowed || !d.Degraded || d.Code != client.CodeUnavailable {
		t.Errorf("open: %+v, %v", d, err)
	}
	many, err := open.Checks(t.Context(), []client.CheckRequest{oneCall, oneCall})
	if err != nil || len(many) != 2 || !many[1].Degraded {
		t.Errorf("open, several: %+v, %v", many, err)
	}
	r, err := open.Reserve(t.Context(), oneCall, time.Minute)
	if err != nil || !r.Degraded() || r.ID() != "" {
		t.Fatalf("open, reserve: %v", err)
	}
	if err := r.Extend(t.Context(), time.Minute); err != nil {
		t.Errorf("extend of nothing: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open.Check(gone, oneCall); !errors.Is(err, context.Canceled) {
		t.Errorf("open, with a context that has ended: %v", err)
	}
}

func TestTheCallersContextEndsACall(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	for _, n := range nodes {
		n.misbehave(always(fault{delay: 400 * time.Millisecond}))
	}
	c := newClient(t, nodes, func(o *client.Options) { o.TryTimeout = 10 * time.Second })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := c.Check(ctx, oneCall)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(start); took > 300*time.Millisecond {
		t.Errorf("returned after %v", took)
	}
}

func TestATryThatHangsGivesWayToAnotherNode(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	nodes[0].misbehave(always(fault{delay: 600 * time.Millisecond}))
	c := newClient(t, nodes, func(o *client.Options) { o.TryTimeout = 50 * time.Millisecond })
	for range 5 {
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANodeThatIsNotReadyIsUsedAgainOnceItIs(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	sick := nodes[0]
	sick.misbehave(always(fault{dropBefore: true}))
	sick.ready.Store(false)
	c := newClient(t, nodes, nil)
	for range 20 {
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
	}
	if n := sick.calls.Load(); n > 3 {
		t.Errorf("a node that is out got %d calls", n)
	}
	sick.misbehave(always(fault{}))
	sick.ready.Store(true)
	before := sick.calls.Load()
	deadline := time.Now().Add(10 * time.Second)
	for sick.calls.Load() == before {
		if time.Now().After(deadline) {
			t.Fatalf("a node that is back is not used; %d probes", sick.probes.Load())
		}
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAllNodesOutAreTriedNevertheless(t *testing.T) {
	_, nodes := newFakeCluster(t, 2)
	for _, n := range nodes {
		n.ready.Store(false)
		n.misbehave(always(fault{status: 503}))
	}
	c := newClient(t, nodes, nil)
	if _, err := c.Check(t.Context(), oneCall); !errors.Is(err, client.ErrUnavailable) {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.misbehave(always(fault{})) // they can decide again; no probe knows
	}
	if _, err := c.Check(t.Context(), oneCall); err != nil {
		t.Error(err)
	}
}

func TestRetriesAreAFractionOfCalls(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 503}))
	c := newClient(t, nodes, nil)
	const calls = 60
	for range calls {
		if _, err := c.Check(t.Context(), oneCall); err == nil {
			t.Fatal("granted")
		}
	}
	if n := nodes[0].calls.Load(); n > calls+20+calls/5+1 {
		t.Errorf("%d calls became %d requests", calls, n)
	}
}

func TestAnAnswerThatComesTwiceIsTakenOnce(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(func(path string) fault { return fault{twice: path == "/v1/check"} })
	c := newClient(t, nodes, nil)
	var ids []string
	for i := range 20 {
		if _, err := c.Check(t.Context(), oneCall); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprint("evt-", i))
		resp, err := c.Ingest(t.Context(), []client.Event{{ID: ids[i], Usage: client.Usage{"requests": 1}}})
		if err != nil || resp.Accepted+resp.Duplicates != 1 {
			t.Fatalf("the second answer to a check was taken for that to an ingest: %+v, %v", resp, err)
		}
	}
	cluster.checkBooks(t, ids)
}

// TestNothingIsChargedTwiceInChaos runs calls through nodes that lose requests
// and answers. Every commit is repeated until it succeeds.
func TestNothingIsChargedTwiceInChaos(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 3)
	for _, n := range nodes {
		n.misbehave(chaos)
	}
	c := newClient(t, nodes, nil)
	var mu sync.Mutex
	var ids []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				r, err := c.Reserve(t.Context(), oneCall, time.Minute)
				if err != nil {
					if !errors.Is(err, client.ErrUnavailable) {
						t.Error(err)
					}
					continue
				}
				id := r.Event(client.Usage{"tokens": 1}).ID
				for r.Commit(t.Context(), nil) != nil {
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(ids) == 0 {
		t.Fatal("no call came through")
	}
	cluster.checkBooks(t, ids)
}

func TestErrorsKeepTheTokenToThemselves(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	c, err := client.New(client.Options{Endpoints: []string{dead.URL}, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Check(t.Context(), oneCall)
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), testToken) {
		t.Errorf("error is %v", err)
	}
	if errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("a request that was never sent has an unknown outcome: %v", err)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for name, o := range map[string]client.Options{
		"no endpoint":   {Token: "t"},
		"no scheme":     {Endpoints: []string{"localhost:7070"}, Token: "t"},
		"with a user":   {Endpoints: []string{"http://me:secret@localhost"}, Token: "t"},
		"with a query":  {Endpoints: []string{"http://localhost?x=1"}, Token: "t"},
		"no token":      {Endpoints: []string{"http://localhost"}},
		"a broken line": {Endpoints: []string{"http://localhost"}, Token: "a\r\nb"},
	} {
		_, err := client.New(o)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v shows a password", name, err)
		}
	}
}

// another is a transport on which each answer is to the request before.
type another struct{ real http.RoundTripper }

func (a another) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.real.RoundTrip(r)
	if err == nil {
		resp.Header.Set("Bursar-Request", "another")
	}
	return resp, err
}

func TestAnAnswerThatNamesAnotherRequestIsALostAnswer(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	c := newClient(t, nodes, func(o *client.Options) { o.HTTPClient = &http.Client{Transport: another{transport}} })
	if d, err := c.Check(t.Context(), oneCall); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("took another call's decision for its own: %+v, %v", d, err)
	}
}

// answers is a transport that answers by host.
type answers map[string]func() (status int, body string)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := a[r.URL.Host]()
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func TestAnotherNodeIsAskedWithoutAPauseAndTheSameOneAfterABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func() (int, string) { return 503, `{"code":"unavailable"}` }
		for _, c := range []struct {
			hosts  []string
			paused bool
		}{{[]string{"http://a", "http://b", "http://c"}, false}, {[]string{"http://a"}, true}} {
			cl, err := client.New(client.Options{Endpoints: c.hosts, Token: "t",
				HTTPClient: &http.Client{Transport: answers{"a": busy, "b": busy, "c": busy}}})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err = cl.Check(t.Context(), oneCall)
			u, ok := errors.AsType[*client.UnavailableError](err)
			if !ok || u.Tries != 3 {
				t.Fatalf("%v: %v", c.hosts, err)
			}
			if took := time.Since(start); (took > 0) != c.paused || took > time.Second {
				t.Errorf("%v: three tries took %v", c.hosts, took)
			}
			cl.Close()
		}
	})
}

func TestAnAnswerThatLeavesEventsOutIsNoAnswer(t *testing.T) {
	short := func() (int, string) { return 200, `{"accepted":1,"duplicates":0,"rejected":[],"durability":"quorum"}` }
	c, err := client.New(client.Options{Endpoints: []string{"http://a"}, Token: "t", HTTPClient: &http.Client{Transport: answers{"a": short}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if resp, err := c.Ingest(t.Context(), make([]client.Event, 2)); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("two events, one accounted for: %+v, %v", resp, err)
	}
}

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/client"
)

func event(id string) client.Event {
	return client.Event{ID: id, Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 1}}
}

// eventIDs are n ids.
func eventIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("evt-%05d", i)
	}
	return ids
}

func TestRecorderDeliversEverythingOnceInChaos(t *testing.T) {
	for _, encoding := range []client.Encoding{client.JSON, client.MsgPack} {
		cluster, nodes := newFakeCluster(t, 3)
		for _, n := range nodes {
			n.misbehave(func(path string) fault {
				f := chaos(path)
				f.twice = f.twice && encoding == client.JSON // the fake answers twice in JSON only
				return f
			})
		}
		c := newClient(t, nodes, func(o *client.Options) { o.Encoding = encoding })
		var failures atomic.Int64
		rec := c.NewRecorder(client.RecorderOptions{
			MaxEvents: 300, BatchEvents: 40, FlushEvery: 5 * time.Millisecond, Senders: 4,
			OnFailure:  func(error, int) { failures.Add(1) },
			OnRejected: func(e client.Event, why client.Rejection) { t.Errorf("%s rejected: %v", e.ID, why) },
		})
		ids := eventIDs(2_000)
		var wg sync.WaitGroup
		for part := range 8 {
			wg.Go(func() {
				for i := part; i < len(ids); i += 8 {
					if err := rec.Record(t.Context(), event(ids[i])); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := rec.Close(t.Context()); err != nil {
			t.Error(err)
		}
		cluster.checkBooks(t, ids)
		s := rec.Stats()
		if s.Held != 0 || s.Accepted+s.Duplicates != uint64(len(ids)) {
			t.Errorf("stats %+v do not account for %d events", s, len(ids))
		}
		if cluster.sent() == len(ids) {
			t.Error("nothing was ever sent again: the test proves nothing")
		}
		if failures.Load() != int64(s.Failures) {
			t.Errorf("told of %d failures, counted %d", failures.Load(), s.Failures)
		}
	}
}

func TestRecordFixesIDAndBody(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(atFirst(4, fault{dropAfter: true}))
	c := newClient(t, nodes, nil)
	rec := c.NewRecorder(client.RecorderOptions{FlushEvery: time.Millisecond})
	e := event("")
	if err := rec.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Usage["tokens"] = 99 // the caller's map is its own again
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	if len(cluster.events) != 1 || len(cluster.conflict) > 0 {
		t.Fatalf("events %v, conflicts %v", cluster.events, cluster.conflict)
	}
	for id := range cluster.events {
		if cluster.sends[id] != 5 {
			t.Errorf("sent %d times, want 5", cluster.sends[id])
		}
	}
}

func TestAFullRecorderRefusesOrWaits(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 503}))
	c := newClient(t, nodes, nil)
	for _, policy := range []client.FullPolicy{client.Refuse, client.Block} {
		rec := c.NewRecorder(client.RecorderOptions{MaxEvents: 3, WhenFull: policy, FlushEvery: time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		for _, id := range eventIDs(3) {
			if err := rec.Record(ctx, event(id)); err != nil {
				t.Fatal(err)
			}
		}
		err := rec.Record(ctx, event("one-too-many"))
		if !errors.Is(err, client.ErrRecorderFull) || errors.Is(err, context.DeadlineExceeded) != (policy == client.Block) {
			t.Errorf("policy %d: error is %v", policy, err)
		}
		if n := rec.Stats().Held; n != 3 {
			t.Errorf("policy %d: holds %d events, at most 3 are allowed", policy, n)
		}
		cancel()
		checkUnsent(t, rec, eventIDs(3))
	}
}

// checkUnsent closes rec in no time and fails unless it hands back exactly ids.
func checkUnsent(t *testing.T, rec *client.Recorder, ids []string) {
	t.Helper()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	err := rec.Close(gone)
	unsent, ok := errors.AsType[*client.UnsentError](err)
	if !ok || !errors.Is(err, context.Canceled) {
		t.Fatalf("close: %v", err)
	}
	got := map[string]bool{}
	for _, e := range unsent.Events {
		got[e.ID] = e.Usage["tokens"] == 1
	}
	if len(got) != len(ids) || len(unsent.Events) != len(ids) {
		t.Errorf("%d events handed back, want %d", len(unsent.Events), len(ids))
	}
	for _, id := range ids {
		if !got[id] {
			t.Errorf("%s was lost", id)
		}
	}
}

func TestBytesAreBoundedToo(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 503}))
	c := newClient(t, nodes, nil)
	rec := c.NewRecorder(client.RecorderOptions{MaxBytes: 1_000, WhenFull: client.Refuse})
	var ids []string
	for _, id := range eventIDs(100) {
		err := rec.Record(t.Context(), event(id))
		if errors.Is(err, client.ErrRecorderFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if len(ids) < 5 || len(ids) > 10 {
		t.Errorf("1,000 bytes hold %d events of some 120 bytes", len(ids))
	}
	big := event("big")
	big.Metadata = map[string]string{"x": string(bytes.Repeat([]byte("x"), 1_000))}
	if err := rec.Record(t.Context(), big); !errors.Is(err, client.ErrEventTooLarge) {
		t.Errorf("an event that never fits: %v", err)
	}
	checkUnsent(t, rec, ids)
}

func TestCloseHandsBackWhatIsUnderWay(t *testing.T) {
	_, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{status: 503}))
	c := newClient(t, nodes, nil)
	rec := c.NewRecorder(client.RecorderOptions{BatchEvents: 10, Senders: 2, FlushEvery: time.Millisecond})
	ids := eventIDs(95)
	for _, id := range ids {
		if err := rec.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	checkUnsent(t, rec, ids)
	if err := rec.Record(t.Context(), event("late")); !errors.Is(err, client.ErrClosed) {
		t.Errorf("record after close: %v", err)
	}
	if err := rec.Close(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Errorf("close after close: %v", err)
	}
	if err := rec.Flush(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Errorf("flush after a close that gave up: %v", err)
	}
}

func TestARejectedEventIsReportedAndTheOthersAreKept(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	cluster.reject = func(e map[string]any) string {
		if e["id"] == "evt-00003" {
			return "invalid_amount"
		}
		return ""
	}
	c := newClient(t, nodes, nil)
	got := map[string]string{}
	var mu sync.Mutex
	rec := c.NewRecorder(client.RecorderOptions{OnRejected: func(e client.Event, why client.Rejection) {
		mu.Lock()
		defer mu.Unlock()
		got[e.ID] = why.Code
	}})
	ids := eventIDs(5)
	for _, id := range ids {
		if err := rec.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got["evt-00003"] != "invalid_amount" {
		t.Errorf("rejected: %v", got)
	}
	cluster.checkBooks(t, []string{ids[0], ids[1], ids[2], ids[4]})
}

func TestOneEventThatSpoilsItsRequestIsFoundAndTheOthersAreKept(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 2)
	cluster.refuse = func(body []byte) int {
		if bytes.Contains(body, []byte("evt-00011")) {
			return 400
		}
		return 0
	}
	c := newClient(t, nodes, nil)
	var rejected []string
	var mu sync.Mutex
	rec := c.NewRecorder(client.RecorderOptions{BatchEvents: 50, OnRejected: func(e client.Event, why client.Rejection) {
		mu.Lock()
		defer mu.Unlock()
		rejected = append(rejected, e.ID+" "+why.Code)
	}})
	ids := eventIDs(50)
	for _, id := range ids {
		if err := rec.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(rejected) != 1 || rejected[0] != "evt-00011 invalid_request" {
		t.Errorf("rejected: %v", rejected)
	}
	cluster.checkBooks(t, append(ids[:11:11], ids[12:]...))
}

func TestARefusedTokenLosesNoEvent(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	var refusing atomic.Bool
	refusing.Store(true)
	cluster.refuse = func([]byte) int {
		if refusing.Load() {
			return 401
		}
		return 0
	}
	c := newClient(t, nodes, nil)
	rec := c.NewRecorder(client.RecorderOptions{FlushEvery: time.Millisecond})
	if err := rec.Record(t.Context(), event("evt-1")); err != nil {
		t.Fatal(err)
	}
	for rec.Stats().Failures == 0 {
		time.Sleep(time.Millisecond)
	}
	refusing.Store(false) // the token is valid again
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.checkBooks(t, []string{"evt-1"})
}

func TestFlushWaitsForWhatCameBeforeIt(t *testing.T) {
	cluster, nodes := newFakeCluster(t, 1)
	nodes[0].misbehave(always(fault{delay: 20 * time.Millisecond}))
	c := newClient(t, nodes, nil)
	rec := c.NewRecorder(client.RecorderOptions{BatchEvents: 10, FlushEvery: time.Hour})
	ids := eventIDs(25)
	for _, id := range ids {
		if err := rec.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.checkBooks(t, ids)
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// instant is a transport that answers every ingest at once and notes when how much came.
type instant struct {
	mu    sync.Mutex
	start time.Time
	log   []string
}

func (i *instant) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	n := bytes.Count(body, []byte(`"usage"`))
	i.mu.Lock()
	i.log = append(i.log, fmt.Sprintf("%v: %d events to %s", time.Since(i.start), n, r.URL.RequestURI()))
	i.mu.Unlock()
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewBufferString(fmt.Sprintf(`{"accepted":%d,"duplicates":0,"rejected":[],"durability":"node"}`, n))),
	}, nil
}

func TestABatchGoesWhenItIsFullOrOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &instant{start: time.Now()}
		c, err := client.New(client.Options{Endpoints: []string{"http://node"}, Token: "t", HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rec := c.NewRecorder(client.RecorderOptions{BatchEvents: 3, FlushEvery: time.Second, NodeAck: true})
		record := func(n int) {
			for _, id := range eventIDs(n) {
				if err := rec.Record(t.Context(), event(id)); err != nil {
					t.Fatal(err)
				}
			}
		}
		record(4) // three fill a batch, one waits a second
		time.Sleep(5 * time.Second)
		record(2)
		time.Sleep(500 * time.Millisecond)
		if err := rec.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"0s: 3 events to /v1/ingest?ack=node",
			"1s: 1 events to /v1/ingest?ack=node",
			"5.5s: 2 events to /v1/ingest?ack=node",
		}
		if fmt.Sprint(transport.log) != fmt.Sprint(want) {
			t.Errorf("sent %q, want %q", transport.log, want)
		}
	})
}

func TestARequestStaysBelowOneMebibyte(t *testing.T) {
	var mu sync.Mutex
	largest := 0
	cluster, nodes := newFakeCluster(t, 1)
	cluster.refuse = func(body []byte) int {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, len(body))
		return 0
	}
	c := newClient(t, nodes, func(o *client.Options) { o.IngestTryTimeout, o.IngestTimeout = time.Minute, time.Minute })
	rec := c.NewRecorder(client.RecorderOptions{})
	ids := eventIDs(250)
	for _, id := range ids {
		e := event(id)
		e.Metadata = map[string]string{"x": string(bytes.Repeat([]byte("x"), 6_000))}
		if err := rec.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.checkBooks(t, ids)
	if largest > 1<<20 || largest < 1<<19 {
		t.Errorf("the largest request has %d bytes", largest)
	}
}

func BenchmarkRecord(b *testing.B) {
	c, err := client.New(client.Options{Endpoints: []string{"http://node"}, Token: "t", HTTPClient: &http.Client{Transport: &instant{}}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	rec := c.NewRecorder(client.RecorderOptions{MaxEvents: 1 << 20, MaxBytes: 1 << 30})
	b.ReportAllocs()
	for b.Loop() {
		if err := rec.Record(b.Context(), event("")); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := rec.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

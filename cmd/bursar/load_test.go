package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// load makes calls, check+reserve then ingest or release, against one team with
// a hard limit of requests, and keeps the books that the cluster's are measured by.
type load struct {
	c     *testCluster
	team  string
	limit int64
	pick  func() int // the node for the next request

	inFlight atomic.Int64 // checks sent and not answered
	allowed  atomic.Int64 // checks granted
	released atomic.Int64 // reservations whose release was answered
	settled  atomic.Int64 // events whose ingest was answered
	denied   atomic.Int64 // refusals, each of them proven
	retried  atomic.Int64 // answers that were neither: unavailable, or a node that was down

	mu    sync.Mutex
	acked []string // ids of acknowledged events
	wrong []string // what must not have happened
}

const maxWrong = 20 // faults kept for the message

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < maxWrong {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// faults fails the test if anything happened that must not.
func (l *load) faults() {
	l.c.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		l.c.t.Error(w)
	}
}

// anyNode picks a node, each as often.
func (l *load) anyNode() int { return rand.IntN(len(l.c.nodes)) }

// mostlyFirst sends 95 of 100 requests to the first node.
func (l *load) mostlyFirst() int {
	if rand.IntN(100) < 95 {
		return 0
	}
	return l.anyNode()
}

// reserve asks for one request until that is decided. A refusal must prove
// itself by its own numbers and by ours: whatever was granted before it, or may have been
// since it was sent, less what was released before, fills the limit.
func (l *load) reserve(ctx context.Context, ttl time.Duration, provable bool) (reservation string, ok bool) {
	for ctx.Err() == nil {
		released := l.released.Load()
		l.inFlight.Add(1)
		answer, err := l.check(ctx, ttl)
		switch {
		case err != nil:
			l.inFlight.Add(-1)
			l.retried.Add(1)
			time.Sleep(time.Duration(1+rand.IntN(10)) * time.Millisecond)
		case answer.Allowed:
			l.allowed.Add(1)
			l.inFlight.Add(-1)
			return answer.Reservation, true
		default:
			others := l.inFlight.Load() - 1
			if most := others + l.allowed.Load() - released; provable && most < l.limit {
				l.fault("refused while at most %d of %d were taken: %+v", most, l.limit, answer.DeniedBy)
			}
			l.inFlight.Add(-1)
			l.denied.Add(1)
			l.prove(answer)
			return "", false
		}
	}
	return "", false
}

// check sends one check+reserve; an error means that it was not decided.
func (l *load) check(ctx context.Context, ttl time.Duration) (*client.CheckResponse, error) {
	request := client.CheckRequest{Account: testAccount, Entities: []string{l.team + "-user"}, ReserveTTLMS: ttl.Milliseconds()}
	status, data, err := l.c.do(ctx, http.MethodPost, "http://"+l.c.nodes[l.pick()].http+"/v1/check", request)
	if err != nil {
		return nil, err
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		return nil, fmt.Errorf("%d %s", status, data)
	}
	var answer client.CheckResponse
	if err := json.Unmarshal(data, &answer); err != nil || status != http.StatusOK {
		l.fault("check answered %d %s", status, data)
		return nil, fmt.Errorf("%d", status)
	}
	return &answer, nil
}

// prove checks a refusal's own numbers.
func (l *load) prove(answer *client.CheckResponse) {
	d := answer.DeniedBy
	switch {
	case answer.Code != client.CodeBudgetExhausted || d == nil:
		l.fault("refused with %q (%+v), want budget_exhausted", answer.Code, d)
	case d.Used+d.Reserved+d.Requested <= d.Limit || d.Entity != l.team || d.Limit != l.limit:
		l.fault("a refusal that proves nothing: %+v", d)
	}
}

// ingest records one request under id until that is acknowledged; the id stays the same on every node.
func (l *load) ingest(ctx context.Context, id, reservation string) {
	batch := client.IngestRequest{Events: []client.Event{{
		ID: id, Account: testAccount, Entities: []string{l.team + "-user"},
		Usage: client.Usage{"requests": 1}, Reservation: reservation,
	}}}
	for ctx.Err() == nil {
		status, data, err := l.c.do(ctx, http.MethodPost, "http://"+l.c.nodes[l.pick()].http+"/v1/ingest", batch)
		var answer client.IngestResponse
		if err == nil && (status == http.StatusOK || status == http.StatusAccepted) {
			if json.Unmarshal(data, &answer); answer.Accepted+answer.Duplicates != 1 {
				l.fault("ingest answered %d %s", status, data)
			}
			l.settled.Add(1)
			l.mu.Lock()
			l.acked = append(l.acked, id)
			l.mu.Unlock()
			return
		}
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			l.fault("ingest answered %d %s", status, data)
			return
		}
		l.retried.Add(1)
		time.Sleep(time.Duration(1+rand.IntN(20)) * time.Millisecond)
	}
}

// release gives a reservation back.
func (l *load) release(ctx context.Context, reservation string) {
	for ctx.Err() == nil {
		status, data, err := l.c.do(ctx, http.MethodPost, "http://"+l.c.nodes[l.pick()].http+"/v1/reservations/"+reservation+"/release", nil)
		if err == nil && status == http.StatusOK {
			l.released.Add(1)
			return
		}
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			l.fault("release answered %d %s", status, data)
			return
		}
		l.retried.Add(1)
		time.Sleep(5 * time.Millisecond)
	}
}

// spend lets workers call until the limit is used up, each call that was
// granted being settled or, for a share of them, released again.
func (l *load) spend(ctx context.Context, workers int, releasing float64) {
	const ttl = time.Minute
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				reservation, ok := l.reserve(ctx, ttl, true)
				switch {
				case ok && rand.Float64() < releasing:
					l.release(ctx, reservation)
				case ok:
					l.ingest(ctx, "evt-"+ulid.Make().String(), reservation)
				case releasing == 0 || l.settled.Load() >= l.limit:
					return
				default:
					time.Sleep(2 * time.Millisecond) // room that others hold may come back
				}
			}
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		l.fault("the limit was not used up: %v (%s)", err, l)
	}
}

func (l *load) String() string {
	return fmt.Sprintf("allowed %d, settled %d, released %d, denied %d, retried %d", l.allowed.Load(), l.settled.Load(), l.released.Load(), l.denied.Load(), l.retried.Load())
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// node is a cluster in a box for the examples: it has room for one call.
func node() *httptest.Server {
	admitted := 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/v1/ingest":
			fmt.Fprintf(w, `{"accepted":%d,"duplicates":0,"rejected":[],"durability":"quorum"}`, strings.Count(string(body), `"usage"`))
		case r.URL.Path == "/v1/check" && admitted == 0:
			admitted++
			fmt.Fprint(w, `{"allowed":true,"code":"ok","reservation":"rsv_1","expires_at":"2026-11-22T10:01:00Z","remaining":{"tokens":8800}}`)
		case r.URL.Path == "/v1/check":
			fmt.Fprint(w, `{"allowed":false,"code":"budget_exhausted","denied_by":{"entity":"team-a","type":"team","capability":"tokens","scope":[],
				"cadence":{"every":"month","timezone":"UTC"},"limit":10000,"used":9900,"reserved":0,"requested":1200,"resets_at":"2026-12-01T00:00:00Z"}}`)
		case strings.HasSuffix(r.URL.Path, "/assignments"):
			fmt.Fprint(w, `{"assignments":[{"id":"asg_1","entity":"team-a","capability":"usd","limit":250000000000,"cadence":{"every":"month"},"enforcement":"hard"}]}`)
		case r.URL.Path == "/v1/accounts":
			fmt.Fprint(w, `{"items":[{"id":"acme","name":"Acme","frozen":false},{"id":"globex","name":"Globex","frozen":true}],"next":null}`)
		}
	}))
}

// Ask, work, record.
func Example() {
	bursar := node()
	defer bursar.Close()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{bursar.URL}, Token: "bt_…"})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	call := client.CheckRequest{Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 1200}}
	for range 2 {
		r, err := c.Reserve(ctx, call, time.Minute)
		if denied, ok := errors.AsType[*client.DeniedError](err); ok {
			d := denied.Decision.DeniedBy
			fmt.Printf("no: %s has %d of %d %s left until %s\n", d.Entity, d.Limit-d.Used-d.Reserved, d.Limit, d.Capability, d.ResetsAt.Format(time.DateOnly))
			continue
		}
		if err != nil {
			panic(err) // no decision: do not make the call
		}
		// … call the model …
		if err := r.Commit(ctx, client.Usage{"requests": 1, "tokens": 950}); err != nil {
			panic(err)
		}
		fmt.Println("called and recorded")
	}
	// Output:
	// called and recorded
	// no: team-a has 100 of 10000 tokens left until 2026-12-01
}

// A Recorder takes events off the path of the call.
func ExampleClient_NewRecorder() {
	bursar := node()
	defer bursar.Close()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{bursar.URL}, Token: "bt_…"})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	rec := c.NewRecorder(client.RecorderOptions{
		OnRejected: func(e client.Event, why client.Rejection) { fmt.Println("rejected", e.ID, why.Code) },
	})
	for range 3 {
		err := rec.Record(ctx, client.Event{Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"requests": 1}})
		if err != nil {
			panic(err)
		}
	}
	if err := rec.Close(ctx); err != nil {
		panic(err)
	}
	fmt.Println("recorded", rec.Stats().Accepted)
	// Output: recorded 3
}

// With FailOpen a call goes ahead while Bursar is away, and says so.
func ExampleOptions_failOpen() {
	bursar := node()
	bursar.Close() // it is down
	c, err := client.New(client.Options{Endpoints: []string{bursar.URL}, Token: "bt_…", WhenAway: client.FailOpen})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	d, err := c.Check(context.Background(), client.CheckRequest{Account: "acme", Entities: []string{"alice"}})
	fmt.Println(d.Allowed, d.Degraded, d.Code, err)
	// Output: true true unavailable <nil>
}

// Give a team $250 a month.
func ExampleAdmin_PutAssignments() {
	bursar := node()
	defer bursar.Close()
	a, err := client.NewAdmin([]string{bursar.URL}, "bt_…")
	if err != nil {
		panic(err)
	}
	defer a.Close()
	limit := int64(250_000_000_000) // nano-dollars
	stored, err := a.PutAssignments(context.Background(), "acme", []client.Assignment{
		{Entity: "team-a", Capability: "usd", Limit: &limit, Cadence: client.Cadence{Every: "month"}, Enforcement: "hard"},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(stored[0].ID, *stored[0].Limit)
	// Output: asg_1 250000000000
}

// Lists are read page by page as the loop goes.
func ExampleAdmin_Accounts() {
	bursar := node()
	defer bursar.Close()
	a, err := client.NewAdmin([]string{bursar.URL}, "bt_…")
	if err != nil {
		panic(err)
	}
	defer a.Close()
	for account, err := range a.Accounts(context.Background()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(account.ID, account.Frozen)
	}
	// Output:
	// acme false
	// globex true
}

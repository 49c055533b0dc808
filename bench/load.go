package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/client"
)

// Load is checks at a fixed rate, spread evenly over the endpoints. Unless
// CheckOnly, each reserves and is settled by an event of half its amount that a Recorder ships in batches.
type Load struct {
	CheckOnly bool
	Account   string
	Shape     Shape
	Rate      int // calls a second
	Duration  time.Duration
	InFlight  int
	Endpoints []string // data plane base URLs
	Admins    []string // control plane base URLs of all nodes, to read metrics from
	Token     string

	Data     *client.Client
	Admin    *client.Admin
	Progress func(done int)
}

// Limits of a load.
const (
	maxRate        = 200_000
	maxDuration    = time.Hour
	loadCallTokens = 1_000 // reserved by one call; half of it is used
	loadTimeout    = 5 * time.Second
	retryNodes     = 1 // a call that a node could not take is given to one other
)

// Validate names the flag that is wrong.
func (l *Load) Validate() error {
	switch {
	case l.Rate < 1 || l.Rate > maxRate:
		return fmt.Errorf("--rate %d: want 1 to %d calls a second", l.Rate, maxRate)
	case l.Duration <= 0 || l.Duration > maxDuration:
		return fmt.Errorf("--duration %s: want more than 0 and at most %s", l.Duration, maxDuration)
	case l.InFlight < 1 || l.InFlight > maxInFlight:
		return fmt.Errorf("--in-flight %d: want 1 to %d", l.InFlight, maxInFlight)
	}
	return l.Shape.Validate()
}

// LoadReport is what a load came to.
type LoadReport struct {
	Rate    int            `json:"rate"`
	Calls   int            `json:"calls"`
	Decided map[string]int `json:"decided"` // by code; "http_<status>" and "error": no decision
	Retried int            `json:"retried"`
	Elapsed time.Duration  `json:"elapsed_ns"`
	Behind  time.Duration  `json:"behind_ns"`
	Check   Quantiles      `json:"check"`
	Events  uint64         `json:"events"` // acknowledged
	Local   float64        `json:"local"`  // share of decided checks that nodes answered from memory, of those named by Admins
}

// loadRun is a load under way.
type loadRun struct {
	*Load
	http    *fasthttp.Client
	uris    []string
	bodies  [][]byte // one a leaf
	leaves  []string
	latency *Latency
	record  *client.Recorder
	retried atomic.Int64

	mu      sync.Mutex
	decided map[string]int
}

// Run makes the account and sends the load.
func (l *Load) Run(ctx context.Context) (*LoadReport, error) {
	t := newTree(l.Account, l.Shape)
	n := int(float64(l.Rate) * l.Duration.Seconds())
	calls := make([]TraceCall, n)
	for i := range calls {
		calls[i].Input = loadCallTokens
	}
	const enough = 4 // times what the run will use, so that no budget comes near its end
	if err := createAccount(ctx, l.Admin, t, t.budgets(calls, t.callers(n, 1), enough, 0)); err != nil {
		return nil, fmt.Errorf("making the account: %w", err)
	}
	r := &loadRun{
		Load: l, leaves: t.leaves, latency: NewLatency(), decided: map[string]int{},
		http:   &fasthttp.Client{MaxConnsPerHost: l.InFlight, ReadTimeout: loadTimeout, WriteTimeout: loadTimeout},
		record: l.Data.NewRecorder(client.RecorderOptions{NodeAck: true}),
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	before, err := scrapeLocality(ctx, l.Admins)
	if err != nil {
		return nil, err
	}
	who := t.callers(n, 1)
	at := map[string]int{}
	for i, id := range t.leaves {
		at[id] = i
	}
	start := time.Now()
	gap := time.Second / time.Duration(l.Rate)
	behind, err := openLoop(ctx, n, l.InFlight, pace,
		func(i int) time.Duration { return time.Duration(i) * gap },
		func(i int, intended time.Time) {
			r.call(ctx, i, at[who[i]], intended)
			if l.Progress != nil {
				l.Progress(1)
			}
		})
	elapsed := time.Since(start)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxLatency)
	defer cancel()
	after, scrapeErr := scrapeLocality(closeCtx, l.Admins)
	if err := errors.Join(err, scrapeErr, r.record.Close(closeCtx)); err != nil {
		return nil, err
	}
	ran := after.since(before)
	return &LoadReport{
		Rate: l.Rate, Calls: n, Decided: r.decided, Retried: int(r.retried.Load()), Elapsed: elapsed, Behind: behind,
		Check: r.latency.Quantiles(), Events: r.record.Stats().Accepted,
		Local: ran.local / max(1, ran.decided),
	}, nil
}

// prepare encodes one request body a caller, so that the loop only sends.
func (r *loadRun) prepare() error {
	for _, e := range r.Endpoints {
		u, err := url.JoinPath(e, "/v1/check")
		if err != nil {
			return fmt.Errorf("--endpoint %q: %w", e, err)
		}
		r.uris = append(r.uris, u)
	}
	for _, id := range r.leaves {
		check := client.CheckRequest{Account: r.Account, Entities: []string{id}, Usage: client.Usage{"requests": 1, "tokens": loadCallTokens}}
		if !r.CheckOnly {
			check.ReserveTTLMS = reserveTTL.Milliseconds()
		}
		body, err := json.Marshal(check)
		if err != nil {
			return err
		}
		r.bodies = append(r.bodies, body)
	}
	return nil
}

// call sends one check+reserve and hands its event to the recorder.
func (r *loadRun) call(ctx context.Context, i, leaf int, intended time.Time) {
	var (
		code        string
		reservation string
	)
	for try := range retryNodes + 1 {
		code, reservation = r.post(r.uris[(i+try)%len(r.uris)], r.bodies[leaf])
		if code != "http_503" && code != "error" {
			break
		}
		r.retried.Add(1)
	}
	r.latency.Record(time.Since(intended))
	r.mu.Lock()
	r.decided[code]++
	r.mu.Unlock()
	if reservation == "" {
		return
	}
	// The recorder blocks when full, and an error here shows as events missing in the report.
	_ = r.record.Record(ctx, client.Event{
		Account: r.Account, Entities: []string{r.leaves[leaf]}, Reservation: reservation,
		Usage: client.Usage{"requests": 1, "tokens": loadCallTokens / 2},
	})
}

// post sends a check and returns its code and reservation.
func (r *loadRun) post(uri string, body []byte) (code, reservation string) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(http.MethodPost)
	req.SetRequestURI(uri)
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+r.Token)
	req.SetBodyRaw(body)
	if err := r.http.Do(req, resp); err != nil {
		return "error", ""
	}
	if resp.StatusCode() != http.StatusOK {
		return fmt.Sprintf("http_%d", resp.StatusCode()), ""
	}
	var d struct {
		Code        string `json:"code"`
		Reservation string `json:"reservation"`
	}
	if err := json.Unmarshal(resp.Body(), &d); err != nil {
		return "error", ""
	}
	return d.Code, d.Reservation
}

// WriteText writes the report as tables.
func (r *LoadReport) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "calls\t%d\t(%d a second, open loop)\t\n", r.Calls, r.Rate)
	for _, code := range sortedKeys(r.Decided) {
		fmt.Fprintf(tw, "%s\t%d\t\n", strings.ReplaceAll(code, "_", " "), r.Decided[code])
	}
	fmt.Fprintf(tw, "retried\t%d\t\nfrom memory\t%.2f %%\t\nevents recorded\t%d\t\n\n", r.Retried, 100*r.Local, r.Events)
	fmt.Fprint(tw, "latency (ms)\tp50\tp90\tp99\tp99.9\tmax\t\n")
	writeQuantiles(tw, "check", r.Check)
	writeBehind(tw, r.Behind)
	return tw.Flush()
}

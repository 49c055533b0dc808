package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// Replay is a trace to be sent through check+reserve → ingest.
type Replay struct {
	Calls         []TraceCall
	Account       string        // made for this run; must not exist
	Shape         Shape         // of the tree
	Share         float64       // limits as a multiple of what the trace needs; 2 lets all in
	ReserveOutput int64         // output tokens a call reserves, as max_tokens would; 0: the trace's longest output
	Speed         float64       // 1: the trace's own pace; 60: an hour in a minute
	InFlight      int           // calls under way at once, at most
	Seed          uint64        // of the choice of callers
	Settle        time.Duration // how long the proof waits for the last events to be settled

	Data     *client.Client
	Admin    *client.Admin
	Progress func(done int) // called after every call, from many goroutines; may be nil
}

// Limits of a replay.
const (
	maxInFlight = 10_000
	maxSpeed    = 1_000_000
	reserveTTL  = time.Minute
	maxErrors   = 5 // messages kept for the report
)

// Validate names the flag that is wrong.
func (r *Replay) Validate() error {
	switch {
	case r.Speed <= 0 || r.Speed > maxSpeed:
		return fmt.Errorf("--speed %v: want more than 0 and at most %d", r.Speed, maxSpeed)
	case r.Share < 0 || r.Share > 1000:
		return fmt.Errorf("--share %v: want 0 to 1000", r.Share)
	case r.InFlight < 1 || r.InFlight > maxInFlight:
		return fmt.Errorf("--in-flight %d: want 1 to %d", r.InFlight, maxInFlight)
	case r.ReserveOutput < 0 || r.ReserveOutput > maxTraceTokens:
		return fmt.Errorf("--reserve-output %d: want 0 to %d", r.ReserveOutput, maxTraceTokens)
	}
	return r.Shape.Validate()
}

// run is a replay under way.
type run struct {
	*Replay
	tree    *tree
	who     []string // caller of each call
	reserve int64

	check, ingest *Latency

	mu       sync.Mutex
	recorded map[int]bool // calls whose event was acknowledged
	unknown  map[int]bool // calls whose event may or may not have been recorded
	decided  map[string]int
	errors   []string
}

// Run makes the account, replays the trace and proves the books. The error says
// that the run could not be done; whether the books agree is in the report.
func (r *Replay) Run(ctx context.Context) (*Report, error) {
	n := &run{
		Replay: r, tree: newTree(r.Account, r.Shape), reserve: r.ReserveOutput,
		check: NewLatency(), ingest: NewLatency(),
		recorded: map[int]bool{}, unknown: map[int]bool{}, decided: map[string]int{},
	}
	if n.reserve == 0 {
		for _, c := range r.Calls {
			n.reserve = max(n.reserve, c.Output)
		}
	}
	n.who = n.tree.callers(len(r.Calls), r.Seed)
	budgets := n.tree.budgets(n.Calls, n.who, n.Share, n.reserve)
	own := setup{account: n.Account, types: n.tree.types, entities: n.tree.entities, budgets: budgets}
	if err := own.createAccount(ctx, n.Admin); err != nil {
		return nil, fmt.Errorf("making the account: %w", err)
	}
	start := time.Now()
	late, err := openLoop(ctx, len(r.Calls), r.InFlight, pace,
		func(i int) time.Duration { return time.Duration(float64(r.Calls[i].Offset) / r.Speed) },
		func(_, i int, intended time.Time) {
			n.call(ctx, i, intended)
			if r.Progress != nil {
				r.Progress(1)
			}
		})
	if err != nil {
		return nil, err
	}
	rep := n.report(time.Since(start), late.Worst)
	rep.Proof, err = n.prove(ctx)
	return rep, err
}

// call is one call of an application: reserve, work, report what was used.
func (n *run) call(ctx context.Context, i int, intended time.Time) {
	c := n.Calls[i]
	res, err := n.Data.Reserve(ctx, client.CheckRequest{
		Account: n.Account, Entities: []string{n.who[i]},
		Usage: client.Usage{"requests": 1, "tokens": c.Input + n.reserve},
	}, reserveTTL)
	n.check.Record(time.Since(intended))
	var denied *client.DeniedError
	switch {
	case errors.As(err, &denied):
		n.note(string(denied.Decision.Code), nil)
		return
	case err != nil:
		n.note("error", err)
		return
	}
	n.note(string(res.Decision().Code), nil)

	sent := time.Now()
	err = res.CommitEvent(ctx, client.Event{ID: eventID(i), Usage: client.Usage{"requests": 1, "input_tokens": c.Input, "output_tokens": c.Output}})
	n.ingest.Record(time.Since(sent))
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		n.recorded[i] = true
	case errors.Is(err, client.ErrOutcomeUnknown):
		n.unknown[i] = true
	}
	if err != nil {
		n.keepError(err)
	}
}

// eventID names a call's event after its place in the trace.
func eventID(i int) string { return "trace-" + strconv.Itoa(i) }

// note counts a decision.
func (n *run) note(code string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.decided[code]++
	if err != nil {
		n.keepError(err)
	}
}

func (n *run) keepError(err error) {
	if len(n.errors) < maxErrors {
		n.errors = append(n.errors, err.Error())
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// Load is calls against a cluster: at a fixed rate whatever the answers take
// (open loop), or each after the one before (closed loop).
//
// Without Callers the run makes an account of its own with a Ladder of entities,
// or uses one that an earlier run has made. It stays when the run ends, with its
// entities, budgets and ledger lines: an account cannot be deleted, only frozen.
// With Callers, Account is the user's own: nothing is set up there, and a
// workload that writes to its ledger needs Spend.
type Load struct {
	Workload Workload
	Account  string
	Callers  []string
	Spend    bool
	Ladder   Ladder
	Skew     Skew
	HotEvery time.Duration // how long a hot spot stays where it is
	Batch    int           // events in one ingest
	NodeAck  bool          // take an ingest as done when it is on one node's disk

	Rate     int // calls a second; 0: closed loop
	Duration time.Duration
	WarmUp   time.Duration // before that, sent and not counted
	InFlight int           // open loop: calls under way at most; closed loop: how many callers wait for answers
	Retries  int           // how often a call that a node could not take is given to another
	Seed     uint64

	Endpoints []string // data plane base URLs, called in turn
	Admins    []string // control plane base URLs of all nodes, to read metrics from; may be empty
	Token     string   // for the data plane

	Data     *client.Client
	Admin    *client.Admin // makes the account; not used with Callers
	Setup    func(done, all int)
	Progress func(Progress) // every second; may be nil
}

// Limits of a load.
const (
	maxRate        = 200_000
	maxDuration    = time.Hour
	maxRetries     = 5
	maxBatch       = 1_000 // the contract's
	loadCallTokens = 1_000 // asked for by one check; half of it is used
	loadTimeout    = 5 * time.Second

	// turnedAwayPause is how long a caller of a closed loop that got a 429 waits at least before its next
	// call; twice that at most. It is less than Retry-After asks for, so that what a node has room for is found.
	turnedAwayPause = 100 * time.Millisecond
)

// Validate names the flag that is wrong.
func (l *Load) Validate() error {
	switch {
	case l.Rate < 0 || l.Rate > maxRate:
		return fmt.Errorf("--rate %d: want 1 to %d calls a second, or 0 for a closed loop", l.Rate, maxRate)
	case l.Duration < time.Second || l.Duration > maxDuration:
		return fmt.Errorf("--duration %s: want 1s to %s", l.Duration, maxDuration)
	case l.WarmUp < 0 || l.WarmUp > maxDuration:
		return fmt.Errorf("--warm-up %s: want 0s to %s", l.WarmUp, maxDuration)
	case l.InFlight < 1 || l.InFlight > maxInFlight:
		return fmt.Errorf("--in-flight %d: want 1 to %d", l.InFlight, maxInFlight)
	case l.Retries < 0 || l.Retries > maxRetries:
		return fmt.Errorf("--retries %d: want 0 to %d", l.Retries, maxRetries)
	case l.Batch < 1 || l.Batch > maxBatch:
		return fmt.Errorf("--batch %d: want 1 to %d events", l.Batch, maxBatch)
	case l.HotEvery < time.Second:
		return fmt.Errorf("--hot-every %s: want at least 1s", l.HotEvery)
	case len(l.Callers) > 0 && l.Account == "":
		return errors.New("--entity needs --account: say whose entities these are")
	case len(l.Callers) > 0 && l.Workload.spends() && !l.Spend:
		return fmt.Errorf("--workload %s writes to the ledger of %s and uses up its budgets: give --spend if that is meant, or --workload check", l.Workload, l.Account)
	case l.Account == "":
		return errors.New("--account is empty")
	}
	return errors.Join(l.Workload.Validate(), l.Skew.Validate(), l.Ladder.Validate())
}

// Progress is what a load has come to so far.
type Progress struct {
	Elapsed, All time.Duration // warm-up included
	WarmingUp    bool
	Last         Second // the last second that is over
}

// Second is one second of a run.
type Second struct {
	At     int   `json:"at_s"` // from the end of the warm-up
	Errors int64 `json:"errors"`
	Quantiles
}

// loadRun is a load under way.
type loadRun struct {
	*Load
	id      string
	sender  *sender
	workers []loadWorker
	record  *client.Recorder
	begin   time.Time // of the calls that count

	stats  map[Kind]*kindStats
	second *Latency // of all kinds
	errors atomic.Int64
	sent   atomic.Int64 // events
}

// kindStats are the figures of one kind.
type kindStats struct {
	latency *Latency
	turned  *Latency // of those, that of 429s
	taken   *Latency // and that of the others
	mu      sync.Mutex
	decided map[string]int
	retried int
}

// loadWorker is what one worker does not share.
type loadWorker struct {
	rng  *rand.Rand
	pick *picker
	call call
}

// Run sets up the account, sends the load and reports.
func (l *Load) Run(ctx context.Context) (*LoadReport, error) {
	callers, err := l.callers(ctx)
	if err != nil {
		return nil, err
	}
	r, err := l.newRun(callers)
	if err != nil {
		return nil, err
	}
	before, scraped := scrapeLocality(ctx, l.Admins)
	usage := startUsage()
	start := time.Now()
	r.begin = start.Add(l.WarmUp)
	watched := r.watch(start)
	late, err := r.loop(ctx, start)
	elapsed := time.Since(r.begin)
	seconds := watched()
	generator := usage.stop(late, r.worstP99())

	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxLatency)
	defer cancel()
	err = errors.Join(err, r.record.Close(closing))
	if err != nil {
		return nil, err
	}
	rep := r.report(elapsed, seconds, generator)
	if after, err := scrapeLocality(closing, l.Admins); scraped == nil && err == nil && len(l.Admins) > 0 {
		if ran := after.since(before); ran.decided > 0 {
			local := ran.local / ran.decided
			rep.Local = &local
		}
	}
	return rep, nil
}

// callers returns who makes the calls, and makes them if need be.
func (l *Load) callers(ctx context.Context) ([]string, error) {
	if len(l.Callers) > 0 {
		return l.Callers, nil
	}
	account, err := l.Admin.Account(ctx, l.Account)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return l.makeAccount(ctx)
	case err != nil:
		return nil, err
	case account.Name != madeBy:
		return nil, fmt.Errorf("account %q was not %s: name the --entity ids that may make calls there, or another --account", l.Account, madeBy)
	}
	var callers []string
	for e, err := range l.Admin.Entities(ctx, l.Account) {
		if err != nil {
			return nil, err
		}
		if e.Type == typeCaller && !e.Archived {
			callers = append(callers, e.ID)
		}
	}
	if len(callers) != l.Ladder.Entities {
		return nil, fmt.Errorf("account %q has %d callers and not %d: it was made with other --entities, or not to its end", l.Account, len(callers), l.Ladder.Entities)
	}
	return callers, nil
}

func (l *Load) makeAccount(ctx context.Context) ([]string, error) {
	s := setup{
		account: l.Account, types: []client.EntityType{{ID: typeGroup, Name: typeGroup}, {ID: typeCaller, Name: typeCaller}},
		entities: l.Ladder.entities(l.Account), progress: l.Setup,
	}
	s.budgets = l.Ladder.budgets(l.Account, s.entities)
	if err := s.createAccount(ctx, l.Admin); err != nil {
		return nil, fmt.Errorf("making the account: %w", err)
	}
	var callers []string
	for _, e := range s.entities {
		if e.Type == typeCaller {
			callers = append(callers, e.ID)
		}
	}
	return callers, nil
}

func (l *Load) newRun(callers []string) (*loadRun, error) {
	r := &loadRun{
		Load: l, id: ulid.Make().String(), stats: map[Kind]*kindStats{}, second: NewLatency(),
		record: l.Data.NewRecorder(client.RecorderOptions{NodeAck: true}),
	}
	var err error
	if r.sender, err = newSender(l, callers); err != nil {
		return nil, err
	}
	for _, k := range kinds {
		r.stats[k] = &kindStats{latency: NewLatency(), turned: NewLatency(), taken: NewLatency(), decided: map[string]int{}}
	}
	for w := range uint64(l.InFlight) {
		r.workers = append(r.workers, loadWorker{
			rng: rand.New(rand.NewPCG(^l.Seed, w)), pick: newPicker(l.Skew, len(callers), l.HotEvery, l.Seed, w),
		})
	}
	return r, nil
}

// loop sends the calls and waits for the last of them.
func (r *loadRun) loop(ctx context.Context, start time.Time) (Lateness, error) {
	all := r.WarmUp + r.Duration
	if r.Rate == 0 {
		return Lateness{}, closedLoop(ctx, r.InFlight, all, func(w, i int, at time.Time) { r.call(ctx, w, i, at, at.Sub(start)) })
	}
	n := int(float64(r.Rate) * all.Seconds())
	gap := float64(time.Second) / float64(r.Rate)
	return openLoop(ctx, n, r.InFlight, pace,
		func(i int) time.Duration { return time.Duration(float64(i) * gap) },
		func(w, i int, at time.Time) { r.call(ctx, w, i, at, at.Sub(start)) })
}

// call makes one call, on another node if the first could not take it, and counts it.
func (r *loadRun) call(ctx context.Context, worker, i int, intended time.Time, after time.Duration) {
	w := &r.workers[worker]
	kind := r.Workload.pick(w.rng)
	r.encode(w, kind, i, after)
	var (
		out     outcome
		retried int
	)
	for try := range r.Retries + 1 {
		out = r.sender.send(&w.call, kind, i+try)
		if !out.retryable() || try == r.Retries {
			break
		}
		retried++
	}
	took := time.Since(intended)
	if r.Rate == 0 && out.code == turnedAway {
		defer w.rest(ctx)
	}
	if out.reservation != "" {
		// The recorder blocks when it is full. What it cannot send is an error of Close.
		_ = r.record.Record(ctx, client.Event{
			Account: r.Account, Entities: []string{r.sender.callers[w.call.caller]}, Reservation: out.reservation,
			Usage: client.Usage{"requests": 1, "tokens": loadCallTokens / 2},
		})
	}
	if intended.Before(r.begin) {
		return
	}
	s := r.stats[kind]
	s.latency.Record(took)
	if out.code == turnedAway {
		s.turned.Record(took)
	} else {
		s.taken.Record(took)
	}
	r.second.Record(took)
	if out.failed() {
		r.errors.Add(1)
	}
	r.sent.Add(int64(out.events))
	s.mu.Lock()
	s.decided[out.code]++
	s.retried += retried
	s.mu.Unlock()
}

// rest keeps a caller that was turned away from coming back at once.
func (w *loadWorker) rest(ctx context.Context) {
	t := time.NewTimer(turnedAwayPause + time.Duration(w.rng.Int64N(int64(turnedAwayPause))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// encode chooses a caller and writes the body.
func (r *loadRun) encode(w *loadWorker, kind Kind, i int, after time.Duration) {
	w.call.caller = w.pick.pick(after)
	if kind != KindIngest {
		r.sender.check(&w.call, kind == KindReserve)
		return
	}
	r.sender.ingest(&w.call, r.id, i*r.Batch, r.Batch, func() int { return w.pick.pick(after) })
}

// watch takes a figure a second until the returned function is called, which returns them.
func (r *loadRun) watch(start time.Time) (stop func() []Second) {
	done, ended := make(chan struct{}), make(chan []Second)
	go func() {
		var (
			seconds []Second
			errors  int64
		)
		take := func(now time.Time) Second {
			failed := r.errors.Load()
			s := Second{At: int(now.Sub(r.begin).Round(time.Second) / time.Second), Errors: failed - errors, Quantiles: r.second.take()}
			errors = failed
			if s.Count > 0 {
				seconds = append(seconds, s)
			}
			return s
		}
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				take(time.Now()) // the last second, or what there is of it
				ended <- seconds
				return
			case now := <-tick.C:
				s := take(now)
				if r.Progress != nil {
					r.Progress(Progress{Elapsed: now.Sub(start), All: r.WarmUp + r.Duration, WarmingUp: now.Before(r.begin), Last: s})
				}
			}
		}
	}()
	return func() []Second {
		close(done)
		return <-ended
	}
}

// worstP99 is the highest p99 of the kinds.
func (r *loadRun) worstP99() (p time.Duration) {
	for _, s := range r.stats {
		p = max(p, s.latency.At(99))
	}
	return p
}

package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// World is one run of one scenario. It lives in a synctest bubble.
type World struct {
	seed     uint64
	c        Scenario
	dice     *dice // of the world itself: what a crash leaves
	history  *history
	oracle   *oracle
	founders []string
	began    time.Time

	links   *links
	linksMu sync.Mutex

	mu      sync.Mutex
	hosts   []*host
	doomed  string          // a token that is going to be revoked
	tokens  int             // made so far
	removed map[string]bool // hosts whose node is no member any more
	broken  int             // faults that last, now

	sums    map[uint64]uint64 // checksum of every log index seen anywhere
	burials sync.WaitGroup    // of processes that have ended
	stop    chan struct{}     // closed when the chaos is over
	calls   sync.WaitGroup    // the clients
	acts    sync.WaitGroup    // chaos and administrators
}

// Result is what a run found.
type Result struct {
	Seed    uint64
	Failure string // empty: every promise was kept
	Stats   Stats
	history *history
	c       Scenario
}

// staleAfter is how long a node that nobody hears may go on deciding.
const staleAfter = fsm.DefaultMaxStaleness + 500*time.Millisecond

// Run runs the scenario of a seed. It must be called in a synctest bubble, and
// leaves no goroutine behind. debug keeps the nodes' debug logs in the history.
func Run(seed uint64, debug bool) *Result {
	w := &World{
		seed: seed, c: draw(seed), dice: newDice(seed, streamWorld), links: newLinks(),
		removed: map[string]bool{}, sums: map[uint64]uint64{}, stop: make(chan struct{}),
	}
	// The bubble's clock begins at midnight; a minute ends at Edge.
	time.Sleep(2*time.Minute - w.c.Edge)
	w.began = time.Now()
	w.history = &history{start: w.began, debug: debug}
	w.oracle = newOracle(w)
	w.history.note("world", "seed %d: %v", seed, w.c)
	w.run()
	o := w.oracle
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Seeds = 1
	return &Result{Seed: seed, Failure: o.first, Stats: o.stats, history: w.history, c: w.c}
}

func (w *World) run() {
	for i := range w.c.Nodes {
		w.founders = append(w.founders, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range w.founders {
		w.hosts = append(w.hosts, w.newHost(name))
	}
	w.delay(w.dice, quietDelay)
	defer func() {
		w.oracle.stats.Virtual = time.Since(w.began)
		w.end()
	}()
	for _, h := range w.hosts {
		if err := h.start(); err != nil {
			w.oracle.fail("%v", err)
			return
		}
	}
	if !w.within(10*time.Second, "the cluster is formed", w.allReady) {
		return
	}
	if err := w.build(); err != nil {
		w.oracle.fail("build the tree: %v", err)
		return
	}
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(over) })
	w.startClients()
	w.startChaos()
	w.startAdmin()
	for end := time.Now().Add(w.c.Duration); time.Now().Before(end) && !w.oracle.hasFailed(); {
		time.Sleep(watchEvery)
	}
	close(w.stop)
	if !w.oracle.hasFailed() {
		w.finale()
	}
	close(over)
	watching.Wait()
}

// end stops what still runs and waits for it.
func (w *World) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.heal()
	w.acts.Wait() // they start nodes
	w.heal()
	for _, h := range w.all() {
		h.crash(h.running(), false, "the run is over")
	}
	w.calls.Wait()
	w.burials.Wait()
	time.Sleep(2 * time.Minute) // timers of raft and Pebble run out
	if open := w.links.net.Open(); open != 0 {
		w.oracle.fail("%d ends of connections are open after every node has stopped", open)
	}
}

// build writes the tree and the first facts.
func (w *World) build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, body := range w.tree() {
		if _, err := w.hosts[0].running().cluster.Propose(ctx, admin, body); err != nil {
			return fmt.Errorf("%T: %w", body, err)
		}
	}
	now := time.Now()
	for entity, limit := range map[string]int64{"red": w.c.RedLimit, "alice": w.c.AliceLimit, "blue": w.c.BlueLimit} {
		w.oracle.limits[entity] = &limits{{value: limit, issued: now, acked: now}}
	}
	for about, value := range map[string]string{
		"token " + rootToken: valid, "state of dave": active, "parent of carol": "blue",
	} {
		w.oracle.wrote(w.oracle.writes(about, value), done)
	}
	return nil
}

var admin = fsm.Actor{Type: "token", ID: "tok_admin", Name: "simulation"}

// all returns the machines.
func (w *World) all() []*host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*host(nil), w.hosts...)
}

func (w *World) names() (names []string) {
	for _, h := range w.all() {
		names = append(names, h.name)
	}
	return names
}

// up returns the running processes that can be asked.
func (w *World) up() (all []*process) {
	for _, h := range w.all() {
		if p := h.running(); p != nil && p.serve.Load() != nil {
			all = append(all, p)
		}
	}
	return all
}

// anyone returns a running process, or nil.
func (w *World) anyone(d *dice) *process {
	if all := w.up(); len(all) > 0 {
		return pick(d, all...)
	}
	return nil
}

// leader returns the process that leads as it sees it, or nil.
func (w *World) leader() *process {
	for _, p := range w.up() {
		if p.cluster.Status().State == "leader" {
			return p
		}
	}
	return nil
}

// allReady reports whether every member runs, decides, and is alive to the others.
func (w *World) allReady() bool {
	for _, h := range w.all() {
		if w.isRemoved(h.name) {
			continue
		}
		p := h.running()
		if p == nil || p.serve.Load() == nil || p.enforcer.Load().Ready() != nil {
			return false
		}
		dead := false
		p.machine.View(func(v *fsm.View) {
			for _, n := range v.Nodes() {
				dead = dead || n.Dead && n.RemovedAt == 0
			}
		})
		if dead {
			return false
		}
	}
	return true
}

func (w *World) isRemoved(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed[name]
}

// within waits until something is so; that it comes to be so in time is a promise, too.
func (w *World) within(d time.Duration, what string, ok func() bool) bool {
	for deadline := time.Now().Add(d); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.oracle.fail("NOT LIVE: not within %v: %s\n%s", d, what, w.describe())
			return false
		}
	}
	return true
}

// notBefore returns the earliest moment at which it may be t by a host's clock.
func (w *World) notBefore(host string, t time.Time) time.Time {
	ahead := w.c.ClockError
	if !slices.Contains(w.c.Faults, clockJump) {
		for _, h := range w.all() {
			if h.name == host {
				ahead = time.Duration(h.ahead.Load())
			}
		}
	}
	return t.Add(-ahead - time.Millisecond) // times in answers are cut to milliseconds
}

// begins and ends mark a fault that lasts.
func (w *World) begins() { w.lasting(1) }
func (w *World) ends()   { w.lasting(-1) }

func (w *World) lasting(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken += by
}

// watchEvery is how often the watcher looks.
const watchEvery = 200 * time.Millisecond

// maxChatter is more log entries than a few callers can be the reason of between two looks.
const maxChatter = 500

// watch compares replicas, and looks whether anything is wrong, until over.
func (w *World) watch(over <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := uint64(0)
	for {
		if now := w.compare(); last > 0 && now > last+maxChatter {
			for _, p := range w.up() {
				w.history.note(p.h.name, "its log:\n%s", p.latestEntries())
			}
			w.oracle.fail("CHATTER: %d log entries within %v, where %d callers ask for nothing like it\n%s", now-last, watchEvery, w.c.Clients, w.describe())
		} else {
			last = max(last, now)
		}
		w.mu.Lock()
		broken := w.broken
		w.mu.Unlock()
		w.oracle.calm(broken == 0 && w.allReady())
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}

// nodeFailed judges why a node gave itself up.
func (w *World) nodeFailed(p *process, err error) {
	w.history.note(p.h.name, "failed: %v", err)
	if p.disk.troubled() || strings.Contains(err.Error(), "removed") && w.isRemoved(p.h.name) {
		return
	}
	w.oracle.fail("%s has failed: %v", p.h.name, err)
}

// crashed counts a crash.
func (w *World) crashed(h *host, reboot bool, why string) {
	w.history.note(h.name, "crash (reboot %v): %s", reboot, why)
	w.oracle.count(func(s *Stats) *int64 {
		if reboot {
			return &s.Reboots
		}
		return &s.Crashes
	})
}

// describe tells the nodes' view of the cluster, for failures.
func (w *World) describe() string {
	var b strings.Builder
	for _, h := range w.all() {
		p := h.running()
		if p == nil || p.serve.Load() == nil {
			fmt.Fprintf(&b, "  %s runs: %v\n", h.name, p != nil)
			continue
		}
		s := p.cluster.Status()
		fmt.Fprintf(&b, "  %s %s of term %d, leader %q, commit %d, applied %d", h.name, s.State, s.Term, s.Leader, s.Commit, s.Applied)
		if e := p.enforcer.Load(); e != nil {
			fmt.Fprintf(&b, ", ready: %v", e.Ready())
		}
		fmt.Fprintf(&b, ", failed: %v\n", p.cluster.Err())
		p.machine.View(func(v *fsm.View) {
			for _, n := range v.Nodes() {
				fmt.Fprintf(&b, "    node %d %s boot %d dead %v drained %v removed %v\n", n.Num, n.Name, n.Boot, n.Dead, n.Drained, n.RemovedAt)
			}
			rows(v, func(entity string, x fsm.Budget) {
				reserved := int64(-1)
				if e := p.enforcer.Load(); e != nil {
					reserved = e.Reserved(x.Key)
				}
				fmt.Fprintf(&b, "    %s: limit %d used %d free %d leases %v holder %d gen %d acks %v, reserved here %d\n", entity,
					x.Limit, x.Used, x.Free(), x.Leases, x.Holder, x.Gen, x.Acks, reserved)
			})
		})
	}
	return b.String()
}

// WriteHistory writes what happened in the run.
func (r *Result) WriteHistory(to io.Writer) error {
	_, err := fmt.Fprintf(to, "seed %d\n%v\nfailure: %s\n\n", r.Seed, r.c, r.Failure)
	return errors.Join(err, r.history.write(to))
}

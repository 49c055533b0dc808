package enforcer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// sim is a cluster of real enforcers over real state machines in virtual time.
// Raft is one shared log whose leader the test names; the network between nodes
// delays, loses, repeats and reorders as the test says.
type sim struct {
	t    testing.TB
	mu   sync.Mutex
	rng  *rand.Rand
	log  []fsm.Entry
	grew chan struct{} // closed and renewed when the log grows or the leader changes

	outcomes map[uint64]fsm.Outcome
	leader   fsm.NodeNum // 0: none
	heard    map[fsm.NodeNum]time.Time
	nodes    []*simNode
	faults   faults
	applying time.Duration // how far apply may lag
	virtual  bool          // time is
	calls    map[Method]int
	driver   *driver
	seed     uint64
	links    map[link]uint64 // messages sent so far
	history  []string        // the latest events, told on failure
}

// faults are what the network does to each message. Probabilities in percent.
type faults struct {
	lose   int // a request or its answer never arrives
	repeat int // a request arrives twice
	slow   time.Duration
}

type simNode struct {
	s    *sim
	num  fsm.NodeNum
	fs   *vfs.MemFS
	m    *fsm.Machine
	e    *Enforcer
	up   bool
	cut  bool   // cannot reach anyone
	late bool   // applies nothing
	snap []byte // to install next
	shut bool   // no leader takes its events
	deaf bool   // it answers no other enforcer
	stop context.CancelFunc
	done sync.WaitGroup

	kernel [16]byte // run of its machine

	freshMu sync.Mutex
	fresh   time.Time
}

const simAccount = "acme"

// newSim starts n nodes, an account with the chain acme ← team ← alice, and returns.
// It must be called in a synctest bubble; close stops everything.
func newSim(t testing.TB, n int, seed uint64) *sim {
	s := &sim{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), grew: make(chan struct{}),
		outcomes: make(map[uint64]fsm.Outcome), calls: make(map[Method]int), links: make(map[link]uint64), heard: make(map[fsm.NodeNum]time.Time), leader: 1,
		applying: 2 * time.Millisecond, virtual: time.Now().Year() < 2020, // a bubble's clock starts in 2000
	}
	s.commit(fsm.Init{ClusterID: "sim", Shares: fsm.DefaultShares, MaxStalenessMS: fsm.DefaultMaxStaleness.Milliseconds()})
	for i := range n {
		s.commit(fsm.AdmitNode{Name: fmt.Sprintf("n%d", i+1), Addr: "x"})
	}
	s.commit(fsm.PutAccount{ID: simAccount})
	s.commit(fsm.PutEntityTypes{Items: []fsm.EntityType{{ID: "team"}, {ID: "user"}}})
	s.commit(fsm.PutEntities{Account: simAccount, Items: []fsm.Entity{
		{ID: "team", Type: "team"}, {ID: "alice", Type: "user", Parent: "team"},
	}})
	for i := range n {
		s.spare(fsm.NodeNum(i + 1))
	}
	for _, nd := range s.nodes {
		nd.start()
		if s.virtual {
			time.Sleep(1_234_567 * time.Nanosecond) // so that no two nodes tick at the same moment
		}
	}
	for _, nd := range s.nodes {
		nd.awaitReady()
	}
	return s
}

// spare adds the machine of a node that has not started yet.
func (s *sim) spare(num fsm.NodeNum) *simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	nd := &simNode{s: s, num: num, fs: vfs.NewCrashableMem(), kernel: [16]byte{1}}
	s.nodes = append(s.nodes, nd)
	return nd
}

// note keeps what the test does for the case that it fails.
func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 60
	s.history = append(s.history, fmt.Sprintf("%v log %d: ", time.Now().Format("04:05.000000"), len(s.log))+fmt.Sprintf(format, args...))
	s.history = s.history[max(0, len(s.history)-most):]
}

func (s *sim) close() {
	if s.t.Failed() {
		s.t.Logf("run it again with -seed %d\n%s", s.seed, strings.Join(s.history, "\n"))
	}
	s.disturb(faults{})
	for _, nd := range s.nodes {
		if nd.up {
			nd.kill()
		}
	}
	if s.virtual {
		time.Sleep(time.Minute) // timers of what was in flight
	}
}

// assign gives an entity a hard budget and returns its assignment number.
func (s *sim) assign(entity string, limit int64, cadence fsm.Every) uint64 {
	s.commit(fsm.PutAssignments{Account: simAccount, Items: []fsm.AssignmentPut{{Assignment: fsm.Assignment{
		ID: "asg_" + entity + string(cadence), Entity: entity, Capability: fsm.CapRequests, Limit: limit,
		Cadence: fsm.Cadence{Every: cadence, Timezone: "UTC"}, Enforcement: fsm.Hard, Mode: fsm.Cap,
	}}}})
	s.settle()
	var num uint64
	s.nodes[0].m.View(func(v *fsm.View) {
		for _, a := range v.Assignments(simAccount, entity) {
			num = max(num, a.Num)
		}
	})
	if num == 0 {
		s.t.Fatalf("no assignment was made to %s", entity)
	}
	return num
}

// commit appends a command to the log.
func (s *sim) commit(body fsm.Body) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commitLocked(body)
}

func (s *sim) commitLocked(body fsm.Body) uint64 {
	cmd := &fsm.Command{At: time.Now().UnixMilli(), Leader: s.leader, Body: body, Actor: fsm.Actor{Type: "node", ID: "sim"}}
	if _, hot := body.(fsm.Reconcile); !hot {
		cmd.ID = fmt.Sprintf("cmd-%d", len(s.log))
	}
	data, err := fsm.Encode(cmd)
	if err != nil {
		s.t.Errorf("encode %T: %v", body, err)
	}
	s.log = append(s.log, fsm.Entry{Index: uint64(len(s.log) + 1), Term: 1, Data: data})
	close(s.grew)
	s.grew = make(chan struct{})
	return uint64(len(s.log))
}

// settle waits until every running node has applied the whole log.
func (s *sim) settle() {
	s.mu.Lock()
	end := uint64(len(s.log))
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // of virtual time: a node that has stopped applying never gets there
	defer cancel()
	for _, nd := range s.all() {
		if nd.is(&nd.up) {
			if err := nd.m.WaitApplied(ctx, end); err != nil {
				s.t.Fatalf("node %d: %v", nd.num, err)
			}
		}
	}
}

// disturb sets what the network does to messages from here on.
func (s *sim) disturb(f faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// elect makes a node the leader, or none.
func (s *sim) elect(n fsm.NodeNum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = n
	s.history = append(s.history, fmt.Sprintf("%v log %d: leader %d", time.Now().Format("04:05.000000"), len(s.log), n))
	now := time.Now()
	for _, nd := range s.nodes {
		s.heard[nd.num] = now // a new leader starts counting at its election
	}
}

func (s *sim) node(n fsm.NodeNum) *simNode { return s.all()[n-1] }

func (s *sim) all() []*simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes
}

func (s *sim) chance(percent func(faults) int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(100) < percent(s.faults)
}

// lossy reports whether messages are being lost.
func (s *sim) lossy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.lose > 0
}

func (s *sim) between(lo, hi time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lo + time.Duration(s.rng.Int64N(int64(hi-lo)+1))
}

// link is the way from one node to another.
type link struct{ from, to fsm.NodeNum }

// travel is the way of one message. What happens to the n-th message of a link
// depends on the seed and n, and not on what else goes on at that moment.
func (s *sim) travel(from, to *simNode) {
	s.mu.Lock()
	slow := max(300*time.Microsecond, s.faults.slow)
	way := s.way(from, to)
	s.mu.Unlock()
	time.Sleep(100*time.Microsecond + time.Duration(way.Int64N(int64(slow-100*time.Microsecond)+1)))
}

// way returns the randomness of a link's next message. s.mu is held.
func (s *sim) way(from, to *simNode) *rand.Rand {
	l := link{from.num, to.num}
	s.links[l]++
	return rand.New(rand.NewPCG(s.seed<<32|uint64(l.from)<<16|uint64(l.to), s.links[l]))
}

func (s *sim) loses(from, to *simNode) bool {
	return s.happens(from, to, func(f faults) int { return f.lose })
}

func (s *sim) repeats(from, to *simNode) bool {
	return s.happens(from, to, func(f faults) int { return f.repeat })
}

func (s *sim) happens(from, to *simNode, percent func(faults) int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.way(from, to).IntN(100) < percent(s.faults)
}

// reaches reports whether a message from one node can reach another.
func (s *sim) reaches(from, to *simNode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return to.up && (from == to || !from.cut && !to.cut)
}

// start opens a node over what its disk holds.
func (nd *simNode) start() {
	s := nd.s
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := fsm.Open("state", fsm.Options{FS: nd.fs, Logger: log})
	if err != nil {
		s.t.Fatalf("node %d: %v", nd.num, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	nd.m, nd.stop = m, stop
	e, err := Open(Config{
		Name: fmt.Sprintf("n%d", nd.num), Node: nd.num, FS: nd.fs, Logger: log,
		DataDir: "data", KernelBoot: nd.kernel,
	}, m, nd)
	if err != nil {
		s.t.Fatalf("node %d: %v", nd.num, err)
	}
	m.SetObserver(e)
	s.mu.Lock()
	nd.e, nd.up = e, true
	s.heard[nd.num] = time.Now()
	s.mu.Unlock()
	nd.done.Go(func() { nd.apply(ctx) })
	nd.done.Go(func() { nd.watch(ctx) })
	nd.done.Go(func() {
		if err := e.Run(ctx, nd.propose); err != nil {
			s.t.Errorf("node %d: run: %v", nd.num, err)
		}
	})
}

// kill stops a node as a crash of its process would: nothing is said, nothing is closed in order.
func (nd *simNode) kill() {
	nd.s.mu.Lock()
	nd.up = false
	nd.s.mu.Unlock()
	nd.stop()
	nd.done.Wait()
	nd.e.journal.stop()
	if nd.e.journal.file != nil {
		_ = nd.e.journal.file.Close()
	}
	if err := errors.Join(nd.e.ship.outbox.close(), nd.m.Close()); err != nil {
		nd.s.t.Errorf("node %d: close: %v", nd.num, err)
	}
}

// powerCut stops a node as a crash of its machine would: of what was not synced,
// only so many percent of the pages are there when it starts again.
func (nd *simNode) powerCut(percent int) {
	nd.s.mu.Lock()
	nd.up = false
	left := nd.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: nd.s.rng})
	nd.s.mu.Unlock()
	nd.kill()
	nd.fs, nd.kernel[0] = left, nd.kernel[0]+1
}

func (nd *simNode) awaitReady() { nd.awaitReadyFor(10 * time.Second) }

func (nd *simNode) awaitReadyFor(most time.Duration) {
	for end := time.Now().Add(most); nd.e.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			nd.s.t.Fatalf("node %d is not ready: %v", nd.num, nd.e.Ready())
		}
	}
}

// apply applies the log as it grows, a little late.
func (nd *simNode) apply(ctx context.Context) {
	s := nd.s
	for ctx.Err() == nil {
		at, _ := nd.m.Applied()
		s.mu.Lock()
		grew, cut, snap := s.grew, nd.cut || nd.late, nd.snap
		nd.snap = nil
		var entries []fsm.Entry
		if n := uint64(len(s.log)); at < n && !cut {
			entries = s.log[at:min(n, at+64)]
		}
		s.mu.Unlock()
		if snap != nil {
			if err := nd.m.InstallSnapshot(bytes.NewReader(snap)); err != nil {
				s.t.Errorf("node %d: install: %v", nd.num, err)
			}
			continue
		}
		if len(entries) == 0 {
			select {
			case <-grew:
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			continue
		}
		time.Sleep(s.between(0, s.applying))
		if ctx.Err() != nil {
			return
		}
		outcomes, err := nd.m.Apply(entries)
		if err != nil {
			s.t.Errorf("node %d: apply: %v", nd.num, err)
			return
		}
		s.mu.Lock()
		for i, o := range outcomes {
			s.outcomes[entries[i].Index] = o
		}
		s.mu.Unlock()
		if nd.e.broken.Load() {
			s.t.Errorf("node %d: INV2 is violated at index %d", nd.num, entries[len(entries)-1].Index)
			return
		}
	}
}

// watch declares silent nodes dead while this node is the leader.
func (nd *simNode) watch(ctx context.Context) {
	s := nd.s
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		var silent []fsm.NodeNum
		s.mu.Lock()
		if s.leader == nd.num && !nd.cut {
			for n, at := range s.heard {
				if n != nd.num && time.Since(at) > time.Second {
					silent = append(silent, n)
				}
			}
		}
		s.mu.Unlock()
		for _, n := range silent {
			dead := true
			nd.m.View(func(v *fsm.View) { dead = v.Node(n).Dead })
			if !dead {
				s.commit(fsm.DeadNode{Node: n})
			}
		}
	}
}

// set sets one of the node's faults.
func (nd *simNode) set(fault *bool, on bool) {
	nd.s.mu.Lock()
	defer nd.s.mu.Unlock()
	*fault = on
}

func (nd *simNode) is(fault *bool) bool {
	nd.s.mu.Lock()
	defer nd.s.mu.Unlock()
	return *fault
}

// leaderNow returns the leader if the node can reach it.
func (nd *simNode) leaderNow() *simNode {
	nd.s.mu.Lock()
	l := nd.s.leader
	nd.s.mu.Unlock()
	if l == 0 || !nd.s.reaches(nd, nd.s.node(l)) {
		return nil
	}
	return nd.s.node(l)
}

func (nd *simNode) propose(ctx context.Context, body fsm.Body) error {
	l := nd.leaderNow()
	if l == nil {
		return ErrNoLeader
	}
	nd.s.travel(nd, l)
	return l.m.WaitApplied(ctx, nd.s.commit(body))
}

// Reconcile implements Peers.
func (nd *simNode) Reconcile(ctx context.Context, part *fsm.Part) (*ReconcileReply, error) {
	s, sent := nd.s, time.Now()
	l := nd.leaderNow()
	if l == nil || nd.is(&nd.shut) && len(part.Events) > 0 {
		return nil, ErrNoLeader
	}
	if s.loses(nd, l) {
		<-ctx.Done()
		return nil, ErrUnknownOutcome
	}
	s.travel(nd, l)
	if nd.leaderNow() != l {
		return nil, ErrNoLeader
	}
	s.mu.Lock()
	s.heard[nd.num] = time.Now()
	s.mu.Unlock()
	reply := &ReconcileReply{Leader: l.num}
	if len(part.Events)+len(part.Releases)+len(part.Asks)+len(part.Exits) > 0 {
		reply.Index = s.commit(fsm.Reconcile{Parts: []fsm.Part{*part}})
		if s.repeats(nd, l) {
			late := *part
			time.AfterFunc(s.between(0, 50*time.Millisecond), func() { s.commit(fsm.Reconcile{Parts: []fsm.Part{late}}) })
		}
		if err := l.m.WaitApplied(ctx, reply.Index); err != nil {
			return nil, ErrUnknownOutcome
		}
		s.mu.Lock()
		if g := s.outcomes[reply.Index].Grants; len(g) == 1 {
			reply.Grants = g[0]
		}
		s.mu.Unlock()
	}
	if s.loses(l, nd) {
		<-ctx.Done()
		return nil, ErrUnknownOutcome
	}
	s.travel(l, nd)
	nd.freshMu.Lock()
	if sent.After(nd.fresh) {
		nd.fresh = sent
	}
	nd.freshMu.Unlock()
	return reply, ctx.Err()
}

// Call implements Peers.
func (nd *simNode) Call(ctx context.Context, to fsm.NodeNum, method Method, req, reply any) error {
	s, target := nd.s, nd.s.node(to)
	body, err := msgpack.Marshal(req)
	if err != nil {
		return err
	}
	s.travel(nd, target)
	if !s.reaches(nd, target) {
		return ErrUnreachable
	}
	if s.loses(nd, target) || target.is(&target.deaf) {
		<-ctx.Done()
		return ErrUnknownOutcome
	}
	s.mu.Lock()
	e := target.e
	s.calls[method]++
	s.mu.Unlock()
	if s.repeats(nd, target) {
		time.AfterFunc(s.between(0, 50*time.Millisecond), func() { _, _ = e.Handle(context.Background(), nd.num, method, body) })
	}
	answer, err := e.Handle(ctx, nd.num, method, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	if s.loses(target, nd) {
		<-ctx.Done()
		return ErrUnknownOutcome
	}
	s.travel(target, nd)
	if !s.reaches(target, nd) {
		return ErrUnknownOutcome
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return msgpack.Unmarshal(answer, reply)
}

// called counts the requests of one kind that have reached an enforcer.
func (s *sim) called(m Method) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[m]
}

// HeardLeader implements Peers.
func (nd *simNode) HeardLeader() time.Time {
	nd.freshMu.Lock()
	defer nd.freshMu.Unlock()
	return nd.fresh
}

// check asks a node to reserve (ttl in milliseconds; 0: only to check) an amount of requests for alice.
func (nd *simNode) check(amount, ttl int64) (*Decision, error) {
	d := new(Decision)
	c := &Call{
		Account: []byte(simAccount), Entities: [][]byte{[]byte("alice")}, ReserveTTL: ttl,
		Usage: []Usage{{Capability: []byte(fsm.CapRequests), Amount: amount}},
	}
	e := nd.now()
	if err := e.Check(context.Background(), c, d); err != nil {
		return d, err
	}
	return d, nd.answered(e)
}

// now is the node's present process.
func (nd *simNode) now() *Enforcer {
	nd.s.mu.Lock()
	defer nd.s.mu.Unlock()
	return nd.e
}

// errEnded: what a process says after its end reaches nobody.
var errEnded = fmt.Errorf("%w: the process has ended", ErrUnavailable)

// answered reports whether a process that was asked is still there.
func (nd *simNode) answered(by *Enforcer) error {
	nd.s.mu.Lock()
	defer nd.s.mu.Unlock()
	if !nd.up || nd.e != by {
		return errEnded
	}
	return nil
}

// ingest records an event on a node. It returns an error if the node does not acknowledge it.
func (nd *simNode) ingest(id string, amount int64, reservation string) error {
	ev := &fsm.Event{
		Account: simAccount, ID: id, Entities: []string{"alice"}, Reservation: reservation,
		Hash:  sha256.Sum256(fmt.Appendf(nil, "%s %d %s", id, amount, reservation)),
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: amount}},
		At:    time.Now().UnixMilli(), ReceivedAt: time.Now().UnixMilli(),
	}
	items := []ingestItem{{ev: ev}}
	e := nd.now()
	if err := e.ingest(context.Background(), items, true); err != nil {
		return err
	}
	if items[0].code != "" {
		return fmt.Errorf("rejected: %s %s", items[0].code, items[0].detail)
	}
	return nd.answered(e)
}

// budget returns a budget as the furthest node sees it.
func (s *sim) budget(num uint64) (b fsm.Budget) {
	var best uint64
	for _, nd := range s.nodes {
		if !nd.up {
			continue
		}
		nd.m.View(func(v *fsm.View) {
			if v.Index() < best {
				return
			}
			best = v.Index()
			a := v.AssignmentByNum(num)
			start, _ := a.Cadence.Period(time.Now().UnixMilli())
			b = v.Budget(a, start)
		})
	}
	return b
}

// state describes a budget on every node, for failures.
func (s *sim) state(num uint64) string {
	b := s.budget(num)
	out := fmt.Sprintf("limit %d used %d free %d leases %v holder %d gen %d acks %v", b.Limit, b.Used, b.Free(), b.Leases, b.Holder, b.Gen, b.Acks)
	for _, nd := range s.nodes {
		if nd.e == nil {
			continue
		}
		if sl := nd.e.book.find(b.Key); sl != nil {
			sl.mu.Lock()
			out += fmt.Sprintf("\n  n%d up %v: avail %d held %d pending %d overdraft %d releasing %d credit %d debt %d", nd.num, nd.up,
				sl.avail.Load(), sl.heldNow(), sl.pending, sl.overdraft, sl.releasing, sl.creditSum(), sl.debt)
			sl.mu.Unlock()
		}
	}
	return out
}

// inSim runs f in virtual time, and one goroutine at a time: what is due at
// different moments runs in their order, so that a seed mostly repeats itself. It is not
// bit-repeatable: the runtime chooses between what is due at the same moment, between
// ready cases of a select, and where a map's iteration begins.
func inSim(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}

func TestSimSmoke(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 1)
		defer s.close()
		num := s.assign("alice", 100, fsm.EveryNever)
		d, err := s.node(2).check(1, 60_000)
		if err != nil || !d.Allowed {
			t.Fatalf("check: %+v, %v\n%s", d, err, s.state(num))
		}
		if err := s.node(3).ingest("evt-1", 1, string(d.Reservation[:d.ReservationN])); err != nil {
			t.Fatal(err)
		}
		s.settle()
		if b := s.budget(num); b.Used != 1 {
			t.Fatalf("used %d, want 1\n%s", b.Used, s.state(num))
		}
	})
}

// notShort skips a test that takes long under the race detector and has nothing to show to it.
func notShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short")
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// echo answers a CancelRequest with a DrawReply that tells who asked.
type echo struct{ delay time.Duration }

func (e echo) Handle(ctx context.Context, from fsm.NodeNum, m enforcer.Method, body []byte) ([]byte, error) {
	var req enforcer.CancelRequest
	if err := msgpack.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	time.Sleep(e.delay)
	return msgpack.Marshal(enforcer.DrawReply{Status: enforcer.DrawStatus(m), Used: int64(from)})
}

func TestCallReachesTheEnforcerOfTheNodeAndTellsWhoAsks(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		a, b := r.peers["n1"], r.peers["n2"]
		numA, numB := a.node.Status().Num, b.node.Status().Num
		var reply enforcer.DrawReply
		ctx := r.within(time.Second)
		done := make(chan error, 1)
		go func() { done <- a.node.Call(ctx, numB, enforcer.MethodCancel, enforcer.CancelRequest{}, &reply) }()
		time.Sleep(100 * time.Millisecond)
		b.node.Serve(echo{}) // what came before waits
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if reply.Used != int64(numA) || reply.Status != enforcer.DrawStatus(enforcer.MethodCancel) {
			t.Errorf("the handler saw node %d and method %d, want %d and %d", reply.Used, reply.Status, numA, enforcer.MethodCancel)
		}
		b.node.Serve(echo{time.Hour}) // only the first counts
		if err := b.node.Call(r.within(time.Second), numB, enforcer.MethodDraw, enforcer.CancelRequest{}, &reply); err != nil || reply.Used != int64(numB) {
			t.Errorf("a call to itself: node %d, %v", reply.Used, err)
		}
		if err := a.node.Call(r.within(time.Second), 99, enforcer.MethodDraw, enforcer.CancelRequest{}, &reply); !errors.Is(err, enforcer.ErrUnreachable) {
			t.Errorf("a call to no node: %v", err)
		}
		b.crash()
		if err := a.node.Call(r.within(time.Second), numB, enforcer.MethodDraw, enforcer.CancelRequest{}, &reply); !errors.Is(err, enforcer.ErrUnreachable) && !errors.Is(err, enforcer.ErrUnknownOutcome) {
			t.Errorf("a call to a crashed node: %v", err)
		}
	})
}

// leased makes an account with a hard budget and returns the budget's key.
func (r *rig) leased(limit int64) fsm.BudgetKey {
	r.t.Helper()
	l := r.leader()
	l.mustPut("acme", "Acme")
	put := fsm.PutAssignments{Account: "acme", Items: []fsm.AssignmentPut{{Assignment: fsm.Assignment{
		ID: "asg_00000000000000000000000001", Account: "acme", Entity: "acme", Capability: fsm.CapRequests,
		Cadence: fsm.Cadence{Every: fsm.EveryNever, Timezone: "UTC"}, Limit: limit, Enforcement: fsm.Hard, Mode: fsm.Cap,
	}}}}
	if _, err := l.node.Propose(r.within(30*time.Second), tester, put); err != nil {
		r.t.Fatal(err)
	}
	a, err := l.machine.Assignment("acme", "asg_00000000000000000000000001")
	if err != nil {
		r.t.Fatal(err)
	}
	return fsm.BudgetKey{Assignment: a.Num}
}

func (p *peer) session() (fsm.NodeNum, uint64) {
	s := p.node.Status()
	return s.Num, p.node.members.Load().node(s.Num).Boot
}

func TestReconcileCommitsAndAnswersWithGrantsFromAnyNode(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		key := r.leased(1_000_000)
		var wg sync.WaitGroup
		var highest atomic.Uint64
		for _, name := range r.names() {
			p := r.peers[name]
			num, boot := p.session()
			for range 10 {
				wg.Go(func() {
					reply, err := p.node.Reconcile(r.within(5*time.Second), &fsm.Part{Node: num, Boot: boot, Asks: []fsm.Ask{{Budget: key, NeedMin: 5, NeedSum: 5}}})
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					if len(reply.Grants) != 1 || reply.Grants[0].Amount < 5 || reply.Grants[0].Budget != key {
						t.Errorf("%s: grants %+v, want one of at least 5", name, reply.Grants)
					}
					if reply.Index == 0 || reply.Commit < reply.Index {
						t.Errorf("%s: applied at %d, and the leader has applied %d", name, reply.Index, reply.Commit)
					}
					if reply.Leader != r.leader().node.Status().Num {
						t.Errorf("%s: leader %d", name, reply.Leader)
					}
					for h := highest.Load(); reply.Index > h && !highest.CompareAndSwap(h, reply.Index); h = highest.Load() {
					}
				})
			}
		}
		before := r.leader().node.Status().Commit
		wg.Wait()
		if entries := highest.Load() - before; entries > 15 {
			t.Errorf("30 parts at once made %d entries", entries)
		}
	})
}

func TestHeartbeatIsNotLoggedAndTellsOfTheOthers(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		time.Sleep(time.Second)
		before := r.leader().node.Status().Commit
		time.Sleep(5 * time.Second)
		if after := r.leader().node.Status().Commit; after != before {
			t.Errorf("150 heartbeats made %d entries", after-before)
		}
		for _, p := range r.peers {
			if ago := time.Since(p.node.HeardLeader()); ago > 200*time.Millisecond {
				t.Errorf("%s heard its leader %v ago", p.name, ago)
			}
			for _, m := range p.node.Status().Members {
				if ago := time.Since(m.LastHeard); ago > 400*time.Millisecond || m.Applied != before {
					t.Errorf("%s says %s was heard %v ago with %d applied, want just now with %d", p.name, m.Name, ago, m.Applied, before)
				}
			}
		}
	})
}

func TestPartInAnotherNodesNameIsRefused(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		for _, p := range r.peers {
			num, _ := p.session()
			_, err := p.node.Reconcile(r.within(time.Second), &fsm.Part{Node: num%3 + 1, Boot: 1})
			if !errors.Is(err, enforcer.ErrNoLeader) {
				t.Errorf("%s spoke for another node: %v", p.name, err)
			}
		}
	})
}

func TestStrangerIsRefusedEverythingButToJoin(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		n := r.leader().node
		for m := methodPropose; m <= methodVerdict; m++ {
			if _, err := n.handle(t.Context(), caller{name: "stranger", run: "x"}, m, []byte{0x80}); !errors.Is(err, errNotMember) {
				t.Errorf("method %d from a stranger: %v", m, err)
			}
		}
		if _, err := n.handle(t.Context(), caller{name: "stranger"}, methodEnforcer+1, nil); !errors.Is(err, errNotMember) {
			t.Errorf("a draw from a stranger: %v", err)
		}
		if _, err := n.handle(t.Context(), caller{name: "n1"}, 100, nil); err == nil {
			t.Error("an unknown method was answered")
		}
		if _, err := n.handle(t.Context(), caller{name: "n1"}, methodPropose, []byte{0xc1}); err == nil {
			t.Error("a damaged request was answered")
		}
	})
}

func TestStalledDiskOfTheLeaderEndsItAndTheOthersGoOn(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		for _, p := range r.peers {
			p.config.Tuning.DiskStall = 2 * time.Second
		}
		r.startAll()
		old := r.leader()
		release := make(chan struct{})
		var stalled atomic.Bool
		old.stores.hook.Store(func(int) {
			stalled.Store(true)
			<-release
		})
		survivor := r.followers()[0]
		done := make(chan error, 1)
		go func() {
			_, err := survivor.node.ProposeQuick(r.within(30*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"})
			done <- err
		}()
		began := time.Now()
		select {
		case <-old.node.Failed():
		case <-time.After(10 * time.Second):
			t.Fatal("the leader with a hung disk goes on")
		}
		if err := old.node.Err(); !errors.Is(err, ErrDiskStalled) {
			t.Errorf("it failed with %v", err)
		}
		if !stalled.Load() {
			t.Error("the disk was not what stalled")
		}
		// The process exits: its connections go, whatever its disk does.
		r.isolate(old)
		r.net.Crash(old.name)
		if err := <-done; err != nil {
			t.Fatalf("the write through the others: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("writes were back after %v", took)
		}
		old.stores.hook.Store(func(int) {})
		close(release)
		old.stopHeart()
		synctest.Wait()
	})
}

func TestFailedAppendEndsTheNode(t *testing.T) {
	full := errors.New("no space left on device")
	var got error
	w := newWatchdog(&failingStores{memStores: memStores{InmemStore: raft.NewInmemStore()}, err: full}, time.Second, func(err error) { got = err })
	if err := w.StoreLogs(nil); !errors.Is(err, full) {
		t.Errorf("append: %v", err)
	}
	if !errors.Is(got, full) {
		t.Errorf("the node was told %v", got)
	}
	if err := w.SetUint64(nil, 1); !errors.Is(err, full) {
		t.Errorf("a vote after the failure: %v, want it refused", err)
	}
}

type failingStores struct {
	memStores
	err error
}

func (f *failingStores) StoreLogs([]*raft.Log) error { return f.err }

func TestDamagedReplicaTakesItselfOutOfService(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		for _, p := range r.peers {
			p.config.Tuning.ChecksumEvery = 2 * time.Second
		}
		r.startAll()
		r.leader().mustPut("acme", "x")
		damaged := r.followers()[0]
		damaged.close()
		// It comes back having applied something that nobody committed.
		m, err := fsm.Open("/data/state", fsm.Options{FS: damaged.fs, Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		index, term := m.Applied()
		rogue, err := fsm.Encode(&fsm.Command{ID: newCommandID(), At: time.Now().UnixMilli(), Actor: tester, Body: fsm.PutAccount{ID: "evil", Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply([]fsm.Entry{{Index: index + 1, Term: term, Data: rogue}}); err != nil {
			t.Fatal(err)
		}
		m.Close()
		damaged.start()
		for i := range 3 {
			if _, err := r.leader().node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		r.failsWith(damaged, "differs from the others")
		for _, p := range r.peers {
			if p.node != nil && p.node.Err() != nil {
				t.Errorf("%s failed too: %v", p.name, p.node.Err())
			}
		}
	})
}

func TestIdentityIsKeptAndDamageIsNoticed(t *testing.T) {
	fs := vfs.NewMem()
	id, err := openIdentity(fs, "/data", "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := id.update(func(v *identityFields) { v.Promised = "n2" }); err != nil {
		t.Fatal(err)
	}
	again, err := openIdentity(fs, "/data", "n1")
	if err != nil || again.get().Promised != "n2" {
		t.Errorf("read again: %+v, %v", again.get(), err)
	}
	f, _ := fs.Create("/data/"+identityFile, vfs.WriteCategoryUnspecified)
	f.Write([]byte("{"))
	f.Close()
	if _, err := openIdentity(fs, "/data", "n1"); err == nil {
		t.Error("a damaged identity was accepted")
	}
}

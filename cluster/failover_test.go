package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

func TestWritesAreBackWithinTwoSecondsOfLosingTheLeader(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leader := r.leader()
		survivor := r.followers()[0]
		leader.crash()
		lost := time.Now()
		if _, err := survivor.node.ProposeQuick(r.within(10*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(lost); took > 2*time.Second {
			t.Errorf("the first write after the leader's crash took %v, want at most 2s", took)
		}
	})
}

func TestCrashedLeaderComesBackWithTheSameState(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		r.peers["n1"].mustPut("acme", "before")
		old := r.leader()
		old.crash()
		r.settle(2)
		survivor := r.leader()
		if _, err := survivor.node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "during"}); err != nil {
			t.Fatal(err)
		}
		old.start()
		r.settle(3)
		old.mustPut("globex", "after")
		r.sameState()
		if got := old.accountName("acme"); got != "during" {
			t.Errorf("the restarted node has %q, want what was written while it was away", got)
		}
	})
}

// sameState checks that all running replicas agree at the leader's index.
func (r *rig) sameState() {
	r.t.Helper()
	index, want := r.leader().machine.Checksum()
	for _, p := range r.peers {
		if p.node == nil {
			continue
		}
		if err := p.machine.WaitApplied(r.within(5*time.Second), index); err != nil {
			r.t.Errorf("%s does not reach %d: %v", p.name, index, err)
		}
		if sum, ok := p.machine.ChecksumAt(index); !ok || sum != want {
			r.t.Errorf("%s has checksum %x at %d (%v), the leader %x", p.name, sum, index, ok, want)
		}
	}
}

func TestWholeClusterRestartsFromDisk(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		r.peers["n1"].mustPut("acme", "kept")
		id := r.peers["n1"].node.Status().ClusterID
		for _, name := range r.names() {
			r.peers[name].crash()
		}
		alone := r.peers["n2"]
		alone.start()
		synctest.Wait()
		// Without a quorum a node cannot know what is committed beyond what it had applied
		// and kept, but it knows who it is.
		if got := alone.node.Status().ClusterID; got != "" && got != id {
			t.Errorf("restarted alone, the node says cluster %q, want %q", got, id)
		}
		r.peers["n1"].start()
		r.peers["n3"].start()
		r.settle(3)
		for _, p := range r.peers {
			if _, err := p.node.Barrier(r.within(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if got := p.accountName("acme"); got != "kept" {
				t.Errorf("%s has %q after the restart of all, want %q", p.name, got, "kept")
			}
			if got := p.node.Status().ClusterID; got != id {
				t.Errorf("%s is in cluster %q, want %q", p.name, got, id)
			}
		}
	})
}

func TestPartitionedLeaderAnswersNothingAndTheMajorityGoesOn(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		old := r.leader()
		others := r.followers()
		r.isolate(old)
		// The write reaches the old leader's log and no further.
		result := make(chan error, 1)
		go func() {
			_, err := old.put(r.within(4*time.Second), "acme", "minority")
			result <- err
		}()
		if _, err := old.node.Barrier(r.within(3 * time.Second)); err == nil {
			t.Error("a leader cut off from the others answered a linearizable read")
		}
		if err := <-result; !errors.Is(err, enforcer.ErrUnknownOutcome) {
			t.Errorf("write through the cut-off leader: %v, want an unknown outcome", err)
		}
		if _, err := others[0].node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "majority"}); err != nil {
			t.Fatalf("write through the majority: %v", err)
		}
		r.net.HealAll()
		r.settle(3)
		if _, err := old.node.Barrier(r.within(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := old.accountName("acme"); got != "majority" {
			t.Errorf("after healing the old leader has %q, want %q", got, "majority")
		}
		r.sameState()
	})
}

func TestOneWayPartitionOfTheLeaderIsSurvived(t *testing.T) {
	for _, c := range []struct {
		name  string
		block func(r *rig, leader string, others []*peer)
	}{
		{"nothing reaches the leader", func(r *rig, leader string, others []*peer) {
			for _, o := range others {
				r.net.BlockOneWay(o.name, leader)
			}
		}},
		{"nothing leaves the leader", func(r *rig, leader string, others []*peer) {
			for _, o := range others {
				r.net.BlockOneWay(leader, o.name)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 3, func(r *rig) {
				r.startAll()
				old := r.leader()
				others := r.followers()
				c.block(r, old.name, others)
				if _, err := others[0].node.ProposeQuick(r.within(10*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"}); err != nil {
					t.Fatalf("no write through the others: %v\n%s", err, r.describe())
				}
				r.net.HealAll()
				r.settle(3)
				r.sameState()
			})
		})
	}
}

func TestWriteOfUnknownOutcomeIsRetriedAndTakesEffectOnce(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		old := r.leader()
		follower := r.followers()[0]
		// The leader receives and commits, but its answers to this follower stall: the
		// follower must ask again, elsewhere once the leader is gone.
		r.net.BlockOneWay(old.name, follower.name)
		done := make(chan error, 1)
		go func() {
			_, err := follower.node.ProposeQuick(r.within(30*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "once"})
			done <- err
		}()
		other := r.followers()[1]
		r.eventually(5*time.Second, "the write is committed", func() bool { return other.accountName("acme") == "once" })
		// Somebody else writes the same account before the retry arrives: were it taken
		// for another command, it would undo that.
		if _, err := other.node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "later"}); err != nil {
			t.Fatal(err)
		}
		old.crash()
		if err := <-done; err != nil {
			t.Fatalf("the retried write: %v", err)
		}
		if got := follower.accountName("acme"); got != "later" {
			t.Errorf("after the retry the account is %q: the write took effect twice", got)
		}
	})
}

func TestNoLeaderIsToldApartFromUnknownOutcome(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leader := r.leader()
		survivor := r.followers()[0]
		r.followers()[1].crash()
		leader.crash()
		time.Sleep(2 * time.Second) // the survivor gives its leader up
		_, err := survivor.node.ProposeQuick(r.within(time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"})
		if !errors.Is(err, enforcer.ErrNoLeader) || errors.Is(err, enforcer.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write without a leader: %v, want ErrNoLeader and the deadline", err)
		}
		if _, err := survivor.node.Barrier(r.within(time.Second)); err == nil {
			t.Error("a linearizable read without a leader was answered")
		}
	})
}

func TestLinearizableReadSeesEveryAcknowledgedWrite(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		names := r.names()
		// Followers learn of commits late, each with another delay.
		for i, a := range names {
			for j, b := range names {
				r.net.Delay(a, b, time.Duration(3+7*i+11*j)*time.Millisecond)
			}
		}
		for i := range 20 {
			writer, reader := r.peers[names[i%3]], r.peers[names[(i+1)%3]]
			want := fmt.Sprint(i)
			if _, err := writer.node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: want}); err != nil {
				t.Fatal(err)
			}
			if _, err := reader.node.Barrier(r.within(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if got := reader.accountName("acme"); got != want {
				t.Fatalf("read %q on %s after %q was acknowledged on %s", got, reader.name, want, writer.name)
			}
			if i == 10 {
				old := r.leader()
				if err := old.node.TransferLeadership(r.within(5*time.Second), ""); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestLeadershipIsTransferredToTheNodeNamed(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		followers := r.followers()
		target, asked := followers[0], followers[1]
		if err := asked.node.TransferLeadership(r.within(5*time.Second), target.name); err != nil {
			t.Fatal(err)
		}
		r.eventually(2*time.Second, "the named node leads", func() bool { return r.leader() == target })
		if err := asked.node.TransferLeadership(r.within(5*time.Second), "nobody"); !errors.Is(err, fsm.ErrNotFound) {
			t.Errorf("transfer to an unknown node: %v, want not_found", err)
		}
	})
}

func TestGracefulCloseOfTheLeaderHandsOverAtOnce(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		old := r.leader()
		survivor := r.followers()[0]
		old.close()
		closed := time.Now()
		if _, err := survivor.node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(closed); took > 300*time.Millisecond {
			t.Errorf("the first write after a graceful stop took %v: leadership was not handed over", took)
		}
	})
}

func TestLeaderThatCannotProveItAnswersNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds int
		var lost error
		n := &Node{cfg: Config{Name: "n1"}.withDefaults()}
		l := &leadership{
			n: n, ctx: t.Context(), ready: make(chan struct{}), sessions: newSessions(time.Now()),
			verifier: newVerifier(func() error { rounds++; return lost }, func() bool { return true }),
		}
		close(l.ready)
		lease := n.cfg.leaderLease()
		// Within the lease of a proof none is asked for, after it one is.
		for _, wait := range []time.Duration{0, lease, 0} {
			time.Sleep(wait)
			if err := l.verifier.within(t.Context(), lease); err != nil || rounds != 1 {
				t.Fatalf("%v after a proof: %v, %d rounds", wait, err, rounds)
			}
		}
		time.Sleep(time.Millisecond)
		lost = raft.ErrLeadershipLost
		_, err := l.reconcile(t.Context(), 1, caller{name: "n1", run: "run"}, 0, sentPart{part: &fsm.Part{Node: 1}}, 0)
		if !errors.Is(err, ErrNotLeader) || rounds != 2 {
			t.Errorf("a heartbeat to a leader without proof: %v after %d rounds", err, rounds)
		}
	})
}

func TestWriteSentToALeaderThatVanishesMovesToTheNext(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		old := r.leader()
		follower := r.followers()[0]
		r.isolate(old) // its connections stay, and stay silent
		began := time.Now()
		if _, err := follower.node.ProposeQuick(r.within(30*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the write took %v, though another leader was there much sooner", took)
		}
	})
}

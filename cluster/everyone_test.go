package cluster

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// bound is the staleness bound with the leader lease, as the rig configures them.
const bound = fsm.DefaultMaxStaleness + defaultHeartbeatTimeout

func TestWriteWaitsForPartitionedNodeUntilItIsStale(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		cut := r.followers()[0]
		r.isolate(cut)
		began := time.Now()
		r.leader().mustPut("acme", "x")
		took := time.Since(began)
		// A node that heard a leader at the moment of the cut decides for the staleness bound from then on.
		if took < fsm.DefaultMaxStaleness {
			t.Errorf("the write was answered after %v while the partitioned node was fresh for %v", took, fsm.DefaultMaxStaleness)
		}
		if took > bound+time.Second {
			t.Errorf("the write was answered after %v, want at most %v and a little", took, bound)
		}
		if fresh := time.Since(cut.node.HeardLeader()); fresh < fsm.DefaultMaxStaleness {
			t.Errorf("the write was answered while the partitioned node, by its own clock, heard its leader %v ago", fresh)
		}
		// From then on it is not waited for.
		began = time.Now()
		r.leader().mustPut("acme", "y")
		if took := time.Since(began); took > time.Second {
			t.Errorf("a write with a node that is past its bound took %v", took)
		}
	})
}

func TestWriteWaitsForANodeWhoseAnswersAreSlow(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leader, slow := r.leader(), r.followers()[0]
		r.net.Delay(leader.name, slow.name, 300*time.Millisecond)
		began := time.Now()
		index := leader.mustPut("acme", "x")
		if applied, _ := slow.machine.Applied(); applied < index {
			t.Errorf("the write at %d was answered when the slow node had applied %d", index, applied)
		}
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("answered after %v, sooner than the slow node can have heard of it", took)
		}
	})
}

func TestNewLeaderCountsSilenceFromItsElection(t *testing.T) {
	inBubble(t, 5, func(r *rig) {
		r.startAll()
		followers := r.followers()
		cut, asked := followers[0], followers[1]
		// The leader goes on hearing the node to be cut off until both are gone at once,
		// so its successor has never heard that node, which is fresh.
		old := r.leader()
		r.isolate(cut)
		old.crash()
		began := time.Now()
		asked.mustPut("acme", "x")
		if took := time.Since(began); took < fsm.DefaultMaxStaleness {
			t.Errorf("the new leader answered after %v, while the node cut off could be fresh", took)
		}
		if fresh := time.Since(cut.node.HeardLeader()); fresh < fsm.DefaultMaxStaleness {
			t.Errorf("answered while the node cut off had heard a leader %v ago", fresh)
		}
	})
}

func TestWriteDoesNotWaitForADrainedNode(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leaving := r.followers()[0]
		s := leaving.node.Status()
		boot := leaving.node.members.Load().node(s.Num).Boot
		if _, err := leaving.node.ProposeQuick(r.within(5*time.Second), tester, fsm.DrainNode{Node: s.Num, Boot: boot}); err != nil {
			t.Fatal(err)
		}
		leaving.close()
		began := time.Now()
		r.leader().mustPut("acme", "x")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a write took %v after a node had drained and stopped", took)
		}
	})
}

func TestHeartbeatIsAnsweredOnlyByAProvenLeader(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		old := r.leader()
		r.isolate(old)
		cut := time.Now()
		time.Sleep(3 * time.Second)
		// It believed itself leader for a while, and its own enforcer asked it.
		if fresh := old.node.HeardLeader(); fresh.After(cut.Add(old.node.cfg.leaderLease())) {
			t.Errorf("the cut-off leader answered itself until %v after the cut, its lease is %v", fresh.Sub(cut), old.node.cfg.leaderLease())
		}
	})
}

func TestNodeIsLeftBehindOnlyByALeaderThatStillLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lost := range []error{nil, raft.ErrLeadershipLost} {
			n := &Node{cfg: Config{Name: "n1"}.withDefaults(), dir: newDirectory()}
			n.cfg.Logger, n.log = testLogger(), testLogger()
			n.members.Store(&memberTable{nodes: []fsm.Node{{Num: 1, Name: "n1", Boot: 1}, {Num: 2, Name: "n2", Boot: 1}}})
			n.rpc = newRPCClient(func(context.Context, purpose, target) (net.Conn, welcome, error) {
				return nil, welcome{}, errors.New("gone")
			})
			l := &leadership{
				n: n, ctx: t.Context(), sessions: newSessions(time.Now()),
				verifier: newVerifier(func() error { return lost }, func() bool { return true }),
			}
			began := time.Now()
			err := l.awaitEveryone(t.Context(), 7)
			if took := time.Since(began); took < bound || took > bound+time.Second {
				t.Errorf("waited %v for a node that is gone, want %v", took, bound)
			}
			if (err == nil) != (lost == nil) || lost != nil && !errors.Is(err, enforcer.ErrUnknownOutcome) {
				t.Errorf("with leadership %v: %v", lost, err)
			}
			n.rpc.close()
		}
	})
}

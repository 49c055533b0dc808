package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

// shortLog has raft truncate its log after a few entries.
func (r *rig) shortLog() {
	for _, p := range r.peers {
		p.config.Tuning.SnapshotThreshold = 8
		p.config.Tuning.SnapshotInterval = 100 * time.Millisecond
		p.config.Tuning.TrailingLogs = 4
	}
}

func TestLaggingFollowerIsStreamedTheState(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.shortLog()
		r.startAll()
		lagging := r.followers()[0]
		lagging.crash()
		for i := range 100 {
			if _, err := r.leader().node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: fmt.Sprintf("a%d", i), Name: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		r.eventually(5*time.Second, "the leader's log is truncated", func() bool {
			first, _ := r.leader().stores.FirstIndex()
			return first > 50
		})
		lagging.start()
		r.settle(3)
		r.leader().mustPut("last", "x")
		r.sameState()
		if n := lagging.installs.Load(); n == 0 {
			t.Error("the lagging node caught up without a snapshot: the test shows nothing")
		}
		if got := lagging.accountName("a99"); got != "x" {
			t.Errorf("the lagging node lacks what it missed: %q", got)
		}
		// It restarts from what it was sent, and takes part with its truncated log.
		lagging.crash()
		lagging.start()
		r.settle(3)
		r.leader().mustPut("again", "x")
		r.sameState()
		for _, p := range r.peers {
			names, err := p.fs.List("/data/raft/snapshots")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if name != localMetaFile {
					t.Errorf("%s keeps %s", p.name, name)
				}
			}
		}
	})
}

func TestNewNodeIsStreamedTheState(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.shortLog()
		r.startAll()
		for i := range 60 {
			r.leader().mustPut("acme", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		p := r.add("n4", 3, []string{"n1:7000"})
		p.start()
		r.settle(4)
		r.sameState()
		if got := p.accountName("acme"); got != "59" {
			t.Errorf("the new node has %q, want %q", got, "59")
		}
	})
}

func TestSnapshotReceivedButNotInstalledIsInstalledAtStart(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.shortLog()
		r.startAll()
		for i := range 30 {
			r.leader().mustPut("acme", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		behind := r.followers()[0]
		behind.crash()
		// Write what the leader would have sent, as if the process had died right
		// after raft stored it: the machine knows nothing of it.
		leader := r.leader()
		metas, err := leader.node.raft.snapshots.List()
		if err != nil || len(metas) == 0 {
			t.Fatalf("the leader has no snapshot: %v", err)
		}
		meta, state, err := leader.node.raft.snapshots.Open(metas[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		behind.wipeState()
		m, err := fsm.Open("/data/state", fsm.Options{FS: behind.fs, Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		s := &snapshotStore{fs: behind.fs, dir: "/data/raft/snapshots", machine: m, log: testLogger()}
		sink, err := s.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		for {
			n, err := state.Read(buf)
			if n > 0 {
				if _, err := sink.Write(buf[:n]); err != nil {
					t.Fatal(err)
				}
			}
			if err != nil {
				break
			}
		}
		state.Close()
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		m.Close()
		behind.stores = &memStores{InmemStore: raft.NewInmemStore()}
		behind.stores.SetUint64([]byte("CurrentTerm"), meta.Term)

		behind.start()
		if got := behind.accountName("acme"); got != "29" {
			t.Errorf("after the start the state has %q, want the snapshot's %q", got, "29")
		}
		r.settle(3)
		r.sameState()
	})
}

// wipeState removes the state machine's directory, but not raft's.
func (p *peer) wipeState() {
	p.r.t.Helper()
	if err := p.fs.RemoveAll("/data/state"); err != nil {
		p.r.t.Fatal(err)
	}
}

func TestTruncatedLogWithoutItsStateIsRefusedAtOpen(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.shortLog()
		r.startAll()
		p := r.peers["n1"]
		for i := range 30 {
			p.mustPut("acme", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		p.close()
		p.wipeState()
		if err := p.open(); err == nil || !strings.Contains(err.Error(), "the log begins after") {
			t.Errorf("opening without the state: %v", err)
		}
		p.wipe()
		p.start()
	})
}

func TestRestartReinstallsNothing(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		r.shortLog()
		r.startAll()
		p := r.peers["n1"]
		for i := range 30 {
			p.mustPut("acme", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		p.close()
		p.start()
		p.mustPut("acme", "after")
		if n := p.installs.Load(); n != 0 {
			t.Errorf("%d snapshots were installed by a node that was never behind", n)
		}
	})
}

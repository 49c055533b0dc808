package cluster

import (
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// transcript records what an observer is told.
type transcript struct {
	mu   sync.Mutex
	told []fsm.Changes
}

func (o *transcript) Applied(c *fsm.Changes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, *c)
}

// applyInits applies the entries from first to last, each one command.
func applyInits(t *testing.T, m *fsm.Machine, first, last uint64) {
	t.Helper()
	for index := first; index <= last; index++ {
		data, err := fsm.Encode(&fsm.Command{ID: "cmd", At: 1, Body: fsm.Init{ClusterID: "c", Shares: fsm.DefaultShares, MaxStalenessMS: 1000}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply([]fsm.Entry{{Index: index, Term: 1, Data: data}}); err != nil {
			t.Fatal(err)
		}
	}
}

// However late the enforcer comes, it is first told to read everything, and then
// of every entry after the state it was told to read.
func TestLateObserverMissesNothing(t *testing.T) {
	const before, after = 20, 200
	var late LateObserver
	m, err := fsm.Open(t.TempDir(), fsm.Options{Logger: slog.New(slog.DiscardHandler), Observer: &late})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	applyInits(t, m, 1, before)

	var applying sync.WaitGroup
	applying.Go(func() { applyInits(t, m, before+1, after) })
	var seen transcript
	late.Attach(&seen, m)
	applying.Wait()

	if len(seen.told) == 0 || !seen.told[0].Full {
		t.Fatalf("told %d times, the first not Full", len(seen.told))
	}
	from := seen.told[0].Index
	if from < before {
		t.Errorf("Full at index %d, want at least %d", from, before)
	}
	heard := map[uint64]bool{}
	for _, c := range seen.told[1:] {
		heard[c.Index] = true
	}
	for index := from + 1; index <= after; index++ {
		if !heard[index] {
			t.Errorf("entry %d was applied after the Full at %d and never told", index, from)
		}
	}
}

func TestPeersBeforeTheClusterAreOutOfReach(t *testing.T) {
	var p LatePeers
	if _, err := p.Reconcile(t.Context(), &fsm.Part{}); !errors.Is(err, enforcer.ErrNoLeader) {
		t.Errorf("Reconcile: %v", err)
	}
	if err := p.Call(t.Context(), 1, enforcer.MethodDraw, nil, nil); !errors.Is(err, enforcer.ErrUnreachable) {
		t.Errorf("Call: %v", err)
	}
	if !p.HeardLeader().IsZero() {
		t.Error("a leader was heard")
	}
}

package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

func TestThreeNodesFormOneClusterAndEveryNodeAcceptsWrites(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		for i, name := range r.names() {
			index := r.peers[name].mustPut("acme", fmt.Sprint(i))
			for _, other := range r.peers {
				if applied, _ := other.machine.Applied(); applied < index {
					t.Errorf("%s answered a write at %d, %s has applied %d", name, index, other.name, applied)
				}
				if got := other.accountName("acme"); got != fmt.Sprint(i) {
					t.Errorf("after a write through %s, %s has %q, want %q", name, other.name, got, fmt.Sprint(i))
				}
			}
		}
		id := r.peers["n1"].node.Status().ClusterID
		nums := map[fsm.NodeNum]bool{}
		for _, p := range r.peers {
			s := p.node.Status()
			nums[s.Num] = true
			if s.ClusterID != id || id == "" || len(s.Members) != 3 {
				t.Errorf("%s: cluster %q with %d members, want %q with 3", p.name, s.ClusterID, len(s.Members), id)
			}
			if got := p.node.identity.get().Cluster; got != id {
				t.Errorf("%s remembers cluster %q, want %q", p.name, got, id)
			}
		}
		if len(nums) != 3 || nums[0] {
			t.Errorf("node numbers %v, want three different ones", nums)
		}
	})
}

func TestRejectionCrossesTheNetwork(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		for _, name := range r.names() {
			_, err := r.peers[name].node.Propose(r.within(5*time.Second), tester, fsm.FreezeAccount{ID: "nobody"})
			var rejection *fsm.Error
			if !errors.As(err, &rejection) || !errors.Is(err, fsm.ErrNotFound) {
				t.Errorf("through %s: %v, want a not_found rejection", name, err)
			}
		}
	})
}

func TestOneNodeWorksAloneAtOnce(t *testing.T) {
	inBubble(t, 1, func(r *rig) {
		start := time.Now()
		r.startAll()
		r.peers["n1"].mustPut("acme", "x")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("the first write was done after %v, want less than 3s", took)
		}
	})
}

package fsm

import (
	"testing"
)

func TestCreatedHardLimitIsSharedOutToLiveNodes(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000)
	b := r.budget(r.period(a))
	if got, want := leases(b), "1:100 2:100 3:100"; got != want {
		t.Errorf("leases %s, want %s", got, want)
	}
	if b.Free() != 700 {
		t.Errorf("free %d, want 700", b.Free())
	}
}

package fsm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// backedUp returns what a backup of r has, in a machine of its own whose clock and log go on.
func backedUp(t *testing.T, r *rig) *rig {
	t.Helper()
	r.must(Backup{})
	to := emptyRig(t, vfs.NewMem())
	if err := to.m.InstallSnapshot(bytes.NewReader(snapshot(t, r.m))); err != nil {
		t.Fatal(err)
	}
	to.index, to.now = r.index, r.now
	return to
}

const doubtMS = 61 * 60 * 1000 // the longest life of a reservation, and the margin

func TestRestoredClusterKeepsFormerLeasesInDoubtUntilNoReservationIsLive(t *testing.T) {
	r := newRig(t)
	k := r.period(r.assign(1000))
	r.must(settle(1, r.event("e1", k, 40, 40, 1)))
	to := backedUp(t, r)
	taken := to.now
	to.now += 5 * 60 * 1000
	to.must(Restore{ClusterID: "second", Node: "n1"})
	to.expect(k, "restored", 40, "1:60 2:100 3:100", 0, 0)

	var s Settings
	to.m.View(func(v *View) { s, _ = v.Settings() })
	if s.ClusterID != "second" || s.FirstNode != 4 || s.DoubtUntil != taken+doubtMS || s.Shares != DefaultShares {
		t.Errorf("settings %+v, want cluster second, first node 4, doubt until %d", s, taken+doubtMS)
	}
	// The new node of an old name is another one: what is free is its, the old one's lease is not.
	to.must(BootNode{Node: 4, Boot: 1})
	if o := to.must(ask(4, Ask{Budget: k, NeedMin: 701, NeedSum: 701})); o.Grants[0][0].Amount != 0 {
		t.Errorf("701 of 700 free were granted: %+v", o.Grants)
	}
	to.refused(CodeConflict, EndDoubt{})
	to.now = taken + doubtMS - 1
	to.refused(CodeConflict, EndDoubt{})
	to.now++
	to.must(EndDoubt{})
	if b := to.budget(k); b.Used != 40 || b.LeaseOf(1)+b.LeaseOf(2)+b.LeaseOf(3) != 0 {
		t.Errorf("after the doubt: used %d, leases %s; want 40 and nothing of nodes 1 to 3", b.Used, leases(b))
	}
	before := to.budget(k)
	to.must(EndDoubt{}) // a leader that does not know the outcome says it again
	if after := to.budget(k); after.Free() != before.Free() {
		t.Errorf("the second end of the doubt freed %d", after.Free()-before.Free())
	}
	to.reopen()
	if b := to.budget(k); b.Free() != before.Free() {
		t.Errorf("reopened: free %d, want %d", b.Free(), before.Free())
	}
}

func TestRestoreDoesAtOnceWhatItIsTold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fate   InDoubt
		later  int64
		used   int64
		leased string
	}{
		{"free", DoubtFreed, 0, 40, ""},
		{"charge", DoubtCharged, 0, 300, ""},
		{"wait, and the time is over", DoubtWaits, doubtMS, 40, ""},
		{"wait", DoubtWaits, doubtMS - 1, 40, "1:60 2:100 3:100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			k := r.period(r.assign(1000))
			r.must(settle(1, r.event("e1", k, 40, 40, 1)))
			to := backedUp(t, r)
			to.now += tt.later
			to.must(Restore{ClusterID: "second", Node: "a", InDoubt: tt.fate})
			if b := to.budget(k); b.Used != tt.used || leases(b) != tt.leased {
				t.Errorf("used %d, leases %q; want %d, %q", b.Used, leases(b), tt.used, tt.leased)
			}
		})
	}
}

// A slice that a node was born with and that no entry has touched is in doubt
// like any other; of periods after the backup the old nodes are born with nothing.
func TestRestoreKnowsSlicesThatNoEntryHasTouched(t *testing.T) {
	r := newRig(t)
	a := r.assign(1000, per(EveryDay))
	r.now = r.next(a).Start + 1
	k := r.period(a)
	to := backedUp(t, r)
	to.must(Restore{ClusterID: "second", Node: "a"})
	to.expect(k, "of the day of the backup", 0, "1:100 2:100 3:100", 0, 0)
	if got := leases(to.budget(to.next(a))); got != "4:100" {
		t.Errorf("the day after is born with %q, want 4:100", got)
	}
}

func TestRestoreEndsTheOldMembership(t *testing.T) {
	r, k := consolidated(t)
	r.must(DeadNode{Node: 2})
	to := backedUp(t, r)
	to.must(Restore{ClusterID: "second", Node: "n9"})
	b := to.budget(k)
	if b.Holder != 4 {
		t.Errorf("holder %d, want 4: the only node there is", b.Holder)
	}
	to.m.View(func(v *View) {
		if live := v.Roster().Live; len(live) != 1 || live[0] != 4 {
			t.Errorf("live nodes %v, want 4 alone", live)
		}
	})
	for _, c := range []Body{BootNode{Node: 1, Boot: 7}, RemoveNode{Name: "n1"}} {
		to.refused(CodeNotFound, c)
	}
	to.must(AdmitNode{Name: "n1", Addr: "x"})
	if n := to.m.s.member("n1"); n.Num != 5 {
		t.Errorf("n1 came back as number %d, want 5", n.Num)
	}
	to.must(Forfeit{Name: "n2", Charge: true}) // whoever knows more may say so
	if got := to.budget(k); got.Used != 100 || got.LeaseOf(2) != 0 {
		t.Errorf("forfeited: used %d, leases %s", got.Used, leases(got))
	}
}

func TestRestoreIsRefused(t *testing.T) {
	r := newRig(t)
	r.refused(CodeConflict, Restore{ClusterID: "test", Node: "a"})
	r.refused(CodeInvalid, Restore{Node: "a"})
	r.refused(CodeInvalid, Restore{ClusterID: "second"})
	r.refused(CodeInvalid, Restore{ClusterID: "second", Node: "a", InDoubt: 9})
	emptyRig(t, vfs.NewMem()).refused(CodeConflict, Restore{ClusterID: "second", Node: "a"})
	emptyRig(t, vfs.NewMem()).refused(CodeConflict, Backup{})
}

func TestBackupAndRestoreAreOnRecord(t *testing.T) {
	r := newRig(t)
	to := backedUp(t, r)
	to.now += doubtMS
	to.must(Restore{ClusterID: "second", Node: "a"})
	list, _, err := to.m.ListAudit(AuditFilter{Action: "cluster."}, 0, 10)
	if err != nil || len(list) != 2 || list[0].Action != actionClusterRestore || list[1].Action != actionClusterBackup {
		t.Fatalf("%+v, %v; want a restore and, before it, a backup", list, err)
	}
	if list[0].At-list[1].At != doubtMS || list[1].Actor.ID != "tok_test" {
		t.Errorf("%+v", list)
	}
	if n, broken, err := to.m.VerifyAudit(); broken != 0 || err != nil {
		t.Errorf("the trail of %d breaks at %d (%v)", n, broken, err)
	}
}

func TestCheckSnapshot(t *testing.T) {
	r := filled(t)
	stream := snapshot(t, r.m)
	info, err := CheckSnapshot(bytes.NewReader(stream))
	if err != nil || info.Index != r.index || info.Bytes != int64(len(stream)) || info.Pairs == 0 {
		t.Errorf("%+v, %v; want index %d and %d bytes", info, err, r.index, len(stream))
	}
	for _, n := range []int{0, 7, 30, len(stream) / 2, len(stream) - 1} {
		if _, err := CheckSnapshot(bytes.NewReader(stream[:n])); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%d bytes of it: %v, want %v", n, err, ErrSnapshot)
		}
	}
	if _, err := CheckSnapshot(bytes.NewReader(append(bytes.Clone(stream), 0))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("with a byte more: %v, want %v", err, ErrSnapshot)
	}
}

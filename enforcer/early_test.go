package enforcer

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/fsm"
)

// restartWithoutLeader starts node 2 again while the cluster has no leader. ended
// ends it and says what of its disk is left.
func restartWithoutLeader(s *sim, ended func()) *simNode {
	nd := s.node(2)
	ended()
	s.elect(0)
	nd.start()
	time.Sleep(100 * time.Millisecond)
	return nd
}

// early has a node take an event that it cannot send, and checks how it is acknowledged.
func (nd *simNode) early(id string, amount int64, reservation string) (outcome fsm.EventOutcome) {
	nd.s.t.Helper()
	ev := &fsm.Event{
		Account: simAccount, ID: id, Entities: []string{"alice"}, Reservation: reservation,
		Hash:  sha256.Sum256(fmt.Appendf(nil, "%s %d %s", id, amount, reservation)),
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: amount}},
		At:    time.Now().UnixMilli(), ReceivedAt: time.Now().UnixMilli(), Node: nd.num,
	}
	items := []ingestItem{{ev: ev}}
	if err := nd.e.ingest(nd.s.t.Context(), items, true); err != nil || items[0].code != "" || items[0].quorum {
		nd.s.t.Fatalf("%s: %v %s, outcome %d, quorum %v: want it accepted on this node", id, err, items[0].code, items[0].outcome, items[0].quorum)
	}
	return items[0].outcome
}

func TestEventsAreTakenBeforeTheSessionBegins(t *testing.T) {
	for _, crash := range []string{"of the process", "of the machine"} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("crash %s, again %v", crash, again), func(t *testing.T) {
				inSim(t, func(t *testing.T) {
					s := newSim(t, 3, 41)
					defer s.close()
					num := s.assign("team", 1_000, fsm.EveryNever)
					nd := s.node(2)
					res := nd.mustReserve(40)
					end := nd.kill
					if crash == "of the machine" {
						end = func() { nd.powerCut(100) }
					}
					restartWithoutLeader(s, end)
					nd.early("with", 30, res)
					nd.early("without", 7, "")
					if outcome := nd.early("with", 30, res); outcome != fsm.Duplicate {
						t.Errorf("a copy: %d", outcome)
					}
					if again {
						end()
						nd.start()
						time.Sleep(100 * time.Millisecond)
						nd.early("later", 3, "")
					}
					time.Sleep(11 * time.Minute) // the reservation is settling: it does not expire
					nd.set(&nd.shut, true)
					s.elect(1)
					time.Sleep(time.Second)
					// Drawn on what was held, and the process's own room once that is known.
					sl := nd.e.slot(s.budget(num).Key)
					sl.mu.Lock()
					if crash == "of the process" && sl.overdraft != 0 || sl.pending < 30 || sl.heldNow() != 0 {
						t.Errorf("not drawn: pending %d, overdraft %d, held %d", sl.pending, sl.overdraft, sl.heldNow())
					}
					sl.mu.Unlock()
					nd.set(&nd.shut, false)
					time.Sleep(5 * time.Second)
					want := int64(37)
					if again {
						want = 40
					}
					if b := s.budget(num); b.Used != want || nd.e.Reserved(b.Key) != 0 || nd.e.broken.Load() {
						t.Errorf("used %d, want %d; still set aside: %d\n%s", b.Used, want, nd.e.Reserved(b.Key), s.state(num))
					}
					d := &driver{s: s, limit: 1_000, num: num, spent: want}
					d.exhaust()
				})
			})
		}
	}
}

// The replica has lost an unsynced tail: it shows a lease that has been given back.
func TestAnEarlyEventDrawsOnNoLeaseThatIsGone(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 42)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		if err := nd.m.Flush(); err != nil {
			t.Fatal(err)
		}
		key := s.budget(num).Key
		s.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: nd.e.boot.Load(), ReleaseFloor: 1, Releases: []fsm.Release{
			{Seq: 1, Budget: key, Amount: 95},
		}}}})
		nd.set(&nd.late, true) // what the release did is lost with the machine
		restartWithoutLeader(s, nd.kill)
		for i := range 9 {
			nd.early(fmt.Sprint("evt-", i), 10, "")
		}
		if nd.e.slot(key).pending != 0 {
			t.Error("early events are drawn")
		}
		nd.set(&nd.late, false)
		s.elect(1)
		time.Sleep(5 * time.Second)
		if b := s.budget(num); b.Used != 90 || nd.e.broken.Load() {
			t.Errorf("used %d, want 90; broken %v\n%s", b.Used, nd.e.broken.Load(), s.state(num))
		}
		d := &driver{s: s, limit: 1_000, num: num, spent: 90}
		d.exhaust()
	})
}

// What is sent stands in the outbox exactly like that, or a restart would not know
// what may be in the log.
func TestAnEarlyEventIsDurableWithItsDrawsBeforeItIsSent(t *testing.T) {
	fs := vfs.NewMem()
	st := openShipTest(t, fs)
	var begun atomic.Bool
	st.s.begun = begun.Load
	draws := 0
	st.s.draw = func(ev *fsm.Event) (left surplus) {
		draws++
		ev.Lines = []fsm.Line{{Amount: 5, Drawn: 5, On: 1}}
		return left
	}
	st.s.giveBack = func(surplus) (freed transit) { return freed }
	sh, _ := st.s.claim(&fsm.Event{Account: "acme", ID: "a"}, admitBatch(t, st.s, 1))
	mustDo(t, st.s.store([]*shipment{sh}, true))
	st.answer = func(int) (uint64, error) {
		it, err := st.s.outbox.db.NewIter(&pebble.IterOptions{})
		mustDo(t, err)
		defer func() { mustDo(t, it.Close()) }()
		for ok := it.First(); ok; ok = it.Next() {
			if ev, err := decodeOutboxEvents(it.Value()); err != nil || it.Key()[0] != outboxPrefix || ev[0].Lines[0].Drawn != 5 {
				t.Errorf("sent, and on disk it is %q %+v, %v", it.Key(), ev, err)
			}
		}
		return 1, nil
	}
	st.run(func() {
		time.Sleep(3 * shipTick)
		if parts, _ := st.sent(); parts != 0 {
			t.Error("sent before the session")
		}
		begun.Store(true)
		st.s.kick()
		for parts := 0; parts == 0; parts, _ = st.sent() {
			time.Sleep(time.Millisecond)
		}
	})
	st.see("a", fsm.Settled)
	if draws != 1 {
		t.Errorf("drawn %d times", draws)
	}
	mustDo(t, st.s.close())
	if _, left, err := openOutbox(fs, "outbox", quiet); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

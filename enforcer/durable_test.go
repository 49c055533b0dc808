package enforcer

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

// What must be durable, or applied, before anybody is told.

func TestNothingIsDecidedBeforeTheBootIsApplied(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 21)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		nd.mustReserve(1)
		nd.kill()
		s.elect(0) // so the boot cannot be proposed; the log goes on
		nd.start()
		s.commit(fsm.PutAccount{ID: simAccount, Name: "renamed"})
		s.settle()
		if d, err := nd.check(1, 60_000); !errors.Is(err, errStarting) {
			t.Errorf("decided before the session had begun: %+v, %v", d, err)
		}
		nd.early("early", 1, "")
		if s := nd.e.slot(s.budget(num).Key); s.pending != 0 {
			t.Error("an event drew on a lease before the session had begun")
		}
		s.elect(1)
		nd.awaitReady()
		nd.mustReserve(1)
	})
}

// newSoloNodeOnFailingDisk is a soloNode whose journal can be made to fail.
func newSoloNodeOnFailingDisk(t *testing.T) (*soloNode, *failingFS) {
	n := newSoloNode(t)
	n.stop()
	fs := &failingFS{FS: n.fs}
	n.fs = fs
	n.start()
	return n, fs
}

func TestAReservationIsAnsweredOnlyOnceItIsInTheJournal(t *testing.T) {
	n, fs := newSoloNodeOnFailingDisk(t)
	const body = `{"account":"acme","entities":["alice"],"usage":{"tokens":10},"reserve_ttl_ms":60000}`
	fs.broken.Store(true)
	if a := n.post("/v1/check", body); a.status != 503 {
		t.Errorf("answered %d %s without having written it down", a.status, a.text)
	}
	fs.broken.Store(false)
	n.await("healed", func() bool { return n.e.journal.health() == nil })
	for range 100 { // what the failed one had set aside is room again
		if a := n.post("/v1/check", body); a.status != 200 || a.json["allowed"] != true {
			t.Fatalf("answered %d %s", a.status, a.text)
		}
	}
}

func TestADrawIsGrantedOnlyOnceItIsInTheJournal(t *testing.T) {
	n, fs := newSoloNodeOnFailingDisk(t)
	n.commit(fsm.AdmitNode{Name: "n2", Addr: "y"})
	n.commit(fsm.BootNode{Node: 2, Boot: 1})
	var key fsm.BudgetKey
	n.m.View(func(v *fsm.View) {
		for _, a := range v.Assignments("acme", "team") {
			if a.Capability == fsm.CapTokens {
				start, _ := a.Cadence.Period(time.Now().UnixMilli())
				key = fsm.BudgetKey{Assignment: a.Num, Start: start}
			}
		}
	})
	n.commit(fsm.Reconcile{Parts: []fsm.Part{{Node: 2, Boot: 1, Asks: []fsm.Ask{{Budget: key, NeedMin: 1_001}}}}}) // short: n1 has the rest
	draw := func(seq uint64) DrawStatus {
		t.Helper()
		req, err := msgpack.Marshal(&DrawRequest{
			Reservation: resID{node: 2, boot: 1, seq: seq}.String(), Origin: 2, Boot: 1,
			Holds: []Hold{{Budget: key, Amount: 10}}, WaitMS: 1, TTLMS: 60_000,
		})
		mustDo(t, err)
		answer, err := n.e.Handle(context.Background(), 2, MethodDraw, req)
		if err != nil {
			return DrawUnavailable
		}
		var reply DrawReply
		mustDo(t, msgpack.Unmarshal(answer, &reply))
		return reply.Status
	}
	n.await("the holder", func() bool { return draw(1) == DrawOK })
	fs.broken.Store(true)
	if got := draw(2); got == DrawOK {
		t.Error("a draw was granted and not written down")
	}
	fs.broken.Store(false)
}

func TestAnAcceptedEventSurvivesAPowerCut(t *testing.T) {
	inSim(t, func(t *testing.T) {
		s := newSim(t, 3, 22)
		defer s.close()
		num := s.assign("team", 1_000, fsm.EveryNever)
		nd := s.node(2)
		s.elect(0)
		if err := nd.ingest("evt", 7, ""); err != nil {
			t.Fatal(err)
		}
		nd.powerCut(0)
		s.elect(1)
		nd.start()
		nd.awaitReadyFor(2 * time.Minute) // it waits out what it may have reserved
		for range 100 {
			if s.budget(num).Used == 7 {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("an acknowledged event of 7 is gone: used %d", s.budget(num).Used)
	})
}

// TestWhatExpiresAtOnceIsJournaledAtOnce keeps the journal out of the way of a node whose
// callers let their reservations expire.
func TestWhatExpiresAtOnceIsJournaledAtOnce(t *testing.T) {
	n := newSoloNode(t)
	reserve := func() {
		t.Helper()
		for range 100 {
			a := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":10},"reserve_ttl_ms":60000}`)
			if a.status == http.StatusServiceUnavailable { // a machine so busy that no lease came in time
				time.Sleep(20 * time.Millisecond)
				continue
			}
			if a.json["allowed"] != true {
				t.Fatal(a.text)
			}
			return
		}
		t.Fatal("no lease came")
	}
	for range 50 {
		reserve()
	}
	writes, records := n.e.journal.writes.Load(), n.e.journal.records.Load()
	n.e.expire(n.e.now() + 120_000)
	if w, r := n.e.journal.writes.Load()-writes, n.e.journal.records.Load()-records; w != 1 || r != 50 {
		t.Errorf("%d records in %d writes, want 50 in one", r, w)
	}
	if live := n.e.table.count.Load(); live != 0 {
		t.Errorf("%d are live", live)
	}
	for range 100 { // all they held is room again
		reserve()
	}
}

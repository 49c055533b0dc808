package enforcer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bursar-dev/bursar/fsm"
)

func TestHowManyEventsMayWait(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	settle := func(in *intake, from, to time.Duration, perSpan int) {
		for d := from; d < to; d += rateSpan {
			in.done(at(d), perSpan)
		}
	}
	const sec = time.Second
	for _, tc := range []struct {
		name string
		do   func(in *intake)
		at   time.Duration
		want int
	}{
		{"no leader: what the outbox holds", func(*intake) {}, 0, maxOutboxEvents},
		{"a node that had nothing to do", func(in *intake) { in.observe(start, true, 0, start) }, 0, 2_000},
		{"half of what is settled in a second", func(in *intake) {
			in.observe(start, true, 0, start)
			settle(in, 0, sec, 2_000)
		}, 999 * time.Millisecond, 10_000},
		{"only the last second counts", func(in *intake) {
			in.observe(start, true, 0, start)
			settle(in, 0, sec, 2_000)
			settle(in, sec, 2*sec, 500)
		}, 2*sec - 1, 2_500},
		{"long ago", func(in *intake) {
			in.observe(start, true, 0, start)
			settle(in, 0, sec, 2_000)
		}, time.Hour, 2_000},
		{"one that waits for longer than its answer", func(in *intake) {
			in.observe(start, true, 1, start)
			in.observe(at(2*sec+1), true, 1, start)
		}, 2*sec + 1, 256},
		{"one that waited so long and is settled", func(in *intake) {
			in.observe(start, true, 1, start)
			in.waited(at(2*sec+1), start)
			in.done(at(2*sec+1), 1)
		}, 3 * sec, 256},
		{"a minute later", func(in *intake) {
			in.observe(start, true, 1, start)
			in.waited(at(2*sec+1), start)
		}, 2*sec + 1 + lateMemory, 2_000},
		{"late, but many are settled", func(in *intake) {
			in.observe(start, true, 1, start)
			in.waited(at(3*sec), start)
			settle(in, 3*sec, 4*sec, 1_000)
		}, 4*sec - 1, 5_000},
		{"the time without a leader is not waited for it", func(in *intake) {
			in.observe(start, false, 1, start)
			in.observe(at(time.Minute), true, 1, start)
			in.observe(at(time.Minute+2*sec), true, 1, start)
		}, time.Minute + 2*sec, 2_000},
		{"the time since a leader is back is", func(in *intake) {
			in.observe(start, true, 0, start)
			in.observe(at(sec), false, 1, start)
			in.observe(at(time.Minute), true, 1, start)
			in.observe(at(time.Minute+2*sec+1), true, 1, start)
		}, time.Minute + 2*sec + 1, 256},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &intake{}
			tc.do(in)
			if got := in.allowance(at(tc.at)); got != tc.want {
				t.Errorf("%d may wait, want %d", got, tc.want)
			}
		})
	}
}

func TestWhoIsLetIn(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name     string
		leader   bool
		forgiven int
		waiting  int
		share    float64
		want     bool
	}{
		{"nobody waits", true, 0, 0, sharePlain, true},
		{"plain events up to three quarters", true, 0, 1_499, sharePlain, true},
		{"and no further", true, 0, 1_500, sharePlain, false},
		{"settling ones up to the whole", true, 0, 1_999, shareSettling, true},
		{"and no further", true, 0, 2_000, shareSettling, false},
		{"forwarded ones four times as far", true, 0, 7_999, shareForwarded, true},
		{"and no further", true, 0, 8_000, shareForwarded, false},
		{"what had no leader is forgiven", true, 50_000, 51_499, sharePlain, true},
		{"newcomers are not", true, 50_000, 51_500, sharePlain, false},
		{"without a leader three quarters of the outbox", false, 0, 149_999, sharePlain, true},
		{"the rest is for settling ones", false, 0, 150_000, sharePlain, false},
		{"up to the whole", false, 0, 199_999, shareSettling, true},
		{"never more than the outbox holds", false, 0, 200_000, shareForwarded, false},
		{"whatever is forgiven", true, 190_000, 200_000, shareForwarded, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &intake{}
			in.observe(now, tc.leader, tc.forgiven, now)
			if got := in.allowed(now, tc.waiting, tc.share); got != tc.want {
				t.Errorf("let in: %v, want %v", got, tc.want)
			}
		})
	}
}

// A queue in front of a server that settles so many a second, offered up to a
// hundred times that: once the first wave is over, whatever is let in is settled in time, and the server never runs dry.
func TestBeyondCapacityGoodputStaysFlatAndTheWaitBounded(t *testing.T) {
	for _, perSecond := range []int{200, 1_000, 20_000} {
		for _, times := range []float64{0.9, 1, 2, 20} {
			for _, batch := range []int{1, 100, 1_000} {
				q := queueModel{perSecond: perSecond, batch: batch, now: time.Now(), rng: rand.New(rand.NewPCG(uint64(perSecond), uint64(batch)))}
				const firstWave, measured = 12 * time.Second, 8 * time.Second // the floor at 200 a second takes 10 s
				q.run(firstWave, times)
				q.settled, q.refused, q.worst, q.since = 0, 0, 0, q.now
				q.run(measured, times)

				name := fmt.Sprintf("%d/s offered %.1f times that in batches of %d", perSecond, times, batch)
				floor := intakeFloor
				if time.Duration(intakeFloor)*time.Second/time.Duration(perSecond) > lateAfter {
					floor = lateFloor
				}
				// The bound is overshot by a batch, whose last event waits for all of it.
				bound := waitAim + time.Duration(max(floor, perSecond/2)+batch)*time.Second/time.Duration(perSecond)
				if q.worst > bound {
					t.Errorf("%s: an event waited %v, want at most %v", name, q.worst, bound)
				}
				if want := 0.97*min(times, 1)*float64(perSecond)*measured.Seconds() - float64(batch); float64(q.settled) < want {
					t.Errorf("%s: %d were settled in %v, want %.0f", name, q.settled, measured, want)
				}
				if times < 0.95 && q.refused > 0 && perSecond >= intakeFloor {
					t.Errorf("%s: %d requests were refused, though there is room", name, q.refused)
				}
			}
		}
	}
}

// queueModel is an intake before a server of a constant rate.
type queueModel struct {
	perSecond, batch int
	rng              *rand.Rand
	in               intake
	now              time.Time
	queue            []queuedBatch
	waiting          int
	offered, able    float64 // events, of those not brought or settled yet

	since            time.Time // events taken earlier are not looked at
	settled, refused int
	worst            time.Duration
}

type queuedBatch struct {
	taken time.Time
	n     int
}

// run lets time pass in which so many times the server's rate is offered.
func (q *queueModel) run(d time.Duration, times float64) {
	const step = 5 * time.Millisecond
	each := float64(q.perSecond) * step.Seconds()
	for end := q.now.Add(d); q.now.Before(end); {
		q.now = q.now.Add(step)
		oldest := q.now
		if len(q.queue) > 0 {
			oldest = q.queue[0].taken
		}
		q.in.observe(q.now, true, q.waiting, oldest)
		for q.offered += times * each * 2 * q.rng.Float64(); q.offered >= float64(q.batch); q.offered -= float64(q.batch) {
			if !q.in.allowed(q.now, q.waiting, shareSettling) {
				q.refused++
				continue
			}
			q.queue = append(q.queue, queuedBatch{q.now, q.batch})
			q.waiting += q.batch
		}
		q.able += each
		n := min(int(q.able), q.waiting)
		q.able -= float64(n)
		q.waiting -= n
		q.settled += n
		q.in.done(q.now, n)
		if q.waiting == 0 {
			q.able = 0 // an idle server saves nothing up
		}
		for n > 0 {
			head := &q.queue[0]
			q.in.waited(q.now, head.taken)
			if head.taken.After(q.since) {
				q.worst = max(q.worst, q.now.Sub(head.taken))
			}
			part := min(n, head.n)
			n -= part
			if head.n -= part; head.n == 0 {
				q.queue = q.queue[1:]
			}
		}
	}
}

// The shipper's side: a leader that answers and settles nothing, one that is gone, and one that is back.
func TestAdmissionFollowsTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		st.run(func() {
			wave := 0
			bring := func(n int) error {
				wave++
				admitted, err := st.s.admit(n, sharePlain)
				if err != nil {
					return err
				}
				defer st.s.leave(admitted)
				b := &shipBatch{stored: make(chan struct{}), admission: admitted}
				var shs []*shipment
				for i := range n {
					sh, _ := st.s.claim(&fsm.Event{Account: "acme", ID: fmt.Sprintf("%d-%d", wave, i)}, b)
					shs = append(shs, sh)
				}
				mustDo(t, st.s.store(shs, false))
				close(b.stored)
				return nil
			}
			settleAll := func() {
				st.s.mu.Lock()
				var keys []eventKey
				for k := range st.s.events {
					keys = append(keys, k)
				}
				st.s.mu.Unlock()
				for _, k := range keys {
					st.see(k.id, fsm.Settled)
				}
			}
			mustDo(t, bring(1_000), bring(1_000))
			if err := bring(1); err != errBacklog {
				t.Errorf("the third thousand of a node that has settled nothing: %v", err)
			}
			if b := st.s.depth(); b.events != 2_000 || b.allowance != intakeFloor {
				t.Errorf("%+v", b)
			}
			settleAll()
			mustDo(t, bring(1_000)) // of a backlog that is gone
			time.Sleep(lateAfter + tick)
			if err := bring(1); err != errBacklog {
				t.Errorf("while the oldest has waited for %v: %v", st.s.depth().age, err)
			}
			if b := st.s.depth(); b.allowance != lateFloor || b.age < lateAfter {
				t.Errorf("%+v", b)
			}

			st.mu.Lock()
			st.silent = true // and its silence becomes older
			st.mu.Unlock()
			time.Sleep(noLeaderAfter + tick)
			for range 4 {
				mustDo(t, bring(1_000)) // without a leader the outbox takes them
			}
			time.Sleep(time.Minute + time.Second)
			st.mu.Lock()
			st.silent = false
			st.mu.Unlock()
			if err := bring(1_000); err != nil {
				t.Errorf("as soon as the leader is back: %v", err)
			}
			if err := bring(1_000); err != nil {
				t.Errorf("what was taken without it counts against newcomers: %v", err)
			}
			if err := bring(1); err != errBacklog {
				t.Errorf("2,000 newcomers wait: %v", err)
			}
			settleAll()
			if b := st.s.depth(); b.allowance != 3_500 {
				t.Errorf("%d may wait where 7,000 were settled in a moment", b.allowance)
			}
			if b := st.s.depth(); b.events != 0 || b.age != 0 || st.s.oldest != nil || st.s.newest != nil || st.s.entering != 0 {
				t.Errorf("%+v", b)
			}
		})
		mustDo(t, st.s.close())
	})
}

// What a request has not brought counts until it leaves, once.
func TestRequestsThatComeAtOnceSeeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openShipTest(t, vfs.NewMem())
		a, err := st.s.admit(intakeFloor, shareSettling)
		mustDo(t, err)
		if _, err := st.s.admit(1, shareSettling); err != errBacklog {
			t.Errorf("beside one that may bring all: %v", err)
		}
		b := &shipBatch{stored: make(chan struct{}), admission: a}
		sh, _ := st.s.claim(&fsm.Event{Account: "acme", ID: "a"}, b)
		if st.s.entering != intakeFloor-1 || len(st.s.events) != 1 {
			t.Errorf("%d may come, %d are here", st.s.entering, len(st.s.events))
		}
		st.s.leave(a)
		st.s.leave(a)
		st.s.unclaim(sh, 0)
		if st.s.entering != 0 || len(st.s.events) != 0 || st.s.oldest != nil {
			t.Errorf("%d may come, %d are here", st.s.entering, len(st.s.events))
		}
		mustDo(t, st.s.close())
	})
}

// A backlog that is long, or shorter and old, over HTTP: requests are refused at once, nothing of them is kept,
// checks go on, and the same request is taken when the backlog is gone.
func TestABacklogRefusesAtOnceAndKeepsNothing(t *testing.T) {
	for name, waiting := range map[string]struct {
		events int
		age    time.Duration
	}{"long": {intakeFloor, 0}, "old": {lateFloor, lateAfter + time.Second}} {
		t.Run(name, func(t *testing.T) { refusesAndKeepsNothing(t, waiting.events, waiting.age) })
	}
}

func refusesAndKeepsNothing(t *testing.T, waiting int, age time.Duration) {
	n := newSoloNode(t)
	reserve := n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":100},"reserve_ttl_ms":60000}`)
	id := reserve.json["reservation"].(string)
	a, err := n.e.ship.admit(waiting, shareSettling) // events on their way
	mustDo(t, err)
	stuck, _ := n.e.ship.claim(&fsm.Event{Account: "acme", ID: "stuck"}, &shipBatch{stored: make(chan struct{}), admission: a})
	n.e.ship.mu.Lock()
	n.e.ship.intake.lead = n.e.ship.intake.lead.Add(-age)
	stuck.taken = stuck.taken.Add(-age)
	n.e.ship.mu.Unlock()
	for _, ack := range []string{"", "?ack=node", "?ack=quorum"} {
		for _, body := range []string{events(event("e", fmt.Sprintf(`,"reservation":%q`, id)), event("f", "")), "not even JSON"} {
			got := n.post("/v1/ingest"+ack, body)
			if got.status != 429 || got.code() != "overloaded" || got.header("Retry-After") != "1" {
				t.Errorf("%q: %d %s", ack, got.status, got.text)
			}
		}
	}
	key, _ := parseResID([]byte(id))
	n.e.table.with(key, func(_ *tableShard, r *reservation, _ *ending) {
		if r == nil || r.event != "" {
			t.Errorf("the reservation has ended: %+v", r)
		}
	})
	if left := n.e.ship.depth(); left.events != 1 || left.bytes != 0 {
		t.Errorf("something was kept: %+v", left)
	}
	if c := n.post("/v1/check", `{"account":"acme","entities":["alice"]}`); c.status != 200 || c.json["allowed"] != true {
		t.Errorf("a check meanwhile: %d %s", c.status, c.text)
	}
	if n.e.ship.refusedBacklog.Load() != 6 {
		t.Errorf("%d refusals were counted, want 6", n.e.ship.refusedBacklog.Load())
	}
	n.e.ship.unclaim(stuck, 0)
	n.e.ship.leave(a)
	got := n.post("/v1/ingest", events(event("e", fmt.Sprintf(`,"reservation":%q,"usage":{"tokens":60}`, id)), event("f", "")))
	if got.status != 200 || got.json["accepted"] != 2. {
		t.Errorf("afterwards: %d %s", got.status, got.text)
	}
	if used := n.used(fsm.CapTokens); used != 60 {
		t.Errorf("used %d, want 60", used)
	}
}

// The origin of reservations leaves events to the node that has admitted them rather than refuse them.
func TestAnOriginWithTooMuchToDoLeavesEventsToWhoeverForwardsThem(t *testing.T) {
	n := newSoloNode(t)
	p := acquireParser()
	defer releaseParser(p)
	items, err := p.events([]byte(events(event("e", ""))), false, n.e.now())
	mustDo(t, err)
	req := &IngestRequest{Quorum: true, Events: []fsm.Event{*items[0].ev}}
	a, err := n.e.ship.admit(intakeFloor, shareSettling)
	mustDo(t, err)
	more, err := n.e.ship.admit(3*intakeFloor, shareForwarded)
	mustDo(t, err)
	reply, err := n.e.handleIngest(t.Context(), req)
	if err != nil || len(reply.Results) != 1 || reply.Results[0].Outcome != 0 {
		t.Errorf("%+v, %v", reply, err)
	}
	n.e.ship.leave(more)
	reply, err = n.e.handleIngest(t.Context(), req)
	if err != nil || reply.Results[0].Outcome != fsm.Settled {
		t.Errorf("within four times its bound: %+v, %v", reply, err)
	}
	n.e.ship.leave(a)
}

func TestARequestThatSettlesAReservationMayJoinLonger(t *testing.T) {
	items := func(reservations ...string) (all []ingestItem) {
		for _, r := range reservations {
			all = append(all, ingestItem{ev: &fsm.Event{Reservation: r}})
		}
		return append(all, ingestItem{code: RejectID, ev: &fsm.Event{Reservation: away}}) // rejected: it does not come
	}
	if n, share := shareOf(items("", "")); n != 2 || share != sharePlain {
		t.Errorf("plain: %d events, share %v", n, share)
	}
	if n, share := shareOf(items("", away)); n != 2 || share != shareSettling {
		t.Errorf("settling: %d events, share %v", n, share)
	}
}

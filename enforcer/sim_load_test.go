package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// driver is a set of callers that reserve, work, and report what they used, and
// the oracle that knows from their side what may be true. It trusts nothing the
// nodes say about amounts.
type driver struct {
	s     *sim
	limit int64
	num   uint64

	mu       sync.Mutex
	spent    int64 // reported, acknowledged or not
	holding  int64 // granted and not known to be over
	calls    int64 // amounts of calls under way
	returned []giving
	live     map[string]int64
	admitted int64
	denied   int
	unknown  int           // unavailable
	ttl      time.Duration // of reservations; 0: callTTL
	forgets  bool          // nodes may forget reservations
	archives bool          // entities may be archived
	recent   []formerLimit
	untold   bool // somebody was not told of what was set aside for him: it expires
	events   int
	unsafe   bool // a node is down, or was a moment ago: room may be in doubt
}

// giving is room that came back a moment ago and may still be on its way.
type giving struct {
	at     time.Time
	amount int64
}

// callTTL is the life of a reservation that is not left to expire.
const callTTL = time.Minute

// formerLimit is a limit that was in force until a moment ago.
type formerLimit struct {
	limit int64
	until time.Time
}

// limits returns the least and the largest limit that may decide a call now. d.mu is held.
func (d *driver) limits() (least, most int64) {
	least, most = d.limit, d.limit
	for _, f := range d.recent {
		if time.Since(f.until) < settleTime {
			least, most = min(least, f.limit), max(most, f.limit)
		}
	}
	return least, most
}

// settleTime is how long room that came back may be in transit.
const settleTime = 3 * time.Second

func (d *driver) granted(amount int64) {
	d.calls -= amount
	d.holding += amount
	d.admitted += amount
	if _, most := d.limits(); d.spent+d.holding > most {
		d.s.t.Errorf("overspent: %d used + %d held > %d\n%s%s", d.spent, d.holding, most, d.s.state(d.num), d.lost())
	}
}

// lost lists the live reservations that their origin, or a holder, does not know.
func (d *driver) lost() (out string) {
	for res, amount := range d.live {
		id, _ := parseResID([]byte(res))
		origin := d.s.node(id.node)
		origin.e.table.with(id, func(_ *tableShard, r *reservation, past *ending) {
			if r == nil {
				out += fmt.Sprintf("\n  %s of %d: gone at its origin: %+v", res, amount, past)
				return
			}
			for _, h := range r.holds {
				if h.On == id.node {
					continue
				}
				holder := d.s.node(h.On)
				holder.e.draws.mu.Lock()
				draw := holder.e.draws.byID[id]
				over := holder.e.draws.over[id]
				holder.e.draws.mu.Unlock()
				if draw == nil {
					out += fmt.Sprintf("\n  %s of %d: %+v is gone at its holder: over %d event %q", res, amount, h, over, r.event)
				}
			}
		})
	}
	return out
}

// refused checks a refusal: is there room that is neither on its way nor in doubt?
func (d *driver) refused(dec *Decision, amount int64) {
	d.calls -= amount
	d.denied++
	row := dec.Denied
	least, _ := d.limits()
	if row.Used+row.Reserved+dec.Requested <= least {
		d.s.t.Errorf("a refusal that proves nothing: used %d + reserved %d + requested %d ≤ %d", row.Used, row.Reserved, dec.Requested, least)
	}
	transit := int64(0)
	kept := d.returned[:0]
	for _, g := range d.returned {
		if time.Since(g.at) < settleTime {
			transit += g.amount
			kept = append(kept, g)
		}
	}
	d.returned = kept
	if room := least - d.spent - d.holding - d.calls - transit; room >= amount && !d.unsafe {
		d.s.t.Errorf("falsely refused: %d asked for, %d spent, %d held, %d in calls, %d in transit of %d\n%s",
			amount, d.spent, d.holding, d.calls, transit, d.limit, d.s.state(d.num))
	}
}

func (d *driver) over(amount, used int64) {
	d.holding -= amount
	d.spent += used
	if amount > used {
		d.returned = append(d.returned, giving{time.Now(), amount - used})
	}
}

// callRand is the randomness of one call: it does not depend on what else goes on.
func (s *sim) callRand(id string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// call makes one call: reserve on a node, work, then report less or all of it on
// any node, release it, or let it expire. It reports whether it was refused.
func (d *driver) call(id string, on func() *simNode, amount int64) (refused bool) {
	s := d.s
	own := s.callRand(id)
	fate, ttl := own.IntN(10), cmp.Or(d.ttl, callTTL).Milliseconds()
	if fate == 0 {
		ttl = 2_000 // to be left to expire
	}
	d.mu.Lock()
	d.calls += amount
	d.mu.Unlock()
	dec, err := on().check(amount, ttl)
	d.mu.Lock()
	switch {
	case err != nil:
		d.calls -= amount
		d.unknown++
		d.untold = d.untold || errors.Is(err, errEnded)
		if s.lossy() {
			// The answer of a draw was lost, perhaps: what it set aside is on its way
			// back until a cancel has got through.
			d.returned = append(d.returned, giving{time.Now(), amount})
		}
		if !errors.Is(err, ErrUnavailable) {
			s.t.Errorf("check: %v", err)
		}
		d.mu.Unlock()
		return false
	case dec.Code == CodeEntityArchived && d.archives:
		d.calls -= amount
		d.mu.Unlock()
		return true
	case !dec.Allowed:
		if dec.Code != CodeBudgetExhausted {
			s.t.Errorf("refused with %s", dec.Code)
		}
		d.refused(dec, amount)
		d.mu.Unlock()
		return true
	}
	if d.live == nil {
		d.live = make(map[string]int64)
	}
	d.live[string(dec.Reservation[:dec.ReservationN])] = amount
	d.granted(amount)
	d.mu.Unlock()
	expires := time.UnixMilli(dec.ExpiresAt)
	res := string(dec.Reservation[:dec.ReservationN])
	defer func() {
		d.mu.Lock()
		delete(d.live, res)
		d.mu.Unlock()
	}()
	time.Sleep(time.Duration(own.Int64N(int64(20 * time.Millisecond))))
	switch fate {
	case 0:
		time.Sleep(time.Until(expires) - time.Millisecond) // from its expiry on it holds nothing
		d.mu.Lock()
		d.over(amount, 0)
		d.mu.Unlock()
		return false
	case 1:
		d.mu.Lock()
		d.over(amount, 0) // an answer may be lost: from here on it may be over
		d.mu.Unlock()
		d.release(on, res, expires)
		return false
	}
	used := amount
	if own.IntN(100) < 30 {
		used = amount / 2
	}
	d.mu.Lock()
	d.over(amount, used) // from here on it counts as spent: it will be reported
	d.events++
	d.mu.Unlock()
	for try := 0; ; try++ {
		if err := on().ingest(id, used, res); err == nil {
			return false
		} else if try > 500 {
			s.t.Errorf("event %s was never acknowledged: %v", id, err)
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// release releases a reservation, trying until a node answers: a lost answer may
// be a release. It is over at its expiry in any case.
func (d *driver) release(on func() *simNode, res string, expires time.Time) {
	id, _ := parseResID([]byte(res))
	for try := 0; time.Now().Before(expires); try++ {
		nd := on()
		d.s.mu.Lock()
		e := nd.e
		d.s.mu.Unlock()
		reply, err := e.release(d.s.t.Context(), id, "")
		if err == nil && reply.Code != "" && try == 0 && !d.forgets { // a restart forgets what had ended
			d.s.t.Errorf("release: %s", reply.Code)
		}
		if err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// anyUp picks a running node.
func (s *sim) anyUp() *simNode {
	for {
		s.mu.Lock()
		nd := s.nodes[s.rng.IntN(len(s.nodes))]
		up := nd.up && !nd.cut
		s.mu.Unlock()
		if up {
			return nd
		}
		time.Sleep(time.Millisecond)
	}
}

// load runs callers until the time is over.
func (d *driver) load(callers int, life time.Duration, on func() *simNode, amount func() int64) {
	var all sync.WaitGroup
	end := time.Now().Add(life)
	for c := range callers {
		all.Go(func() {
			time.Sleep(time.Duration(c) * 10_007 * time.Nanosecond) // no two at the same moment
			for i := 0; time.Now().Before(end); i++ {
				if d.call(fmt.Sprintf("evt-%d-%d-%d", end.UnixNano(), c, i), on, amount()) {
					time.Sleep(50 * time.Millisecond)
				}
				time.Sleep(d.s.between(0, 5*time.Millisecond))
			}
		})
	}
	all.Wait()
}

// exhaust spends the rest one by one until everybody is refused, and checks that it is exactly the limit.
func (d *driver) exhaust() {
	d.s.t.Helper()
	time.Sleep(5 * time.Second) // what is in transit arrives, what is left expires
	if d.untold {
		time.Sleep(callTTL)
	}
	refusals := 0
	for i := 0; refusals < 3*len(d.s.nodes); i++ {
		nd := d.s.nodes[i%len(d.s.nodes)]
		if !nd.is(&nd.up) {
			refusals++
			continue
		}
		dec, err := nd.check(1, 60_000)
		switch {
		case err != nil:
			time.Sleep(20 * time.Millisecond)
		case dec.Allowed:
			refusals = 0
			d.mu.Lock()
			d.spent++
			d.mu.Unlock()
			if err := nd.ingest(fmt.Sprintf("last-%d", i), 1, string(dec.Reservation[:dec.ReservationN])); err != nil {
				d.s.t.Errorf("ingest: %v", err)
			}
		default:
			refusals++
		}
		if i > 100_000 {
			d.s.t.Fatalf("no end\n%s", d.s.state(d.num))
		}
	}
	d.s.settle()
	time.Sleep(2 * time.Second)
	if d.spent != d.limit {
		d.s.t.Errorf("spent %d of %d and refused\n%s", d.spent, d.limit, d.s.state(d.num))
	}
	if b := d.s.budget(d.num); b.Used != d.spent {
		d.s.t.Errorf("used is %d, %d were reported\n%s", b.Used, d.spent, d.s.state(d.num))
	}
	for _, nd := range d.s.nodes {
		if !nd.is(&nd.up) {
			continue
		}
		if r := nd.e.Reserved(d.s.budget(d.num).Key); r != 0 {
			d.s.t.Errorf("node %d still has %d set aside\n%s", nd.num, r, d.s.state(d.num))
		}
	}
}

func (d *driver) report(t testing.TB) {
	t.Logf("admitted %d, spent %d of %d, refused %d, unavailable %d, events %d, log %d",
		d.admitted, d.spent, d.limit, d.denied, d.unknown, d.events, len(d.s.log))
	for _, nd := range d.s.nodes {
		if nd.e != nil {
			c := nd.e.Stats()
			t.Logf("node %d: local %d waited %d drawn %d asks %d releases %d", nd.num, c.Local.Load(), c.Waited.Load(), c.Drawn.Load(), c.Asks.Load(), c.Releases.Load())
		}
	}
}

func TestHardLimitAdmitsExactlyTheLimit(t *testing.T) {
	for _, limit := range []int64{1, 10, 100, 1_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			inSim(t, func(t *testing.T) {
				s := newSim(t, 3, uint64(limit))
				defer s.close()
				d := &driver{s: s, limit: limit, num: s.assign("team", limit, fsm.EveryNever)}
				d.load(16, 2*time.Second, s.anyUp, func() int64 { return 1 })
				d.exhaust()
				d.report(t)
			})
		})
	}
}

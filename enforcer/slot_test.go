package enforcer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// testSlot is node 1's slot of a leased budget with the other live nodes 2 and 3, and 4 dead.
func testSlot(b fsm.Budget) *slot {
	b.Leased = true
	s := newSlot(fsm.BudgetKey{Assignment: 1}, 0, fsm.Forever, "acme", 1)
	s.setBudget(b, 1, &roster{me: 1, Roster: fsm.Roster{Shares: 5, Live: []fsm.NodeNum{1, 2, 3}, Dead: []fsm.NodeNum{4}}})
	s.debt = 0
	s.rebase(0)
	return s
}

func TestARefusalNeedsAProof(t *testing.T) {
	leases := func(a ...int64) (ls []fsm.Lease) {
		for i, x := range a {
			if x > 0 {
				ls = append(ls, fsm.Lease{Node: fsm.NodeNum(i + 1), Amount: x})
			}
		}
		return ls
	}
	for _, c := range []struct {
		name    string
		b       fsm.Budget
		set     func(*slot)
		amount  int64
		reserve verdict
		check   verdict
	}{
		{"room here", fsm.Budget{Limit: 100, Leases: leases(10)}, nil, 10, fits, fits},
		{"room in the pool must be asked for", fsm.Budget{Limit: 100, Leases: leases(10)}, nil, 11, short, fits},
		{"room here and in the pool count together", fsm.Budget{Limit: 100, Used: 50, Leases: leases(10, 30)}, nil, 20, short, fits},
		{"room that others have may come", fsm.Budget{Limit: 100, Used: 50, Leases: leases(10, 30)}, nil, 21, short, short},
		{"N1: what is used is gone", fsm.Budget{Limit: 100, Used: 80, Leases: leases(10, 5)}, nil, 21, refused, refused},
		{"N1: what is in doubt cannot be given", fsm.Budget{Limit: 100, Leases: leases(10, 0, 0, 70)}, nil, 31, refused, refused},
		{"another node has the rest", fsm.Budget{Limit: 100, Used: 50, Leases: leases(0, 50), Holder: 2, Gen: 1}, nil, 1, elsewhere, elsewhere},
		{"its pool may be older here than there", fsm.Budget{Limit: 100, Used: 50, Leases: leases(0, 40), Holder: 2, Gen: 1}, nil, 10, elsewhere, elsewhere},
		{"what is left here is still good", fsm.Budget{Limit: 100, Used: 50, Leases: leases(5, 40), Holder: 2, Gen: 1}, nil, 5, fits, fits},
		{"N5: the holder refuses when all have given up", fsm.Budget{Limit: 100, Used: 50, Leases: leases(10, 35), Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1, 2, 3}}, nil, 16, refused, refused},
		{"and gives what is there", fsm.Budget{Limit: 100, Used: 50, Leases: leases(10, 35), Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1, 2, 3}}, nil, 15, short, fits},
		{"N5: not while one has not", fsm.Budget{Limit: 100, Used: 50, Leases: leases(10, 35), Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1, 3}}, nil, 16, short, short},
		{"a limit that was cut: what is here is what there is", fsm.Budget{Limit: 50, Used: 40, Leases: leases(30), Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1}}, nil, 10, fits, fits},
		{"and no more", fsm.Budget{Limit: 50, Used: 40, Leases: leases(30), Holder: 1, Gen: 1, Acks: []fsm.NodeNum{1}}, nil, 11, refused, refused},
		{"what is accepted and unsettled is spent", fsm.Budget{Limit: 100, Leases: leases(60)}, func(s *slot) { s.overdraft = 70; s.rebase(0) }, 31, short, short},
		{"never", fsm.Budget{Limit: 100, Leases: leases(10)}, nil, 101, tooLarge, tooLarge},
		{"nothing always fits", fsm.Budget{Limit: 100, Used: 200}, nil, 0, fits, fits},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSlot(c.b)
			if c.set != nil {
				c.set(s)
			}
			for _, reserve := range []bool{true, false} {
				want := c.check
				if reserve {
					want = c.reserve
				}
				v, p := s.judge(c.amount, reserve)
				if v != want {
					t.Errorf("judge(%d, reserve %v) = %d, want %d; proof %+v", c.amount, reserve, v, want, p)
				}
				if v == refused && p.room >= c.amount {
					t.Errorf("refused %d though the proof has room for %d", c.amount, p.room)
				}
			}
		})
	}
}

// TestTheBooksOfASlotAddUp drives one slot through everything that changes its
// terms, as a node would, and compares avail with the sum of its terms as a plain account keeps them.
func TestTheBooksOfASlotAddUp(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := fsm.Budget{Limit: 1_000, Leased: true, Leases: []fsm.Lease{{Node: 1, Amount: 300}, {Node: 2, Amount: 300}}}
		s := testSlot(b)
		r := &roster{me: 1, Roster: fsm.Roster{Shares: 5, Live: []fsm.NodeNum{1, 2}}}
		var held, pending, overdraft, releasing, credit, lease, used, limit int64
		lease, limit = 300, 1_000
		index := uint64(1)
		seen := func(freed int64) {
			index++
			b := fsm.Budget{Limit: limit, Used: used, Leased: true, Leases: []fsm.Lease{{Node: 1, Amount: lease}, {Node: 2, Amount: 300}}}
			s.setBudget(b, index, r)
			credit = 0
			s.rebase(freed)
		}
		for range 300 {
			n := 1 + rng.Int64N(40)
			switch rng.IntN(8) {
			case 0:
				if _, ok := s.take(n); ok {
					held += n
				}
			case 1: // a reservation ends unused
				n = min(n, held)
				s.put(n)
				held -= n
			case 2: // a reservation is settled by an event of another size
				hold := min(n, held)
				amount := rng.Int64N(50)
				drawn := min(amount, hold)
				got := s.takeUpTo(amount - drawn)
				s.pending += drawn + got
				s.overdraft += amount - drawn - got
				s.rebase(drawn + got)
				s.put(hold - drawn)
				held, pending, overdraft = held-hold, pending+drawn+got, overdraft+amount-drawn-got
			case 3: // pending lines are seen applied
				n = min(n, pending)
				o := min(n, overdraft)
				s.pending -= n
				s.overdraft -= o
				pending, overdraft, lease, used = pending-n, overdraft-o, lease-n, used+n+o
				lease += credit
				seen(0)
			case 4: // something is given back
				got := s.giveUp(n)
				s.releasing += got
				s.floor -= got
				releasing += got
			case 5: // and is seen applied
				n = min(n, releasing)
				s.releasing -= n
				releasing, lease = releasing-n, lease-n+credit
				seen(0)
			case 6:
				if limit-used-lease-credit-300 > n {
					s.addCredit(n, index+1)
					credit += n
				}
			case 7:
				limit = 800 + rng.Int64N(400)
				lease += credit
				seen(0)
			}
			// The excess is as the replica shows it: without credits.
			excess := max(0, used+lease+300+overdraft-limit)
			if want := lease + credit - pending - held - releasing - excess; s.avail.Load() != want {
				t.Fatalf("seed %d: avail %d, want %d: lease %d credit %d pending %d held %d releasing %d excess %d",
					seed, s.avail.Load(), want, lease, credit, pending, held, releasing, excess)
			}
			if !s.checkInvariant() {
				t.Fatalf("seed %d: INV2", seed)
			}
			if s.heldNow() != held {
				t.Fatalf("seed %d: held %d, want %d", seed, s.heldNow(), held)
			}
		}
	}
}

func TestADroppedSlotGivesNothing(t *testing.T) {
	s := testSlot(fsm.Budget{Limit: 100, Leases: []fsm.Lease{{Node: 1, Amount: 10}}})
	s.take(1)
	if s.drop() {
		t.Fatal("dropped while something is held")
	}
	s.put(1)
	if !s.drop() {
		t.Fatal("an idle slot was not dropped")
	}
	if _, ok := s.take(1); ok || s.takeAnyway(1) || s.takeUpTo(1) != 0 {
		t.Error("a dropped slot gave something")
	}
}

func TestADrawThatIsOverStaysOver(t *testing.T) {
	all := func(Hold) bool { return true }
	id := resID{node: 2, boot: 1, seq: 7}
	for _, c := range []struct {
		name string
		end  func(*drawTable)
	}{
		{"cancelled before it came", func(dt *drawTable) { dt.cancel(id, 0) }},
		{"cancelled while it was made", func(dt *drawTable) {
			d, _ := dt.begin(id, 1, 0, 0)
			dt.cancel(id, 0)
			if dt.finish(id, d, 0, nil, nil) {
				t.Error("made in spite of its cancel")
			}
		}},
		{"settled", func(dt *drawTable) {
			d, _ := dt.begin(id, 1, 0, 0)
			dt.finish(id, d, 0, []Hold{{Amount: 1}}, nil)
			if d := dt.settle(id, 0, all); d == nil || len(d.holds) != 1 {
				t.Error("not settled")
			}
		}},
		{"of a session before", func(dt *drawTable) { dt.boots[2] = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dt := newDrawTable()
			c.end(dt)
			if d, made := dt.begin(id, 1, 0, 0); d != nil || made {
				t.Error("it could be made again")
			}
		})
	}
	dt := newDrawTable()
	d, _ := dt.begin(id, 1, 0, 0)
	if again, made := dt.begin(id, 1, 0, 0); again != nil || made {
		t.Error("a repeat is answered before the first is journaled")
	}
	dt.finish(id, d, 0, []Hold{{Amount: 1}}, nil)
	if again, made := dt.begin(id, 1, 0, 0); again != nil || !made {
		t.Error("a repeat is not answered alike")
	}
}

func TestReservationsExpireInOrder(t *testing.T) {
	tb := newTable(1)
	tb.boot.Store(1)
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make(map[resID]int64)
	for range 5_000 {
		id := tb.newID(rng.Uint32())
		ids[id] = rng.Int64N(1_000)
		tb.add(id, "acme", ids[id], []heldLine{{Amount: 1, On: 1}})
	}
	for now := int64(0); now <= 1_000; now += 100 {
		tb.overdue(now, func(sh *tableShard, r *reservation) {
			if at, ok := ids[r.id]; !ok || at > now || at <= now-101 && now > 0 {
				t.Errorf("%v expired at %d, due at %d", r.id, now, at)
			}
			delete(ids, r.id)
			tb.end(sh, r, ending{code: CodeReservationExpired})
		})
	}
	if len(ids) != 0 || tb.count.Load() != 0 {
		t.Errorf("%d never expired, count %d", len(ids), tb.count.Load())
	}
}

func TestEndingsAreRememberedWithinBounds(t *testing.T) {
	var sh tableShard
	sh.endings = make(map[resID]ending)
	const room = maxEndings / tableShards
	for i := range uint64(3 * room) {
		sh.remember(resID{seq: i}, ending{})
	}
	if len(sh.endings) != room {
		t.Errorf("%d endings, want %d", len(sh.endings), room)
	}
	if _, ok := sh.endings[resID{seq: 3*room - 1}]; !ok {
		t.Error("the latest is forgotten")
	}
}

func FuzzParseReservationID(f *testing.F) {
	f.Add([]byte(resID{node: 3, boot: 1, seq: 42, rnd: 7}.String()))
	f.Add([]byte("rsv_0"))
	f.Add([]byte("rsv_0001000000010000000000000001AAAAAAAA"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if id, ok := parseResID(text); ok && !slices.Equal(id.appendText(nil), text) {
			t.Errorf("%q is read as %v", text, id)
		}
	})
}

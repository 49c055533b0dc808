package enforcer

// A call that needs several budgets takes from one after the other, and gives all
// back if one of them has no room. Until it is through, what it has taken is
// undecided: neither room nor gone. A refusal (N5) must not be proven with it, so
// who needs that much waits until it is decided.
//
// Amounts become undecided before they are taken and are decided after they are
// given back. Who reads first ended, then avail, then began, counts everything that
// was undecided when avail was read: it may count too much, never too little.

// undecide counts an amount that is about to be taken.
func (s *slot) undecide(a int64) { s.began.Add(a) }

// decide ends that, after the amount is given back or will stay taken.
func (e *Enforcer) decided(s *slot, a int64) {
	s.ended.Add(a)
	if s.doubted.Load() {
		s.doubted.Store(false)
		e.stir(s)
	}
}

// proves reports whether a holder that is short of a refuses it (N5), and what
// room it counts: all that is free, here, on its way, or undecided. If only what is
// undecided speaks against it, whoever decides that wakes those who wait: doubted is
// set before the numbers are read for the last time. s.mu is held.
func (s *slot) proves(a int64) (refuses bool, room int64) {
	if s.b.Holder != s.me || !s.allAck {
		return false, 0
	}
	for range 2 {
		ended := s.ended.Load()
		sure := satAdd(satAdd(s.freePool(), s.avail.Load()), s.releasing)
		room = satAdd(sure, s.began.Load()-ended)
		if room < a || sure >= a {
			break
		}
		s.doubted.Store(true)
	}
	return room < a, max(0, room)
}

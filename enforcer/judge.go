package enforcer

import "github.com/bursar-dev/bursar/fsm"

// verdict is what one budget says to an amount.
type verdict uint8

const (
	fits      verdict = iota
	elsewhere         // another node has the rest: ask it
	short             // more may come: ask for it and wait
	refused           // proven: there is no room
	tooLarge          // proven: there never will be
)

// proof are the numbers behind a verdict: room is all that is spendable, so that
// a refusal of a always has room < a.
type proof struct {
	limit, used, room int64
	holder            fsm.NodeNum
	byHearsay         bool // it stands only while a leader is heard: who is dead, what is on its way
}

// judge says whether a fits, or why it does not. It refuses only on a proof:
//
//	N1  limit − used − Σlease[dead] < a
//	N5  this node holds the rest, every live node has given up what it had, and
//	    free + avail + releasing + undecided < a
//
// what N3 adds is another holder's N1 or N5. Anything else may still change.
//
// A check that reserves nothing also fits where the free pool has room and
// nobody holds the rest: an ask would get it, so there is no need to send one.
//
// s.mu is held.
func (s *slot) judge(a int64, reserve bool) (verdict, proof) {
	p := proof{limit: s.shownLimit(), used: s.b.Used, holder: s.b.Holder}
	avail := s.avail.Load()
	p.room = max(0, avail+s.beyond.Load())
	if !s.b.Leased || a == 0 || avail >= a {
		return fits, p
	}
	if a > p.limit {
		return tooLarge, p
	}
	if left := satSub(s.b.Left(), s.dead); left < a {
		p.room = max(0, min(p.room, left))
		p.byHearsay = s.b.Left() >= a
		return refused, p
	}
	if s.elsewhere() {
		return elsewhere, p
	}
	if !reserve && satAdd(s.freePool(), avail) >= a {
		return fits, p
	}
	if refuses, room := s.proves(a); refuses {
		p.room, p.byHearsay = room, true
		return refused, p
	}
	return short, p
}

// judgeNow is judge for callers that do not hold s.mu.
func (s *slot) judgeNow(a int64, reserve bool) (verdict, proof) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return short, proof{}
	}
	return s.judge(a, reserve)
}

package enforcer

import "time"

// This file decides what a node asks for and what it gives back: pure functions
// of a slot's numbers, the node's half of the rules N4, N5 and N8 to N11.

// The constants of the rules.
const (
	tick        = 100 * time.Millisecond // of the loop
	horizon     = 4                      // seconds of demand a node wants to have ahead
	askAgain    = 60 * time.Millisecond  // after which an unanswered ask is sent again
	releaseWait = 300 * time.Millisecond // after which an unseen release is sent again
	holderRest  = 500 * time.Millisecond // how long a holder stays one at least (N11)
)

// numbers are what is known of one leased budget at one moment.
type numbers struct {
	shares    int64
	left      int64 // limit − used
	free      int64 // on nobody's lease, as the replica shows it
	avg       int64 // mean line
	threshold int64
	lease     int64 // this node's, as the replica shows it
	avail     int64
	excess    int64 // held back of the lease: the budget is overcommitted by this much
	rate      int64 // per second
	releasing int64 // given back and not yet seen applied

	holder   bool // this node holds the rest
	other    bool // another node does
	allAck   bool // every live node has given up what it had; only known of the holder
	acked    bool // this node has, in this generation
	heldLong bool // the holder for at least holderRest in this generation

	waiting  int   // checks in the queue
	waitMin  int64 // their smallest need
	waitSum  int64 // their needs together
	needed   int64 // by waiting checks of this budget, in whichever queue they stand
	urgent   bool  // look at what is needed at once; false: on the tick
	inFlight bool  // an ask is on its way and not overdue
	ended    bool  // the period is over
}

// target is what the node would like to have in hand: the demand of the next
// seconds, at most half of an even share of what is left.
//
//	rate 50/s, left 10,000, S = 5: min(200, 1,000) = 200
func (n *numbers) target() int64 {
	return max(0, min(satMul(n.rate, horizon), n.left/(2*n.shares)))
}

// ask returns the ask to send now, if any. A waiting check makes one at once
// (N4, N5); low stock makes a soft one (N8): under 9/10 of the target on the
// tick, under half of it at once.
//
//	avail 3, waiting needs 5 and 8:  needMin 2, needSum 10
//	avail 80, target 200, tick:      want 120
func (n *numbers) ask() (needMin, needSum, want int64, ok bool) {
	if n.other || n.inFlight {
		return 0, 0, 0, false
	}
	want = max(0, n.target()-n.avail)
	if n.waiting > 0 && n.waitMin > n.avail {
		needMin = n.waitMin - n.avail
		if n.holder && n.free < needMin {
			return 0, 0, 0, false // too little to be had before others have given it up
		}
		return needMin, max(needMin, satSub(n.waitSum, n.avail)), want, true
	}
	if n.ended || n.free <= 0 || want == 0 {
		return 0, 0, 0, false
	}
	low := n.target() * 9 / 10
	if n.urgent {
		low = n.target() / 2
	}
	return 0, 0, want, n.avail < low
}

// release returns what to give back now: with the rest held elsewhere all there
// is, the first time in a generation as the final release, even of nothing
// (N10), but not before all that was given back earlier has arrived: who has said
// its final word has nothing on its way. Without a holder what is over two even half-shares (N9). What is held
// back as excess is given back, too: every node holds the whole excess back, so
// it goes away only where the leases flow back.
//
//	other holder, avail 7, not acked:         7, final; with a release under way: nothing yet
//	other holder, avail −1, excess 4, acked:  3
//	no holder, S = 5, left 1,000, avg 1, avail 300:  300 > 208, so 200; with 90 of it needed: 210 > 208, so 110
func (n *numbers) release() (amount int64, final, ok bool) {
	switch {
	case n.ended:
		return 0, false, false
	case n.other && !n.acked && n.releasing > 0:
		return 0, false, false
	case n.other:
		unheld := n.avail + n.excess
		final = !n.acked && (n.lease > 0 || unheld > 0)
		return max(0, unheld), final, final || unheld > 0
	case n.holder || n.waiting > 0:
		return 0, false, false
	}
	half, spare := max(0, n.left)/(2*n.shares), satSub(n.avail, n.needed)
	if spare <= satAdd(2*half, satMul(8, n.avg)) {
		return 0, false, false
	}
	return spare - half, false, true
}

// exit reports whether the holder should end the consolidation, and what to give
// back with it (N11): room has returned, twice the entering threshold of it here.
func (n *numbers) exit() (amount int64, ok bool) {
	room := satMul(2, n.threshold)
	if !n.holder || !n.heldLong || !n.allAck || n.ended || n.waiting > 0 || n.left < room || n.avail < room {
		return 0, false
	}
	return max(0, satSub(n.avail, n.needed)-2*n.target()), true
}

// smooth folds what was admitted during one tick into the rate per second (weight 0.4).
func smooth(rate, admitted int64) int64 {
	perSecond := satMul(admitted, int64(time.Second/tick))
	return rate/10*6 + rate%10*6/10 + perSecond/10*4 + perSecond%10*4/10
}

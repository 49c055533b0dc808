package enforcer

import "time"

// The hazard: a node takes an event in a fifth of the time that the cluster needs to
// settle it. Offered more than that, it would take all of it, every caller would
// wait until AckWait or its own timeout has passed, and nobody would be told why.
//
// So no more may wait than is settled in waitAim. By Little's law that is how long
// an admitted event then waits, whatever it costs and whichever of disk, leader or
// replica is slow: what this node sees applied is the end of all of them. A node
// that follows an overloaded leader sees fewer of its events applied, and refuses.

const (
	// waitAim is how long an admitted event should wait for being applied.
	waitAim = 500 * time.Millisecond

	// intakeFloor events may wait however few were settled lately: two of the largest
	// requests. A node that had nothing to do has settled nothing.
	intakeFloor = 2 * maxIngestEvents
	// lateFloor replaces it for lateMemory after an event has waited for longer than lateAfter,
	// with a leader at hand: this cluster needs long even for the floor. One part keeps its disks busy.
	lateFloor  = maxPartEvents
	lateAfter  = defaultAckWait
	lateMemory = time.Minute

	// sharePlain of what may wait is for any events; the rest only for requests that
	// settle a reservation. If one has to come again its hold stands for longer, and
	// refuses checks; or it expires, and its room is given out before it is charged.
	sharePlain    = 3. / 4
	shareSettling = 1.
	// shareForwarded is for events that another node has admitted and hands to the origin of their
	// reservations. Beyond it that node keeps them, and is held against its own bound.
	shareForwarded = 4.

	// noLeaderAfter is how long after the last word of a leader a node counts as having
	// none, if the shipper has not been told so.
	noLeaderAfter = time.Second
	noLeaderSoon  = 2 * tick // if it has

	rateSpans = 10 // over which settled events are counted: a second
	rateSpan  = 100 * time.Millisecond
)

// intake decides how many events may wait on this node for being settled. It does
// no I/O and reads no clock. The zero intake has no leader.
//
// Without a leader nothing is settled and nothing is overloaded: a node then takes what its outbox
// holds, which is what the outbox is for. What has gathered by the time that a leader is heard
// is forgiven: newcomers are held against the bound without it, and it is late
// only by the time that has passed since.
type intake struct {
	settled   [rateSpans]int // in each of the latest spans, by number modulo rateSpans
	span      int64          // number of the latest, counted from epoch
	epoch     time.Time
	lead      time.Time // a leader is at hand since then; zero: none is
	forgiven  int       // waiting events that were taken without one
	lateUntil time.Time
}

// observe takes note of whether there is a leader, of how many events wait, and of when the
// oldest of them was taken. It is called often enough to see each leader lost, and before allowed.
func (in *intake) observe(now time.Time, leader bool, waiting int, oldest time.Time) {
	switch {
	case !leader:
		in.lead, in.forgiven = time.Time{}, 0
		return
	case in.lead.IsZero():
		in.lead, in.forgiven = now, waiting
	}
	in.forgiven = min(in.forgiven, waiting)
	if waiting > 0 {
		in.waited(now, oldest)
	}
}

// waited takes note of an event that is, or was until now, waiting since it was taken.
func (in *intake) waited(now, taken time.Time) {
	if in.lead.IsZero() {
		return
	}
	if taken.Before(in.lead) {
		taken = in.lead
	}
	if now.Sub(taken) > lateAfter {
		in.lateUntil = now.Add(lateMemory)
	}
}

// done counts n events that are settled. The oldest wait the longest, so those forgiven go first.
func (in *intake) done(now time.Time, n int) {
	in.advance(now)
	in.settled[in.span%rateSpans] += n
	in.forgiven = max(0, in.forgiven-n)
}

// advance forgets the spans that are over.
func (in *intake) advance(now time.Time) {
	if in.epoch.IsZero() {
		in.epoch = now
	}
	at := int64(now.Sub(in.epoch) / rateSpan)
	for n := min(at-in.span, rateSpans); n > 0; n-- {
		in.settled[(at-n+1)%rateSpans] = 0
	}
	in.span = max(in.span, at)
}

// rate is how many events were settled in the last second.
func (in *intake) rate(now time.Time) (n int) {
	in.advance(now)
	for _, c := range in.settled {
		n += c
	}
	return n
}

// allowance is how many events may wait, those forgiven not counted. Without a leader it is maxOutboxEvents.
func (in *intake) allowance(now time.Time) int {
	if in.lead.IsZero() {
		return maxOutboxEvents
	}
	floor := intakeFloor
	if now.Before(in.lateUntil) {
		floor = lateFloor
	}
	return min(max(floor, int(int64(in.rate(now))*int64(waitAim)/int64(rateSpans*rateSpan))), maxOutboxEvents)
}

// allowed reports whether a request may join the events that wait, by its share. How many it brings makes no
// difference: large requests are not starved by small ones, and where nobody waits any is let in.
func (in *intake) allowed(now time.Time, waiting int, share float64) bool {
	return float64(waiting-in.forgiven) < share*float64(in.allowance(now)) && waiting < maxOutboxEvents
}

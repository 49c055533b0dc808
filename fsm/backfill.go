package fsm

import "time"

// backfillSlack is how much later than its own time, by the clock of the log, a line can have
// been settled at the earliest: an event may lie MaxFuture ahead of the clock of
// the node that accepted it, and that clock may be off by as much again.
const backfillSlack = 2 * int64(MaxFuture/time.Millisecond)

// backfillTarget is one new assignment that counts what its present period already saw.
type backfillTarget struct {
	change     int // index among the changes
	capability string
	start, end int64
}

// backfill returns, by index of change, what the present periods of the new
// assignments that ask for it already saw: the usage of every ledger line of the period whose
// chain has the entity. The ledger is read once, from its end back to what can lie in the
// earliest of the periods.
func (p *assignmentPut) backfill() (map[int]int64, *Error) {
	targets := map[string][]backfillTarget{} // by entity
	oldest := Forever
	for i, ch := range p.changes {
		if ch.old != nil || !ch.next.Backfill {
			continue
		}
		start, end := ch.next.Cadence.Period(p.t.s.now)
		oldest = min(oldest, start)
		targets[ch.next.Entity] = append(targets[ch.next.Entity], backfillTarget{i, ch.next.Capability, start, end})
	}
	if len(targets) == 0 {
		return nil, nil
	}
	if p.tn.closed(oldest) {
		return nil, conflict("the present period begins at %s, and lines of events until %s were dropped by retention; make the assignment without backfill",
			timestamp(oldest), timestamp(p.tn.mark.DroppedLast))
	}
	used := map[int]int64{}
	lines := 0
	var line lineReader
	lower, upper := prefixRange(accountPrefix(tableLedger, p.tn.ID))
	err := p.t.scan(lower, upper, true, func(_, value []byte) (bool, error) {
		if err := line.read(value); err != nil {
			return false, err
		}
		if line.settled < satSub(oldest, backfillSlack) {
			return false, nil
		}
		lines++
		for _, id := range line.chain {
			for _, target := range targets[id] {
				line.add(target, used)
			}
		}
		return lines <= MaxBackfillLines, nil
	})
	if err == nil && lines > MaxBackfillLines {
		e := conflict("the present period has more than %d ledger lines, more than one write may read; make the assignment without backfill", MaxBackfillLines)
		e.Numbers = map[string]int64{"limit": MaxBackfillLines}
		return nil, e
	}
	return used, nil
}

func (l *lineReader) add(target backfillTarget, used map[int]int64) {
	if l.at < target.start || l.at >= target.end {
		return
	}
	for _, q := range l.usage {
		if q.Capability == target.capability {
			used[target.change] = satAdd(used[target.change], q.Amount)
		}
	}
}

package fsm

import (
	"cmp"
	"slices"
)

// maxReleaseGaps bounds the memory of releases seen of one node. Sequence numbers are
// consecutive, so only loss and reordering make gaps; a release beyond the bound is not
// taken, and its node sends it again.
const maxReleaseGaps = 1024

// releases is the set of release sequence numbers seen of a node's session:
// everything below Floor, and the ranges, ascending and not adjacent.
type releases struct {
	Boot   uint64     `msgpack:"b"`
	Floor  uint64     `msgpack:"f"`
	Ranges []seqRange `msgpack:"r,omitempty"`
}

// seqRange is the sequence numbers from From to To, both included.
type seqRange struct {
	From uint64 `msgpack:"f"`
	To   uint64 `msgpack:"t"`
}

// begin starts over for a new session and forgets what is below floor. It
// reports whether anything changed.
func (r *releases) begin(boot, floor uint64) bool {
	changed := r.Boot != boot
	if changed {
		*r = releases{Boot: boot}
	}
	if floor > r.Floor {
		changed = true
		r.Floor = floor
		r.Ranges = slices.DeleteFunc(r.Ranges, func(s seqRange) bool { return s.To < floor })
		if len(r.Ranges) > 0 {
			r.Ranges[0].From = max(r.Ranges[0].From, floor)
		}
	}
	return changed
}

// add takes seq in. fresh: it was not in. known: it is in now, which it is unless there are too many gaps.
func (r *releases) add(seq uint64) (fresh, known bool) {
	if seq < r.Floor {
		return false, true
	}
	i, _ := slices.BinarySearchFunc(r.Ranges, seq, func(s seqRange, seq uint64) int { return cmp.Compare(s.To, seq) })
	if i < len(r.Ranges) && r.Ranges[i].From <= seq {
		return false, true
	}
	joinsLeft := i > 0 && r.Ranges[i-1].To+1 == seq
	joinsRight := i < len(r.Ranges) && seq+1 == r.Ranges[i].From
	switch {
	case joinsLeft && joinsRight:
		r.Ranges[i-1].To = r.Ranges[i].To
		r.Ranges = slices.Delete(r.Ranges, i, i+1)
	case joinsLeft:
		r.Ranges[i-1].To = seq
	case joinsRight:
		r.Ranges[i].From = seq
	case len(r.Ranges) >= maxReleaseGaps:
		return false, false
	default:
		r.Ranges = slices.Insert(r.Ranges, i, seqRange{seq, seq})
	}
	return true, true
}

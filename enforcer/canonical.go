package enforcer

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// canonicalHash identifies what an event says, as its sender sent it: two bodies
// of one id are duplicates if it is the same and conflict if it is not. It does
// not depend on the encoding, on the order of fields, or on how a time is
// written. It does not cover what this node adds (derived amounts, prices, the time of
// receipt). at is the time given; given is false if there was none, because then
// every retry would have another.
//
// The hash is SHA-256 over a version byte and the fields in fixed order, each
// with its length, lists and maps with their counts, maps by ascending key. It
// stands in the ledger for as long as the line does, so it never changes.
func canonicalHash(ev *fsm.Event, given bool) [32]byte {
	b := make([]byte, 0, 512)
	b = append(b, canonicalVersion)
	b = appendSized(b, ev.Account)
	b = appendSized(b, ev.ID)
	b = binary.AppendUvarint(b, uint64(len(ev.Entities)))
	for _, id := range ev.Entities {
		b = appendSized(b, id)
	}
	b = binary.AppendUvarint(b, uint64(len(ev.Usage)))
	for _, q := range ev.Usage {
		b = appendSized(b, q.Capability)
		b = binary.AppendVarint(b, q.Amount)
	}
	b = appendSized(b, ev.Key)
	b = appendSized(b, ev.Member)
	b = appendSized(b, ev.Model)
	b = appendSized(b, ev.Reservation)
	if given {
		b = binary.AppendVarint(append(b, 1), ev.At)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(ev.Metadata)))
	for _, k := range slices.Sorted(maps.Keys(ev.Metadata)) {
		b = appendSized(b, k)
		b = appendSized(b, ev.Metadata[k])
	}
	if ev.Tier != price.Standard {
		b = append(b, byte(ev.Tier)) // the standard tier, which nobody names, adds nothing
	}
	return sha256.Sum256(b)
}

const canonicalVersion = 1

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

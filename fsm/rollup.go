package fsm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"strings"
)

// A rollup is the sum of the ledger lines of one account that share a bucket of
// time, one value of a dimension, and a model. Rollups are written in the same
// Pebble batch as the lines they sum, so that a sum and its lines always agree.
//
// Buckets are hours, days and months in the account's time zone. Dimensions are
//
//	entity    every entity of the event's chain, so an entity's sum has its subtree's events in it,
//	          as the tree was when they were accepted; the root's row is the account's total
//	type      every entity type in the chain, an event once however many entities of it there are
//	member    the event's member, if it has one
//
// which makes about a dozen rows of each bucket length for an event of a tree of
// five levels; but what a batch adds to one row is written once. Rows that are
// being added to are kept decoded (rollups). They are derived from the lines, so
// they are not part of the running checksum: that is what lets a batch of many
// entries write each row once.

// Bucket is a length of time that usage is summed by.
type Bucket string

// The buckets, in the account's time zone.
const (
	BucketHour  Bucket = "hour"
	BucketDay   Bucket = "day"
	BucketMonth Bucket = "month"
)

// buckets are what every line is summed into; code is the bucket's byte in a key.
var buckets = [...]struct {
	bucket Bucket
	code   byte
	every  Every
}{{BucketHour, 'h', EveryHour}, {BucketDay, 'd', EveryDay}, {BucketMonth, 'm', EveryMonth}}

// The dimensions: bytes in a key.
const (
	dimEntity = 'e'
	dimType   = 't'
	dimMember = 'm'
)

// rollup is one row. A sum has 128 bits, because some lines of up to MaxAmount
// each pass 63 of them.
type rollup struct {
	events int64 // lines that count as an event
	sums   []rollupSum
}

// rollupSum is the sum of one capability: hi·2⁶⁴ + lo in two's complement.
type rollupSum struct {
	capability string
	events     int64 // lines that have it
	hi         int64
	lo         uint64
}

// add counts one amount n times over (n is 1 for a line, −1 to take one back).
func (r *rollup) add(capability string, amount, events int64) {
	i, found := slices.BinarySearchFunc(r.sums, capability, func(s rollupSum, c string) int { return cmp.Compare(s.capability, c) })
	if !found {
		r.sums = slices.Insert(r.sums, i, rollupSum{capability: strings.Clone(capability)})
	}
	r.sums[i].events += events
	r.sums[i].add(amount>>63, uint64(amount))
}

func (s *rollupSum) add(hi int64, lo uint64) {
	sum, carry := bits.Add64(s.lo, lo, 0)
	s.hi, s.lo = s.hi+hi+int64(carry), sum
}

// amount returns the sum, or false if it does not fit in an int64.
func (s *rollupSum) amount() (int64, bool) {
	return int64(s.lo), s.hi == int64(s.lo)>>63
}

// merge adds another row to r.
func (r *rollup) merge(o *rollup) {
	r.events += o.events
	for _, s := range o.sums {
		r.add(s.capability, 0, s.events)
		i, _ := slices.BinarySearchFunc(r.sums, s.capability, func(s rollupSum, c string) int { return cmp.Compare(s.capability, c) })
		r.sums[i].add(s.hi, s.lo)
	}
}

// A stored row: version u8 | events varint | number of sums uvarint | per sum:
// length of the capability uvarint, the capability, events varint, hi varint, lo u64.
const rollupVersion = 1

func (r *rollup) append(dst []byte) []byte {
	dst = append(dst, rollupVersion)
	dst = binary.AppendVarint(dst, r.events)
	dst = binary.AppendUvarint(dst, uint64(len(r.sums)))
	for _, s := range r.sums {
		dst = binary.AppendUvarint(dst, uint64(len(s.capability)))
		dst = append(dst, s.capability...)
		dst = binary.AppendVarint(dst, s.events)
		dst = binary.AppendVarint(dst, s.hi)
		dst = binary.BigEndian.AppendUint64(dst, s.lo)
	}
	return dst
}

var errRollup = errors.New("a rollup is damaged")

// decodeRollup keeps nothing of v.
func decodeRollup(v []byte) (*rollup, error) {
	r := &rollup{}
	err := eachStoredSum(v, &r.events, func(capability []byte, s rollupSum) {
		s.capability = string(capability)
		r.sums = append(r.sums, s)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// mergeStored adds a stored row to r, of which it keeps nothing. It allocates only for a capability that
// r does not have yet. With an error r is to be thrown away.
func (r *rollup) mergeStored(v []byte) error {
	events := int64(0)
	err := eachStoredSum(v, &events, func(capability []byte, s rollupSum) {
		i, found := slices.BinarySearchFunc(r.sums, capability, func(s rollupSum, c []byte) int {
			switch {
			case s.capability < string(c):
				return -1
			case s.capability == string(c):
				return 0
			}
			return 1
		})
		if !found {
			r.sums = slices.Insert(r.sums, i, rollupSum{capability: string(capability)})
		}
		r.sums[i].events += s.events
		r.sums[i].add(s.hi, s.lo)
	})
	r.events += events
	return err
}

// eachStoredSum reads a stored row: its events, and each of its sums without the capability's name, which is good for the call.
func eachStoredSum(v []byte, events *int64, f func(capability []byte, s rollupSum)) error {
	if len(v) == 0 || v[0] != rollupVersion {
		return errRollup
	}
	rest, bad := v[1:], false
	number := func() int64 {
		n, size := binary.Varint(rest)
		if size <= 0 {
			bad, rest = true, nil
			return 0
		}
		rest = rest[size:]
		return n
	}
	length := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) { // whatever is counted takes a byte at least
			bad, rest = true, nil
			return 0
		}
		rest = rest[size:]
		return n
	}
	*events = number()
	for n := length(); n > 0 && !bad; n-- {
		var s rollupSum
		size := length()
		capability := rest[:size]
		rest = rest[size:]
		s.events, s.hi = number(), number()
		if len(rest) < 8 {
			return errRollup
		}
		s.lo, rest = binary.BigEndian.Uint64(rest), rest[8:]
		f(capability, s)
	}
	if bad || len(rest) > 0 {
		return errRollup
	}
	return nil
}

// rollupPrefix begins the keys of one account, bucket length and dimension.
func rollupPrefix(dst []byte, account string, bucket, dimension byte) []byte {
	dst = append(append(append(dst, tableRollup), account...), 0)
	return append(dst, bucket, dimension)
}

// appendRollupRow ends a key: the bucket's start, the value, the model. A value
// is not always an id (a member is any text), so a NUL in it is escaped.
func appendRollupRow(dst []byte, start int64, value, model string) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(start)^(1<<63))
	for i := range len(value) {
		if dst = append(dst, value[i]); value[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(append(dst, 0, 1), model...)
}

// splitRollupRow is the reverse of appendRollupRow, for what follows the prefix.
func splitRollupRow(row []byte) (start int64, value, model string, ok bool) {
	if len(row) < 8 {
		return 0, "", "", false
	}
	start = int64(binary.BigEndian.Uint64(row) ^ (1 << 63))
	row = row[8:]
	var text []byte
	for i := 0; i+1 < len(row); i++ {
		if row[i] != 0 {
			text = append(text, row[i])
			continue
		}
		if row[i+1] == 1 {
			return start, string(text), string(row[i+2:]), true
		}
		text = append(text, 0)
		i++
	}
	return 0, "", "", false
}

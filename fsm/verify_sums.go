package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// sumCheck recomputes the rollup rows. Few are compared one by one while the lines are read. Many are cut into parts, and of
// each part the fingerprint is compared; only parts that differ take another pass over the lines each. A row by entity type depends on which of the entities of a
// chain had been provisioned when the line was settled. An entity keeps its type, so that
// follows from when it was made: before the line by the log's clock, or, in the same millisecond, by the audit trail.
type sumCheck struct {
	v      *verifier
	ranges []sumRange // of the account's rows, in key order
	stored uint64     // rows
	now    sumRange   // compared one by one in this pass; the zero value: none

	prints  *printer // nil: no fingerprints in this pass
	nearest [256]int // the part that the row before of a bucket and dimension was in

	rows   map[string]*rollup
	over   bool // more rows were computed than there may be: the store lacks many
	latest [len(buckets)]stretch
	made   map[string]entityMade
	adds   print // the fingerprint of the line under way
	key    []byte
	typed  []string // types of a line's chain
}

// sumRange is a part of the rows: keys in [from, to), which sum lines of times in [first, last).
type sumRange struct {
	from, to    []byte
	first, last int64
	lines       print // of what the lines add to its rows
}

// entityMade is what is known of an entity.
type entityMade struct {
	kind  string // type; empty: never provisioned
	at    int64
	index uint64 // log index of the entry that made it; 0: unknown yet
}

// maxEntitiesKnown bounds the entities that are remembered.
const maxEntitiesKnown = 1 << 16

// newSumCheck cuts the rows into parts of at most limit.
func newSumCheck(v *verifier) (*sumCheck, error) {
	c := &sumCheck{v: v, made: map[string]entityMade{}}
	lower, upper := prefixRange(accountPrefix(tableRollup, v.account))
	now := sumRange{from: lower}
	rows := 0
	end := func(to []byte) {
		now.to = to
		now.first, now.last = c.times(now.from, to)
		c.ranges = append(c.ranges, now)
		now = sumRange{from: to}
	}
	err := v.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		c.stored++
		if rows++; rows > v.limit {
			end(slices.Clone(key))
			rows = 1
		}
		return true, v.step()
	})
	end(upper)
	return c, err
}

// times returns the range of the times that rows with keys in [lower, upper) sum, everything if that cannot be said simply.
func (c *sumCheck) times(lower, upper []byte) (from, to int64) {
	n := len(rollupPrefix(nil, c.v.account, 0, 0))
	if len(lower) < n+8 || len(upper) < n+8 || !bytes.Equal(lower[:n], upper[:n]) {
		return math.MinInt64, math.MaxInt64
	}
	from, _, _, _ = splitRollupRow(lower[n:])
	to, _, _, _ = splitRollupRow(upper[n:])
	for _, b := range buckets {
		if b.code == lower[n-2] {
			_, to = Cadence{Every: b.every, Timezone: c.v.zone}.Period(to)
		}
	}
	return from, to
}

// beginPrints prepares the pass that every line is in: the comparison of all rows, if they are few, or fingerprints.
func (c *sumCheck) beginPrints() {
	if len(c.ranges) == 1 {
		c.begin(c.ranges[0])
		return
	}
	c.begin(sumRange{})
	c.prints = newPrinter()
}

// begin prepares a pass that compares the rows of a part.
func (c *sumCheck) begin(part sumRange) {
	c.rows, c.over, c.now, c.prints = map[string]*rollup{}, false, part, nil
}

// line adds a line to every row of the pass that it belongs to.
func (c *sumCheck) line(l *LedgerLine) error {
	e := &l.Event
	if c.prints == nil && (c.now.to == nil || c.over || e.At < c.now.first || e.At >= c.now.last) {
		return nil
	}
	events := l.counts()
	if err := c.types(l); err != nil {
		return err
	}
	if c.prints != nil {
		c.adds = c.prints.line(e, events)
	}
	for i := range buckets {
		span := &c.latest[i]
		if e.At < span.start || e.At >= span.end {
			span.start, span.end = Cadence{Every: buckets[i].every, Timezone: c.v.zone}.Period(e.At)
		}
		for j, id := range e.Chain {
			if slices.Index(e.Chain, id) < j {
				continue
			}
			c.add(buckets[i].code, dimEntity, span.start, id, e, events)
			if kind := c.typed[j]; kind != "" && !slices.Contains(c.typed[:j], kind) {
				c.add(buckets[i].code, dimType, span.start, kind, e, events)
			}
		}
		if e.Member != "" {
			c.add(buckets[i].code, dimMember, span.start, e.Member, e, events)
		}
	}
	if len(c.rows) > 2*c.v.limit+1000 {
		c.over = true
		c.v.fault(LedgerFault{Kind: FaultSum, Where: fmt.Sprintf("rows from key %q to %q", c.now.from, c.now.to), Want: fmt.Sprintf("more than %d rows", len(c.rows)), Found: fmt.Sprintf("at most %d", c.v.limit)})
	}
	return nil
}

func (c *sumCheck) add(bucket, dimension byte, start int64, value string, e *Event, events int64) {
	if c.prints != nil && start <= c.v.unsure {
		return
	}
	c.key = appendRollupRow(rollupPrefix(c.key[:0], c.v.account, bucket, dimension), start, value, e.Model)
	if c.prints != nil {
		part := &c.ranges[c.partOf(bucket^dimension<<3, c.key)]
		part.lines.add(c.prints.row(c.key).times(c.adds))
		return
	}
	if bytes.Compare(c.key, c.now.from) < 0 || bytes.Compare(c.key, c.now.to) >= 0 {
		return
	}
	r := c.rows[string(c.key)]
	if r == nil {
		r = &rollup{}
		c.rows[string(c.key)] = r
	}
	r.addEvent(e, events)
}

// types finds the types that the entities of a line's chain had when it was settled.
func (c *sumCheck) types(l *LedgerLine) error {
	c.typed = c.typed[:0]
	for _, id := range l.Event.Chain {
		x, known := c.made[id]
		if !known {
			id = strings.Clone(id)
			var e Entity
			ok, err := c.v.get(entityKey(c.v.account, id), &e)
			if isStore(err) {
				return err
			}
			if ok && err == nil {
				x = entityMade{kind: e.Type, at: e.CreatedAt}
			}
		}
		kind := x.kind
		if kind != "" && x.at == l.Settled && x.index == 0 && id != c.v.account {
			index, err := c.v.auditIndex(actionEntityPut, id, x.at)
			if err != nil {
				return err
			}
			x.index = max(index, 1)
		}
		if kind != "" && (x.at > l.Settled || x.at == l.Settled && x.index > l.Index) {
			kind = ""
		}
		if len(c.made) >= maxEntitiesKnown {
			clear(c.made)
		}
		c.made[id] = x
		c.typed = append(c.typed, kind)
	}
	return nil
}

// partOf returns the part that a row belongs to. Rows of one bucket length and dimension tend to come in the order of their keys.
func (c *sumCheck) partOf(kind byte, key []byte) int {
	near := &c.nearest[kind]
	if part := &c.ranges[*near]; bytes.Compare(key, part.from) < 0 || bytes.Compare(key, part.to) >= 0 {
		n, found := slices.BinarySearchFunc(c.ranges, key, func(r sumRange, key []byte) int { return bytes.Compare(r.from, key) })
		if !found {
			n--
		}
		*near = max(n, 0)
	}
	return *near
}

// comparePrints compares the fingerprints of the parts with those of their stored rows, and returns the parts that differ.
func (c *sumCheck) comparePrints() (differ []sumRange, err error) {
	v, n := c.v, len(rollupPrefix(nil, c.v.account, 0, 0))
	for _, part := range c.ranges {
		var stored print
		damaged := false
		err := v.scan(part.from, part.to, false, func(key, value []byte) (bool, error) {
			if start, ok := rollupStart(key[min(n, len(key)):]); ok && start <= v.unsure {
				v.out.UncheckedSums++
				return true, v.step()
			}
			v.out.Sums++
			p, err := c.prints.rollup(value)
			damaged = damaged || err != nil
			stored.add(c.prints.row(key).times(p))
			return true, v.step()
		})
		if err != nil {
			return nil, err
		}
		if damaged || stored != part.lines {
			differ = append(differ, part)
		}
	}
	return differ, nil
}

// rollupStart returns the beginning of a row's bucket, of what follows the prefix of its key.
func rollupStart(row []byte) (int64, bool) {
	if len(row) < 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(row) ^ (1 << 63)), true
}

// compare compares the rows of the pass one by one.
func (c *sumCheck) compare() error {
	v := c.v
	if c.now.to == nil {
		return nil
	}
	all := len(c.ranges) == 1 // comparePrints counts the rows otherwise
	n := len(rollupPrefix(nil, v.account, 0, 0))
	err := v.scan(c.now.from, c.now.to, false, func(key, value []byte) (bool, error) {
		want := c.rows[string(key)]
		delete(c.rows, string(key))
		start, ok := rollupStart(key[min(n, len(key)):])
		if ok && start <= v.unsure {
			if all {
				v.out.UncheckedSums++
			}
			return true, v.step()
		}
		if all {
			v.out.Sums++
		}
		found, err := decodeRollup(value)
		switch {
		case err != nil:
			v.fault(LedgerFault{Kind: FaultUnreadable, Where: c.name(key), Found: err.Error()})
		case want == nil && !c.over:
			v.fault(LedgerFault{Kind: FaultSum, Where: c.name(key), Want: "no row", Found: found.String()})
		case want != nil && !slices.Equal(found.append(nil), want.append(nil)):
			v.fault(LedgerFault{Kind: FaultSum, Where: c.name(key), Want: want.String(), Found: found.String()})
		}
		return true, v.step()
	})
	if err != nil || c.over {
		return err
	}
	for _, key := range slices.Sorted(keysOf(c.rows)) {
		if start, _, _, ok := splitRollupRow([]byte(key)[n:]); ok && start > v.unsure {
			v.fault(LedgerFault{Kind: FaultSum, Where: c.name([]byte(key)), Want: c.rows[key].String(), Found: "no row"})
		}
	}
	return nil
}

// name says which sum a key is of.
func (c *sumCheck) name(key []byte) string {
	n := len(rollupPrefix(nil, c.v.account, 0, 0))
	start, value, model, ok := int64(0), "", "", false
	if len(key) > n {
		start, value, model, ok = splitRollupRow(key[n:])
	}
	if !ok {
		return fmt.Sprintf("the sum under key %q", key)
	}
	bucket := BucketHour
	for _, b := range buckets {
		if b.code == key[n-2] {
			bucket = b.bucket
		}
	}
	dimension := map[byte]Dimension{dimEntity: ByEntity, dimType: ByEntityType, dimMember: ByMember}[key[n-1]]
	return fmt.Sprintf("the %s of %s by %s %q, model %q", bucket, timestamp(start), dimension, value, model)
}

// String writes a row for a person.
func (r *rollup) String() string {
	s := fmt.Sprintf("events %d", r.events)
	for _, sum := range r.sums {
		if n, fits := sum.amount(); fits {
			s += fmt.Sprintf(", %s %d of %d", sum.capability, n, sum.events)
		} else {
			s += fmt.Sprintf(", %s %d·2^64+%d of %d", sum.capability, sum.hi, sum.lo, sum.events)
		}
	}
	return s
}

package fsm

import (
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// rollups are the rows that lines have lately been added to, decoded. It is a
// cache of what the store and the tail hold: nothing replicated
// depends on what is in it.
type rollups struct {
	rows   map[string]*rollupRow     // by key
	dirty  []*rollupRow              // changed since the last write
	latest map[string]*latestRollups // by account
	key    []byte                    // scratch

	subtotals map[subtotalKey]*subtotal // of the lines of the tail; they are added to the rows when it is committed
	taken     []*subtotal               // in use
	spare     []*subtotal               // to be used again
}

// subtotal is what lines of a tail that go into the same rows have used: those of one chain, model and member
// in one hour. A busy caller has thousands of lines in a tail and about thirty rows for each.
type subtotal struct {
	rollup
	tn            *tenant
	chain, kinds  []string // kinds: the types of the chain's entities, see typesOf
	model, member string
	starts        [len(buckets)]int64
	next          *subtotal // another chain or day with the same key
}

// subtotalKey tells most subtotals apart.
type subtotalKey struct {
	tn                  *tenant
	leaf, model, member string
	hour                int64
}

// maxSpareSubtotals bounds what is kept to be used again.
const maxSpareSubtotals = 1 << 14

// latestRollups are the buckets that an account's latest line was summed into, and those of their rows that
// lines have lately been added to: one look-up finds what a value has in all three.
type latestRollups struct {
	spans [len(buckets)]stretch
	rows  map[rollupName]*[len(buckets)]bucketRow
}

// bucketRow is the row of a bucket; it is nil, or of another bucket's start, until it is looked up.
type bucketRow struct {
	start int64
	*rollupRow
}

// rollupName is what the rows of one value and model have in common.
type rollupName struct {
	dimension    byte
	value, model string
}

type rollupRow struct {
	rollup
	key   string
	dirty bool
}

// stretch is a piece of time, [start, end) in Unix milliseconds.
type stretch struct{ start, end int64 }

// maxRollupRows bounds the rows that are kept decoded: about 30 MB of them.
const maxRollupRows = 1 << 16

// write puts every row that the tail's lines have changed into the batch that holds them, in order. r is what the store had before.
func (c *rollups) write(r pebble.Reader, batch *pebble.Batch) error {
	if err := c.expand(r); err != nil {
		return err
	}
	slices.SortFunc(c.dirty, func(a, b *rollupRow) int { return strings.Compare(a.key, b.key) })
	var value []byte
	for _, row := range c.dirty {
		value = row.append(value[:0])
		c.key = append(c.key[:0], row.key...)
		if err := batch.Set(c.key, value, nil); err != nil {
			return err
		}
		row.dirty = false
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	if len(c.rows) > maxRollupRows {
		c.forget()
	}
	return nil
}

// expand adds the subtotals to the rows they belong to.
func (c *rollups) expand(r pebble.Reader) error {
	for _, s := range c.taken {
		latest := c.latestOf(s.tn.ID)
		for j, id := range s.chain {
			if slices.Index(s.chain, id) < j {
				continue
			}
			if err := c.addTo(r, latest, rollupName{dimEntity, id, s.model}, s); err != nil {
				return err
			}
			if s.kinds[j] != "" {
				if err := c.addTo(r, latest, rollupName{dimType, s.kinds[j], s.model}, s); err != nil {
					return err
				}
			}
		}
		if s.member != "" {
			if err := c.addTo(r, latest, rollupName{dimMember, s.member, s.model}, s); err != nil {
				return err
			}
		}
	}
	c.release()
	return nil
}

// release forgets the subtotals.
func (c *rollups) release() {
	clear(c.subtotals)
	for _, s := range c.taken {
		clear(s.chain) // texts keep whole entries in memory
		clear(s.kinds)
		clear(s.sums)
		*s = subtotal{rollup: rollup{sums: s.sums[:0]}, chain: s.chain[:0], kinds: s.kinds[:0]}
	}
	if len(c.spare) < maxSpareSubtotals {
		c.spare = append(c.spare, c.taken...)
	}
	clear(c.taken)
	c.taken = c.taken[:0]
}

// forget drops what is kept decoded; nothing of it may be dirty.
func (c *rollups) forget() {
	clear(c.rows)
	for _, l := range c.latest {
		clear(l.rows)
	}
}

// latestOf returns what an account's latest line was summed into, nothing at first.
func (c *rollups) latestOf(account string) *latestRollups {
	l := c.latest[account]
	if l == nil {
		if c.latest == nil {
			c.latest = map[string]*latestRollups{}
		}
		l = &latestRollups{rows: map[rollupName]*[len(buckets)]bucketRow{}}
		c.latest[account] = l
	}
	return l
}

// row returns the row of the key in c.key.
func (c *rollups) row(r pebble.Reader) (*rollupRow, error) {
	if row := c.rows[string(c.key)]; row != nil {
		return row, nil
	}
	row := &rollupRow{key: string(c.key)}
	v, closer, err := r.Get(c.key)
	if err == nil {
		stored, bad := decodeRollup(v)
		if err = errors.Join(bad, closer.Close()); err == nil {
			row.rollup = *stored
		}
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return nil, err
	}
	if c.rows == nil {
		c.rows = map[string]*rollupRow{}
	}
	c.rows[row.key] = row
	return row, nil
}

// rollUp adds a line's usage to every row it belongs to. events is what the line
// adds to the number of events: 1 for usage, −1 where one is voided, else 0.
func (t *txn) rollUp(tn *tenant, e *Event, events int64) {
	c := &t.s.rollups
	s := c.subtotalOf(tn, e)
	s.events += events
	for _, q := range e.Usage {
		s.count(q.Capability, q.Amount, events)
	}
	if t.tail.indexed { // other entries of it may change what the types are
		t.fail(c.expand(t.tail.reader()))
	}
}

// subtotalOf returns the subtotal that a line's usage belongs to.
func (c *rollups) subtotalOf(tn *tenant, e *Event) *subtotal {
	latest := c.latestOf(tn.ID)
	var starts [len(buckets)]int64
	for i := range buckets {
		span := &latest.spans[i]
		if e.At < span.start || e.At >= span.end {
			span.start, span.end = Cadence{Every: buckets[i].every, Timezone: tn.Timezone}.Period(e.At)
		}
		starts[i] = span.start
	}
	key := subtotalKey{tn: tn, model: e.Model, member: e.Member, hour: starts[0]}
	if len(e.Chain) > 0 {
		key.leaf = e.Chain[0]
	}
	first := c.subtotals[key]
	for s := first; s != nil; s = s.next {
		if s.starts == starts && slices.Equal(s.chain, e.Chain) {
			return s
		}
	}
	if c.subtotals == nil {
		c.subtotals = map[subtotalKey]*subtotal{}
	}
	s := &subtotal{}
	if n := len(c.spare); n > 0 {
		s, c.spare[n-1], c.spare = c.spare[n-1], nil, c.spare[:n-1]
	}
	s.tn, s.model, s.member, s.starts, s.next = tn, e.Model, e.Member, starts, first
	s.chain = append(s.chain, e.Chain...)
	s.kinds = tn.typesOf(s.kinds, s.chain)
	c.subtotals[key] = s
	c.taken = append(c.taken, s)
	return s
}

// count is add for a few capabilities in no order, whose names are good as long as the subtotal is.
func (s *subtotal) count(capability string, amount, events int64) {
	i := slices.IndexFunc(s.sums, func(sum rollupSum) bool { return sum.capability == capability })
	if i < 0 {
		i = len(s.sums)
		s.sums = append(s.sums, rollupSum{capability: capability})
	}
	s.sums[i].events += events
	s.sums[i].add(amount>>63, uint64(amount))
}

// addTo adds a subtotal to the rows of one value.
func (c *rollups) addTo(r pebble.Reader, latest *latestRollups, name rollupName, s *subtotal) error {
	rows := latest.rows[name]
	if rows == nil {
		rows = &[len(buckets)]bucketRow{}
		// A text of its own: the subtotal's is an event's, which has the memory of its whole entry.
		latest.rows[rollupName{name.dimension, strings.Clone(name.value), strings.Clone(name.model)}] = rows
	}
	for i := range rows {
		if start := s.starts[i]; rows[i].rollupRow == nil || rows[i].start != start {
			c.key = appendRollupRow(rollupPrefix(c.key[:0], s.tn.ID, buckets[i].code, name.dimension), start, name.value, name.model)
			row, err := c.row(r)
			if err != nil {
				return err
			}
			rows[i] = bucketRow{start, row}
		}
		row := rows[i].rollupRow
		row.merge(&s.rollup)
		if !row.dirty {
			row.dirty = true
			c.dirty = append(c.dirty, row)
		}
	}
	return nil
}

// typesOf appends the types of a chain's entities, "" for an unknown one and where one before has the same.
func (t *tenant) typesOf(kinds, chain []string) []string {
	for _, id := range chain {
		kind := t.typeOf(id)
		if slices.Contains(kinds, kind) {
			kind = ""
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// typeOf returns the type of an entity, "" if it was never provisioned.
func (t *tenant) typeOf(id string) string {
	if e := t.entities[id]; e != nil {
		return e.Type
	}
	return ""
}

package fsm

import (
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// rollups are the rows that lines have lately been added to, decoded. It is a
// cache of what the store and the batch under way hold: nothing replicated
// depends on what is in it.
type rollups struct {
	rows   map[string]*rollupRow     // by key
	dirty  []*rollupRow              // changed since the last write
	latest map[string]*latestRollups // by account
	key    []byte                    // scratch
}

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

// write puts every changed row into the batch that holds the lines.
func (c *rollups) write(batch *pebble.Batch) error {
	var value []byte
	for _, r := range c.dirty {
		value = r.append(value[:0])
		if err := batch.Set([]byte(r.key), value, nil); err != nil {
			return err
		}
		r.dirty = false
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	if len(c.rows) > maxRollupRows {
		c.forget()
	}
	return nil
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

// rollupRow returns the row of the key in c.key.
func (t *txn) rollupRow() *rollupRow {
	c := &t.s.rollups
	if r := c.rows[string(c.key)]; r != nil {
		return r
	}
	r := &rollupRow{key: string(c.key)}
	v, closer, err := t.tail.reader().Get(c.key)
	if err == nil {
		stored, bad := decodeRollup(v)
		if err = errors.Join(bad, closer.Close()); err == nil {
			r.rollup = *stored
		}
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		t.fail(err)
	}
	if c.rows == nil {
		c.rows = map[string]*rollupRow{}
	}
	c.rows[r.key] = r
	return r
}

// rollUp adds a line's usage to every row it belongs to. events is what the line
// adds to the number of events: 1 for usage, −1 where one is voided, else 0.
func (t *txn) rollUp(tn *tenant, e *Event, events int64) {
	latest := t.s.rollups.latestOf(tn.ID)
	for i := range buckets {
		span := &latest.spans[i]
		if e.At < span.start || e.At >= span.end {
			span.start, span.end = Cadence{Every: buckets[i].every, Timezone: tn.Timezone}.Period(e.At)
		}
	}
	kinds := tn.typesOf(t.s.scratch.kinds[:0], e.Chain)
	t.s.scratch.kinds = kinds
	for j, id := range e.Chain {
		if slices.Index(e.Chain, id) < j {
			continue
		}
		t.rollInto(tn, latest, rollupName{dimEntity, id, e.Model}, e, events)
		if kinds[j] != "" {
			t.rollInto(tn, latest, rollupName{dimType, kinds[j], e.Model}, e, events)
		}
	}
	if e.Member != "" {
		t.rollInto(tn, latest, rollupName{dimMember, e.Member, e.Model}, e, events)
	}
}

// rollInto adds a line's usage to the rows of one value.
func (t *txn) rollInto(tn *tenant, latest *latestRollups, name rollupName, e *Event, events int64) {
	c := &t.s.rollups
	rows := latest.rows[name]
	if rows == nil {
		rows = &[len(buckets)]bucketRow{}
		// A text of its own: the event's shares the memory of its whole entry.
		latest.rows[rollupName{name.dimension, strings.Clone(name.value), strings.Clone(name.model)}] = rows
	}
	for i := range rows {
		if start := latest.spans[i].start; rows[i].rollupRow == nil || rows[i].start != start {
			c.key = appendRollupRow(rollupPrefix(c.key[:0], tn.ID, buckets[i].code, name.dimension), start, name.value, name.model)
			rows[i] = bucketRow{start, t.rollupRow()}
		}
		r := rows[i].rollupRow
		r.events += events
		for _, q := range e.Usage {
			r.add(q.Capability, q.Amount, events)
		}
		if !r.dirty {
			r.dirty = true
			c.dirty = append(c.dirty, r)
		}
	}
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

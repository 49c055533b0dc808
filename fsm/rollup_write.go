package fsm

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// rollups are the rows that lines have lately been added to, decoded. It is a
// cache of what the store and the batch under way hold: nothing replicated
// depends on what is in it.
type rollups struct {
	rows   map[string]*rollupRow             // by key
	dirty  []*rollupRow                      // changed since the last write
	latest map[string]*[len(buckets)]stretch // by account: the buckets that its latest line was summed into
	key    []byte                            // scratch
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
		clear(c.rows)
	}
	return nil
}

// latestOf returns the buckets that an account's latest line was summed into, none at first.
func (c *rollups) latestOf(account string) *[len(buckets)]stretch {
	l := c.latest[account]
	if l == nil {
		if c.latest == nil {
			c.latest = map[string]*[len(buckets)]stretch{}
		}
		l = new([len(buckets)]stretch)
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
	v, closer, err := t.batch.Get(c.key)
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
		span := &latest[i]
		if e.At < span.start || e.At >= span.end {
			span.start, span.end = Cadence{Every: buckets[i].every, Timezone: tn.Timezone}.Period(e.At)
		}
		code := buckets[i].code
		for j, id := range e.Chain {
			if slices.Index(e.Chain, id) < j {
				continue
			}
			t.rollInto(tn, code, dimEntity, span.start, id, e, events)
			if kind := tn.typeOf(id); kind != "" && !tn.typeBefore(e.Chain[:j], kind) {
				t.rollInto(tn, code, dimType, span.start, kind, e, events)
			}
		}
		if e.Member != "" {
			t.rollInto(tn, code, dimMember, span.start, e.Member, e, events)
		}
	}
}

func (t *txn) rollInto(tn *tenant, bucket, dimension byte, start int64, value string, e *Event, events int64) {
	c := &t.s.rollups
	c.key = appendRollupRow(rollupPrefix(c.key[:0], tn.ID, bucket, dimension), start, value, e.Model)
	r := t.rollupRow()
	r.events += events
	for _, q := range e.Usage {
		r.add(q.Capability, q.Amount, events)
	}
	if !r.dirty {
		r.dirty = true
		c.dirty = append(c.dirty, r)
	}
}

// typeOf returns the type of an entity, "" if it was never provisioned.
func (t *tenant) typeOf(id string) string {
	if e := t.entities[id]; e != nil {
		return e.Type
	}
	return ""
}

// typeBefore reports whether an earlier entity of a chain has the type.
func (t *tenant) typeBefore(chain []string, kind string) bool {
	return slices.ContainsFunc(chain, func(id string) bool { return t.typeOf(id) == kind })
}

package fsm

import (
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Dimension is what usage can be grouped by.
type Dimension string

// The dimensions of a usage query. ByEntity, ByEntityType and ByMember exclude one another; ByModel and
// ByCapability go with each of them.
const (
	ByEntity     Dimension = "entity"
	ByEntityType Dimension = "entity_type"
	ByKey        Dimension = "key" // an entity whose type is TypeKey
	ByMember     Dimension = "member"
	ByModel      Dimension = "model"
	ByCapability Dimension = "capability"
)

// TypeKey is the type of the entity that stands for an API key.
const TypeKey = "key"

// UsageQuery asks for sums of an account's ledger lines. Zero fields match all.
type UsageQuery struct {
	Bucket     Bucket
	From, To   int64 // buckets that begin in [From, To), Unix milliseconds
	GroupBy    []Dimension
	Entity     string // only events with it in their chain; grouped by entity: only it and what now hangs below it
	EntityType string // grouped by entity: only those of the type
	Member     string
	Model      string
	Capability string
	After      string // Next of the page before
	Limit      int    // at most MaxPage; a page ends after the group that reaches it
}

// UsageRow is one group in one bucket. The fields that the query did not group by are empty.
type UsageRow struct {
	Bucket     int64 // its start, Unix milliseconds
	Entity     string
	EntityType string
	Key        string
	Member     string
	Model      string
	Capability string
	Usage      []Quantity // ascending by capability
	Events     int64
}

// usageScan is a query as a walk over rollup rows: those of one dimension, of
// one value or of all. Rows come in the order bucket, value, model, so that the
// rows of a group follow one another.
type usageScan struct {
	m         *Machine
	account   string
	q         *UsageQuery
	bucket    byte
	dimension byte
	value     string // the only value, or "" for all
	byValue   bool   // groups differ by value
	byModel   bool
	byCap     bool

	rows []UsageRow
	at   UsageRow // bucket, value and model of the group that rows are being read of
	sum  *rollup  // of it; nil: no row of it was wanted
}

// Usage sums an account's ledger lines from the rollups, ordered by bucket, group and model. next is
// empty at the end. The sums of a page are those of one moment; what is added
// between two pages shows in the later one only. Errors: *Error with CodeInvalid
// for dimensions that do not go together, CodeConflict for a sum beyond int64.
func (m *Machine) Usage(account string, q UsageQuery) (rows []UsageRow, next string, err error) {
	s := &usageScan{m: m, account: account, q: &q}
	if err := s.plan(); err != nil {
		return nil, "", err
	}
	prefix := rollupPrefix(nil, account, s.bucket, s.dimension)
	from := appendRollupRow(slices.Clone(prefix), max(q.From, minTime), "", "")
	if q.After != "" {
		row, bad := base64.RawURLEncoding.DecodeString(q.After)
		if _, _, _, ok := splitRollupRow(row); bad != nil || !ok {
			return nil, "", invalid("after", "is not the next of a page of this query")
		}
		from = after(append(slices.Clone(prefix), row...))
	}
	to := appendRollupRow(slices.Clone(prefix), q.To, "", "")
	err = m.read(func(st *store) error {
		next, err = s.walk(st.db, prefix, from, to)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return s.rows, next, nil
}

// plan decides which rows answer the query.
func (s *usageScan) plan() error {
	q := s.q
	for _, b := range buckets {
		if b.bucket == q.Bucket {
			s.bucket = b.code
		}
	}
	if s.bucket == 0 {
		return invalid("bucket", "is %q; choose hour, day or month", q.Bucket)
	}
	by := func(d Dimension) bool { return slices.Contains(q.GroupBy, d) }
	for _, d := range q.GroupBy {
		if !slices.Contains([]Dimension{ByEntity, ByEntityType, ByKey, ByMember, ByModel, ByCapability}, d) {
			return invalid("group_by", "is %q; choose entity, entity_type, key, member, model or capability", d)
		}
	}
	s.byModel, s.byCap = by(ByModel), by(ByCapability)
	s.dimension, s.value = dimEntity, s.account
	chosen := 0
	for _, d := range q.GroupBy {
		switch d {
		case ByEntity, ByKey:
			s.dimension = dimEntity
		case ByEntityType:
			s.dimension = dimType
		case ByMember:
			s.dimension = dimMember
		default:
			continue
		}
		s.value, s.byValue = "", true
		chosen++
	}
	switch {
	case chosen > 1:
		return invalid("group_by", "can have one of entity, entity_type, key and member; drill down with the ledger")
	case s.byValue && by(ByMember):
		s.value = q.Member
	case q.Member != "" && (s.byValue || q.Entity != ""):
		return invalid("member", "does not go with sums by entity or entity type; drill down with the ledger")
	case q.Member != "":
		s.dimension, s.value = dimMember, q.Member
	case by(ByEntityType):
		s.value = q.EntityType
	case q.EntityType != "" && !s.byValue:
		s.dimension, s.value = dimType, q.EntityType
	case q.Entity != "" && !s.byValue:
		s.value = q.Entity
	}
	switch {
	case q.Entity != "" && (s.dimension != dimEntity):
		return invalid("entity", "does not go with sums by entity type or member; drill down with the ledger")
	case q.EntityType != "" && s.dimension == dimMember:
		return invalid("entity_type", "does not go with sums by member; drill down with the ledger")
	case q.From >= q.To:
		return invalid("to", "is not after from")
	}
	return nil
}

// walk sums the rows in [from, to) group by group. It returns where the next page begins.
func (s *usageScan) walk(db pebble.Reader, prefix, from, to []byte) (next string, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return "", err
	}
	defer func() {
		if failed := it.Close(); err == nil {
			err = failed
		}
	}()
	limit := pageSize(s.q.Limit)
	var last []byte // the row that was read last
	read := 0
	for ok := it.First(); ok; {
		row := it.Key()[len(prefix):]
		start, value, model, whole := splitRollupRow(row)
		if !whole {
			return "", fmt.Errorf("key %q: %w", it.Key(), errRollup)
		}
		if s.value != "" && value != s.value { // the next row of the value: in this bucket or in the one after
			if value > s.value {
				start++
			}
			ok = it.SeekGE(appendRollupRow(slices.Clone(prefix), start, s.value, ""))
			continue
		}
		if !s.sameGroup(start, value, model) {
			if err := s.close(); err != nil {
				return "", err
			}
			if len(s.rows) >= limit || read >= maxScan {
				return base64.RawURLEncoding.EncodeToString(last), nil
			}
			s.at = UsageRow{Bucket: start, Entity: value, Model: model}
		}
		read++
		last = append(last[:0], row...)
		if s.wants(value, model) {
			if err := s.add(it); err != nil {
				return "", fmt.Errorf("key %q: %w", it.Key(), err)
			}
		}
		ok = it.Next()
	}
	if err := it.Error(); err != nil {
		return "", err
	}
	return "", s.close()
}

func (s *usageScan) sameGroup(start int64, value, model string) bool {
	return s.at.Bucket == start && s.at.Entity == value && (!s.byModel || s.at.Model == model)
}

// add adds the row that it is at to the group.
func (s *usageScan) add(it *pebble.Iterator) error {
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	if s.sum == nil {
		s.sum = &rollup{}
	}
	return s.sum.mergeStored(v)
}

// wants reports whether the filters that a row's key does not settle let it through.
func (s *usageScan) wants(value, model string) (ok bool) {
	q := s.q
	if q.Model != "" && q.Model != model {
		return false
	}
	if !s.byValue || s.dimension != dimEntity {
		return true
	}
	kind := q.EntityType
	if slices.Contains(q.GroupBy, ByKey) {
		kind = TypeKey
	}
	if q.Entity == "" && kind == "" {
		return true
	}
	s.m.View(func(v *View) {
		ok = v.below(s.account, value, q.Entity) && (kind == "" || v.s.accounts[s.account].typeOf(value) == kind)
	})
	return ok
}

// below reports whether an entity is root or hangs somewhere under it now. Everything is below "".
func (v *View) below(account, id, root string) bool {
	for range MaxDepth {
		if root == "" || id == root {
			return true
		}
		e := v.Entity(account, id)
		if e == nil {
			return false
		}
		id = e.Parent
	}
	return false
}

// close ends the group being summed and keeps its rows.
func (s *usageScan) close() error {
	sum := s.sum
	if sum == nil {
		return nil
	}
	s.sum = nil
	group := UsageRow{Bucket: s.at.Bucket, Events: sum.events}
	if s.byModel {
		group.Model = s.at.Model
	}
	if s.byValue {
		switch {
		case s.dimension == dimType:
			group.EntityType = s.at.Entity
		case s.dimension == dimMember:
			group.Member = s.at.Entity
		case slices.Contains(s.q.GroupBy, ByKey):
			group.Key = s.at.Entity
		default:
			group.Entity = s.at.Entity
		}
	}
	for _, c := range sum.sums {
		if s.q.Capability != "" && s.q.Capability != c.capability {
			continue
		}
		amount, fits := c.amount()
		if !fits {
			return conflict("the sum of %s in the %s that begins at %s is beyond the largest integer; ask for shorter buckets or smaller groups",
				c.capability, s.q.Bucket, timestamp(s.at.Bucket))
		}
		q := Quantity{Capability: c.capability, Amount: amount}
		if !s.byCap {
			group.Usage = append(group.Usage, q)
			continue
		}
		row := group
		row.Capability, row.Events, row.Usage = c.capability, c.events, []Quantity{q}
		s.rows = append(s.rows, row)
	}
	if !s.byCap && (s.q.Capability == "" || len(group.Usage) > 0) {
		s.rows = append(s.rows, group)
	}
	return nil
}

package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// LedgerFilter narrows ListLedger; zero fields match all.
type LedgerFilter struct {
	Entity       string // in the event's chain
	Model        string
	Key          string
	Member       string
	Capability   string
	EventID      string
	From, To     int64 // of the event's time, [From, To)
	Unattributed bool
	Unpriced     bool
	OldestFirst  bool
}

func (f *LedgerFilter) match(e *Event) bool {
	return (f.Entity == "" || slices.Contains(e.Chain, f.Entity)) &&
		(f.Model == "" || f.Model == e.Model) &&
		(f.Key == "" || f.Key == e.Key) &&
		(f.Member == "" || f.Member == e.Member) &&
		(f.EventID == "" || f.EventID == e.ID) &&
		(f.Capability == "" || slices.ContainsFunc(e.Usage, func(q Quantity) bool { return q.Capability == f.Capability })) &&
		(f.From == 0 || e.At >= f.From) && (f.To == 0 || e.At < f.To) &&
		(!f.Unattributed || e.Unattributed) &&
		(!f.Unpriced || e.Pricing != nil && e.Pricing.Unpriced)
}

// matchStored is match of a line that is not decoded; EventID is not looked at.
func (f *LedgerFilter) matchStored(l *lineReader) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return (f.Entity == "" || slices.Contains(l.chain, f.Entity)) &&
		is(f.Model, l.model) && is(f.Key, l.key) && is(f.Member, l.member) &&
		(f.Capability == "" || slices.ContainsFunc(l.usage, func(q Quantity) bool { return q.Capability == f.Capability })) &&
		(f.From == 0 || l.at >= f.From) && (f.To == 0 || l.at < f.To) &&
		(!f.Unattributed || l.unattributed) && (!f.Unpriced || l.unpriced)
}

// texts are what every line wanted has among its stored bytes: both forms of a line have each text in full, once.
// Most lines of a block that the index finds lack one of them, and looking for it costs a fraction of reading the line.
func (f *LedgerFilter) texts(account string) (all [][]byte) {
	for _, text := range []string{f.Model, f.Key, f.Member, f.Entity, f.Capability} { // the rarest first, as a rule
		if text != "" && text != account {
			all = append(all, []byte(text))
		}
	}
	return all
}

// prefixes are the parts of the index that every line wanted stands in.
func (f *LedgerFilter) prefixes(account string) (all [][]byte) {
	add := func(dimension byte, value string) { all = append(all, indexPrefix(account, dimension, value)) }
	if f.Entity != "" && f.Entity != account {
		add(indexEntity, f.Entity)
	}
	for dimension, value := range map[byte]string{indexModel: f.Model, indexKey: f.Key, indexMember: f.Member, indexCapability: f.Capability} {
		if value != "" {
			add(dimension, value)
		}
	}
	if f.Unattributed {
		add(indexUnattributed, "")
	}
	if f.Unpriced {
		add(indexUnpriced, "")
	}
	return all
}

// ListLedger lists an account's lines by sequence number, newest first unless
// OldestFirst; after is exclusive, 0 at the start. It reads only blocks of 64 lines that the index
// finds under every part of the filter, and at most maxScan lines and as many
// steps of the index a call: a page may be short, or empty, and still have a next.
func (m *Machine) ListLedger(account string, f LedgerFilter, after uint64, limit int) (items []LedgerLine, next uint64, err error) {
	if f.EventID != "" {
		return m.listEvent(account, &f, after, pageSize(limit))
	}
	err = m.read(func(st *store) error {
		q := &ledgerQuery{r: st.db, account: account, f: &f, limit: pageSize(limit)}
		if err := q.open(); err != nil {
			return errors.Join(err, q.close())
		}
		items, next, err = q.page(after)
		return errors.Join(err, q.close())
	})
	if err != nil {
		return nil, 0, err
	}
	return items, next, nil
}

// listEvent is ListLedger of one event: its line and those that correct it, found without the ledger's index.
func (m *Machine) listEvent(account string, f *LedgerFilter, after uint64, limit int) (items []LedgerLine, next uint64, err error) {
	_, seq, ok, err := m.Event(account, f.EventID)
	if err != nil || !ok {
		return nil, 0, err
	}
	seqs := []uint64{seq}
	lower, upper := prefixRange(correctionPrefix(account, seq))
	err = m.scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		seqs = append(seqs, binary.BigEndian.Uint64(key[len(key)-8:]))
		return len(seqs) < maxScan, nil
	})
	if !f.OldestFirst {
		slices.Reverse(seqs)
	}
	for _, seq := range seqs {
		if after != 0 && (seq == after || (seq < after) == f.OldestFirst) {
			continue
		}
		if len(items) == limit {
			return items, items[limit-1].Seq, err
		}
		var line LedgerLine
		if err == nil {
			ok, err = m.get(ledgerKey(account, seq), &line)
		}
		if err != nil {
			return nil, 0, err
		}
		if ok && f.match(&line.Event) {
			items = append(items, line)
		}
	}
	return items, 0, err
}

// ledgerQuery reads one page. Blocks are looked for in the direction of the page.
type ledgerQuery struct {
	r       pebble.Reader
	account string
	f       *LedgerFilter
	limit   int

	first uint64 // the first line that retention has not dropped
	last  uint64 // the last line there is; 0: none
	from  uint64 // the first block of the index; there may be none yet
	parts []*pebble.Iterator
	keys  [][]byte // what the parts' keys begin with, before the block
	steps int      // of the index
	lines *pebble.Iterator
	read  int      // lines
	texts [][]byte // that a line wanted has
	line  lineReader
}

// open finds the ledger's end and opens the parts of the index.
func (q *ledgerQuery) open() error {
	lower, upper := prefixRange(accountPrefix(tableLedger, q.account))
	err := scan(q.r, lower, upper, true, func(key, _ []byte) (bool, error) {
		q.last = binary.BigEndian.Uint64(key[len(key)-8:])
		return false, nil
	})
	if err != nil || q.last == 0 {
		q.first = 1
		return err
	}
	var mark ledgerMark
	if _, err := getFrom(q.r, ledgerMarkKey(q.account), &mark); err != nil {
		return err
	}
	q.first = mark.Dropped + 1
	if ok, err := getFrom(q.r, indexFromKey(q.account), &q.from); err != nil {
		return err
	} else if !ok {
		q.from = blockOf(q.last) + 1
	}
	q.texts = q.f.texts(q.account)
	if q.lines, err = q.r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper}); err != nil {
		return err
	}
	for _, prefix := range q.f.prefixes(q.account) {
		lower, upper := prefixRange(prefix)
		it, err := q.r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return err
		}
		q.parts, q.keys = append(q.parts, it), append(q.keys, prefix)
	}
	return nil
}

func (q *ledgerQuery) close() (err error) {
	if q.lines != nil {
		err = q.lines.Close()
	}
	for _, it := range q.parts {
		err = errors.Join(err, it.Close())
	}
	return err
}

// page reads the lines after a sequence number, in the page's direction.
func (q *ledgerQuery) page(after uint64) (items []LedgerLine, next uint64, err error) {
	seq := q.start(after)
	for seq >= q.first && seq <= q.last {
		block, ok, err := q.find(blockOf(seq))
		if err != nil || !ok {
			return items, 0, err
		}
		if block != blockOf(seq) {
			seq = q.entry(block)
		}
		if q.read >= maxScan || q.steps >= maxScan {
			return items, q.before(seq), nil
		}
		if items, next, err = q.readBlock(seq, items); next != 0 || err != nil {
			return items, next, err
		}
		if seq = firstOf(block + 1); !q.f.OldestFirst {
			seq = firstOf(block) - 1
		}
	}
	return items, 0, nil
}

// readBlock appends the lines wanted from seq on to the end of its block. next is
// where the page ends, if it is full before that.
func (q *ledgerQuery) readBlock(seq uint64, items []LedgerLine) (_ []LedgerLine, next uint64, err error) {
	block, step := blockOf(seq), q.lines.Next
	ok := false
	if q.f.OldestFirst {
		ok = q.lines.SeekGE(ledgerKey(q.account, seq))
	} else {
		ok, step = q.lines.SeekLT(ledgerKey(q.account, seq+1)), q.lines.Prev
	}
	for ; ok; ok = step() {
		key := q.lines.Key()
		if at := binary.BigEndian.Uint64(key[len(key)-8:]); blockOf(at) != block || at > q.last {
			break
		} else if len(items) == q.limit {
			return items, q.before(at), nil
		}
		q.read++
		value, err := q.lines.ValueAndErr()
		if err != nil {
			return nil, 0, err
		}
		if items, err = q.take(value, items); err != nil {
			return nil, 0, err
		}
	}
	return items, 0, q.lines.Error()
}

// take appends a stored line if it is wanted.
func (q *ledgerQuery) take(value []byte, items []LedgerLine) ([]LedgerLine, error) {
	for _, text := range q.texts {
		if !bytes.Contains(value, text) {
			return items, nil
		}
	}
	if err := q.line.read(value); err != nil || !q.f.matchStored(&q.line) {
		return items, err
	}
	var line LedgerLine
	err := decodeValue(value, &line)
	return append(items, line), err
}

// start is the first line of a page.
func (q *ledgerQuery) start(after uint64) uint64 {
	switch {
	case q.f.OldestFirst:
		return max(after+1, q.first)
	case after == 0 || after > q.last:
		return q.last
	}
	return after - 1
}

// before is the line that comes before one in the direction of the page.
func (q *ledgerQuery) before(seq uint64) uint64 {
	if q.f.OldestFirst {
		return seq - 1
	}
	return seq + 1
}

// entry is the line of a block that the page comes to first.
func (q *ledgerQuery) entry(block uint64) uint64 {
	if q.f.OldestFirst {
		return firstOf(block)
	}
	return min(q.last, firstOf(block)+blockLines-1)
}

// find returns the first block from block on that may have a line that is wanted.
func (q *ledgerQuery) find(block uint64) (found uint64, ok bool, err error) {
	for {
		if block > blockOf(q.last) {
			return 0, false, nil
		}
		if block < q.from {
			return block, true, nil // not in the index
		}
		began := block
		for i := range q.parts {
			if block, ok, err = q.seek(i, block); err != nil || !ok {
				return 0, false, err
			}
			if block < q.from {
				return block, true, nil
			}
		}
		if block, ok, err = q.inTime(block); err != nil || !ok {
			return 0, false, err
		}
		if q.steps++; block == began || q.steps >= maxScan {
			return block, true, nil
		}
	}
}

// seek returns the first block from block on under the i-th part of the filter.
func (q *ledgerQuery) seek(i int, block uint64) (found uint64, ok bool, err error) {
	it := q.parts[i]
	key := binary.BigEndian.AppendUint64(slices.Clone(q.keys[i]), block)
	if q.f.OldestFirst {
		ok = it.SeekGE(key)
	} else {
		ok = it.SeekLT(after(key))
	}
	if ok {
		return binary.BigEndian.Uint64(it.Key()[len(q.keys[i]):]), true, nil
	}
	if !q.f.OldestFirst && q.from > 0 {
		return q.from - 1, true, it.Error() // what is older is not in the index
	}
	return 0, false, it.Error()
}

// inTime returns the first block from block on whose lines' times may lie in the filter's span.
func (q *ledgerQuery) inTime(block uint64) (found uint64, ok bool, err error) {
	if q.f.From == 0 && q.f.To == 0 {
		return block, true, nil
	}
	for block >= q.from && block <= blockOf(q.last) {
		over, err := q.outOfTime(block)
		if err != nil {
			return 0, false, err
		}
		if over < 0 {
			return block, true, nil
		}
		stride := block >> (blockShift * over)
		switch {
		case q.f.OldestFirst:
			block = (stride + 1) << (blockShift * over)
		case stride == 0:
			return 0, false, nil
		default:
			block = stride<<(blockShift*over) - 1
		}
		q.steps++
	}
	return block, block <= blockOf(q.last), nil
}

// outOfTime returns the level of the widest stride around a block that has no
// line in the filter's span, or -1.
func (q *ledgerQuery) outOfTime(block uint64) (int, error) {
	for level := spanLevels - 1; level >= 0; level-- {
		var s timeSpan
		ok, err := getFrom(q.r, timesKey(q.account, level, block>>(blockShift*level)), &s)
		if err != nil {
			return 0, err
		}
		if ok && (q.f.From != 0 && s.Last < q.f.From || q.f.To != 0 && s.First >= q.f.To) {
			return level, nil
		}
	}
	return -1, nil
}

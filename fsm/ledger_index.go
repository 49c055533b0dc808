package fsm

import (
	"encoding/binary"
	"math"
)

// The ledger index finds the lines of an account that a query may want without
// reading the others. It knows blocks of 64 lines, not lines: a line costs an
// entry only for a value that is new in its block, so that a project or a model that
// every call names costs 1/64 of an entry a line, and a reader reads at most 64 lines for one that it wants.
//
//   - Under each value of each dimension (the entities charged, the model, …)
//     stand the blocks that have a line with it.
//   - For each whole block, and for each 64 of those, and so on, stands the
//     range of the times of its lines: a query for a time span steps over the rest in strides.
//
// Only blocks that were begun with the index are in it: tableIndexFrom says which
// is the first. Older ones, of a store that was written before there was an
// index, are read line by line. What is known of the block under way is kept
// in memory and found again in the store after a restart.

// The sizes of the index.
const (
	blockShift = 6 // a block is 64 lines
	blockLines = 1 << blockShift
	spanLevels = 4 // the widest stride is 64^4 lines
)

// The dimensions of the index. Codes stand in keys.
const (
	indexEntity       = 'e' // in the event's chain; the root, which is in all of them, is left out
	indexModel        = 'm'
	indexKey          = 'k'
	indexMember       = 'b'
	indexCapability   = 'c'
	indexUnattributed = 'u' // one value, the empty one, as the next
	indexUnpriced     = 'p'
)

// blockOf returns the block of a line, from 0 on.
func blockOf(seq uint64) uint64 { return (seq - 1) >> blockShift }

// firstOf returns the first line of a block.
func firstOf(block uint64) uint64 { return block<<blockShift + 1 }

func indexPrefix(account string, dimension byte, value string) []byte {
	return append(append(append(accountPrefix(tableIndex, account), dimension), value...), 0)
}

// timesKey is of the block'th stride of a level; level 0 is of blocks.
func timesKey(account string, level int, block uint64) []byte {
	return binary.BigEndian.AppendUint64(append(accountPrefix(tableTimes, account), byte(level)), block)
}

func indexFromKey(account string) []byte { return append(accountPrefix(tableIndexFrom, account), 0) }

// timeSpan is the range of the times of some lines, both ends included.
type timeSpan struct {
	First int64 `msgpack:"f"`
	Last  int64 `msgpack:"l"`
}

// noTimes is the span of no lines.
var noTimes = timeSpan{math.MaxInt64, math.MinInt64}

func (s timeSpan) with(o timeSpan) timeSpan {
	return timeSpan{min(s.First, o.First), max(s.Last, o.Last)}
}

// ledgerIndex is what is known of the block under way of one account.
type ledgerIndex struct {
	from  uint64              // first block of the index
	block map[string]struct{} // dimension and value of its lines
	times [spanLevels]timeSpan
}

// indexLine files a line that has just been given its number.
func (t *txn) indexLine(tn *tenant, l *LedgerLine) {
	x := t.indexOf(tn, l.Seq)
	block := blockOf(l.Seq)
	if block < x.from {
		return
	}
	w := &t.s.scratch
	eachIndexed(&l.Event, func(dimension byte, value string) {
		w.key = append(append(w.key[:0], dimension), value...)
		if _, known := x.block[string(w.key)]; !known {
			x.block[string(w.key)] = struct{}{}
			w.key = append(append(append(appendAccount(w.key[:0], tableIndex, tn.ID), dimension), value...), 0)
			w.key = binary.BigEndian.AppendUint64(w.key, block)
			t.mark(w.key)
		}
	})
	for level := range x.times {
		x.times[level] = x.times[level].with(timeSpan{l.Event.At, l.Event.At})
	}
	for level := range x.times {
		if l.Seq&(1<<(blockShift*(level+1))-1) != 0 {
			return
		}
		stride := block >> (blockShift * level)
		if stride<<(blockShift*level) >= x.from {
			t.put(timesKey(tn.ID, level, stride), x.times[level])
		}
		x.times[level] = noTimes
		clear(x.block)
	}
}

// mark writes a key that says all by itself.
func (t *txn) mark(key []byte) {
	if t.tail.indexed {
		t.fail(t.tail.batch.Set(key, nil, nil))
	} else {
		t.tail.marks.add(key)
	}
	t.sum.write(opPut, key, nil)
}

// eachIndexed calls f for what an event is found by.
func eachIndexed(e *Event, f func(dimension byte, value string)) {
	for _, id := range e.Chain {
		if id != e.Account {
			f(indexEntity, id)
		}
	}
	for _, q := range e.Usage {
		f(indexCapability, q.Capability)
	}
	if e.Model != "" {
		f(indexModel, e.Model)
	}
	if e.Key != "" {
		f(indexKey, e.Key)
	}
	if e.Member != "" {
		f(indexMember, e.Member)
	}
	if e.Unattributed {
		f(indexUnattributed, "")
	}
	if e.Pricing != nil && e.Pricing.Unpriced {
		f(indexUnpriced, "")
	}
}

// indexOf returns what is known of the block that line seq, which is not stored
// yet, belongs to. The first time it reads that from the store; if the store fails, so does the whole Apply call.
func (t *txn) indexOf(tn *tenant, seq uint64) *ledgerIndex {
	if tn.index != nil {
		return tn.index
	}
	x := &ledgerIndex{block: map[string]struct{}{}}
	known, err := t.get(indexFromKey(tn.ID), &x.from)
	if err != nil {
		return x
	}
	if !known {
		x.from = blockOf(seq + blockLines - 1) // the first that has no line yet
		t.put(indexFromKey(tn.ID), x.from)
	}
	tn.index = x
	for level := range x.times {
		x.times[level] = noTimes
	}
	block := blockOf(seq)
	if block < x.from {
		return x
	}
	err = t.scan(ledgerKey(tn.ID, firstOf(block)), ledgerKey(tn.ID, seq), false, func(_, value []byte) (bool, error) {
		var l LedgerLine
		if err := decodeValue(value, &l); err != nil {
			return false, err
		}
		eachIndexed(&l.Event, func(dimension byte, value string) { x.block[string(dimension)+value] = struct{}{} })
		x.times[0] = x.times[0].with(timeSpan{l.Event.At, l.Event.At})
		return true, nil
	})
	for level := 1; err == nil && level < spanLevels; level++ {
		x.times[level] = x.times[level-1]
		below := block >> (blockShift * (level - 1)) // under way
		err = t.scan(timesKey(tn.ID, level-1, below&^(blockLines-1)), timesKey(tn.ID, level-1, below), false, func(_, value []byte) (bool, error) {
			var s timeSpan
			if err := decodeValue(value, &s); err != nil {
				return false, err
			}
			x.times[level] = x.times[level].with(s)
			return true, nil
		})
	}
	return x
}

package fsm

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/bursar-dev/bursar/fsm/price"
)

// Events are packed in blocks of one or more. Those of a block share their texts
// and budgets, which stand in tables before them:
//
//	block   list of texts, ascending | list of budgets, ascending | list of events
//	budget  assignment, less that of the budget before | period's start, less that of the budget before
//	event   flags | account | id | hash, 32 bytes | node | received at, less that of the event before | at, less received at
//	        | entities | chain | [key] | [member] | [model] | [tier u8] | [pricing] | usage | [reservation] | [metadata] | lines
//	pricing flags | version | model | terms: usage u8, field, quantity, decimals u8, coefficient, scale u8
//	lines   4 · number + draws | each: budget, amount, [drawn, on]
//
// Texts that tend to repeat and budgets are indexes of the tables; ids and values of metadata stand where
// they are. Draws say of all lines at once that none drew anything (0), that
// each drew its whole amount on the node that accepted the event (1), or that each says (3).
//
// An event by itself, as in a ledger line, has no tables: its texts are near ones,
// and of a budget it has the assignment, and the start less that of the line before.

// The flags of an event; what is not set is empty.
const (
	eventAPIKey byte = 1 << iota // of an API key
	eventMember
	eventModel
	eventTier
	eventPricing
	eventReservation
	eventUnattributed
	eventMetadata
)

// The flags of a pricing.
const pricingUnpriced byte = 1

// How the lines of an event say what they drew.
const (
	drewNothing = 0
	drewAllHere = 1
	drewEach    = 3
)

// The least that elements of lists take.
const (
	minEventBytes    = 42
	minQuantityBytes = 2
	minTermBytes     = 6
	minLineBytes     = 2
	minMetadataBytes = 2
)

// eventPacker writes events. With tables it is of a block.
type eventPacker struct {
	tables   *blockTables
	near     near
	start    int64 // of the line before, of an event by itself
	received int64 // of the event before
	names    []string
}

// text writes a text that tends to repeat.
func (p *eventPacker) text(b []byte, s string) []byte {
	if p.tables == nil {
		return p.near.append(b, s)
	}
	return binary.AppendUvarint(b, p.tables.nextText())
}

func (p *eventPacker) texts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = p.text(b, s)
	}
	return b
}

func (p *eventPacker) event(b []byte, e *Event) []byte {
	flags := eventFlags(e)
	b = append(b, flags)
	b = p.text(b, e.Account)
	b = appendString(b, e.ID)
	b = append(b, e.Hash[:]...)
	b = binary.AppendUvarint(b, uint64(e.Node))
	b = binary.AppendVarint(b, e.ReceivedAt-p.received)
	b = binary.AppendVarint(b, e.At-e.ReceivedAt)
	p.received = e.ReceivedAt
	b = p.texts(b, e.Entities)
	b = p.texts(b, e.Chain)
	if flags&eventAPIKey != 0 {
		b = p.text(b, e.Key)
	}
	if flags&eventMember != 0 {
		b = p.text(b, e.Member)
	}
	if flags&eventModel != 0 {
		b = p.text(b, e.Model)
	}
	if flags&eventTier != 0 {
		b = append(b, byte(e.Tier))
	}
	if flags&eventPricing != 0 {
		b = p.pricing(b, e.Pricing)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Usage)))
	for i := range e.Usage {
		b = binary.AppendVarint(p.text(b, e.Usage[i].Capability), e.Usage[i].Amount)
	}
	if flags&eventReservation != 0 {
		b = appendString(b, e.Reservation)
	}
	if flags&eventMetadata != 0 {
		b = p.metadata(b, e.Metadata)
	}
	return p.lines(b, e)
}

func eventFlags(e *Event) (f byte) {
	set := func(flag byte, is bool) {
		if is {
			f |= flag
		}
	}
	set(eventAPIKey, e.Key != "")
	set(eventMember, e.Member != "")
	set(eventModel, e.Model != "")
	set(eventTier, e.Tier != price.Standard)
	set(eventPricing, e.Pricing != nil)
	set(eventReservation, e.Reservation != "")
	set(eventUnattributed, e.Unattributed)
	set(eventMetadata, len(e.Metadata) > 0)
	return f
}

func (p *eventPacker) pricing(b []byte, pr *Pricing) []byte {
	var flags byte
	if pr.Unpriced {
		flags |= pricingUnpriced
	}
	b = binary.AppendUvarint(append(b, flags), pr.Version)
	b = p.text(b, pr.Model)
	b = binary.AppendUvarint(b, uint64(len(pr.Terms)))
	for i := range pr.Terms {
		t := &pr.Terms[i]
		b = binary.AppendUvarint(append(b, byte(t.Usage)), uint64(t.Field))
		b = append(binary.AppendVarint(b, t.Quantity), t.Decimals)
		b = append(binary.AppendUvarint(b, t.Price.Coef), t.Price.Scale)
	}
	return b
}

func (p *eventPacker) metadata(b []byte, m map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	p.names = sortedNames(p.names, m)
	for _, name := range p.names {
		b = appendString(p.text(b, name), m[name])
	}
	return b
}

// sortedNames returns the names of metadata, ascending, in the memory of names.
func sortedNames(names []string, m map[string]string) []string {
	names = slices.AppendSeq(names[:0], maps.Keys(m))
	slices.Sort(names)
	return names
}

func (p *eventPacker) lines(b []byte, e *Event) []byte {
	draws := drawsOf(e)
	b = binary.AppendUvarint(b, uint64(len(e.Lines))<<2|uint64(draws))
	for i := range e.Lines {
		l := &e.Lines[i]
		if p.tables != nil {
			b = binary.AppendUvarint(b, p.tables.nextBudget())
		} else {
			b = binary.AppendUvarint(b, l.Budget.Assignment)
			b = binary.AppendVarint(b, l.Budget.Start-p.start)
			p.start = l.Budget.Start
		}
		b = binary.AppendVarint(b, l.Amount)
		if draws == drewEach {
			b = binary.AppendUvarint(binary.AppendVarint(b, l.Drawn), uint64(l.On))
		}
	}
	return b
}

// drawsOf returns how an event's lines say what they drew.
func drawsOf(e *Event) int {
	nothing, all := true, true
	for i := range e.Lines {
		l := &e.Lines[i]
		none := l.Drawn == 0 && l.On == 0
		nothing = nothing && none
		all = all && !none && l.Drawn == l.Amount && l.On == e.Node
	}
	switch {
	case nothing:
		return drewNothing
	case all:
		return drewAllHere
	}
	return drewEach
}

// blockTables are the tables of a block that is being written. What the events name
// is first collected, in the order in which they will be written, and then
// numbered in the order of the tables.
type blockTables struct {
	texts    []string
	textOf   map[string]uint32 // index in texts
	textRefs []uint32          // what the events name, by index in texts
	textRank []uint32          // place in the table, by index in texts
	textNext int               // of textRefs
	budgets  []BudgetKey
	budgetOf map[BudgetKey]uint32
	budgeted []uint32 // as textRefs
	rank     []uint32 // as textRank
	next     int      // of budgeted
	order    []uint32
	names    []string
	packer   eventPacker
}

var blockPackers = sync.Pool{New: func() any {
	return &blockTables{textOf: map[string]uint32{}, budgetOf: map[BudgetKey]uint32{}}
}}

// AppendEvents appends events as one block. There must be at least one.
func AppendEvents(b []byte, events []*Event) []byte {
	t := blockPackers.Get().(*blockTables)
	defer t.release()
	for _, e := range events {
		t.collect(e)
	}
	b = t.appendTables(b)
	b = binary.AppendUvarint(b, uint64(len(events)))
	p := &t.packer
	p.tables, p.received = t, 0
	for _, e := range events {
		b = p.event(b, e)
	}
	return b
}

// maxPooledTexts bounds what an idle packer keeps.
const maxPooledTexts = 1 << 14

func (t *blockTables) release() {
	if len(t.texts) > maxPooledTexts || len(t.budgets) > maxPooledTexts {
		return
	}
	clear(t.textOf)
	clear(t.budgetOf)
	clear(t.texts) // keep no event alive
	clear(t.names)
	clear(t.packer.names)
	t.texts, t.textRefs, t.textNext = t.texts[:0], t.textRefs[:0], 0
	t.budgets, t.budgeted, t.next = t.budgets[:0], t.budgeted[:0], 0
	blockPackers.Put(t)
}

func (t *blockTables) nextText() uint64 {
	t.textNext++
	return uint64(t.textRank[t.textRefs[t.textNext-1]])
}

func (t *blockTables) nextBudget() uint64 {
	t.next++
	return uint64(t.rank[t.budgeted[t.next-1]])
}

// collect notes what an event names, in the order in which eventPacker.event writes it.
func (t *blockTables) collect(e *Event) {
	t.text(e.Account)
	for _, id := range e.Entities {
		t.text(id)
	}
	for _, id := range e.Chain {
		t.text(id)
	}
	for _, s := range [...]string{e.Key, e.Member, e.Model} {
		if s != "" {
			t.text(s)
		}
	}
	if e.Pricing != nil {
		t.text(e.Pricing.Model)
	}
	for i := range e.Usage {
		t.text(e.Usage[i].Capability)
	}
	if len(e.Metadata) > 0 {
		t.names = sortedNames(t.names, e.Metadata)
		for _, name := range t.names {
			t.text(name)
		}
	}
	for i := range e.Lines {
		key := e.Lines[i].Budget
		n, known := t.budgetOf[key]
		if !known {
			n = uint32(len(t.budgets))
			t.budgets = append(t.budgets, key)
			t.budgetOf[key] = n
		}
		t.budgeted = append(t.budgeted, n)
	}
}

func (t *blockTables) text(s string) {
	n, known := t.textOf[s]
	if !known {
		n = uint32(len(t.texts))
		t.texts = append(t.texts, s)
		t.textOf[s] = n
	}
	t.textRefs = append(t.textRefs, n)
}

// appendTables sorts and appends the tables.
func (t *blockTables) appendTables(b []byte) []byte {
	t.textRank = t.number(t.textRank, len(t.texts), func(x, y uint32) int {
		if t.texts[x] < t.texts[y] {
			return -1
		}
		return 1
	})
	b = binary.AppendUvarint(b, uint64(len(t.texts)))
	for _, i := range t.order {
		b = appendString(b, t.texts[i])
	}
	t.rank = t.number(t.rank, len(t.budgets), func(x, y uint32) int { return compareKeys(t.budgets[x], t.budgets[y]) })
	b = binary.AppendUvarint(b, uint64(len(t.budgets)))
	var last BudgetKey
	for _, i := range t.order {
		k := t.budgets[i]
		b = binary.AppendUvarint(b, k.Assignment-last.Assignment)
		b = binary.AppendVarint(b, k.Start-last.Start)
		last = k
	}
	return b
}

// number sets order to the indexes below n, ascending by what they stand for, and
// returns their places in it, in the memory of rank.
func (t *blockTables) number(rank []uint32, n int, compare func(x, y uint32) int) []uint32 {
	t.order, rank = t.order[:0], slices.Grow(rank[:0], n)[:n]
	for i := range n {
		t.order = append(t.order, uint32(i))
	}
	slices.SortFunc(t.order, compare)
	for place, i := range t.order {
		rank[i] = uint32(place)
	}
	return rank
}

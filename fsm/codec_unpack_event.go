package fsm

import (
	"fmt"

	"github.com/bursar-dev/bursar/fsm/price"
)

// eventUnpacker reads what eventPacker writes, into memory that it hands out piece by piece.
type eventUnpacker struct {
	*unpacker
	mem *unpackMemory

	tabled   bool
	near     *near // of an event by itself
	start    int64
	received int64

	passMetadata bool // over
}

// unpackMemory is what unpacked events are made of. Reusing one for the next
// entry spares the garbage collector; nothing of the entry before may be in use then.
// Texts are not part of it.
type unpackMemory struct {
	parts      slab[Part]
	events     slab[Event]
	texts      slab[string]
	quantities slab[Quantity]
	lines      slab[Line]
	pricings   slab[Pricing]
	terms      slab[price.Term]
	releases   slab[Release]
	asks       slab[Ask]
	exits      slab[Exit]

	// The tables of the block under way, and what of them has been referred to.
	text       []string
	textUsed   []bool
	budget     []BudgetKey
	budgetUsed []bool
}

// reset takes everything back.
func (m *unpackMemory) reset() {
	m.parts.reset()
	m.events.reset()
	m.texts.reset()
	m.quantities.reset()
	m.lines.reset()
	m.pricings.reset()
	m.terms.reset()
	m.releases.reset()
	m.asks.reset()
	m.exits.reset()
	clear(m.text)
}

// slab hands out slices of one array. What is handed out is not zeroed.
type slab[T any] struct{ free, all []T }

// maxSlab is the most elements that a slab keeps for reuse.
const maxSlab = 1 << 15

// take returns n elements, nil if n is 0.
func (s *slab[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if n > len(s.free) {
		s.all = make([]T, max(n, min(2*len(s.all), maxSlab)))
		s.free = s.all
	}
	t := s.free[:n:n]
	s.free = s.free[n:]
	return t
}

func (s *slab[T]) reset() {
	if len(s.all) > maxSlab {
		s.all = nil
	}
	clear(s.all[:len(s.all)-len(s.free)]) // keep no text alive
	s.free = s.all
}

// sized returns a slice of n zeroes in the memory of s.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	s = s[:n]
	clear(s)
	return s
}

// DecodeEvents decodes a block of events. The error is an *Error with CodeCorrupt.
func DecodeEvents(b []byte) ([]Event, error) {
	u := &unpacker{b: b, text: string(b)}
	events := unpackBlock(u, &unpackMemory{})
	if !u.done() {
		return nil, &Error{Code: CodeCorrupt, Message: fmt.Sprintf("%d bytes are no block of events", len(b))}
	}
	return events, nil
}

// unpackBlock takes a block that reaches to the end of u.
func unpackBlock(u *unpacker, m *unpackMemory) []Event {
	x := eventUnpacker{unpacker: u, mem: m, tabled: true}
	x.readTables()
	n := u.count(minEventBytes)
	u.must(n > 0)
	events := m.events.take(n)
	for i := range events {
		x.event(&events[i])
	}
	for _, used := range m.textUsed {
		u.must(used)
	}
	for _, used := range m.budgetUsed {
		u.must(used)
	}
	return events
}

func (x *eventUnpacker) readTables() {
	m := x.mem
	n := x.count(1)
	m.text, m.textUsed = sized(m.text, n), sized(m.textUsed, n)
	for i := range m.text {
		m.text[i] = x.string()
		x.must(i == 0 || m.text[i-1] < m.text[i])
	}
	n = x.count(2)
	m.budget, m.budgetUsed = sized(m.budget, n), sized(m.budgetUsed, n)
	var last BudgetKey
	for i := range m.budget {
		k := BudgetKey{last.Assignment + x.uvarint(), last.Start + x.varint()}
		x.must(i == 0 || compareKeys(last, k) < 0)
		m.budget[i], last = k, k
	}
}

func (x *eventUnpacker) repeated() string {
	if !x.tabled {
		return x.near.take(x.unpacker)
	}
	i := x.uvarint()
	if i >= uint64(len(x.mem.text)) {
		x.fail()
		return ""
	}
	x.mem.textUsed[i] = true
	return x.mem.text[i]
}

// present takes a text that a flag has announced.
func (x *eventUnpacker) present(announced bool) string {
	if !announced {
		return ""
	}
	s := x.repeated()
	x.must(s != "")
	return s
}

func (x *eventUnpacker) list() []string {
	list := x.mem.texts.take(x.count(1))
	for i := range list {
		list[i] = x.repeated()
	}
	return list
}

// event fills every field of e.
func (x *eventUnpacker) event(e *Event) {
	flags := x.byte()
	e.Account = x.repeated()
	e.ID = x.string()
	e.Hash = x.hash()
	e.Node = NodeNum(x.number(16))
	e.ReceivedAt = x.received + x.varint()
	e.At = e.ReceivedAt + x.varint()
	x.received = e.ReceivedAt
	e.Entities = x.list()
	e.Chain = x.list()
	e.Key = x.present(flags&eventAPIKey != 0)
	e.Member = x.present(flags&eventMember != 0)
	e.Model = x.present(flags&eventModel != 0)
	e.Tier = price.Standard
	if flags&eventTier != 0 {
		e.Tier = price.Tier(x.byte())
		x.must(e.Tier != price.Standard)
	}
	e.Pricing = nil
	if flags&eventPricing != 0 {
		e.Pricing = x.pricing()
	}
	e.Usage = x.mem.quantities.take(x.count(minQuantityBytes))
	for i := range e.Usage {
		e.Usage[i] = Quantity{Capability: x.repeated(), Amount: x.varint()}
	}
	e.Reservation = ""
	if flags&eventReservation != 0 {
		e.Reservation = x.string()
		x.must(e.Reservation != "")
	}
	e.Unattributed = flags&eventUnattributed != 0
	e.Metadata = nil
	if flags&eventMetadata != 0 {
		e.Metadata = x.metadata()
	}
	x.lines(e)
}

func (x *eventUnpacker) pricing() *Pricing {
	p := &x.mem.pricings.take(1)[0]
	p.Unpriced = x.flags(pricingUnpriced) != 0
	p.Version = x.uvarint()
	p.Model = x.repeated()
	p.Terms = x.mem.terms.take(x.count(minTermBytes))
	for i := range p.Terms {
		p.Terms[i] = price.Term{
			Usage: price.Usage(x.byte()), Field: price.Field(x.number(32)), Quantity: x.varint(), Decimals: x.byte(),
			Price: price.Decimal{Coef: x.uvarint(), Scale: x.byte()},
		}
	}
	return p
}

func (x *eventUnpacker) metadata() map[string]string {
	n := x.count(minMetadataBytes)
	x.must(n > 0)
	var m map[string]string
	if !x.passMetadata {
		m = make(map[string]string, n)
	}
	var last string
	for i := range n {
		name, value := x.repeated(), x.string()
		x.must(i == 0 || name > last)
		if last = name; m != nil {
			m[name] = value
		}
	}
	return m
}

func (x *eventUnpacker) lines(e *Event) {
	head := x.uvarint()
	draws := int(head & 3)
	if head>>2 > uint64(x.left()/minLineBytes) {
		x.fail()
		return
	}
	e.Lines = x.mem.lines.take(int(head >> 2))
	for i := range e.Lines {
		l := &e.Lines[i]
		l.Budget = x.budget()
		l.Amount = x.varint()
		switch draws {
		case drewEach:
			l.Drawn, l.On = x.varint(), NodeNum(x.number(16))
		case drewAllHere:
			l.Drawn, l.On = l.Amount, e.Node
		default:
			l.Drawn, l.On = 0, 0
		}
	}
	x.must(draws == drawsOf(e))
}

func (x *eventUnpacker) budget() BudgetKey {
	if !x.tabled {
		k := BudgetKey{x.uvarint(), x.start + x.varint()}
		x.start = k.Start
		return k
	}
	i := x.uvarint()
	if i >= uint64(len(x.mem.budget)) {
		x.fail()
		return BudgetKey{}
	}
	x.mem.budgetUsed[i] = true
	return x.mem.budget[i]
}

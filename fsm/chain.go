package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// The lines of an account's ledger are chained: the hash of each covers the line
// and the hash of the line before, so that a line that was altered, taken out or put in later breaks
// the chain from there on, and whoever keeps one hash can prove all lines up to it.
//
//	hash = SHA-256(hash of the line before, 32 zeros for the first of the chain | content)
//
// The content has only what an export of the ledger shows, so that anybody can
// compute it from one. It is, in this order, where a number has 8 bytes big-endian (in two's complement
// if it is negative), a text is its length as a number and its bytes, a flag is the number 0 or 1, and a list is the
// number of its elements and each of them; what the line does not have is an empty text, an empty list or 0:
//
//	number  1: the form of the content
//	text    account
//	number  seq
//	text    kind
//	text    event_id
//	bytes   body_hash, 32
//	list    entities: text
//	list    chain: text
//	text    key, member, model, service_tier
//	number  price_version
//	text    price_model
//	list    price_terms: text usage, text field, number quantity, number decimals, text price
//	flag    unpriced
//	list    usage, ascending by capability: text capability, number amount
//	number  at, received_at, settled_at: Unix milliseconds
//	number  node_number
//	number  index
//	text    reservation
//	flag    overage, late, unattributed
//	list    metadata, ascending by name: text name, text value
//	list    charges: number assignment_number, number period_start in Unix milliseconds, number amount, number drawn, number drawn_on
//	number  corrects
//	text    correction, reason
//
// Orders are those of the bytes. A chain begins with the first line of an entry
// that was encoded for the log as version 2 or later. Lines before it, of a ledger that was begun by
// a release without chains, have no hash: which line that is depends on the log alone, so replicas agree on it.

// chainedFrom is the first version of an encoded command whose lines begin a chain.
const chainedFrom = 2

// chainForm is the form of a line's content.
const chainForm = 1

// ledgerMark is what is kept of an account's ledger as a whole.
type ledgerMark struct {
	ChainFrom   uint64   `msgpack:"c"`           // the first line that has a hash
	Dropped     uint64   `msgpack:"d,omitempty"` // lines up to this one were dropped by retention
	DroppedHash [32]byte `msgpack:"h"`           // the hash of that line
	DroppedLast int64    `msgpack:"l,omitempty"` // the latest time of the events dropped, Unix milliseconds

	Retention Retention `msgpack:"r"`
	Exported  uint64    `msgpack:"e,omitempty"` // lines up to this one were acknowledged as exported
}

// ledgerChain is where the chain of one account's lines stands.
type ledgerChain struct {
	head [32]byte // hash of the last line
}

// chainScratch is memory that the hashes of lines are computed in.
type chainScratch struct {
	content []byte
	names   []string
}

// chainLine gives a line that has just been given its number its hash.
func (t *txn) chainLine(tn *tenant, l *LedgerLine) {
	c := t.chainOf(tn)
	if tn.mark.ChainFrom == 0 {
		if t.version < chainedFrom {
			return
		}
		tn.mark.ChainFrom = l.Seq
		t.putMark(tn)
	}
	l.Hash = t.s.chain.hash(&c.head, l)
	c.head = l.Hash
}

// chainOf returns where the chain of an account's lines stands, its last line being stored. The first time it
// reads that from the store; if the store fails, so does the whole Apply call.
func (t *txn) chainOf(tn *tenant) *ledgerChain {
	if tn.chain != nil {
		return tn.chain
	}
	c := &ledgerChain{}
	if tn.mark.ChainFrom != 0 {
		var last LedgerLine
		before := tn.ledgerSeq - 1 // the line under way has the number after it
		if before == tn.mark.Dropped {
			c.head, tn.chain = tn.mark.DroppedHash, c
			return c
		}
		ok, err := t.get(ledgerKey(tn.ID, before), &last)
		if err == nil && !ok {
			t.fail(fmt.Errorf("line %d of account %q is missing", before, tn.ID))
		}
		if err != nil || !ok {
			return c
		}
		c.head = last.Hash
	}
	tn.chain = c
	return c
}

// ChainHash returns the hash that a line has after one with the hash prev, zero if it is the first of its chain.
// It looks at every field but Hash.
func (l *LedgerLine) ChainHash(prev [32]byte) [32]byte {
	var s chainScratch
	return s.hash(&prev, l)
}

// hash is ChainHash without allocating.
func (s *chainScratch) hash(prev *[32]byte, l *LedgerLine) [32]byte {
	s.content = s.appendContent(append(s.content[:0], prev[:]...), l)
	return sha256.Sum256(s.content)
}

// appendContent appends what the hash of a line covers.
func (s *chainScratch) appendContent(b []byte, l *LedgerLine) []byte {
	e := &l.Event
	b = appendNumber(b, chainForm)
	b = appendText(b, e.Account)
	b = appendNumber(b, l.Seq)
	b = appendText(b, l.Kind)
	b = appendText(b, e.ID)
	b = append(b, e.Hash[:]...)
	b = appendTexts(b, e.Entities)
	b = appendTexts(b, e.Chain)
	b = appendText(b, e.Key)
	b = appendText(b, e.Member)
	b = appendText(b, e.Model)
	b = appendText(b, e.Tier.String())
	b = appendPricing(b, e.Pricing)
	b = appendNumber(b, uint64(len(e.Usage)))
	for i := range e.Usage {
		b = appendNumber(appendText(b, e.Usage[i].Capability), uint64(e.Usage[i].Amount))
	}
	b = appendNumber(b, uint64(e.At))
	b = appendNumber(b, uint64(e.ReceivedAt))
	b = appendNumber(b, uint64(l.Settled))
	b = appendNumber(b, uint64(e.Node))
	b = appendNumber(b, l.Index)
	b = appendText(b, e.Reservation)
	b = appendFlag(b, l.Overage)
	b = appendFlag(b, l.Late)
	b = appendFlag(b, e.Unattributed)
	b = s.appendMetadata(b, e.Metadata)
	b = appendNumber(b, uint64(len(e.Lines)))
	for i := range e.Lines {
		c := &e.Lines[i]
		b = appendNumber(b, c.Budget.Assignment)
		b = appendNumber(b, uint64(c.Budget.Start))
		b = appendNumber(b, uint64(c.Amount))
		b = appendNumber(b, uint64(c.Drawn))
		b = appendNumber(b, uint64(c.On))
	}
	b = appendNumber(b, l.Corrects)
	b = appendText(b, l.Correction)
	return appendText(b, l.Reason)
}

// appendPricing appends price_version, price_model, price_terms and unpriced.
func appendPricing(b []byte, p *Pricing) []byte {
	if p == nil {
		return appendFlag(appendNumber(appendText(appendNumber(b, 0), ""), 0), false)
	}
	b = appendNumber(b, p.Version)
	b = appendText(b, p.Model)
	b = appendNumber(b, uint64(len(p.Terms)))
	var scratch [64]byte // longer than any field's name and any price
	for i := range p.Terms {
		t := &p.Terms[i]
		b = appendText(b, t.Usage.String())
		b = appendText(b, t.Field.Append(scratch[:0]))
		b = appendNumber(b, uint64(t.Quantity))
		b = appendNumber(b, uint64(t.Decimals))
		b = appendText(b, t.Price.Append(scratch[:0]))
	}
	return appendFlag(b, p.Unpriced)
}

func (s *chainScratch) appendMetadata(b []byte, metadata map[string]string) []byte {
	b = appendNumber(b, uint64(len(metadata)))
	s.names = s.names[:0]
	for name := range metadata {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	for _, name := range s.names {
		b = appendText(appendText(b, name), metadata[name])
	}
	clear(s.names) // keep none of them alive
	return b
}

func appendNumber(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(appendNumber(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = appendNumber(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendFlag(b []byte, f bool) []byte {
	if f {
		return appendNumber(b, 1)
	}
	return appendNumber(b, 0)
}

package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// counters are the numbers that must outlive what they were given to.
type counters struct {
	NextAssignment uint64 `msgpack:"a"`
	SettledFrom    uint32 `msgpack:"s"` // hour; markers of settled reservations before it are deleted
}

// appliedMark is the bare value under keyApplied: index, term, checksum and
// clock, 8 bytes each. Every commit writes it with what entries have changed.
const appliedMarkSize = 32

func (s *state) appliedMark() []byte {
	v := make([]byte, 0, appliedMarkSize)
	for _, n := range []uint64{s.index, s.term, s.sum, uint64(s.now)} {
		v = binary.BigEndian.AppendUint64(v, n)
	}
	return v
}

func (s *state) setAppliedMark(v []byte) error {
	if len(v) != appliedMarkSize {
		return fmt.Errorf("the applied mark has %d bytes instead of %d", len(v), appliedMarkSize)
	}
	s.index = binary.BigEndian.Uint64(v)
	s.term = binary.BigEndian.Uint64(v[8:])
	s.sum = binary.BigEndian.Uint64(v[16:])
	s.now = int64(binary.BigEndian.Uint64(v[24:]))
	return nil
}

// loadAppliedMark reads the applied mark of a store; without one it has applied nothing.
func (s *state) loadAppliedMark(r pebble.Reader) error {
	return scan(r, keyApplied, after(keyApplied), false, func(_, v []byte) (bool, error) {
		return false, s.setAppliedMark(v)
	})
}

// loadState reads the hot state of a store. The tables of millions are read by several goroutines (load_tree.go, load_records.go).
func loadState(st *store) (*state, error) {
	s := newState()
	l := loader{s: s, st: st}
	l.meta()
	l.nodes()
	l.cluster()
	l.tenants()
	l.records()
	l.ledgers()
	l.trail()
	l.memory()
	if l.err != nil {
		return nil, fmt.Errorf("load the state in %s: %w", st.dir, l.err)
	}
	return s, nil
}

// loader reads a store table by table and stops at the first error.
type loader struct {
	s   *state
	st  *store
	err error
}

// table calls f with each value of the range, decoded.
func table[T any](l *loader, lower, upper []byte, f func(v *T) error) {
	if l.err != nil {
		return
	}
	l.err = scan(l.st.db, lower, upper, false, func(key, value []byte) (bool, error) {
		v := new(T)
		if err := decodeValue(value, v); err != nil {
			return false, fmt.Errorf("key %q: %w", key, err)
		}
		if err := f(v); err != nil {
			return false, fmt.Errorf("key %q: %w", key, err)
		}
		return true, nil
	})
}

// whole is table over all of one.
func whole[T any](l *loader, t byte, f func(v *T) error) {
	lower, upper := tableRange(t)
	table(l, lower, upper, f)
}

func (l *loader) meta() {
	l.err = l.s.loadAppliedMark(l.st.db)
	table(l, keyCounters, after(keyCounters), func(c *counters) error {
		l.s.nextAssignment, l.s.settledFrom = c.NextAssignment, c.SettledFrom
		return nil
	})
	table(l, keyVersion, after(keyVersion), func(v *uint8) error {
		l.s.version = *v
		return nil
	})
	table(l, keySettings, after(keySettings), func(v *Settings) error {
		l.s.settings = v
		return nil
	})
}

func (l *loader) nodes() {
	whole(l, tableNode, func(n *Node) error {
		if int(n.Num) != len(l.s.nodes)+1 {
			return fmt.Errorf("node %d follows node %d", n.Num, len(l.s.nodes))
		}
		l.s.nodes = append(l.s.nodes, n)
		l.s.seen = append(l.s.seen, releases{})
		return nil
	})
	if l.err != nil {
		return
	}
	for i := range l.s.nodes {
		k := releasesKey(NodeNum(i + 1))
		table(l, k, after(k), func(r *releases) error {
			l.s.seen[i] = *r
			return nil
		})
	}
}

// cluster reads what is defined once for all accounts.
func (l *loader) cluster() {
	whole(l, tableEntityType, func(t *EntityType) error {
		l.s.types[t.ID] = t
		return nil
	})
	whole(l, tableCapability, func(c *Capability) error {
		l.s.caps[c.ID] = c
		return nil
	})
	whole(l, tablePriceVersion, func(v *PriceVersion) error {
		l.s.prices.add(*v)
		return nil
	})
	whole(l, tableToken, func(t *Token) error {
		l.s.tokens[t.Digest] = t
		l.s.tokenIDs[t.ID] = t
		return nil
	})
}

// ledgers reads where the accounts' ledgers begin and end.
func (l *loader) ledgers() {
	l.marks()
	for id, t := range l.s.accounts {
		if l.err != nil {
			return
		}
		t.ledgerSeq = t.mark.Dropped
		lower, upper := prefixRange(accountPrefix(tableLedger, id))
		l.err = scan(l.st.db, lower, upper, true, func(key, _ []byte) (bool, error) {
			t.ledgerSeq = binary.BigEndian.Uint64(key[len(key)-8:])
			return false, nil
		})
	}
}

// marks reads where the accounts' ledgers begin.
func (l *loader) marks() {
	if l.err != nil {
		return
	}
	lower, upper := tableRange(tableLedgerMark)
	l.err = scan(l.st.db, lower, upper, false, func(key, value []byte) (bool, error) {
		t := l.s.accounts[string(key[1:])]
		if t == nil {
			return false, fmt.Errorf("key %q: its account is missing", key)
		}
		err := decodeValue(value, &t.mark)
		l.s.retain(t)
		return true, err
	})
}

// trail reads the end of the audit trail.
func (l *loader) trail() {
	if l.err != nil {
		return
	}
	lower, upper := tableRange(tableAudit)
	l.err = scan(l.st.db, lower, upper, true, func(_, value []byte) (bool, error) {
		var e AuditEntry
		if err := decodeValue(value, &e); err != nil {
			return false, err
		}
		l.s.auditSeq, l.s.auditHash = e.Seq, e.Hash
		return false, nil
	})
}

func (l *loader) memory() {
	whole(l, tableMemory, func(r *remembered) error {
		l.s.memory.add(r)
		return nil
	})
}

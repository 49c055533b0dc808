package fsm

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The running checksum covers every write of every entry since the first, in
// order: sum' = xxhash64(sum, clock, writes). An entry without a command leaves
// it as it is. It depends on entries only, not on how they were batched.

// checksumMemory is how many (index, sum) pairs are kept for comparison between nodes.
const checksumMemory = 1024

// checksums remembers the sums at the latest indexes; index i is in slot i modulo the size.
type checksums [checksumMemory]struct{ index, sum uint64 }

func (c *checksums) add(index, sum uint64) {
	c[index%checksumMemory] = struct{ index, sum uint64 }{index, sum}
}

// The operations that the checksum covers.
const (
	opPut byte = iota + 1
	opDelete
	opDeleteRange
)

// sumWrites collects the writes of one entry.
type sumWrites struct{ h xxhash.Digest }

func (s *sumWrites) begin(sum uint64, now int64) {
	var seed [16]byte
	binary.BigEndian.PutUint64(seed[:], sum)
	binary.BigEndian.PutUint64(seed[8:], uint64(now))
	s.h.Reset()
	_, _ = s.h.Write(seed[:])
}

func (s *sumWrites) write(op byte, key, value []byte) {
	var n [9]byte
	n[0] = op
	binary.BigEndian.PutUint32(n[1:], uint32(len(key)))
	binary.BigEndian.PutUint32(n[5:], uint32(len(value)))
	_, _ = s.h.Write(n[:])
	_, _ = s.h.Write(key)
	_, _ = s.h.Write(value)
}

// Checksum returns the running checksum of all writes up to the applied index.
// Two replicas at the same index have the same sum, or one of them is damaged.
func (m *Machine) Checksum() (index, sum uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.s.index, m.s.sum
}

// ChecksumAt returns the sum at an index recently applied; ok is false if it is no
// longer remembered, or was not an entry of the state machine's.
func (m *Machine) ChecksumAt(index uint64) (sum uint64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.sums[index%checksumMemory]
	return c.sum, c.index == index && index > 0
}

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// The hazard: bbolt keeps no sums of what it stores. A bit that a disk has changed in an
// entry would be applied by one replica and not by the others, and one in a vote or a term could
// elect two leaders. So what raft stores carries a sum, and what does not match it ends the node.

// ErrDamaged is in the chain of the failure of a node that has read back something
// else than it had stored.
var ErrDamaged = errors.New("it is not what was stored")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed adds sums to raft's stores. What was stored without one is read as it is.
//
// An entry's sum takes the place of its Extensions, which nothing else uses; raft
// never sees it. A value of the stable store is
//
//	0xB5 | version u8 | CRC-32C u32 of key and value | value
//
// which no value without a sum begins with: those are addresses and numbers below 2⁵⁶.
type sealed struct{ RaftStores }

const (
	sealMagic   = 0xB5
	sealVersion = 1
	sealHead    = 6
)

// entrySum sums what an entry means.
func entrySum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
	return binary.BigEndian.AppendUint32([]byte{sealMagic, sealVersion}, sum)
}

// StoreLog implements raft.LogStore.
func (s sealed) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. It changes nothing of the entries, which are raft's.
func (s sealed) StoreLogs(logs []*raft.Log) error {
	entries, out := make([]raft.Log, len(logs)), make([]*raft.Log, len(logs))
	for i, l := range logs {
		entries[i] = *l
		entries[i].Extensions = entrySum(l)
		out[i] = &entries[i]
	}
	return s.RaftStores.StoreLogs(out)
}

// GetLog implements raft.LogStore.
func (s sealed) GetLog(index uint64, l *raft.Log) error {
	if err := s.RaftStores.GetLog(index, l); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return fmt.Errorf("entry %d of raft's log cannot be read: %w", index, err)
	}
	if l.Index != index || len(l.Extensions) > 0 && !bytes.Equal(l.Extensions, entrySum(l)) {
		return fmt.Errorf("entry %d of raft's log: %w; %s", index, ErrDamaged, anew)
	}
	l.Extensions = nil
	return nil
}

// Set implements raft.StableStore.
func (s sealed) Set(key, value []byte) error {
	out := []byte{sealMagic, sealVersion}
	out = binary.BigEndian.AppendUint32(out, valueSum(key, value))
	return s.RaftStores.Set(key, append(out, value...))
}

// Get implements raft.StableStore.
func (s sealed) Get(key []byte) ([]byte, error) {
	v, err := s.RaftStores.Get(key)
	if err != nil || len(v) == 0 || v[0] != sealMagic {
		return v, err
	}
	if len(v) < sealHead || v[1] != sealVersion || binary.BigEndian.Uint32(v[2:]) != valueSum(key, v[sealHead:]) {
		return nil, fmt.Errorf("%q beside raft's log: %w; %s", key, ErrDamaged, anew)
	}
	return v[sealHead:], nil
}

func valueSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// SetUint64 implements raft.StableStore.
func (s sealed) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (s sealed) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%q beside raft's log: %w; %s", key, ErrDamaged, anew)
	}
	return binary.BigEndian.Uint64(v), nil
}

package fsm

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble takes its memtables out of the cache. A cache no larger than they are
// holds no block, and every look-up of an event reads and decompresses one.
func TestBlocksStayCachedWhileMemtablesAreFull(t *testing.T) {
	notShort(t)
	st, err := openStore(vfs.NewMem(), "store", newFailure(quiet()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.db.Close()
	const (
		valueBytes = 8 << 10
		keys       = 4 * storeMemTableSize / valueBytes
		read       = 1000
	)
	rng := rand.NewChaCha8([32]byte{1})
	value := make([]byte, valueBytes)
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	for i := range keys {
		_, _ = rng.Read(value) // never fails
		if err := st.db.Set(key(i), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	pass := func() {
		for i := range read {
			_, closer, err := st.db.Get(key(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass()
	before := st.db.Metrics().BlockCache
	pass()
	after := st.db.Metrics().BlockCache
	if misses := after.Misses - before.Misses; after.Hits-before.Hits < read || misses > read/10 {
		t.Errorf("reading %d keys again: %d blocks from the cache, %d from the disk", read, after.Hits-before.Hits, misses)
	}
}

// Pebble writes a batch that could fill half a memtable as a file of its own in level 0, however small it is: then
// four megabytes of events are a file over all others, in place of sixteen, and are merged four times as often.
func TestTailsShareAMemtable(t *testing.T) {
	st, err := openStore(vfs.NewMem(), "store", newFailure(quiet()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.db.Close()
	const (
		keyBytes, valueBytes = 32, 64 // about the mean of what events write
		keys                 = maxTailBytes / (keyBytes + valueBytes)
	)
	n := 0
	tail := func() {
		b := st.db.NewBatch()
		key, value := make([]byte, keyBytes), make([]byte, valueBytes)
		for range keys {
			n++
			binary.BigEndian.PutUint64(key, uint64(n))
			if err := b.Set(key, value, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 { // memtables are small at first
		tail()
	}
	if err := st.db.Flush(); err != nil {
		t.Fatal(err)
	}
	before := st.db.Metrics()
	tail()
	tail()
	if after := st.db.Metrics(); after.Flush.Count != before.Flush.Count || after.MemTable.Count != 1 {
		t.Errorf("two tails made %d flushes and %d memtables", after.Flush.Count-before.Flush.Count, after.MemTable.Count)
	}
}

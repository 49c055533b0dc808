package enforcer

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// lookup is a map from byte strings that is read without locks and without
// allocation, and grows but never shrinks. Writers take a mutex. The zero value
// is not usable; see newLookup.
type lookup[V any] struct {
	seed  maphash.Seed
	table atomic.Pointer[[]atomic.Pointer[lookupEntry[V]]]
	count atomic.Int64
	mu    sync.Mutex
}

type lookupEntry[V any] struct {
	key   string
	value V
	next  *lookupEntry[V]
}

const lookupMinBuckets = 8 // a power of two

func newLookup[V any]() *lookup[V] {
	l := &lookup[V]{seed: maphash.MakeSeed()}
	buckets := make([]atomic.Pointer[lookupEntry[V]], lookupMinBuckets)
	l.table.Store(&buckets)
	return l
}

func (l *lookup[V]) get(key []byte) (value V, ok bool) {
	buckets := *l.table.Load()
	for en := buckets[maphash.Bytes(l.seed, key)&uint64(len(buckets)-1)].Load(); en != nil; en = en.next {
		if en.key == string(key) {
			return en.value, true
		}
	}
	return value, false
}

// put adds a key; an existing one keeps its first value. It returns the value that is kept.
func (l *lookup[V]) put(key string, value V) V {
	l.mu.Lock()
	defer l.mu.Unlock()
	buckets := *l.table.Load()
	b := &buckets[maphash.String(l.seed, key)&uint64(len(buckets)-1)]
	for en := b.Load(); en != nil; en = en.next {
		if en.key == key {
			return en.value
		}
	}
	b.Store(&lookupEntry[V]{key: key, value: value, next: b.Load()})
	if l.count.Add(1) > int64(len(buckets)) {
		l.grow(buckets)
	}
	return value
}

// grow doubles the table. Readers of the old one still find all that was in it.
func (l *lookup[V]) grow(old []atomic.Pointer[lookupEntry[V]]) {
	buckets := make([]atomic.Pointer[lookupEntry[V]], 2*len(old))
	for i := range old {
		for en := old[i].Load(); en != nil; en = en.next {
			b := &buckets[maphash.String(l.seed, en.key)&uint64(len(buckets)-1)]
			b.Store(&lookupEntry[V]{key: en.key, value: en.value, next: b.Load()})
		}
	}
	l.table.Store(&buckets)
}

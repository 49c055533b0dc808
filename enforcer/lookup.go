package enforcer

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// lookup is a map from byte strings to places that stay where they are, so that what get and put return is good for
// ever. It is read without locks and without allocation, and grows but never shrinks. Writers take a mutex. The zero value
// is not usable; see newLookup.
type lookup[V any] struct {
	seed  maphash.Seed
	table atomic.Pointer[[]lookupPlace[V]]
	mu    sync.Mutex
	count int
}

// lookupPlace is one place of the table, which is searched from the place that the key's hash names to the next that is
// empty. Having the hash beside the entry, a search in a large table reads one line of memory that is in
// no cache before the entry itself.
type lookupPlace[V any] struct {
	entry atomic.Pointer[lookupEntry[V]]
	hash  uint64 // written before entry, and never again
}

// lookupEntry has most keys in itself: with a value of a pointer's size that is one line of memory in place of two.
type lookupEntry[V any] struct {
	value V
	long  string // the key, if it is longer than short
	bytes uint8  // of short
	short [lookupShort]byte
}

const lookupShort = 39

func newLookupEntry[V any](key string) *lookupEntry[V] {
	en := new(lookupEntry[V])
	if len(key) > lookupShort {
		en.long = key
		return en
	}
	en.bytes = uint8(copy(en.short[:], key))
	return en
}

// has reports whether the entry is of a key.
func (en *lookupEntry[V]) has(key []byte) bool {
	if en.long != "" {
		return en.long == string(key)
	}
	return string(en.short[:en.bytes]) == string(key)
}

const lookupMinPlaces = 8 // a power of two

func newLookup[V any]() *lookup[V] {
	l := &lookup[V]{seed: maphash.MakeSeed()}
	places := make([]lookupPlace[V], lookupMinPlaces)
	l.table.Store(&places)
	return l
}

// get returns the place of a key's value, or nil.
func (l *lookup[V]) get(key []byte) *V {
	places := *l.table.Load()
	hash := maphash.Bytes(l.seed, key)
	for i := hash; ; i++ {
		p := &places[i&uint64(len(places)-1)]
		en := p.entry.Load()
		if en == nil {
			return nil
		}
		if p.hash == hash && en.has(key) {
			return &en.value
		}
	}
}

// put returns the place of a key's value. If there was none, set, unless it is nil, gives it its value first.
func (l *lookup[V]) put(key string, set func(*V)) *V {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.get([]byte(key)); at != nil {
		return at
	}
	places := *l.table.Load()
	if l.count++; l.count > len(places)/4*3 {
		places = l.grow(places)
	}
	en := newLookupEntry[V](key)
	if set != nil {
		set(&en.value)
	}
	fillPlace(places, maphash.String(l.seed, key), en)
	return &en.value
}

// grow doubles the table. Readers of the old one still find all that was in it.
func (l *lookup[V]) grow(old []lookupPlace[V]) []lookupPlace[V] {
	places := make([]lookupPlace[V], 2*len(old))
	for i := range old {
		if en := old[i].entry.Load(); en != nil {
			fillPlace(places, old[i].hash, en)
		}
	}
	l.table.Store(&places)
	return places
}

// fillPlace puts an entry into the first empty place for its hash. There is one.
func fillPlace[V any](places []lookupPlace[V], hash uint64, en *lookupEntry[V]) {
	for i := hash; ; i++ {
		if p := &places[i&uint64(len(places)-1)]; p.entry.Load() == nil {
			p.hash = hash
			p.entry.Store(en)
			return
		}
	}
}

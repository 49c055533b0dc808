package enforcer

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

func TestLookupHasKeysOfEveryLength(t *testing.T) {
	l := newLookup[int]()
	for n := range 3 * lookupShort {
		l.put(strings.Repeat("k", n), func(v *int) { *v = n })
	}
	for n := range 3 * lookupShort {
		if at := l.get(bytes.Repeat([]byte("k"), n)); at == nil || *at != n {
			t.Errorf("the key of %d bytes leads to %v", n, at)
		}
	}
	if size := unsafe.Sizeof(lookupEntry[level]{}); size != 64 {
		t.Errorf("the entry of a level has %d bytes, want a cache line", size)
	}
}

// Keys are found while others are added, each always in the same place and never before it has its value.
func TestLookupIsReadWhileItGrows(t *testing.T) {
	const keys, readers = 20_000, 4
	l := newLookup[[2]int]()
	var (
		added atomic.Int64 // keys 0 … added−1 are there, and the next one may be
		wg    sync.WaitGroup
	)
	for range readers {
		wg.Go(func() {
			places := make(map[int64]*[2]int)
			for i := int64(0); added.Load() < keys; i++ {
				n := added.Load()
				if i%2 == 0 {
					i = n
				}
				i %= n + 1
				at := l.get([]byte(strconv.FormatInt(i, 10)))
				if at == nil && i == n {
					continue
				}
				if at == nil || *at != [2]int{int(i) + 1, int(i) + 1} || places[i] != nil && places[i] != at {
					t.Errorf("key %d of %d: %v at %p, before at %p", i, n, at, at, places[i])
					return
				}
				places[i] = at
				if at := l.get([]byte(strconv.FormatInt(keys+i, 10))); at != nil {
					t.Errorf("key %d was never added: %v", keys+i, at)
					return
				}
			}
		})
	}
	for i := range keys {
		at := l.put(strconv.Itoa(i), func(v *[2]int) { v[0], v[1] = i+1, i+1 })
		if again := l.put(strconv.Itoa(i), func(*[2]int) { t.Error("an existing key is set again") }); again != at {
			t.Errorf("key %d at %p and at %p", i, at, again)
		}
		added.Add(1)
	}
	wg.Wait()
	if places := len(*l.table.Load()); l.count != keys || places*3/4 < keys || places/2*3/4 >= 2*keys {
		t.Errorf("%d keys in %d places", l.count, places)
	}
}

package enforcer

import (
	"sync"
	"sync/atomic"

	"github.com/bursar-dev/bursar/fsm"
)

// heldLine is an amount set aside of one budget for a reservation, on the lease of one node.
type heldLine struct {
	Budget fsm.BudgetKey
	Amount int64
	On     fsm.NodeNum
}

// reservation is an amount held from admission until the real cost is known.
//
//	live ──accept──▶ settling ──applied──▶ ended(settled)
//	  ├──release, expiry──▶ ended             ▲
//	  └──applied, though accepted elsewhere───┘
//
// Who takes the holds out of it under the shard's lock owns them: that decides
// every race between settling, expiring, extending and releasing.
type reservation struct {
	id      resID
	account string
	expires int64 // Unix milliseconds
	holds   []heldLine
	event   string // id of the event that is settling it; empty: live
	heap    int    // place in the shard's heap; −1: not in it
}

// ending says how a reservation ended. Endings are remembered for a while so
// that repeats are answered alike.
type ending struct {
	account  string
	code     string         // CodeReservationExpired, or empty: released or settled
	settled  bool           // by an event; nothing was left to release
	released []fsm.Quantity // what a release set free
}

const (
	tableShards = 64 // a power of two
	// maxReservations bounds the live reservations given out by one node.
	maxReservations = 1 << 20
	// maxEndings bounds the remembered endings of one node.
	maxEndings = 1 << 16
	// maxSpare bounds the reservations kept for reuse, per shard.
	maxSpare = 1 << 10
)

// table holds the reservations this node gave out.
type table struct {
	boot   atomic.Uint32 // the session that ids are given out in
	node   fsm.NodeNum
	seq    atomic.Uint64
	count  atomic.Int64
	shards [tableShards]tableShard
}

type tableShard struct {
	mu      sync.Mutex
	byID    map[resID]*reservation
	expiry  expiryHeap
	endings map[resID]ending
	order   []resID // of endings, a ring of maxEndings/tableShards
	oldest  int
	spare   []*reservation
}

func newTable(node fsm.NodeNum) *table {
	t := &table{node: node}
	for i := range t.shards {
		t.shards[i].byID = make(map[resID]*reservation)
		t.shards[i].endings = make(map[resID]ending)
	}
	return t
}

func (t *table) shard(id resID) *tableShard { return &t.shards[id.seq%tableShards] }

// newID makes an id never given out before.
func (t *table) newID(rnd uint32) resID {
	return resID{node: t.node, boot: t.boot.Load(), seq: t.seq.Add(1), rnd: rnd}
}

// add makes a reservation live. It fails when the node has too many.
func (t *table) add(id resID, account string, expires int64, holds []heldLine) bool {
	if t.count.Add(1) > maxReservations {
		t.count.Add(-1)
		return false
	}
	sh := t.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := sh.fresh()
	r.id, r.account, r.expires = id, account, expires
	r.holds = append(r.holds[:0], holds...)
	sh.byID[id] = r
	sh.expiry.push(r)
	return true
}

// forget removes a reservation that was never given out.
func (t *table) forget(id resID) {
	t.with(id, func(sh *tableShard, r *reservation, _ *ending) {
		if r != nil {
			delete(sh.byID, id)
			sh.expiry.remove(r)
			sh.recycle(r)
			t.count.Add(-1)
		}
	})
}

// with runs f on a reservation under its lock; r is nil if there is none, and
// past is how it ended if that is remembered. f may end it with t.end.
func (t *table) with(id resID, f func(sh *tableShard, r *reservation, past *ending)) {
	sh := t.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.byID[id]; r != nil {
		f(sh, r, nil)
		return
	}
	if past, ok := sh.endings[id]; ok {
		f(sh, nil, &past)
		return
	}
	f(sh, nil, nil)
}

// end removes a reservation and remembers how it ended. Its holds must have been taken out.
func (t *table) end(sh *tableShard, r *reservation, how ending) {
	how.account = r.account
	delete(sh.byID, r.id)
	sh.expiry.remove(r)
	sh.remember(r.id, how)
	t.count.Add(-1)
	sh.recycle(r)
}

// remember keeps an ending until maxEndings later ones have come.
func (sh *tableShard) remember(id resID, how ending) {
	if len(sh.order) < maxEndings/tableShards {
		sh.order = append(sh.order, id)
	} else {
		delete(sh.endings, sh.order[sh.oldest])
		sh.order[sh.oldest] = id
		sh.oldest = (sh.oldest + 1) % len(sh.order)
	}
	sh.endings[id] = how
}

func (sh *tableShard) fresh() *reservation {
	n := len(sh.spare)
	if n == 0 {
		return &reservation{heap: -1}
	}
	r := sh.spare[n-1]
	sh.spare = sh.spare[:n-1]
	return r
}

func (sh *tableShard) recycle(r *reservation) {
	if len(sh.spare) < maxSpare {
		*r = reservation{holds: r.holds[:0], heap: -1}
		sh.spare = append(sh.spare, r)
	}
}

// overdue calls f, under the lock, for each live reservation that has expired. f must end it.
func (t *table) overdue(now int64, f func(sh *tableShard, r *reservation)) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for len(sh.expiry) > 0 && sh.expiry[0].expires <= now {
			f(sh, sh.expiry[0])
		}
		sh.mu.Unlock()
	}
}

// each calls f for every reservation, under its lock.
func (t *table) each(f func(sh *tableShard, r *reservation)) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for _, r := range sh.byID {
			f(sh, r)
		}
		sh.mu.Unlock()
	}
}

// expiryHeap is a binary heap by expiry whose elements know their place.
type expiryHeap []*reservation

func (h *expiryHeap) push(r *reservation) {
	r.heap = len(*h)
	*h = append(*h, r)
	h.up(r.heap)
}

func (h *expiryHeap) remove(r *reservation) {
	i := r.heap
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	r.heap = -1
	if i < last {
		h.fix(i)
	}
}

// fix restores the order after the expiry at i has changed.
func (h *expiryHeap) fix(i int) {
	h.down(i)
	h.up(i)
}

func (h expiryHeap) up(i int) {
	for i > 0 && h[i].expires < h[(i-1)/2].expires {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h expiryHeap) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].expires < h[least].expires {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h expiryHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = i, j
}

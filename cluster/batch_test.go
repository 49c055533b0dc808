package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// fakeLog commits batches after a delay and keeps them.
type fakeLog struct {
	delay  time.Duration
	reject func(parts []fsm.Part) *fsm.Error

	mu      sync.Mutex
	entries [][]fsm.Part
	now     int
	most    int // entries on their way at once
}

func (f *fakeLog) commit(ctx context.Context, sent []sentPart) (uint64, fsm.Outcome, error) {
	parts := make([]fsm.Part, len(sent))
	for i, p := range sent {
		parts[i] = *p.part
	}
	f.mu.Lock()
	f.entries = append(f.entries, parts)
	index := uint64(len(f.entries))
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	time.Sleep(f.delay)
	f.mu.Lock()
	f.now--
	f.mu.Unlock()
	o := fsm.Outcome{Index: index}
	if f.reject != nil {
		if o.Err = f.reject(parts); o.Err != nil {
			return index, o, nil
		}
	}
	for _, p := range parts {
		var g []fsm.Grant
		for _, a := range p.Asks {
			g = append(g, fsm.Grant{Budget: a.Budget, Amount: a.Want})
		}
		o.Grants = append(o.Grants, g)
	}
	return index, o, nil
}

func ask(node fsm.NodeNum, want int64) sentPart {
	return sentPart{part: &fsm.Part{Node: node, Asks: []fsm.Ask{{Budget: fsm.BudgetKey{Assignment: uint64(want)}, Want: want}}}}
}

func TestPartsThatArriveTogetherShareAnEntryAndGetTheirOwnGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: 5 * time.Millisecond}
		b := newBatcher(t.Context(), log.commit)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				_, grants, err := b.add(t.Context(), ask(fsm.NodeNum(i%3+1), int64(i)), 100)
				if err != nil || len(grants) != 1 || grants[0].Amount != int64(i) {
					t.Errorf("part %d was answered %v, %v", i, grants, err)
				}
			})
		}
		wg.Wait()
		if n := len(log.entries); n > 3 {
			t.Errorf("100 parts at once made %d entries, want at most 3", n)
		}
	})
}

func TestFirstPartDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		b := newBatcher(t.Context(), log.commit)
		began := time.Now()
		if _, _, err := b.add(t.Context(), ask(1, 1), 100); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("a part with nothing under way waited %v", took)
		}
	})
}

func TestPartWaitsNoLongerThanTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: 50 * time.Millisecond}
		b := newBatcher(t.Context(), log.commit)
		go b.add(t.Context(), ask(1, 1), 100)
		synctest.Wait()
		began := time.Now()
		b.add(t.Context(), ask(2, 2), 100)
		if took := time.Since(began); took != batchWindow+log.delay {
			t.Errorf("the second part was answered after %v, want %v", took, batchWindow+log.delay)
		}
	})
}

// A check waits for the answer to an ask: it must not stand behind all the events that arrived before.
func TestAsksGoBeforeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: 10 * time.Millisecond}
		b := newBatcher(t.Context(), log.commit)
		for range 20 {
			go b.add(t.Context(), sentPart{part: &fsm.Part{Node: 1, Events: make([]fsm.Event, 1)}}, maxBatchBytes)
		}
		synctest.Wait()
		began := time.Now()
		for i := range 3 {
			go b.add(t.Context(), ask(2, int64(i)), 100)
		}
		b.add(t.Context(), ask(2, 3), 100)
		if took := time.Since(began); took > 2*log.delay {
			t.Errorf("asks were answered after %v, behind more than the entries that were on their way", took)
		}
		time.Sleep(time.Second)
		log.mu.Lock()
		defer log.mu.Unlock()
		var parts, events int
		for _, entry := range log.entries {
			for i := range entry {
				parts, events = parts+1, events+len(entry[i].Events)
			}
		}
		if parts != 24 || events != 20 {
			t.Errorf("%d parts with %d events were committed, want 24 with 20", parts, events)
		}
	})
}

func TestEntriesAreBoundedInNumberAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: 20 * time.Millisecond}
		b := newBatcher(t.Context(), log.commit)
		var wg sync.WaitGroup
		const bytes = maxBatchBytes / 4
		for i := range 40 {
			wg.Go(func() {
				if _, _, err := b.add(t.Context(), ask(1, int64(i)), bytes); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if log.most > maxBatches {
			t.Errorf("%d entries were on their way at once, at most %d may be", log.most, maxBatches)
		}
		for i, e := range log.entries {
			if len(e) > 4 {
				t.Errorf("entry %d has %d parts of a quarter of the bound each", i, len(e))
			}
		}
	})
}

func TestBadPartFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &fsm.Error{Code: fsm.CodeInvalid, Message: "bad"}
		log := &fakeLog{delay: time.Millisecond, reject: func(parts []fsm.Part) *fsm.Error {
			for _, p := range parts {
				if p.Node == 9 {
					return bad
				}
			}
			return nil
		}}
		b := newBatcher(t.Context(), log.commit)
		go b.add(t.Context(), ask(1, 0), 10)
		synctest.Wait()
		var wg sync.WaitGroup
		for i := range 5 {
			node := fsm.NodeNum(1)
			if i == 2 {
				node = 9
			}
			wg.Go(func() {
				_, _, err := b.add(t.Context(), ask(node, int64(i)), 10)
				if (err != nil) != (node == 9) {
					t.Errorf("part of node %d: %v", node, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestClosedBatcherRefusesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: 20 * time.Millisecond}
		b := newBatcher(t.Context(), log.commit)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, _, err := b.add(t.Context(), ask(1, 1), 10); first <- err }()
		synctest.Wait()
		go func() { _, _, err := b.add(t.Context(), ask(1, 2), 10); second <- err }()
		synctest.Wait()
		b.close()
		if err := <-second; !errors.Is(err, ErrNotLeader) {
			t.Errorf("the waiting part: %v, want ErrNotLeader", err)
		}
		if err := <-first; err != nil {
			t.Errorf("the part on its way: %v, want its answer", err)
		}
		if _, _, err := b.add(t.Context(), ask(1, 3), 10); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a part after closing: %v", err)
		}
		time.Sleep(time.Second)
	})
}

func TestTooMuchWaitingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{delay: time.Second}
		b := newBatcher(t.Context(), log.commit)
		for range maxBatches + 1 {
			go b.add(t.Context(), ask(1, 1), maxWaitingBytes)
			time.Sleep(batchWindow)
			synctest.Wait()
		}
		if _, _, err := b.add(t.Context(), ask(1, 1), 1); !errors.Is(err, errOverloaded) {
			t.Errorf("a part beyond the bound: %v, want it refused", err)
		}
		time.Sleep(time.Minute)
	})
}

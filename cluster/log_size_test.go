package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// Entries are few and large: raft alone would keep all of them.
func TestTheLogIsTrimmedByBytes(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		for _, p := range r.peers {
			p.config.Tuning.SnapshotBytes = 64 << 10
		}
		r.startAll()
		for i := range 400 {
			var items []fsm.EntityType
			for j := range 10 {
				items = append(items, fsm.EntityType{ID: fmt.Sprintf("t%d-%d", i%20, j), Name: strings.Repeat("x", 100)})
			}
			if _, err := r.leader().node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutEntityTypes{Items: items}); err != nil {
				t.Fatal(err)
			}
		}
		r.settle(3)
		for _, p := range r.peers {
			r.eventually(5*time.Second, p.name+"'s log is trimmed", func() bool {
				first, _ := p.stores.FirstIndex()
				last, _ := p.stores.LastIndex()
				return first > 20 && last-first < 400
			})
		}
		r.sameState()
	})
}

func TestTrailingEntriesAreFewerWhereTheyAreLarge(t *testing.T) {
	for _, tc := range []struct {
		entries, bytes int64
		want           uint64
	}{
		{1000, 50_000, 5_368_709},      // small ones: as many as raft would keep, if it is that many
		{1000, 80_000_000, 3355},       // a bulk load
		{10, 160_000_000, minTrailing}, // the largest
		{0, 0, minTrailing},            // none
	} {
		if got := trailing(tc.entries, tc.bytes, 256<<20, 1<<30); got != min(tc.want, 1<<30) {
			t.Errorf("%d entries of %d bytes: %d may stay, want %d", tc.entries, tc.bytes, got, tc.want)
		}
	}
	if got := trailing(1000, 50_000, 256<<20, 32_768); got != 32_768 {
		t.Errorf("%d entries may stay, want the most that raft is told to keep", got)
	}
}

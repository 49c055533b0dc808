package fsm

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkApplyReconcile applies entries as a busy leader makes them: three
// parts, each with some events that charge four levels. One op is one event.
func BenchmarkApplyReconcile(b *testing.B) {
	for _, perEntry := range []int{3, 30, 300} {
		b.Run(fmt.Sprintf("%d events an entry", perEntry), func(b *testing.B) {
			r := newRig(b)
			if err := r.m.Close(); err != nil {
				b.Fatal(err)
			}
			m, err := Open(b.TempDir(), Options{FS: vfs.Default, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Apply(r.log); err != nil {
				b.Fatal(err)
			}
			r.m, r.fs = m, vfs.Default
			var keys []BudgetKey
			for _, every := range []Every{EveryHour, EveryDay, EveryMonth, EveryYear} {
				keys = append(keys, r.period(r.assign(MaxAmount/2, per(every))))
			}
			var entries []Entry
			for n := 0; n < b.N; n += perEntry {
				entries = append(entries, r.entry("", busy(r, keys, n, perEntry)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for len(entries) > 0 {
				n := min(16, len(entries))
				if _, err := m.Apply(entries[:n]); err != nil {
					b.Fatal(err)
				}
				entries = entries[n:]
			}
		})
	}
}

// busy is a reconcile of n events from three nodes, numbered from first.
func busy(r *rig, keys []BudgetKey, first, n int) Reconcile {
	c := Reconcile{Parts: make([]Part, 3)}
	for i := range n {
		p := &c.Parts[i%3]
		p.Node, p.Boot = NodeNum(i%3+1), 1
		e := r.event(fmt.Sprint("evt-", first+i), BudgetKey{}, 1, 1, p.Node)
		e.Lines = nil
		for _, k := range keys {
			e.Lines = append(e.Lines, Line{Budget: k, Amount: 1, Drawn: 1, On: p.Node})
		}
		p.Events = append(p.Events, e)
		p.Asks = []Ask{{Budget: keys[i%len(keys)], Want: 1000}}
	}
	return c
}

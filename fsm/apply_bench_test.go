package fsm

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// benchBudgets are budgets of one entity that an event of a benchmark charges.
var benchBudgets = []Every{EveryHour, EveryDay, EveryWeek, EveryMonth, EveryQuarter, EveryYear, EveryNever, EveryMinute}

// benchRig is a rig whose machine is on a real disk.
func benchRig(b *testing.B) *rig {
	dir := b.TempDir() // removed after newRig's cleanup has closed the machine
	r := newRig(b)
	if err := r.m.Close(); err != nil {
		b.Fatal(err)
	}
	m, err := Open(dir, Options{FS: vfs.Default, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := m.Apply(r.log); err != nil {
		b.Fatal(err)
	}
	r.m, r.fs = m, vfs.Default
	return r
}

// benchKeys gives alice n budgets.
func benchKeys(r *rig, n int) (keys []BudgetKey) {
	for _, every := range benchBudgets[:n] {
		keys = append(keys, r.period(r.assign(MaxAmount/2, per(every))))
	}
	return keys
}

// BenchmarkApply applies entries as a busy leader makes them: three parts, each
// with some events. One op is one event; B/event is its share of the log.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct{ events, budgets int }{{3, 4}, {30, 4}, {300, 4}, {300, 1}, {300, 8}} {
		b.Run(fmt.Sprintf("events=%d/budgets=%d", c.events, c.budgets), func(b *testing.B) {
			r := benchRig(b)
			keys := benchKeys(r, c.budgets)
			var (
				entries []Entry
				logged  int
			)
			for n := 0; n < b.N; n += c.events {
				e := r.entry("", busy(r, keys, n, c.events))
				entries, logged = append(entries, e), logged+len(e.Data)
			}
			events := len(entries) * c.events
			const together = 16 // entries in one batch of raft's
			b.ReportAllocs()
			b.ResetTimer()
			for len(entries) > 0 {
				n := min(together, len(entries))
				if _, err := r.m.Apply(entries[:n]); err != nil {
					b.Fatal(err)
				}
				entries = entries[n:]
			}
			b.ReportMetric(float64(logged)/float64(events), "B/event")
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
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

// BenchmarkApplyTree applies what a busy cluster of three nodes does: entries of 300 events, two in a batch of raft's, each
// of one of a thousand callers and charging two budgets in each of five levels. One op is one event.
func BenchmarkApplyTree(b *testing.B) {
	r := benchRig(b)
	chains, lines := benchTree(r)
	const perEntry, together = 300, 2
	at := rand.New(rand.NewPCG(1, 2))
	var entries []Entry
	for n := 0; n < b.N; n += perEntry {
		c := Reconcile{Parts: make([]Part, 3)}
		for i := range perEntry {
			p := &c.Parts[i%3]
			p.Node, p.Boot = NodeNum(i%3+1), 1
			who := at.IntN(len(chains))
			e := Event{
				Account: "acme", ID: fmt.Sprintf("%016x-%d", at.Uint64(), n+i), Entities: chains[who][:1], Chain: chains[who],
				Usage: []Quantity{{CapRequests, 1}, {CapTokens, 900}}, Model: "gpt-4o", At: r.now, ReceivedAt: r.now, Node: p.Node,
			}
			copy(e.Hash[:], e.ID)
			for j, k := range lines[who] {
				amount := e.Usage[j%2].Amount
				e.Lines = append(e.Lines, Line{Budget: k, Amount: amount, Drawn: amount, On: p.Node})
			}
			p.Events = append(p.Events, e)
		}
		entries = append(entries, r.entry("", c))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < len(entries); i += together {
		if _, err := r.m.Apply(entries[i:min(i+together, len(entries))]); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.m.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(entries)*perEntry)/b.Elapsed().Seconds(), "events/s")
}

// benchTree gives acme a thousand callers below three levels of groups of ten, each of them and the account with a
// budget of requests and one of tokens. It returns what an event of each caller names and charges.
func benchTree(r *rig) (chains [][]string, lines [][]BudgetKey) {
	parent := map[string]string{}
	all := []string{"acme"}
	above := all
	for level, size := range []int{1, 10, 100, 1000} {
		var these []string
		var items []Entity
		for i := range size {
			id := fmt.Sprintf("level-%d-%d", level, i)
			parent[id] = above[i*len(above)/size]
			these, items = append(these, id), append(items, Entity{ID: id, Type: "user", Parent: parent[id]})
		}
		r.must(PutEntities{Account: "acme", Items: items})
		above, all = these, append(all, these...)
	}
	keys := map[string][]BudgetKey{}
	for _, id := range all {
		for _, c := range []string{CapRequests, CapTokens} {
			a := r.assign(MaxAmount/2, func(a *Assignment) { a.Entity, a.Capability, a.Cadence.Every = id, c, EveryNever })
			keys[id] = append(keys[id], r.period(a))
		}
	}
	for _, id := range above {
		chain := []string{id}
		for ; id != "acme"; id = parent[id] {
			chain = append(chain, parent[id])
		}
		var line []BudgetKey
		for _, id := range chain {
			line = append(line, keys[id]...)
		}
		chains, lines = append(chains, chain), append(lines, line)
	}
	return chains, lines
}

// benchState is a state with this many entities, each with a budget, and a ledger line for every tenth.
func benchState(b *testing.B, entities int) *rig {
	r := benchRig(b)
	const bulk = 1000
	for from := 0; from < entities; from += bulk {
		n := min(bulk, entities-from)
		people, limits := make([]Entity, n), make([]AssignmentPut, n)
		for i := range n {
			id := fmt.Sprint("user-", from+i)
			people[i] = Entity{ID: id, Type: "user"}
			limits[i] = AssignmentPut{Assignment: Assignment{
				ID: "asg_" + id, Entity: id, Capability: CapRequests, Cadence: Cadence{Every: EveryMonth, Timezone: "UTC"},
				Limit: 1000, Enforcement: Hard, Mode: Cap,
			}}
		}
		r.must(PutEntities{Account: "acme", Items: people})
		r.must(PutAssignments{Account: "acme", Items: limits})
	}
	keys := benchKeys(r, 1)
	const perEntry = 300
	for n := 0; n < entities/10; n += perEntry {
		r.must(busy(r, keys, n, perEntry))
	}
	return r
}

// BenchmarkSnapshot writes the whole state, reads it into a new node, and opens
// a node on it. One op is one of these.
func BenchmarkSnapshot(b *testing.B) {
	for _, entities := range []int{1_000, 10_000} {
		r := benchState(b, entities)
		var image bytes.Buffer
		if _, err := r.m.WriteSnapshot(&image); err != nil {
			b.Fatal(err)
		}
		perEntity := float64(image.Len()) / float64(entities)
		b.Run(fmt.Sprintf("op=write/entities=%d", entities), func(b *testing.B) {
			b.SetBytes(int64(image.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.m.WriteSnapshot(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(perEntity, "B/entity")
		})
		dir := b.TempDir()
		m, err := Open(dir, Options{FS: vfs.Default, Logger: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("op=install/entities=%d", entities), func(b *testing.B) {
			b.SetBytes(int64(image.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := m.InstallSnapshot(bytes.NewReader(image.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("op=open/entities=%d", entities), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
				if m, err = Open(dir, Options{FS: vfs.Default, Logger: quiet()}); err != nil {
					b.Fatal(err)
				}
			}
		})
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

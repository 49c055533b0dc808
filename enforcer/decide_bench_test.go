package enforcer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/fsm"
)

// Sizes of the trees of the benchmarks. The large one takes minutes to build and
// some gigabytes: it is for BURSAR_LONG=1.
const (
	benchSmall = 10_000
	benchLarge = 1_000_000
)

// bothCaps are the capabilities of most benchmarks.
var bothCaps = []string{fsm.CapRequests, fsm.CapTokens}

// grove is one node with an account of its own that has as many chains as it has callers.
type grove struct {
	*soloNode
	callers []string
}

const groveAccount = "grove"

// newGrove makes callers below groups of ten in a tree of this many levels, the
// root included, with a large hard budget of each capability at every level.
func newGrove(b testing.TB, callers, levels int, capabilities ...string) *grove {
	g := &grove{soloNode: newSoloNode(b)}
	g.commit(fsm.PutAccount{ID: groveAccount})
	above := []string{groveAccount}
	g.limit(above, capabilities)
	for level := 2; level <= levels; level++ {
		size := callers
		for range levels - level {
			size = (size + 9) / 10
		}
		ids := make([]string, size)
		items := make([]fsm.Entity, size)
		for i := range ids {
			ids[i] = fmt.Sprintf("l%d-%d", level, i)
			items[i] = fsm.Entity{ID: ids[i], Type: "user", Parent: above[min(i/10, len(above)-1)]}
		}
		inThousands(items, func(part []fsm.Entity) { g.commit(fsm.PutEntities{Account: groveAccount, Items: part}) })
		g.limit(ids, capabilities)
		above = ids
	}
	g.callers = above
	return g
}

// limit gives every entity its budgets.
func (g *grove) limit(entities, capabilities []string) {
	var items []fsm.AssignmentPut
	for _, id := range entities {
		for _, c := range capabilities {
			items = append(items, budgetOf(id, c, fsm.EveryMonth))
		}
	}
	inThousands(items, func(part []fsm.AssignmentPut) { g.commit(fsm.PutAssignments{Account: groveAccount, Items: part}) })
}

func budgetOf(entity, capability string, every fsm.Every) fsm.AssignmentPut {
	return fsm.AssignmentPut{Assignment: fsm.Assignment{
		ID: "asg_" + entity + capability + string(every), Account: groveAccount, Entity: entity, Capability: capability, Limit: 1 << 50,
		Cadence: fsm.Cadence{Every: every, Timezone: "UTC"}, Enforcement: fsm.Hard, Mode: fsm.Cap,
	}}
}

func inThousands[T any](items []T, do func([]T)) {
	for len(items) > 0 {
		n := min(1000, len(items))
		do(items[:n])
		items = items[n:]
	}
}

// call makes a call of these entities that uses requests and tokens.
func (g *grove) call(ttl int64, entities ...string) *Call {
	c := callFor(entities, ttl, reqs(1), toks(100))
	c.Account = []byte(groveAccount)
	return c
}

// warm lets every caller reserve once, so that the node has leases of all budgets.
func (g *grove) warm(b testing.TB) {
	const workers = 64
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range workers {
		wg.Go(func() {
			var d Decision
			for i := next.Add(1) - 1; i < int64(len(g.callers)); i = next.Add(1) - 1 {
				d.Reset()
				if err := g.e.Check(context.Background(), g.call(60_000, g.callers[i]), &d); err != nil || !d.Allowed {
					b.Errorf("caller %d: %+v, %v", i, d, err)
					return
				}
			}
		})
	}
	wg.Wait()
	g.e.expire(g.e.now() + 120_000)
	g.settle(b)
}

// settle waits until nothing is left to do in the background, which would be measured.
func (g *grove) settle(b testing.TB) {
	const patience = 2 * time.Minute
	busy := func() bool {
		j, a := &g.e.journal.sealed, g.e.agent
		j.mu.Lock()
		defer j.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		return j.due() || len(a.live)+len(a.urgent) > 0
	}
	for until := time.Now().Add(patience); busy(); time.Sleep(tick) {
		if time.Now().After(until) {
			b.Fatal("the node does not come to rest")
		}
	}
	runtime.GC()
}

// benchOp is what a benchmark does for one op.
type benchOp struct {
	name string
	ttl  int64
}

var benchOps = []benchOp{{"check", 0}, {"reserve", 60_000}}

// run decides calls one after the other. Reservations are ended every 10,000,
// outside the clock: their number is not what is measured.
func (g *grove) run(b *testing.B, ttl int64, call func(i int) *Call) {
	const endEvery = 10_000
	var d Decision
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		d.Reset()
		if err := g.e.Check(context.Background(), call(i), &d); err != nil || !d.Allowed {
			b.Fatalf("%+v, %v", d, err)
		}
		if ttl > 0 && i%endEvery == endEvery-1 {
			b.StopTimer()
			g.e.expire(g.e.now() + 120_000)
			b.StartTimer()
		}
	}
}

// BenchmarkDecide is one caller's call: a check or a reservation, by the depth of
// its chain and by how many capabilities each level limits.
func BenchmarkDecide(b *testing.B) {
	for _, levels := range []int{1, 5, 32} {
		for _, capabilities := range [][]string{bothCaps[:1], bothCaps} {
			g := newGrove(b, 1, levels, capabilities...)
			for _, op := range benchOps {
				b.Run(fmt.Sprintf("op=%s/depth=%d/capabilities=%d", op.name, levels, len(capabilities)), func(b *testing.B) {
					c := g.call(op.ttl, g.callers[0])
					g.run(b, op.ttl, func(int) *Call { return c })
				})
			}
			g.stop()
		}
	}
}

// BenchmarkDecideMatching is a call that matches 1 to 8 budgets of one entity.
func BenchmarkDecideMatching(b *testing.B) {
	cadences := []fsm.Every{fsm.EveryNever, fsm.EveryYear, fsm.EveryQuarter, fsm.EveryMonth, fsm.EveryWeek, fsm.EveryDay, fsm.EveryHour, fsm.EveryMinute}
	g := newGrove(b, 1, 2)
	defer g.stop()
	for n, every := range cadences {
		g.commit(fsm.PutAssignments{Account: groveAccount, Items: []fsm.AssignmentPut{budgetOf(g.callers[0], fsm.CapRequests, every)}})
		if budgets := n + 1; budgets&n == 0 { // 1, 2, 4, 8
			for _, op := range benchOps {
				b.Run(fmt.Sprintf("op=%s/budgets=%d", op.name, budgets), func(b *testing.B) {
					c := g.call(op.ttl, g.callers[0])
					g.run(b, op.ttl, func(int) *Call { return c })
				})
			}
		}
	}
}

// BenchmarkDecideEntities is a call that names several entities of a five-level tree.
func BenchmarkDecideEntities(b *testing.B) {
	g := newGrove(b, 1000, 5, bothCaps...)
	defer g.stop()
	for _, n := range []int{1, 2, 4, 8} {
		var named []string
		for i := range n {
			named = append(named, g.callers[i*len(g.callers)/n])
		}
		for _, op := range benchOps {
			b.Run(fmt.Sprintf("op=%s/named=%d", op.name, n), func(b *testing.B) {
				c := g.call(op.ttl, named...)
				g.run(b, op.ttl, func(int) *Call { return c })
			})
		}
	}
}

// BenchmarkDecideRandom is a call of a random caller of many, five levels deep.
func BenchmarkDecideRandom(b *testing.B) {
	for _, callers := range []int{benchSmall, benchLarge} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			if callers == benchLarge && os.Getenv("BURSAR_LONG") == "" {
				b.Skip("BURSAR_LONG=1 runs it")
			}
			g := newGrove(b, callers, 5, bothCaps...)
			defer g.stop()
			g.warm(b)
			names := g.namesAtRandom()
			for _, op := range benchOps {
				b.Run("op="+op.name, func(b *testing.B) {
					c := g.call(op.ttl, g.callers[0])
					g.run(b, op.ttl, func(i int) *Call {
						c.Entities[0] = names[i%len(names)]
						return c
					})
				})
			}
		})
	}
}

// namesAtRandom returns names of callers one after the other in memory, as a request that has just been read is in
// the processor's cache: what is measured is not where the benchmark keeps its own names.
func (g *grove) namesAtRandom() [][]byte {
	const n = 1 << 19
	rng := rand.New(rand.NewPCG(1, 1))
	names, ends := make([][]byte, n), make([]int, n)
	var all []byte
	for i := range n {
		all = append(all, g.callers[rng.IntN(len(g.callers))]...)
		ends[i] = len(all)
	}
	for i, from := 0, 0; i < n; i++ {
		names[i] = all[from:ends[i]]
		from = ends[i]
	}
	return names
}

// BenchmarkDecideParallel is all processors at once, on one chain and on as many as there are callers.
func BenchmarkDecideParallel(b *testing.B) {
	g := newGrove(b, 1000, 5, bothCaps...)
	defer g.stop()
	g.warm(b)
	for _, callers := range []int{1, len(g.callers)} {
		for _, op := range benchOps {
			b.Run(fmt.Sprintf("op=%s/callers=%d", op.name, callers), func(b *testing.B) {
				var seed atomic.Uint64
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					rng := rand.New(rand.NewPCG(1, seed.Add(1)))
					c := g.call(op.ttl, g.callers[0])
					var d Decision
					for pb.Next() {
						c.Entities[0] = append(c.Entities[0][:0], g.callers[rng.IntN(callers)]...)
						d.Reset()
						if err := g.e.Check(context.Background(), c, &d); err != nil || !d.Allowed {
							b.Errorf("%+v, %v", d, err)
							return
						}
					}
				})
				b.StopTimer()
				g.e.expire(g.e.now() + 120_000)
			})
		}
	}
}

// BenchmarkReserveSettle is a reservation and the event that settles it, in
// batches of 100, acknowledged when they are applied. One op is one of them.
func BenchmarkReserveSettle(b *testing.B) {
	const batch = 100
	g := newGrove(b, 1000, 5, bothCaps...)
	defer g.stop()
	g.warm(b)
	rng := rand.New(rand.NewPCG(1, 1))
	var d Decision
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		items := make([]ingestItem, min(batch, b.N-done))
		for i := range items {
			caller := g.callers[rng.IntN(len(g.callers))]
			d.Reset()
			if err := g.e.Check(context.Background(), g.call(60_000, caller), &d); err != nil || !d.Allowed {
				b.Fatalf("%+v, %v", d, err)
			}
			items[i].ev = settling(fmt.Sprint("e", done+i), caller, string(d.Reservation[:d.ReservationN]))
		}
		if err := g.e.ingest(context.Background(), items, true); err != nil {
			b.Fatal(err)
		}
		for _, item := range items {
			if item.code != "" {
				b.Fatalf("%s: %s", item.code, item.detail)
			}
		}
	}
}

// settling is the event of a call that used half of what it had reserved.
func settling(id, caller, reservation string) *fsm.Event {
	now := time.Now().UnixMilli()
	return &fsm.Event{
		Account: groveAccount, ID: id, Entities: []string{caller}, Reservation: reservation, Hash: sha256.Sum256([]byte(id)),
		Usage: []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 1}, {Capability: fsm.CapTokens, Amount: 50}}, At: now, ReceivedAt: now,
	}
}

// BenchmarkHTTP is the data plane's handler, without the connection: reading the
// request, deciding, writing the answer.
func BenchmarkHTTP(b *testing.B) {
	g := newGrove(b, 1, 5, bothCaps...)
	defer g.stop()
	for _, op := range benchOps {
		b.Run("op="+op.name, func(b *testing.B) {
			var ctx fasthttp.RequestCtx
			g.request(&ctx, op.ttl)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				g.server.Handler(&ctx)
			}
			if ctx.Response.StatusCode() != 200 {
				b.Fatal(ctx.Response.String())
			}
			g.e.expire(g.e.now() + 120_000)
		})
	}
}

// request fills in a check of the first caller.
func (g *grove) request(ctx *fasthttp.RequestCtx, ttl int64) {
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("/v1/check")
	ctx.Request.Header.Set("Authorization", "Bearer "+tokenAll)
	hold := ""
	if ttl > 0 {
		hold = fmt.Sprintf(`,"reserve_ttl_ms":%d`, ttl)
	}
	ctx.Request.SetBodyString(fmt.Sprintf(`{"account":%q,"entities":[%q],"usage":{"requests":1,"tokens":100}%s}`, groveAccount, g.callers[0], hold))
}

// TestHotPathsAllocateNothing covers the decision by depth, by matching budgets
// and by entities named, and the handler of check and check+reserve.
func TestHotPathsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	deep, wide := newGrove(t, 1, 32, bothCaps...), newGrove(t, 100, 3, bothCaps...)
	for _, c := range []struct {
		name  string
		grove *grove
		named []string
	}{
		{"32 levels", deep, deep.callers[:1]},
		{"one of many", wide, wide.callers[:1]},
		{"eight entities", wide, []string{"l3-0", "l3-11", "l3-22", "l3-33", "l3-44", "l3-55", "l3-66", "l3-77"}},
	} {
		for _, op := range benchOps {
			call := c.grove.call(op.ttl, c.named...)
			var d Decision
			pin(t, c.name+", "+op.name, c.grove, func() {
				d.Reset()
				if err := c.grove.e.Check(context.Background(), call, &d); err != nil || !d.Allowed {
					t.Fatalf("%+v, %v", d, err)
				}
			})
		}
	}
	for _, op := range benchOps {
		var ctx fasthttp.RequestCtx
		wide.request(&ctx, op.ttl)
		pin(t, "HTTP, "+op.name, wide, func() {
			ctx.Response.Reset()
			wide.server.Handler(&ctx)
			if ctx.Response.StatusCode() != 200 {
				t.Fatal(ctx.Response.String())
			}
		})
	}
}

// pin fails the test if run allocates once what it reuses has been made.
func pin(t *testing.T, name string, g *grove, run func()) {
	t.Helper()
	const first, runs = 2_000, 500
	for range first {
		run()
	}
	g.e.expire(g.e.now() + 120_000)
	if n := testing.AllocsPerRun(runs, run); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
	g.e.expire(g.e.now() + 120_000)
}

package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// driver draws commands and gives each to a machine and to the model.
type driver struct {
	*rig
	model   *model
	rt      *rapid.T
	events  int
	early   map[BudgetKey]map[NodeNum]int64 // births as first seen, at most the staleness bound ahead
	drained map[NodeNum]bool                // ever: such a node has given births up

	cadences  map[uint64]Cadence   // of every assignment there ever was
	was       map[BudgetKey]Budget // the Machine's, before the command under way
	forfeited map[BudgetKey]int64  // charged without a line
	archived  bool                 // alice is
}

func newDriver(t testing.TB, rt *rapid.T) *driver {
	d := &driver{rig: newRig(t), rt: rt, early: map[BudgetKey]map[NodeNum]int64{}, drained: map[NodeNum]bool{},
		cadences: map[uint64]Cadence{}, forfeited: map[BudgetKey]int64{}}
	d.t = rapidTB{t, rt}
	d.version = rapid.SampledFrom([]uint8{LogVersion, LogVersion, 2, FirstLogVersion}).Draw(rt, "version of the log")
	d.now += 5 * hourMS // so that there are periods older than the assignments and younger than the nodes
	d.model = newModel(d.now)
	if d.version < slackFrom {
		d.model.slack = 0
	}
	for i := range 3 {
		d.model.nodes[NodeNum(i+1)] = &modelNode{name: fmt.Sprintf("n%d", i+1), admitted: testStart, boot: 1}
	}
	for i, every := range []Every{EveryMonth, EveryHour, EveryMinute, EveryNever} {
		limit := rapid.SampledFrom([]int64{0, 10, 128, 1000, 100_000}).Draw(rt, "limit")
		a := d.assign(limit, per(every))
		d.cadences[uint64(i+1)] = a.Cadence
		d.model.create(uint64(i+1), a.Cadence, limit)
	}
	d.must(PutEntities{Account: "acme", Items: []Entity{{ID: "home", Type: "user"}, {ID: "away", Type: "user"}}})
	d.was = d.budgets()
	return d
}

// rapidTB reports failures to rapid, so that it shrinks them.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (t rapidTB) Helper()                           {}
func (t rapidTB) Fatal(args ...any)                 { t.rt.Fatal(args...) }
func (t rapidTB) Fatalf(format string, args ...any) { t.rt.Fatalf(format, args...) }

func (d *driver) node() NodeNum {
	return NodeNum(rapid.IntRange(1, len(d.model.nodes)).Draw(d.rt, "node"))
}

// session draws a session of n: mostly the present one.
func (d *driver) session(n NodeNum) uint64 {
	return uint64(max(0, int(d.model.nodes[n].boot)-rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1}).Draw(d.rt, "stale")))
}

// key draws a budget: of the present period, the next, or one before. Its assignment
// may have been deleted.
func (d *driver) key() BudgetKey {
	num := uint64(rapid.IntRange(1, len(d.cadences)).Draw(d.rt, "assignment"))
	at := d.now
	start, end := d.cadences[num].Period(at)
	switch rapid.SampledFrom([]string{"now", "now", "now", "now", "next", "before"}).Draw(d.rt, "period") {
	case "next":
		if end-at < MaxFuture.Milliseconds() {
			start = end
		}
	case "before":
		if start > 0 {
			start, _ = d.cadences[num].Period(start - 1)
		}
	}
	return BudgetKey{num, start}
}

func (d *driver) amount() int64 { return rapid.Int64Range(0, 40).Draw(d.rt, "amount") }

// gen draws a generation of a budget: mostly the present one.
func (d *driver) gen(k BudgetKey) uint32 {
	stale := rapid.SampledFrom([]uint32{0, 0, 0, 1}).Draw(d.rt, "stale generation")
	if d.model.assignments[k.Assignment] == nil {
		return stale
	}
	gen := d.model.look(k).gen
	return gen - min(gen, stale)
}

func (d *driver) leader() NodeNum { return d.model.leader(1) }

func (d *driver) drawReconcile() {
	var c Reconcile
	var want [][]Grant
	for range rapid.IntRange(1, 3).Draw(d.rt, "parts") {
		n := d.node()
		p := Part{Node: n, Boot: d.session(n)}
		d.drawEvents(&p)
		d.drawReleases(&p)
		var grants []Grant
		for range rapid.IntRange(0, 2).Draw(d.rt, "asks") {
			need := d.amount()
			a := Ask{Budget: d.key(), NeedMin: min(need, d.amount()), NeedSum: need, Want: 4 * d.amount()}
			p.Asks = append(p.Asks, a)
			grants = append(grants, d.model.ask(n, p.Boot, a, d.leader()))
		}
		for range rapid.IntRange(0, 1).Draw(d.rt, "exits") {
			k := d.key()
			x := Exit{Budget: k, Gen: d.gen(k)}
			p.Exits = append(p.Exits, x)
			d.model.exit(n, p.Boot, x)
		}
		c.Parts = append(c.Parts, p)
		want = append(want, grants)
	}
	if diff := cmp.Diff(want, d.must(c).Grants); diff != "" {
		d.t.Fatalf("grants (-model +machine):\n%s", diff)
	}
}

func (d *driver) drawEvents(p *Part) {
	for range rapid.IntRange(0, 3).Draw(d.rt, "events") {
		if d.events == 0 || rapid.IntRange(0, 4).Draw(d.rt, "repeat") > 0 {
			d.events++
		}
		amount := d.amount()
		e := d.event(fmt.Sprintf("e%d", d.events), d.key(), amount, min(amount, d.amount()), d.node())
		if rapid.Bool().Draw(d.rt, "reserved") {
			e.Reservation = "rsv_" + e.ID
		}
		p.Events = append(p.Events, e)
		d.model.settle(e.ID, e.Lines[0], d.leader())
	}
}

func (d *driver) drawReleases(p *Part) {
	for range rapid.IntRange(0, 2).Draw(d.rt, "releases") {
		k := d.key()
		r := Release{
			Seq: rapid.Uint64Range(1, 40).Draw(d.rt, "seq"), Budget: k, Amount: d.amount(),
			Final: rapid.Bool().Draw(d.rt, "final"), Gen: d.gen(k),
		}
		p.Releases = append(p.Releases, r)
		d.model.release(p.Node, p.Boot, r)
	}
}

func (d *driver) drawNodeCommand() {
	n := d.node()
	node := d.model.nodes[n]
	kind := rapid.SampledFrom([]string{"dead", "recover", "boot", "drain", "remove", "admit", "forfeit"}).Draw(d.rt, "command")
	if node.removed != 0 && kind != "admit" && kind != "forfeit" {
		d.refused(CodeNotFound, DeadNode{Node: n})
		return
	}
	switch kind {
	case "dead":
		d.must(DeadNode{Node: n})
		if !node.dead {
			d.model.dead(n, 1)
		}
	case "recover":
		boot := d.session(n)
		if boot != node.boot {
			d.refused(CodeConflict, RecoverNode{Node: n, Boot: boot})
			return
		}
		d.must(RecoverNode{Node: n, Boot: boot})
		d.model.recover(n, boot)
	case "boot":
		boot := node.boot + rapid.Uint64Range(0, 2).Draw(d.rt, "boot")
		d.must(BootNode{Node: n, Boot: boot})
		d.model.boot(n, boot)
	case "drain":
		d.drawDrain(n)
	case "remove":
		if len(d.model.nodes) < 8 {
			d.must(RemoveNode{Name: node.name})
			d.model.remove(n, 1)
		}
	case "admit":
		if len(d.model.nodes) < 8 {
			d.drawAdmit()
		}
	case "forfeit":
		c := Forfeit{Name: node.name, Charge: rapid.Bool().Draw(d.rt, "charge")}
		if o := d.apply(c)[0]; o.Err == nil {
			d.model.forfeit(c.Name, c.Charge)
			for k, did := range d.model.did {
				d.forfeited[k] += did.charged
			}
		} else if node.dead || node.removed != 0 {
			d.t.Fatalf("forfeit of a lost node was refused: %v", o.Err)
		}
	}
}

func (d *driver) drawDrain(n NodeNum) {
	boot := d.model.nodes[n].boot
	keep := map[BudgetKey]int64{}
	c := DrainNode{Node: n, Boot: boot}
	for range rapid.IntRange(0, 2).Draw(d.rt, "keeps") {
		k, a := d.key(), d.amount()
		c.Keep = append(c.Keep, Keep{k, a})
		keep[k] += a
	}
	d.must(c)
	d.model.drain(n, boot, keep, 1)
	d.drained[n] = true
}

func (d *driver) drawAdmit() {
	num := NodeNum(len(d.model.nodes) + 1)
	name := fmt.Sprintf("n%d", num)
	d.must(AdmitNode{Name: name, Addr: "x"})
	d.model.nodes[num] = &modelNode{name: name, admitted: d.now}
}

func (d *driver) drawTerms() {
	nums := slices.Sorted(maps.Keys(d.model.assignments))
	num := rapid.SampledFrom(nums).Draw(d.rt, "assignment")
	limit := rapid.SampledFrom([]int64{0, 10, 50, 500, 5000, 100_000}).Draw(d.rt, "limit")
	a := *d.assignment(num)
	switch rapid.SampledFrom([]string{"limit", "limit", "limit", "enforcement", "replace"}).Draw(d.rt, "terms") {
	case "limit":
		a.Limit = limit
	case "enforcement":
		a.Enforcement = map[Enforcement]Enforcement{Hard: Soft, Soft: Hard}[a.Enforcement]
	case "replace":
		d.replace(a, limit)
		return
	}
	d.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: a}}})
	hard := a.Enforcement == Hard
	if !hard && d.model.assignments[num].hard { // what nodes had of it is nobody's
		d.forgetLeases(num)
	}
	d.model.setTerms(num, a.Limit, hard, d.leader())
}

// replace deletes an assignment and makes another in its place.
func (d *driver) replace(a Assignment, limit int64) {
	if d.archived || len(d.cadences) == 12 {
		return
	}
	d.must(DeleteAssignment{Account: "acme", ID: a.ID})
	d.model.removeAssignment(a.Num)
	num := uint64(len(d.cadences) + 1)
	d.cadences[num] = a.Cadence
	d.assign(limit, per(a.Cadence.Every))
	d.model.create(num, a.Cadence, limit)
}

// forgetLeases allows every lease of an assignment, those of births included, to end.
func (d *driver) forgetLeases(num uint64) {
	for k, b := range d.was {
		if k.Assignment == num {
			for _, l := range b.Leases {
				d.model.deed(k).gone[l.Node] += l.Amount
			}
			delete(d.early, k)
		}
	}
}

// drawTree moves and archives the entity that everything is charged to: no budget may change.
func (d *driver) drawTree() {
	if rapid.Bool().Draw(d.rt, "archive") {
		d.archived = !d.archived
		d.must(ArchiveEntity{Account: "acme", ID: "alice", Archived: d.archived})
		return
	}
	d.must(MoveEntity{Account: "acme", ID: "alice", Parent: rapid.SampledFrom([]string{"", "home", "away"}).Draw(d.rt, "parent")})
}

func (d *driver) assignment(num uint64) (a *Assignment) {
	d.m.View(func(v *View) { a = v.AssignmentByNum(num) })
	return a
}

func (d *driver) drawTime() {
	d.now += rapid.SampledFrom([]int64{0, 1, 900, 5_000, 20_000, 55_000, 3_000_000}).Draw(d.rt, "elapse")
	d.model.now = d.now
	d.must(Reconcile{}) // the machine's clock moves with the log
}

// keys returns the budgets that the model knows, and those of the present and the next periods.
func (d *driver) keys() map[BudgetKey]bool {
	keys := map[BudgetKey]bool{}
	for k := range d.model.budgets {
		keys[k] = true
	}
	for num, a := range d.model.assignments {
		start, end := a.cadence.Period(d.now)
		keys[BudgetKey{num, start}] = true
		if end-d.now <= d.model.staleness {
			keys[BudgetKey{num, end}] = true
		}
	}
	return keys
}

// check holds the Machine to the promises and to the model.
func (d *driver) check(*rapid.T) {
	d.checkPromises()
	for k, got := range d.was {
		want := d.model.look(k).budget(k)
		if d.version >= chainedFrom {
			want.Forfeited = d.forfeited[k]
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			d.t.Fatalf("budget %+v (-model +machine):\n%s", k, diff)
		}
		d.checkBirths(k, got)
	}
}

// checkBirths holds an untouched budget to what anyone saw of it before, at most the
// staleness bound ahead of its period: a node may already be giving that out.
func (d *driver) checkBirths(k BudgetKey, b Budget) {
	if d.model.budgets[k] != nil {
		return
	}
	if d.early[k] == nil {
		d.early[k] = map[NodeNum]int64{}
		for _, l := range b.Leases {
			d.early[k][l.Node] = l.Amount
		}
	}
	for n, saw := range d.early[k] {
		if got := b.LeaseOf(n); got < saw && !d.drained[n] {
			d.t.Fatalf("budget %+v: node %d was seen born with %d and now has %d", k, n, saw, got)
		}
	}
}

func (d *driver) run() {
	d.rt.Repeat(map[string]func(*rapid.T){
		"reconcile":  func(*rapid.T) { d.drawReconcile() },
		"reconcile2": func(*rapid.T) { d.drawReconcile() },
		"node":       func(*rapid.T) { d.drawNodeCommand() },
		"terms":      func(*rapid.T) { d.drawTerms() },
		"tree":       func(*rapid.T) { d.drawTree() },
		"time":       func(*rapid.T) { d.drawTime() },
		"":           d.check,
	})
}

func TestMachineFollowsTheLeaseRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDriver(t, rt)
		defer d.m.Close()
		d.run()
		d.checkLedger()
		sound(d.t, d.m)
	})
}

// dump returns every key and value of the store.
func dump(t testing.TB, m *Machine) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := m.scan(nil, nil, false, func(k, v []byte) (bool, error) {
		out[string(k)] = string(v)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReplicasAgreeHoweverEntriesAreBatchedAndWhereverTheyCrash(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDriver(t, rt)
		defer d.m.Close()
		d.run()

		fs := vfs.NewCrashableMem()
		replica := &rig{t: d.t, fs: fs}
		replica.open()
		for rest := d.log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			if _, err := replica.m.Apply(rest[:n]); err != nil {
				rt.Fatal(err)
			}
			rest = rest[n:]
			if rapid.IntRange(0, 3).Draw(rt, "flush") == 0 {
				if err := replica.m.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(rt, "crash") == 0 {
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})
				_ = replica.m.Close()
				replica.fs = fs
				replica.open()
				applied, _ := replica.m.Applied()
				rest = d.log[slices.IndexFunc(append(slices.Clone(d.log), Entry{Index: applied + 1}), func(e Entry) bool { return e.Index > applied }):]
			}
		}
		defer replica.m.Close()
		i1, s1 := d.m.Checksum()
		i2, s2 := replica.m.Checksum()
		if i1 != i2 || s1 != s2 {
			rt.Fatalf("at index %d the sum is %x, at the replica's %d it is %x", i1, s1, i2, s2)
		}
		if diff := cmp.Diff(dump(t, d.m), dump(t, replica.m)); diff != "" {
			rt.Fatalf("stores differ (-first +replica):\n%s", diff)
		}
	})
}

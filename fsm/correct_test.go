package fsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spend records an event of alice, charged to the budgets of the assignments.
func (d *desk) spend(id string, at int64, usage []Quantity, charged ...Assignment) {
	d.t.Helper()
	e := Event{
		Account: "acme", ID: id, Entities: []string{"alice"}, Chain: []string{"alice", "a", "p", "o", "acme"},
		Usage: usage, At: at, ReceivedAt: d.now, Node: 1,
	}
	copy(e.Hash[:], id)
	for _, a := range charged {
		for _, q := range usage {
			if q.Capability == a.Capability {
				start, _ := a.Cadence.Period(at)
				e.Lines = append(e.Lines, Line{Budget: BudgetKey{a.Num, start}, Amount: q.Amount})
			}
		}
	}
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
}

func correct(items ...Correction) Correct { return Correct{Account: "acme", Items: items} }

func (d *desk) lines() (all []LedgerLine) {
	d.t.Helper()
	all, _, err := d.m.ListLedger("acme", LedgerFilter{OldestFirst: true}, 0, MaxPage)
	if err != nil {
		d.t.Fatalf("ledger: %v", err)
	}
	return all
}

func TestACorrectionIsALineOfItsOwnAndBalancesFollow(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(assign("a", CapTokens, 1000))
	a := d.assignment("a")
	d.spend("e1", d.now, []Quantity{{CapRequests, 1}, {CapTokens, 1500}}, a)
	if b := d.budget("a"); b.Used != 1500 || b.Holder == 0 {
		t.Fatalf("%+v", b)
	}
	before := d.lines()
	d.must(correct(Correction{ID: "c1", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 400}}, Reason: "counted twice"}))
	if b := d.budget("a"); b.Used != 400 {
		t.Errorf("after the adjustment %d are used, want 400", b.Used)
	}
	d.must(correct(Correction{ID: "c2", Event: "e1", Kind: KindVoid}))
	if b := d.budget("a"); b.Used != 0 {
		t.Errorf("after voiding %d are used, want 0", b.Used)
	}
	after := d.lines()
	if diff := cmp.Diff(before, after[:len(before)]); diff != "" {
		t.Errorf("the event's line was changed:\n%s", diff)
	}
	var got []string
	for _, l := range after {
		got = append(got, fmt.Sprint(l.Seq, l.Kind, l.Corrects, l.Correction, l.Event.Usage, l.Event.Lines))
	}
	key := BudgetKey{a.Num, before[0].Event.Lines[0].Budget.Start}
	want := []string{
		fmt.Sprint(uint64(1), KindUsage, uint64(0), "", []Quantity{{CapRequests, 1}, {CapTokens, 1500}}, []Line{{Budget: key, Amount: 1500}}),
		fmt.Sprint(uint64(2), KindAdjust, uint64(1), "c1", []Quantity{{CapTokens, -1100}}, []Line{{Budget: key, Amount: -1100}}),
		fmt.Sprint(uint64(3), KindVoid, uint64(1), "c2", []Quantity{{CapRequests, -1}, {CapTokens, -400}}, []Line{{Budget: key, Amount: -400}}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	rows, _, err := d.m.Usage("acme", UsageQuery{Bucket: BucketMonth, To: d.now + 1})
	if err != nil || len(rows) != 1 || rows[0].Events != 0 || !slices.Equal(rows[0].Usage, []Quantity{{CapRequests, 0}, {CapTokens, 0}}) {
		t.Errorf("usage: %+v, %v", rows, err)
	}
	trail := d.trail(AuditFilter{Action: "ledger."})
	if len(trail) != 2 || trail[0].Action != "ledger.void" || string(trail[1].From) != `{"usage":{"requests":1,"tokens":1500}}` || string(trail[1].To) != `{"usage":{"requests":1,"tokens":400}}` {
		t.Errorf("trail: %+v", trail)
	}
}

func TestACorrectionTakesEffectOnce(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(assign("a", CapTokens, 1000))
	d.spend("e1", d.now, []Quantity{{CapTokens, 10}}, d.assignment("a"))
	d.spend("e2", d.now, []Quantity{{CapTokens, 10}}, d.assignment("a"))
	c := correct(Correction{ID: "c1", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 25}}})
	d.must(c)
	d.idle(c)
	d.refuse(CodeConflict, correct(Correction{ID: "c1", Event: "e1", Kind: KindVoid}))
	d.refuse(CodeConflict, correct(Correction{ID: "c1", Event: "e2", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 25}}}))
	// All or none: the second is wrong.
	d.refuse(CodeNotFound, correct(Correction{ID: "c2", Event: "e2", Kind: KindVoid}, Correction{ID: "c3", Event: "e3", Kind: KindVoid}))
	d.must(correct(Correction{ID: "c4", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 25}}})) // what it counts as anyway
	if n := len(d.lines()); n != 3 {
		t.Errorf("%d lines, want two events and one correction", n)
	}
	d.must(correct(Correction{ID: "c5", Event: "e1", Kind: KindVoid}))
	d.refuse(CodeConflict, correct(Correction{ID: "c6", Event: "e1", Kind: KindVoid}))
	if b := d.budget("a"); b.Used != 10 {
		t.Errorf("%d used, want the 10 of e2", b.Used)
	}
}

func TestBadCorrectionsAreRefusedByName(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.spend("e1", d.now, []Quantity{{CapTokens, 10}})
	good := Correction{ID: "c", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 1}}}
	for field, edit := range map[string]func(c *Correction){
		"items[0].id":           func(c *Correction) { c.ID = "" },
		"items[0].kind":         func(c *Correction) { c.Kind = "undo" },
		"items[0].usage":        func(c *Correction) { c.Usage = nil },
		"items[0].usage.tokens": func(c *Correction) { c.Usage = []Quantity{{CapTokens, -1}} },
		"items[0].usage.bogus":  func(c *Correction) { c.Usage = []Quantity{{"bogus", 1}} },
		"items[0].reason":       func(c *Correction) { c.Reason = "a\x00b" },
	} {
		c := good
		edit(&c)
		if err := d.refuse(CodeInvalid, correct(c)); !slices.Equal(fieldsOf(err), []string{field}) {
			t.Errorf("%s: %v", field, err)
		}
	}
	void := Correction{ID: "c", Event: "e1", Kind: KindVoid, Usage: good.Usage}
	if err := d.refuse(CodeInvalid, correct(void)); !slices.Equal(fieldsOf(err), []string{"items[0].usage"}) {
		t.Error(err)
	}
	other := good
	other.ID = "d"
	if err := d.refuse(CodeInvalid, correct(good, other)); !slices.Equal(fieldsOf(err), []string{"items[1].event_id"}) {
		t.Error(err)
	}
	d.refuse(CodeNotFound, Correct{Account: "nobody", Items: []Correction{good}})
}

// usd was not known when the event came. Now it is: the budgets that were there
// then are charged, those made later are not, but one that was backfilled is.
func TestACorrectionReachesTheBudgetsThatCountTheEvent(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(assign("p", CapUSD, 1000))
	d.must(assign("a", CapTokens, 1000))
	d.must(assign("a", CapUSD, 100, scoped("b"), every(EveryDay), soft)) // b is not in the chain
	d.spend("e1", d.now, []Quantity{{CapTokens, 40}}, d.m.assignmentOf(t, "asg_a_tokens"))
	d.must(assign("o", CapUSD, 1000))
	d.must(assign("o", CapTokens, 1000, backfilled))
	d.must(correct(Correction{ID: "c1", Event: "e1", Kind: KindReprice, Usage: []Quantity{{CapUSD, 7}}, Pricing: &Pricing{Version: 3}}))
	d.must(correct(Correction{ID: "c2", Event: "e1", Kind: KindAdjust, Usage: []Quantity{{CapTokens, 30}, {CapUSD, 9}}}))
	for id, want := range map[string]int64{"asg_p_usd": 9, "asg_a_tokens": 30, "asg_a_usd": 0, "asg_o_usd": 0, "asg_o_tokens": 30} {
		a := d.m.assignmentOf(t, id)
		d.m.View(func(v *View) {
			start, _ := a.Cadence.Period(d.now)
			if b := v.Budget(&a, start); b.Used != want {
				t.Errorf("%s: %d used, want %d", id, b.Used, want)
			}
		})
	}
}

func (m *Machine) assignmentOf(t *testing.T, id string) Assignment {
	t.Helper()
	a, err := m.Assignment("acme", id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Whatever is recorded and corrected, in this period and in older ones: a budget has used
// what its lines add up to, and so has the rollup.
func TestBalancesAreTheSumOfTheirLines(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(assign("a", CapTokens, 500))
	d.must(assign("o", CapTokens, 100_000, every(EveryDay), soft))
	budgets := []Assignment{d.assignment("a"), d.assignment("o")}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 300 {
		id := fmt.Sprint("e", random.IntN(i/2+1))
		switch random.IntN(3) {
		case 0:
			d.spend(fmt.Sprint("e", i), d.now-random.Int64N(60*dayMS), []Quantity{{CapTokens, random.Int64N(50)}}, budgets...)
		case 1:
			d.do(correct(Correction{ID: fmt.Sprint("c", i), Event: id, Kind: KindAdjust, Usage: []Quantity{{CapTokens, random.Int64N(90)}}}))
		default:
			if random.IntN(4) == 0 {
				d.do(correct(Correction{ID: fmt.Sprint("c", i), Event: id, Kind: KindVoid}))
			}
		}
	}
	used := map[BudgetKey]int64{}
	var total int64
	kinds := map[string]int{}
	for _, l := range d.lines() {
		kinds[l.Kind]++
		for _, x := range l.Event.Lines {
			used[x.Budget] += x.Amount
		}
		for _, q := range l.Event.Usage {
			total += q.Amount
		}
	}
	if kinds[KindUsage] < 50 || kinds[KindAdjust] < 20 || kinds[KindVoid] < 5 {
		t.Fatalf("the run shows little: %v", kinds)
	}
	d.m.View(func(v *View) {
		for key, want := range used {
			if b := v.Budget(v.AssignmentByNum(key.Assignment), key.Start); b.Used != want {
				t.Errorf("budget %v: %d used, its lines add up to %d", key, b.Used, want)
			}
		}
	})
	var summed int64
	for _, r := range d.everything(UsageQuery{Bucket: BucketDay, To: d.now + 1}) {
		for _, q := range r.Usage {
			summed += q.Amount
		}
	}
	if summed != total {
		t.Errorf("usage sums to %d, the lines to %d", summed, total)
	}
}

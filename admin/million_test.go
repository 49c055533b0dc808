package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// sums are what lines add up to, in numbers without a bound: by group, then by capability; "events" counts.
type sums map[string]map[string]*big.Int

func (s sums) add(group, capability string, n int64) {
	if s[group] == nil {
		s[group] = map[string]*big.Int{}
	}
	if s[group][capability] == nil {
		s[group][capability] = new(big.Int)
	}
	s[group][capability].Add(s[group][capability], big.NewInt(n))
}

// texts writes sums down.
func (s sums) texts() map[string]string {
	out := map[string]string{}
	for group, of := range s {
		var parts []string
		for capability, n := range of {
			parts = append(parts, capability+"="+n.String())
		}
		slices.Sort(parts)
		out[group] = strings.Join(parts, " ")
	}
	return out
}

// TestALongLedgerAddsUpToTheLastNanoDollar adds up a ledger from its export alone, with numbers that have no bound and prices
// read from the price map's text, and compares that with balances, sums, statement and line counts.
// BURSAR_LONG=1: a million lines.
func TestALongLedgerAddsUpToTheLastNanoDollar(t *testing.T) {
	n := 1_500
	if os.Getenv("BURSAR_LONG") != "" {
		n = 1_000_000
	}
	began := time.Now()
	l := newLongLedger(t, n)
	t.Logf("%d lines in %v", n, time.Since(began).Round(time.Second))
	l.correct()
	got := l.recompute()

	months := []string{l.first.Format("2006-01"), l.first.AddDate(0, 1, 0).Format("2006-01")}
	for _, q := range []struct {
		name  string
		f     client.UsageFilter
		group func(u *client.UsageSum) string
	}{
		{"hour", client.UsageFilter{Bucket: "hour"}, func(u *client.UsageSum) string { return u.Bucket.UTC().Format(time.RFC3339) }},
		{"day+model", client.UsageFilter{Bucket: "day", GroupBy: []string{"model"}}, func(u *client.UsageSum) string {
			return u.Bucket.In(l.first.Location()).Format(time.DateOnly) + " " + *u.Group["model"]
		}},
		{"month+entity", client.UsageFilter{Bucket: "month", GroupBy: []string{"entity"}}, func(u *client.UsageSum) string {
			return u.Bucket.In(l.first.Location()).Format("2006-01") + " " + *u.Group["entity"]
		}},
		{"month+type", client.UsageFilter{Bucket: "month", GroupBy: []string{"entity_type"}}, func(u *client.UsageSum) string {
			return u.Bucket.In(l.first.Location()).Format("2006-01") + " " + *u.Group["entity_type"]
		}},
		{"month+member+model", client.UsageFilter{Bucket: "month", GroupBy: []string{"member", "model"}}, func(u *client.UsageSum) string {
			return u.Bucket.In(l.first.Location()).Format("2006-01") + " " + *u.Group["member"] + " " + *u.Group["model"]
		}},
	} {
		said := sums{}
		for u, err := range l.api.Usage(t.Context(), longAccount, q.f) {
			if err != nil {
				t.Fatal(err)
			}
			group := q.group(&u)
			for capability, n := range u.Usage {
				said.add(group, capability, n)
			}
			said.add(group, "events", u.Events)
		}
		if d := cmp.Diff(got.by[q.name].texts(), said.texts()); d != "" {
			t.Errorf("usage by %s: (-lines +usage)\n%.2000s", q.name, d)
		}
	}
	l.verifies(t)
	l.checkBalances(got)
	l.checkStatement(months[0], got, l.must("POST", "/v1/accounts/"+longAccount+"/statements", `{"month":"`+months[0]+`","layout":{"depth":0}}`))
	l.checkStatement(months[1], got, l.must("GET", "/v1/accounts/"+longAccount+"/statements/preview?depth=0&month="+months[1], ""))
	l.exports(t)
	l.size(t)
}

// correct voids and adjusts some events.
func (l *longLedger) correct() {
	l.t.Helper()
	for i := range 20 {
		x := client.Adjustment{EventID: fmt.Sprintf("trace-%07d", i*l.lines/40), Kind: "void"}
		if i%2 == 1 {
			x.Kind, x.Usage = "adjust", map[string]int64{"input_tokens": int64(i), "usd": int64(1000 * i)}
		}
		if _, err := l.api.Adjust(l.t.Context(), longAccount, x); err != nil {
			l.t.Fatal(err)
		}
		l.lines++
	}
}

// recomputed is what the export adds up to.
type recomputed struct {
	by       map[string]sums
	balances sums // by assignment, under "used"
	count    map[string]uint64
}

// recompute reads the whole ledger as NDJSON and adds it up.
func (l *longLedger) recompute() *recomputed {
	l.t.Helper()
	got := &recomputed{by: map[string]sums{}, balances: sums{}, count: map[string]uint64{}}
	for _, name := range []string{"hour", "day+model", "month+entity", "month+type", "month+member+model", "month+model", "month"} {
		got.by[name] = sums{}
	}
	for _, a := range slices.Concat(slices.Collect(maps.Values(l.budgets))...) { // some may have no line
		for _, at := range []time.Time{l.first, l.first.AddDate(0, 1, 0)} {
			start, _ := a.Cadence.Period(at.UnixMilli())
			got.balances.add(fmt.Sprint(a.ID, " ", start), "used", 0)
		}
	}
	seq, input, above := uint64(0), int64(0), 0
	for line, err := range l.api.StreamLedger(l.t.Context(), longAccount, client.LedgerFilter{OldestFirst: true}) {
		if err != nil {
			l.t.Fatal(err)
		}
		if seq++; line.Seq != seq {
			l.t.Fatalf("line %d comes after line %d", line.Seq, seq-1)
		}
		if line.Kind == fsm.KindUsage {
			l.checkPrice(&line)
			input += line.Usage["input_tokens"]
			if line.Usage["input_tokens"] > 200_000 {
				above++
			}
		}
		l.sum(got, &line)
	}
	if seq != uint64(l.lines) || input != l.input || above == 0 {
		l.t.Fatalf("%d lines with %d input tokens, %d above 200k; want %d with %d", seq, input, above, l.lines, l.input)
	}
	return got
}

// sum adds a line to all that it belongs to.
func (l *longLedger) sum(got *recomputed, line *client.LedgerLine) {
	events := map[string]int64{fsm.KindUsage: 1, "void": -1}[line.Kind]
	at := line.At.In(l.first.Location())
	month, model := at.Format("2006-01"), *line.Model
	add := func(name, group string) {
		for capability, n := range line.Usage {
			got.by[name].add(group, capability, n)
		}
		got.by[name].add(group, "events", events)
	}
	got.count[month]++
	add("hour", line.At.UTC().Truncate(time.Hour).Format(time.RFC3339))
	add("day+model", at.Format(time.DateOnly)+" "+model)
	add("month", month)
	add("month+model", month+" "+model)
	for i, kind := range []string{"user", "team", "account"} {
		add("month+entity", month+" "+line.Chain[i])
		add("month+type", month+" "+kind)
	}
	if line.Member != nil {
		add("month+member+model", month+" "+*line.Member+" "+model)
	}
	for _, id := range line.Chain {
		for _, a := range l.budgets[id] {
			if n, ok := line.Usage[a.Capability]; ok {
				start, _ := a.Cadence.Period(line.At.UnixMilli())
				got.balances.add(fmt.Sprint(a.ID, " ", start), "used", n)
			}
		}
	}
}

// checkPrice recomputes a line's usd from the price map's text.
func (l *longLedger) checkPrice(line *client.LedgerLine) {
	used := line.Usage
	cached := used["cached_tokens"]
	input := max(0, used["input_tokens"]-cached)
	suffix := map[string]string{"standard": "", "batch": "_batches", "flex": "_flex", "priority": "_priority"}[line.ServiceTier]
	var above []string
	if total := input + cached; total > 272_000 {
		above = []string{"_above_272k_tokens", "_above_200k_tokens"}
	} else if total > 200_000 {
		above = []string{"_above_200k_tokens"}
	}
	cost, unpriced := new(big.Rat), false
	charge := func(n int64, fields ...string) {
		if n == 0 {
			return
		}
		for _, field := range fields {
			for _, over := range append(slices.Clone(above), "") {
				for _, tier := range []string{suffix, ""} {
					if v, ok := l.raw[*line.Model][field+over+tier].(json.Number); ok {
						p, _ := new(big.Rat).SetString(v.String())
						cost.Add(cost, p.Mul(p, new(big.Rat).SetInt64(n)))
						return
					}
				}
			}
		}
		unpriced = true
	}
	charge(input, "input_cost_per_token")
	charge(cached, "cache_read_input_token_cost", "input_cost_per_token_cache_hit", "input_cost_per_token")
	charge(used["output_tokens"], "output_cost_per_token")
	cost.Mul(cost, new(big.Rat).SetInt64(1_000_000_000))
	nano, rest := new(big.Int).QuoRem(cost.Num(), cost.Denom(), new(big.Int))
	if c := rest.Lsh(rest, 1).Cmp(cost.Denom()); c > 0 || c == 0 && nano.Bit(0) == 1 {
		nano.Add(nano, big.NewInt(1))
	}
	if nano.Cmp(big.NewInt(used["usd"])) != 0 || unpriced != line.Unpriced {
		l.t.Fatalf("line %d: %s %s %v costs %d (unpriced %v), recomputed %s (%v)", line.Seq, *line.Model, line.ServiceTier, used, used["usd"], line.Unpriced, nano, unpriced)
	}
}

// checkBalances compares what budgets have used, as the API has it for those without end, and as the state machine has it for months gone by.
func (l *longLedger) checkBalances(got *recomputed) {
	l.t.Helper()
	said, checked := sums{}, 0
	for b, err := range l.api.Balances(l.t.Context(), longAccount, client.AssignmentFilter{}) {
		if err != nil {
			l.t.Fatal(err)
		}
		if b.Cadence.Every == "never" {
			said.add(b.Assignment+" 0", "used", b.Used)
			checked++
		}
	}
	for _, a := range slices.Concat(slices.Collect(maps.Values(l.budgets))...) {
		if a.Cadence.Every == fsm.EveryNever {
			continue
		}
		for _, at := range []time.Time{l.first, l.first.AddDate(0, 1, 0)} {
			start, _ := a.Cadence.Period(at.UnixMilli())
			l.machine.View(func(v *fsm.View) { said.add(fmt.Sprint(a.ID, " ", start), "used", v.Budget(&a, start).Used) })
			checked++
		}
	}
	if d := cmp.Diff(got.balances.texts(), said.texts()); d != "" || checked != 1+longTeams+longUsers+2*longTeams {
		l.t.Errorf("%d balances: (-lines +balances)\n%.2000s", checked, d)
	}
}

// checkStatement compares a month's statement by model.
func (l *longLedger) checkStatement(month string, got *recomputed, r reply) {
	l.t.Helper()
	var st client.Statement
	if err := json.Unmarshal(r.body, &st); err != nil {
		l.t.Fatal(err)
	}
	said := sums{}
	for _, u := range st.Usage {
		for capability, n := range u.Usage {
			said.add(month+" "+*u.Model, capability, n)
		}
		said.add(month+" "+*u.Model, "events", u.Events)
	}
	for _, a := range st.Adjustments {
		for capability, n := range a.Usage {
			said.add(month+" "+*a.Model, capability, n)
		}
		said.add(month+" "+*a.Model, "events", a.Events)
	}
	want := sums{}
	for group, of := range got.by["month+model"] {
		if strings.HasPrefix(group, month) {
			want[group] = of
		}
	}
	if d := cmp.Diff(want.texts(), said.texts()); d != "" {
		l.t.Errorf("statement of %s: (-lines +statement)\n%.2000s", month, d)
	}
	for _, total := range st.Totals {
		if n := got.by["month"][month][total.Capability]; n == nil || n.Cmp(big.NewInt(total.Total)) != 0 {
			l.t.Errorf("statement of %s: %d %s in all, want %s", month, total.Total, total.Capability, n)
		}
	}
	if st.Lines.Count != got.count[month] {
		l.t.Errorf("statement of %s: %d lines, want %d", month, st.Lines.Count, got.count[month])
	}
}

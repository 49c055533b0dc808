package fsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// usageDesk is an account with a few hundred lines over three months, in a time zone
// that is not a whole number of hours from UTC, and those lines.
func usageDesk(t *testing.T) (*desk, []Event) {
	d := newAcme(t)
	d.must(PutAccount{ID: "acme", Name: "Acme", Timezone: "Asia/Kathmandu"})
	random := rand.New(rand.NewPCG(1, 2))
	chains := [][]string{
		{"alice", "a", "p", "o", "acme"}, {"b", "p", "o", "acme"}, {"nobody", "acme"}, {"acme"},
		{"b", "p", "o", "acme", "alice", "a", "p", "o", "acme"}, // two entities named: what they share counts once
	}
	models, members := []string{"", "gpt-4o", "claude"}, []string{"", "x\x00y", "alice@acme.test"}
	var all []Event
	for i := range 200 {
		e := Event{
			Account: "acme", ID: fmt.Sprint("e", i), Chain: chains[random.IntN(len(chains))],
			Model: models[random.IntN(3)], Member: members[random.IntN(3)],
			Usage: []Quantity{{CapInputTokens, random.Int64N(MaxAmount / 200)}, {CapRequests, 1}},
			At:    d.now - random.Int64N(90*dayMS), ReceivedAt: d.now, Node: 1,
		}
		e.Hash[0], e.Hash[1] = byte(i), byte(i>>8)
		all = append(all, e)
	}
	for batch := range slices.Chunk(all, 7) {
		d.must(Reconcile{Parts: []Part{{Node: 1, Events: batch}}})
	}
	return d, all
}

// everything reads all pages of a query.
func (d *desk) everything(q UsageQuery) (all []UsageRow) {
	d.t.Helper()
	for {
		rows, next, err := d.m.Usage("acme", q)
		if err != nil {
			d.t.Fatalf("%+v: %v", q, err)
		}
		if all = append(all, rows...); next == "" {
			return all
		}
		q.After = next
	}
}

// summed is the answer to a query by the definition: every line looked at, groups in a map.
func summed(q UsageQuery, lines []Event, typeOf func(string) string) map[string]UsageRow {
	out := map[string]UsageRow{}
	by := func(d Dimension) bool { return slices.Contains(q.GroupBy, d) }
	for _, e := range lines {
		start, _ := Cadence{Every: Every(q.Bucket), Timezone: "Asia/Kathmandu"}.Period(e.At)
		row := UsageRow{Bucket: start, Events: 1, Usage: e.Usage}
		if start < q.From || start >= q.To || q.Model != "" && q.Model != e.Model || q.Member != "" && q.Member != e.Member ||
			q.Entity != "" && !slices.Contains(e.Chain, q.Entity) {
			continue
		}
		if by(ByModel) {
			row.Model = e.Model
		}
		values := []string{""}
		chain := slices.Compact(slices.Sorted(slices.Values(e.Chain)))
		switch {
		case by(ByEntity):
			values = chain
		case by(ByEntityType):
			values = nil
			for _, id := range chain {
				if kind := typeOf(id); kind != "" && !slices.Contains(values, kind) {
					values = append(values, kind)
				}
			}
		case by(ByMember):
			if values = nil; e.Member != "" {
				values = []string{e.Member}
			}
		}
		for _, v := range values {
			r := row
			switch {
			case by(ByEntity):
				r.Entity = v
			case by(ByEntityType):
				r.EntityType = v
			case by(ByMember):
				r.Member = v
			}
			quantities := [][]Quantity{r.Usage}
			if by(ByCapability) {
				quantities = quantities[:0]
				for i := range r.Usage {
					quantities = append(quantities, r.Usage[i:i+1])
				}
			}
			for _, qs := range quantities {
				if by(ByCapability) {
					r.Capability = qs[0].Capability
				}
				key := fmt.Sprintf("%d %q %q %q %q %q", r.Bucket, r.Entity, r.EntityType, r.Member, r.Model, r.Capability)
				sum := r
				if old, ok := out[key]; ok {
					sum.Events += old.Events
					sum.Usage = slices.Clone(old.Usage)
					for i := range qs {
						sum.Usage[i].Amount += qs[i].Amount
					}
				} else {
					sum.Usage = slices.Clone(qs)
				}
				out[key] = sum
			}
		}
	}
	return out
}

func TestUsageIsTheSumOfTheLines(t *testing.T) {
	notShort(t)
	d, lines := usageDesk(t)
	defer d.close()
	typeOf := func(id string) string { return d.m.s.accounts["acme"].typeOf(id) }
	check := func(t *testing.T, q UsageQuery) {
		t.Helper()
		got := d.everything(q)
		want := summed(q, lines, typeOf)
		var rows []UsageRow
		for _, r := range want {
			rows = append(rows, r)
		}
		order := func(a, b UsageRow) int {
			return strings.Compare(
				fmt.Sprintf("%020d\x00%s%s%s\x00%s\x00%s", a.Bucket, a.Entity, a.EntityType, a.Member, a.Model, a.Capability),
				fmt.Sprintf("%020d\x00%s%s%s\x00%s\x00%s", b.Bucket, b.Entity, b.EntityType, b.Member, b.Model, b.Capability))
		}
		slices.SortFunc(rows, order)
		if len(rows) == 0 {
			t.Fatalf("%+v: the oracle has no row", q)
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatalf("%+v: (-lines +rollups)\n%s", q, diff)
		}
	}
	queries := func(t *testing.T, limits ...int) {
		for _, bucket := range []Bucket{BucketHour, BucketDay, BucketMonth} {
			for _, by := range [][]Dimension{
				nil, {ByModel}, {ByCapability}, {ByModel, ByCapability}, {ByEntity}, {ByEntity, ByModel}, {ByEntityType},
				{ByEntityType, ByModel, ByCapability}, {ByMember}, {ByMember, ByCapability},
			} {
				for _, limit := range limits {
					q := UsageQuery{Bucket: bucket, GroupBy: by, From: d.now - 60*dayMS, To: d.now + 1, Limit: limit}
					check(t, q)
					q.Model = "gpt-4o"
					check(t, q)
					if q.Model = ""; by == nil {
						q.Entity = "p"
						check(t, q)
						q.Entity, q.Member = "", "x\x00y"
						check(t, q)
					}
				}
			}
		}
	}
	t.Run("as written", func(t *testing.T) { queries(t, 13, MaxPage) })
	d.close()
	d.open()
	t.Run("reopened", func(t *testing.T) { queries(t, MaxPage) })
}

// A cache that forgets rows between batches must not lose what they held.
func TestRollupsSurviveTheirCache(t *testing.T) {
	d, lines := usageDesk(t)
	defer d.close()
	q := UsageQuery{Bucket: BucketMonth, From: d.now - 100*dayMS, To: d.now + 1, GroupBy: []Dimension{ByModel}}
	before := d.everything(q)
	if err := d.m.Commit(); err != nil {
		t.Fatal(err)
	}
	d.m.s.rollups.forget()
	again := slices.Clone(lines)
	for i := range again {
		again[i].ID += "-again"
	}
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: again[:90]}}})
	if err := d.m.Commit(); err != nil {
		t.Fatal(err)
	}
	d.m.s.rollups.forget()
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: again[90:]}}})
	after := d.everything(q)
	for i := range before {
		before[i].Events *= 2
		for j := range before[i].Usage {
			before[i].Usage[j].Amount *= 2
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-twice the first +got)\n%s", diff)
	}
}

func TestUsageRefusesWhatItCannotSum(t *testing.T) {
	d, _ := usageDesk(t)
	defer d.close()
	span := UsageQuery{Bucket: BucketDay, From: 0, To: d.now}
	for field, edit := range map[string]func(q *UsageQuery){
		"bucket":      func(q *UsageQuery) { q.Bucket = "week" },
		"group_by":    func(q *UsageQuery) { q.GroupBy = []Dimension{"colour"} },
		"to":          func(q *UsageQuery) { q.To = q.From },
		"after":       func(q *UsageQuery) { q.After = "zzz" },
		"entity":      func(q *UsageQuery) { q.GroupBy, q.Entity = []Dimension{ByMember}, "p" },
		"member":      func(q *UsageQuery) { q.GroupBy, q.Member = []Dimension{ByEntity}, "x" },
		"entity_type": func(q *UsageQuery) { q.GroupBy, q.EntityType = []Dimension{ByMember}, "team" },
	} {
		q := span
		edit(&q)
		_, _, err := d.m.Usage("acme", q)
		e, ok := err.(*Error)
		if !ok || e.Code != CodeInvalid || !slices.Equal(fieldsOf(e), []string{field}) {
			t.Errorf("%s: %v", field, err)
		}
	}
	q := span
	q.GroupBy = []Dimension{ByEntity, ByMember}
	if _, _, err := d.m.Usage("acme", q); err == nil {
		t.Error("entity and member together are answered")
	}
}

// Ten lines of 10^18 pass int64; the row keeps the sum and the query says so.
func TestASumBeyondIntegersIsNoSum(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	for i := range 10 {
		e := Event{Account: "acme", ID: fmt.Sprint(i), Chain: []string{"acme"}, Usage: []Quantity{{CapTokens, MaxAmount}}, At: d.now, Node: 1}
		e.Hash[0] = byte(i)
		d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
	}
	_, _, err := d.m.Usage("acme", UsageQuery{Bucket: BucketMonth, From: 0, To: d.now})
	if e, ok := err.(*Error); !ok || e.Code != CodeConflict {
		t.Fatalf("%v, want a conflict", err)
	}
}

func TestTheTimeZoneOfUsageStays(t *testing.T) {
	d := newAcme(t)
	defer d.close()
	d.must(PutAccount{ID: "acme", Name: "Acme", Timezone: "Europe/Berlin"})
	if err := d.refuse(CodeInvalid, PutAccount{ID: "acme", Name: "Acme", Timezone: "Mars/Olympus"}); !slices.Equal(fieldsOf(err), []string{"timezone"}) {
		t.Errorf("fields %v", fieldsOf(err))
	}
	e := Event{Account: "acme", ID: "1", Chain: []string{"acme"}, Usage: []Quantity{{CapTokens, 1}}, At: d.now, Node: 1}
	d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
	d.refuse(CodeConflict, PutAccount{ID: "acme", Name: "Acme", Timezone: "UTC"})
	d.must(PutAccount{ID: "acme", Name: "Acme & Sons"}) // without one: as it was
	d.m.View(func(v *View) {
		if a := v.Account("acme"); a.Timezone != "Europe/Berlin" || a.Name != "Acme & Sons" {
			t.Errorf("%+v", a)
		}
	})
}

func FuzzDecodeRollup(f *testing.F) {
	r := rollup{events: 3}
	r.add(CapUSD, -7, 1)
	r.add(CapTokens, MaxAmount, 2)
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRollup(b)
		if err != nil {
			return
		}
		again, err := decodeRollup(r.append(nil))
		if err != nil {
			t.Fatalf("%x: decoded, and cannot be decoded once more: %v", b, err)
		}
		if diff := cmp.Diff(r, again, cmp.AllowUnexported(rollup{}, rollupSum{})); diff != "" {
			t.Fatal(diff)
		}
		var merged, added rollup
		merged.add(CapTokens, 3, 1)
		added.add(CapTokens, 3, 1)
		added.merge(r)
		if err := merged.mergeStored(b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(added, merged, cmp.AllowUnexported(rollup{}, rollupSum{})); diff != "" {
			t.Fatalf("(-merged when decoded +as stored)\n%s", diff)
		}
	})
}

func FuzzSplitRollupRow(f *testing.F) {
	f.Add(int64(time.Hour), "a\x00b", "m\x00")
	f.Fuzz(func(t *testing.T, start int64, value, model string) {
		s, v, m, ok := splitRollupRow(appendRollupRow(nil, start, value, model))
		if !ok || s != start || v != value || m != model {
			t.Fatalf("%d %q %q: read as %d %q %q %v", start, value, model, s, v, m, ok)
		}
	})
}

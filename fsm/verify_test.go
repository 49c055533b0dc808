package fsm

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"
)

// verifyWith verifies an account's ledger with so many rows in memory.
func verifyWith(t fataler, m *Machine, account string, limit int) *LedgerVerification {
	t.Helper()
	var out *LedgerVerification
	err := m.read(func(st *store) error {
		snap := st.db.NewSnapshot()
		defer snap.Close()
		v := &verifier{ctx: context.Background(), r: snap, o: &VerifyOptions{}, account: account, out: &LedgerVerification{Account: account}, limit: limit}
		out = v.out
		return v.run()
	})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return out
}

// sound fails the test unless the ledgers of all accounts are as their lines say.
func sound(t fataler, m *Machine) {
	t.Helper()
	var accounts []string
	m.View(func(v *View) { accounts = slices.Sorted(keysOf(v.s.accounts)) })
	for _, account := range accounts {
		for _, limit := range []int{5, verifyRows} {
			if out := verifyWith(t, m, account, limit); !out.Sound() {
				t.Fatalf("account %s, %d rows at once: %d faults\n%s", account, limit, out.FaultCount, faultText(out))
			}
		}
	}
}

func faultText(v *LedgerVerification) string {
	var s strings.Builder
	for _, f := range v.Faults {
		fmt.Fprintf(&s, "%s: seq %d event %q, %s: want %s, found %s\n", f.Kind, f.Seq, f.EventID, f.Where, f.Want, f.Found)
	}
	return s.String()
}

// keepBooks makes a ledger with everything that is derived from lines: two blocks of it, keys, members and models, entities that were
// provisioned late, backfilled and forfeited budgets, corrections.
func keepBooks(r *rig) {
	r.must(PutEntityTypes{Items: []EntityType{{ID: "team", Name: "Team"}}})
	r.must(PutEntities{Account: "acme", Items: []Entity{{ID: "team-a", Type: "team"}}})
	k := r.period(r.assign(100_000))
	for i := range 150 {
		e := r.event(fmt.Sprintf("evt-%d", i), k, int64(i%7), 0, 1)
		e.Chain = []string{"late", "alice", "team-a", "acme"}
		e.Member, e.Model, e.Key = fmt.Sprintf("m%d\x00", i%3), fmt.Sprintf("model-%d", i%2), "key-1"
		e.Usage = append(e.Usage, Quantity{CapTokens, int64(i)})
		r.must(settle(1, e))
		r.now += 60_000
		switch i {
		case 50:
			r.must(PutEntities{Account: "acme", Items: []Entity{{ID: "late", Type: "team"}}}) // in the same millisecond as the next line
			r.now -= 60_000
		case 70:
			r.must(PutAssignments{Account: "acme", Items: []AssignmentPut{{Backfill: true, Assignment: Assignment{
				ID: "asg_back", Entity: "team-a", Capability: CapTokens, Cadence: Cadence{Every: EveryDay}, Limit: 1_000_000, Enforcement: Soft, Mode: Cap}}}})
			r.now -= 60_000
		case 90:
			r.must(Correct{Account: "acme", Items: []Correction{
				{ID: "c1", Event: "evt-10", Kind: KindVoid},
				{ID: "c2", Event: "evt-80", Kind: KindAdjust, Usage: []Quantity{{CapRequests, 90}, {CapTokens, 1}}},
			}})
		}
	}
	r.must(ask(2, Ask{Budget: k, NeedSum: 500, Want: 500}))
	r.must(DeadNode{Node: 2})
	r.must(Forfeit{Name: "n2", Charge: true})
}

func TestSoundLedgerVerifies(t *testing.T) {
	r := newRig(t)
	keepBooks(r)
	sound(r.t, r.m)
	out := verifyWith(t, r.m, "acme", verifyRows)
	if out.Lines != 152 || out.First != 1 || out.Last != 152 || out.ChainFrom != 1 || out.Events != 150 || out.Budgets != 2 || out.Sums == 0 || out.IndexRows == 0 {
		t.Errorf("%+v", out)
	}
	if last := r.ledgerOf("acme"); out.Head != last[len(last)-1].Hash {
		t.Errorf("the head is %x", out.Head)
	}
	r.reopen()
	sound(r.t, r.m)
}

// Each case changes the store behind the machine's back.
func TestEveryCorruptionIsFoundAndNamed(t *testing.T) {
	notShort(t)
	key := func(seq uint64) []byte { return ledgerKey("acme", seq) }
	rewrite := func(t *testing.T, db *pebble.DB, key []byte, into any, edit func()) {
		t.Helper()
		if ok, err := getFrom(db, key, into); err != nil || !ok {
			t.Fatalf("key %q: %v, %v", key, ok, err)
		}
		edit()
		value, err := encodeValue(into)
		if err == nil {
			err = db.Set(key, value, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := func(t *testing.T, db *pebble.DB, prefix []byte, nth int) (key, value []byte) {
		t.Helper()
		lower, upper := prefixRange(prefix)
		_ = scan(db, lower, upper, false, func(k, v []byte) (bool, error) {
			key, value = slices.Clone(k), slices.Clone(v)
			nth--
			return nth >= 0, nil
		})
		if key == nil {
			t.Fatalf("nothing under %q", prefix)
		}
		return key, value
	}
	line := func(edit func(l *LedgerLine)) func(*testing.T, *pebble.DB) {
		return func(t *testing.T, db *pebble.DB) {
			var l LedgerLine
			rewrite(t, db, key(42), &l, func() { edit(&l) })
		}
	}
	for name, c := range map[string]struct {
		plant func(t *testing.T, db *pebble.DB)
		kind  string
		seq   uint64
		event string
		where string
	}{
		"amount edited":       {line(func(l *LedgerLine) { l.Event.Usage[0].Amount++ }), FaultHash, 42, "evt-41", "line 42"},
		"member edited":       {line(func(l *LedgerLine) { l.Event.Member = "x" }), FaultHash, 42, "evt-41", "line 42"},
		"hash edited":         {line(func(l *LedgerLine) { l.Hash[3]++ }), FaultHash, 42, "evt-41", "line 42"},
		"edited and rehashed": {line(func(l *LedgerLine) { l.Reason = "x"; l.Hash = l.ChainHash([32]byte{}) }), FaultHash, 42, "evt-41", "line 42"},
		"charge edited":       {line(func(l *LedgerLine) { l.Event.Lines[0].Amount++ }), FaultBudget, 0, "", "requests of \"alice\""},
		"line missing":        {func(t *testing.T, db *pebble.DB) { _ = db.Delete(key(42), nil) }, FaultMissing, 42, "", "line 42"},
		"line missing, id":    {func(t *testing.T, db *pebble.DB) { _ = db.Delete(key(42), nil) }, FaultEvent, 42, "evt-41", ""},
		"end missing": {func(t *testing.T, db *pebble.DB) {
			_ = db.DeleteRange(key(151), key(153), nil)
		}, FaultEvent, 152, "evt-149", ""},
		"lines swapped": {func(t *testing.T, db *pebble.DB) {
			_, a := first(t, db, key(7), 0)
			_, b := first(t, db, key(8), 0)
			_, _ = db.Set(key(7), b, nil), db.Set(key(8), a, nil)
		}, FaultHash, 7, "evt-7", "line 7"},
		"line doubled": {func(t *testing.T, db *pebble.DB) {
			var l LedgerLine
			_, _ = getFrom(db, key(42), &l)
			var last LedgerLine
			_, _ = getFrom(db, key(152), &last)
			l.Seq = 153
			l.Hash = l.ChainHash(last.Hash)
			value, _ := encodeValue(&l)
			_ = db.Set(key(153), value, nil)
		}, FaultDouble, 153, "evt-41", "two lines"},
		"line of another account": {line(func(l *LedgerLine) { l.Event.Account = "globex" }), FaultOther, 42, "evt-41", "line 42"},
		"bit flipped in a line": {func(t *testing.T, db *pebble.DB) {
			k, v := first(t, db, key(42), 0)
			v[len(v)/2] ^= 0x40
			_ = db.Set(k, v, nil)
		}, "", 42, "", "line 42"},
		"line cut short": {func(t *testing.T, db *pebble.DB) {
			k, v := first(t, db, key(42), 0)
			_ = db.Set(k, v[:len(v)-3], nil)
		}, FaultUnreadable, 42, "", "line 42"},
		"balance edited": {func(t *testing.T, db *pebble.DB) {
			k, _ := first(t, db, []byte{tableBudget}, 0)
			var b Budget
			rewrite(t, db, k, &b, func() { b.Used-- })
		}, FaultBudget, 0, "", "requests of \"alice\""},
		"backfilled balance edited": {func(t *testing.T, db *pebble.DB) {
			k, _ := first(t, db, []byte{tableBudget}, 1)
			var b Budget
			rewrite(t, db, k, &b, func() { b.Used++ })
		}, FaultBudget, 0, "", "tokens of \"team-a\" (asg_back), day"},
		"balance missing": {func(t *testing.T, db *pebble.DB) {
			k, _ := first(t, db, []byte{tableBudget}, 0)
			_ = db.Delete(k, nil)
		}, FaultBudget, 0, "", "requests of \"alice\""},
		"forfeit forgotten": {func(t *testing.T, db *pebble.DB) {
			k, _ := first(t, db, []byte{tableBudget}, 0)
			var b Budget
			rewrite(t, db, k, &b, func() { b.Forfeited = 0 })
		}, FaultBudget, 0, "", "requests of \"alice\""},
		"sum edited": {func(t *testing.T, db *pebble.DB) {
			k, v := first(t, db, rollupPrefix(nil, "acme", 'd', dimType), 0)
			r, _ := decodeRollup(v)
			r.events++
			_ = db.Set(k, r.append(nil), nil)
		}, FaultSum, 0, "", "the day of 2026-11-22T00:00:00Z by entity_type"},
		"sum missing": {func(t *testing.T, db *pebble.DB) {
			k, _ := first(t, db, rollupPrefix(nil, "acme", 'h', dimMember), 0)
			_ = db.Delete(k, nil)
		}, FaultSum, 0, "", "the hour of 2026-11-22T10:00:00Z by member"},
		"sum of nothing": {func(t *testing.T, db *pebble.DB) {
			k := appendRollupRow(rollupPrefix(nil, "acme", 'm', dimEntity), testStart, "ghost", "")
			_ = db.Set(k, (&rollup{events: 1}).append(nil), nil)
		}, FaultSum, 0, "", "by entity \"ghost\""},
		"sum damaged": {func(t *testing.T, db *pebble.DB) {
			k, v := first(t, db, rollupPrefix(nil, "acme", 'm', dimEntity), 0)
			_ = db.Set(k, v[:len(v)-1], nil)
		}, FaultUnreadable, 0, "", "the month of"},
		"event row missing": {func(t *testing.T, db *pebble.DB) { _ = db.Delete(eventKey("acme", "evt-41"), nil) }, FaultEvent, 42, "evt-41", ""},
		"event row elsewhere": {func(t *testing.T, db *pebble.DB) {
			var d dedup
			rewrite(t, db, eventKey("acme", "evt-41"), &d, func() { d.Seq = 50 })
		}, FaultEvent, 42, "evt-41", ""},
		"event row of another body": {func(t *testing.T, db *pebble.DB) {
			var d dedup
			rewrite(t, db, eventKey("acme", "evt-41"), &d, func() { d.Hash[0]++ })
		}, FaultEvent, 42, "evt-41", ""},
		"event row of nothing": {func(t *testing.T, db *pebble.DB) {
			value, _ := encodeValue(dedup{Seq: 42})
			_ = db.Set(eventKey("acme", "ghost"), value, nil)
		}, FaultEvent, 42, "ghost", ""},
		"correction unlinked": {func(t *testing.T, db *pebble.DB) {
			_ = db.DeleteRange(correctionPrefix("acme", 1), correctionPrefix("acme", 100), nil)
		}, FaultCorrection, 92, "evt-10", "line 11"},
		"correction id missing": {func(t *testing.T, db *pebble.DB) { _ = db.Delete(correctionIDKey("acme", "c1"), nil) }, FaultCorrection, 92, "evt-10", "\"c1\""},
		"link to no correction": {func(t *testing.T, db *pebble.DB) {
			value, _ := encodeValue(true)
			_ = db.Set(correctionKey("acme", 5, 6), value, nil)
		}, FaultCorrection, 6, "", "line 5"},
		"index row missing": {func(t *testing.T, db *pebble.DB) {
			_ = db.Delete(binary.BigEndian.AppendUint64(indexPrefix("acme", indexModel, "model-1"), 1), nil)
		}, FaultIndex, 65, "", "model-1"},
		"index row of nothing": {func(t *testing.T, db *pebble.DB) {
			_ = db.Set(binary.BigEndian.AppendUint64(indexPrefix("acme", indexModel, "ghost"), 1), nil, nil)
		}, FaultIndex, 65, "", "ghost"},
		"times edited": {func(t *testing.T, db *pebble.DB) {
			var s timeSpan
			rewrite(t, db, timesKey("acme", 0, 1), &s, func() { s.Last++ })
		}, FaultIndex, 0, "", "stride 1 of level 0"},
		"chain begun later": {func(t *testing.T, db *pebble.DB) {
			var m ledgerMark
			rewrite(t, db, ledgerMarkKey("acme"), &m, func() { m.ChainFrom = 43 })
		}, FaultMark, 42, "evt-41", "chain"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			keepBooks(r)
			c.plant(t, committed(t, r.m))
			out := verifyWith(t, r.m, "acme", verifyRows)
			small := verifyWith(t, r.m, "acme", 5)
			if small.FaultCount != out.FaultCount {
				t.Errorf("in many passes %d faults, in one %d:\n%s%s", small.FaultCount, out.FaultCount, faultText(small), faultText(out))
			}
			for _, f := range out.Faults {
				if (f.Kind == c.kind || c.kind == "") && f.Seq == c.seq && (f.EventID == c.event || c.event == "") && strings.Contains(f.Where, c.where) {
					return
				}
			}
			t.Errorf("not found; there are %d faults:\n%s", out.FaultCount, faultText(out))
		})
	}
}

// Histories of everything that lines are derived from, and what is derived from them, verify.
func TestRandomHistoriesVerify(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		defer func() { _ = r.m.Close() }()
		r.t = rapidTB{t, rt}
		r.must(PutEntityTypes{Items: []EntityType{{ID: "team", Name: "Team"}}})
		ids := []string{"alice", "bob", "carol", "dave"}
		caps := []string{CapRequests, CapTokens}
		pick := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		events := 0
		rt.Repeat(map[string]func(*rapid.T){
			"events": func(*rapid.T) {
				for range 1 + pick("events", 30) {
					e := r.event(fmt.Sprintf("evt-%d", events), BudgetKey{}, 0, 0, 1)
					e.Lines, e.Usage, events = nil, nil, events+1
					e.Chain = append([]string{}, ids[pick("entity", 4):]...)
					e.Chain = append(e.Chain, "acme")
					e.At = r.now - int64(pick("late", 3))*20*hourMS
					e.Model = []string{"", "a", "b"}[pick("model", 3)]
					e.Member = []string{"", "m\x00"}[pick("member", 2)]
					for _, c := range caps[:1+pick("capabilities", 2)] {
						e.Usage = append(e.Usage, Quantity{c, int64(pick("amount", 50))})
					}
					r.m.View(func(v *View) {
						for _, id := range e.Chain {
							for _, a := range v.Assignments("acme", id) {
								start, _ := a.Cadence.Period(e.At)
								e.Lines = append(e.Lines, Line{Budget: BudgetKey{a.Num, start}, Amount: amountOf(e.Usage, a.Capability), On: 1})
							}
						}
					})
					r.must(settle(1, e))
				}
			},
			"time": func(*rapid.T) { r.now += int64(pick("elapse", 3)) * 10 * hourMS },
			"entity": func(*rapid.T) {
				r.must(PutEntities{Account: "acme", Items: []Entity{{ID: ids[1+pick("entity", 3)], Type: "user"}}})
			},
			"assign": func(*rapid.T) {
				a := Assignment{ID: fmt.Sprintf("asg_%d", r.index), Entity: []string{"alice", "acme"}[pick("entity", 2)], Capability: caps[pick("capability", 2)],
					Cadence: Cadence{Every: []Every{EveryHour, EveryMonth, EveryNever}[pick("cadence", 3)]}, Limit: 1000, Enforcement: Hard, Mode: Cap}
				r.apply(PutAssignments{Account: "acme", Items: []AssignmentPut{{Assignment: a, Backfill: pick("backfill", 2) == 0}}})
			},
			"unassign": func(*rapid.T) {
				var id string
				r.m.View(func(v *View) {
					if all := v.Assignments("acme", "alice"); len(all) > 0 {
						id = all[pick("assignment", len(all))].ID
					}
				})
				r.apply(DeleteAssignment{Account: "acme", ID: id})
			},
			"correct": func(*rapid.T) {
				c := Correction{ID: fmt.Sprintf("c-%d", r.index), Event: fmt.Sprintf("evt-%d", pick("event", events+1)), Kind: KindVoid}
				if pick("kind", 2) == 0 {
					c.Kind, c.Usage = KindAdjust, []Quantity{{caps[pick("capability", 2)], int64(pick("amount", 60))}}
				}
				r.apply(Correct{Account: "acme", Items: []Correction{c}})
			},
			"forfeit": func(*rapid.T) {
				r.apply(DeadNode{Node: 3}, Forfeit{Name: "n3", Charge: true})
			},
			"restart": func(*rapid.T) { r.reopen() },
		})
		sound(r.t, r.m)
	})
}

// stated makes a ledger with two statements and what comes after them.
func stated(t *rapid.T) *desk {
	d := newAcme(t)
	b := &accountant{t: t, d: d, timezone: "Asia/Kathmandu", void: map[string]bool{}}
	d.must(PutAccount{ID: "acme", Name: "Acme", Timezone: b.timezone})
	d.must(PutInvoice{Account: "acme", Settings: b.drawSettings()})
	for range rapid.IntRange(5, 30).Draw(t, "actions") {
		b.act(rapid.SampledFrom([]string{"event", "event", "event", "correct", "wait", "finalize", "provision", "reopen"}).Draw(t, "action"))
	}
	b.event()
	d.now += 70 * dayMS
	for len(b.final) < 2 {
		b.finalize(true)
		b.correct()
	}
	return d
}

func TestStatementsVerify(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := stated(rt)
		defer d.close()
		sound(rt, d.m)
		out := verifyWith(rt, d.m, "acme", verifyRows)
		if out.Statements < 2 {
			rt.Fatalf("%d statements were compared", out.Statements)
		}
	})
}

func TestEveryChangeOfAStatementIsFound(t *testing.T) {
	edits := map[string]func(h *StatementHead, rows *StatementRows){
		"hash":    func(h *StatementHead, _ *StatementRows) { h.Lines.Hash[5]++ },
		"count":   func(h *StatementHead, _ *StatementRows) { h.Lines.Count++ },
		"total":   func(h *StatementHead, _ *StatementRows) { h.Totals[0].Usage++; h.Totals[0].Closing++ },
		"opening": func(h *StatementHead, _ *StatementRows) { h.Totals[0].Opening++; h.Totals[0].Closing++ },
		"number":  func(h *StatementHead, _ *StatementRows) { h.Invoice.Number = "INV-0815" },
		"row": func(_ *StatementHead, rows *StatementRows) {
			rows.Usage = append(rows.Usage, StatementRow{Entity: "z", Lines: 1})
		},
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := stated(rt)
		defer d.close()
		latest, err := latestStatement(d.m, "acme")
		if err != nil {
			rt.Fatal(err)
		}
		s, err := d.m.Statement("acme", latest.ID)
		if err != nil {
			rt.Fatal(err)
		}
		edits[rapid.SampledFrom(slices.Sorted(keysOf(edits))).Draw(rt, "edit")](&s.StatementHead, &s.StatementRows)
		for key, value := range map[string]any{string(statementKey("acme", s.From)): &s.StatementHead, string(statementRowsKey("acme", s.From)): &s.StatementRows} {
			data, err := encodeValue(value)
			if err == nil {
				err = committed(t, d.m).Set([]byte(key), data, nil)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		out := verifyWith(rt, d.m, "acme", verifyRows)
		if len(out.Faults) == 0 || out.Faults[0].Kind != FaultStatement || !strings.Contains(out.Faults[0].Where, s.ID) {
			rt.Fatalf("faults:\n%s", faultText(out))
		}
	})
}

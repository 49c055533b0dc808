package fsm

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aged makes a ledger of three months with n lines in each, the first two in finalized statements.
func aged(t fataler, n int) *desk {
	d := newAcme(t)
	d.must(PutInvoice{Account: "acme", Settings: defaultInvoiceSettings()})
	for month := range 3 {
		for i := range n {
			e := Event{Account: "acme", ID: fmt.Sprintf("evt-%d-%d", month, i), Node: 1, At: d.now, ReceivedAt: d.now,
				Chain: []string{"a", "p", "o", "acme"}, Model: fmt.Sprintf("model-%d", month), Usage: []Quantity{{CapRequests, 1}}}
			copy(e.Hash[:], e.ID)
			d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
			d.now += 1000
		}
		if month == 0 {
			d.must(Correct{Account: "acme", Items: []Correction{{ID: "c-1", Event: "evt-0-3", Kind: KindVoid}}})
		}
		d.now += 31 * dayMS
	}
	for range 2 {
		draft, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{})
		if err != nil {
			t.Fatalf("draft: %v", err)
		}
		d.must(FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows})
	}
	return d
}

// dropAll proposes what is due until nothing is, and returns how many entries that took.
func dropAll(t fataler, d *desk) (entries int) {
	for {
		due, err := d.m.NextDrop("acme", d.now)
		if err != nil {
			t.Fatalf("due: %v", err)
		}
		if due == nil {
			return entries
		}
		d.must(*due)
		entries++
	}
}

func retentionOf(d *desk) (s RetentionState) {
	d.m.View(func(v *View) { s, _ = v.Retention("acme") })
	return s
}

func TestRetentionDropsWhatIsOldAndStated(t *testing.T) {
	d := aged(t, 200)
	if n := dropAll(t, d); n != 0 {
		t.Fatalf("%d drops without being asked", n)
	}
	sums, _, err := d.m.Usage("acme", UsageQuery{Bucket: BucketMonth, From: testNow - 40*dayMS, To: d.now, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	d.must(SetRetention{Account: "acme", Retention: Retention{Days: 30}})
	if n := dropAll(t, d); n != 1 {
		t.Fatalf("%d drops", n)
	}
	// 401 lines are in the two statements, of which 384 are whole blocks; the third month is in none.
	if s := retentionOf(d); s.Dropped != 384 || s.Last != 601 {
		t.Fatalf("%+v", s)
	}
	if again, _, err := d.m.Usage("acme", UsageQuery{Bucket: BucketMonth, From: testNow - 40*dayMS, To: d.now, Limit: 10}); err != nil || !cmp.Equal(sums, again) {
		t.Errorf("sums were %v and are %v, %v", sums, again, err)
	}
	for range 2 {
		sound(t, d.m)
		lines, next, err := d.m.ListLedger("acme", LedgerFilter{OldestFirst: true}, 0, 3)
		if err != nil || len(lines) != 3 || lines[0].Seq != 385 || next != 387 {
			t.Errorf("oldest first: %d lines, next %d, %v", len(lines), next, err)
		}
		lines, next, err = d.m.ListLedger("acme", LedgerFilter{}, 387, 1000)
		if err != nil || len(lines) != 2 || next != 0 {
			t.Errorf("newest first: %d lines, next %d, %v", len(lines), next, err)
		}
		lines, _, err = d.m.ListLedger("acme", LedgerFilter{Model: "model-0"}, 0, 1000)
		if err != nil || len(lines) != 0 {
			t.Errorf("of the first month: %d lines, %v", len(lines), err)
		}
		if _, _, ok, err := d.m.Event("acme", "evt-0-5"); ok || err != nil {
			t.Errorf("an event that was dropped is known: %v", err)
		}
		d.close()
		d.open()
	}
	out := verifyWith(t, d.m, "acme", verifyRows)
	if out.First != 385 || out.Dropped != 384 || out.UncheckedSums == 0 || out.UncheckedStatements != 2 {
		t.Errorf("%+v", out)
	}
	d.close()
}

func TestAnEventOfAClosedTimeCountsOnce(t *testing.T) {
	d := aged(t, 200)
	d.must(SetRetention{Account: "acme", Retention: Retention{Days: 30}})
	dropAll(t, d)
	closed := retentionOf(d).DroppedUntil
	settleAt := func(id string, at int64) EventOutcome {
		e := Event{Account: "acme", ID: id, Node: 1, At: at, Chain: []string{"acme"}, Usage: []Quantity{{CapRequests, 1}}}
		copy(e.Hash[:], id)
		d.must(Reconcile{Parts: []Part{{Node: 1, Events: []Event{e}}}})
		return d.seen.Events[0].Outcome
	}
	for _, c := range []struct {
		id   string
		at   int64
		want EventOutcome
	}{
		{"evt-0-5", testNow + 6000, TooOld}, // dropped
		{"new", closed, TooOld},             // nobody can tell
		{"new", closed + 1, Settled},        // none of that time was dropped
		{"evt-2-1", closed, Duplicate},      // known all the same
		{"new-2", d.now, Settled},           // of the present
	} {
		if got := settleAt(c.id, c.at); got != c.want {
			t.Errorf("event %s at %s: outcome %d, want %d", c.id, timestamp(c.at), got, c.want)
		}
	}
	if err := d.do(Correct{Account: "acme", Items: []Correction{{ID: "c", Event: "evt-0-5", Kind: KindVoid}}}); err == nil || err.Code != CodeNotFound {
		t.Errorf("a correction of an event that was dropped: %v", err)
	}
	back := func(every Every) *Error {
		return d.do(PutAssignments{Account: "acme", Items: []AssignmentPut{{Backfill: true, Assignment: Assignment{
			ID: "asg_" + string(every), Entity: "a", Capability: CapRequests, Cadence: Cadence{Every: every}, Limit: 10, Enforcement: Soft, Mode: Cap}}}})
	}
	if err := back(EveryNever); err == nil || err.Code != CodeConflict {
		t.Errorf("a backfill over lines that were dropped: %v", err)
	}
	if _, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{From: testNow, To: testNow + dayMS}); err == nil {
		t.Error("a draft of lines that were dropped")
	}
	if _, err := d.m.DraftStatement(context.Background(), "acme", StatementQuery{}); err != nil {
		t.Errorf("a draft of the next month: %v", err)
	}
	if err := back(EveryHour); err != nil {
		t.Errorf("a backfill of the present hour: %v", err)
	}
	sound(t, d.m)
	d.close()
}

func TestWhatMayNotGoStays(t *testing.T) {
	for name, c := range map[string]struct {
		retention Retention
		through   uint64
		elapse    int64
		code      Code
	}{
		"no retention":           {Retention{}, 64, 0, CodeConflict},
		"too young":              {Retention{Days: 200}, 64, 0, CodeConflict},
		"old enough":             {Retention{Days: 200}, 64, 200 * dayMS, ""},
		"not the end of a block": {Retention{Days: 30}, 63, 0, CodeConflict},
		"in no statement":        {Retention{Days: 30}, 448, 100 * dayMS, CodeConflict},
		"not exported":           {Retention{Days: 30, RequireExport: true}, 64, 0, CodeConflict},
		"beyond the end":         {Retention{Days: 30}, 6400, 0, CodeConflict},
		"nothing":                {Retention{Days: 30}, 0, 0, CodeConflict},
		"in order":               {Retention{Days: 30}, 384, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := aged(t, 200)
			defer d.close()
			d.must(SetRetention{Account: "acme", Retention: c.retention})
			d.now += c.elapse
			err := d.do(DropLines{Account: "acme", Through: c.through})
			if c.code == "" && err != nil || c.code != "" && (err == nil || err.Code != c.code) {
				t.Errorf("got %v, want %q", err, c.code)
			}
			if dropped := retentionOf(d).Dropped; c.code != "" && dropped != 0 {
				t.Errorf("%d lines are gone", dropped)
			}
		})
	}
}

func TestExportIsAcknowledgedByWhoHasIt(t *testing.T) {
	d := aged(t, 200)
	defer d.close()
	d.must(SetRetention{Account: "acme", Retention: Retention{Days: 30, RequireExport: true}})
	line, _, err := d.m.ListLedger("acme", LedgerFilter{OldestFirst: true}, 199, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.do(MarkExported{Account: "acme", Through: 200}); err == nil || err.Code != CodeConflict {
		t.Errorf("without the hash: %v", err)
	}
	if err := d.do(MarkExported{Account: "acme", Through: 20_000}); err == nil || err.Code != CodeConflict {
		t.Errorf("beyond the end: %v", err)
	}
	dropAll(t, d)
	if s := retentionOf(d); s.Dropped != 0 {
		t.Fatalf("%+v", s)
	}
	d.must(MarkExported{Account: "acme", Through: 200, Hash: line[0].Hash})
	d.must(MarkExported{Account: "acme", Through: 100}) // said before
	dropAll(t, d)
	if s := retentionOf(d); s.Dropped != 192 || s.Exported != 200 {
		t.Fatalf("%+v", s)
	}
	sound(t, d.m)
}

// Replicas that restart between drops write the same, the times of the stride of 4,096 lines that the drop cuts in two among it.
func TestRetentionIsTheSameAfterRestarts(t *testing.T) {
	notShort(t)
	stores := map[bool]map[string]string{}
	for _, restart := range []bool{false, true} {
		d := aged(t, 200)
		d.must(SetRetention{Account: "acme", Retention: Retention{Days: 30}})
		dropAll(t, d)
		for batch := range 40 {
			if restart && batch%7 == 0 {
				d.close()
				d.open()
			}
			var events []Event
			for i := range 100 {
				events = append(events, Event{Account: "acme", ID: fmt.Sprint("late-", batch, "-", i), Node: 1, At: d.now, Chain: []string{"a", "acme"}, Usage: []Quantity{{CapRequests, 1}}})
			}
			d.must(Reconcile{Parts: []Part{{Node: 1, Events: events}}})
		}
		sound(t, d.m)
		stores[restart] = dump(t, d.m)
		d.close()
	}
	if diff := cmp.Diff(stores[false], stores[true]); diff != "" {
		t.Fatalf("(-without +with restarts):\n%s", diff)
	}
}
